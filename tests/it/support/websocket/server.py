"""An endpoint that speaks WebSocket: it says everything again, and what its messages ask for.

usage: server.py PORT
"""

import asyncio
import sys

import websockets


async def serve(socket):
    async for message in socket:
        if message == "ping me":
            await (await socket.ping())
            await socket.send("you answered")
        elif message == "close with 4001":
            await socket.close(4001, "as you asked")
            return
        elif message == "in pieces":
            # An iterable is sent as fragments of one message.
            await socket.send(["one ", "two ", "three"])
        else:
            await socket.send(message)


async def main(port):
    async with websockets.serve(serve, "127.0.0.1", port, max_size=1 << 24, subprotocols=["chat"]):
        await asyncio.Future()


asyncio.run(main(int(sys.argv[1])))
