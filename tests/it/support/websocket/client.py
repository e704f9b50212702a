"""A WebSocket client that tries what WebSockets are used for, and prints `ok` at the end.

usage: client.py URL [CA]
"""

import asyncio
import contextlib
import os
import ssl
import sys

import websockets

URL = sys.argv[1]
OPTIONS = {"max_size": 1 << 24, "subprotocols": ["chat"]}
if len(sys.argv) > 2:
    OPTIONS["ssl"] = ssl.create_default_context(cafile=sys.argv[2])


async def echoes(socket, message):
    await socket.send(message)
    said = await socket.recv()
    assert said == message, (said[:40], message[:40])


async def one():
    async with websockets.connect(URL, **OPTIONS) as socket:
        assert socket.subprotocol == "chat", socket.subprotocol
        await echoes(socket, "text, Ünïcödé")
        await echoes(socket, b"")
        await echoes(socket, os.urandom(4 << 20))
        for size in (125, 126, 65535, 65536):
            await echoes(socket, "x" * size)
        await socket.send(["in ", "fragments ", "of ours"])
        assert await socket.recv() == "in fragments of ours"
        await socket.send("in pieces")
        assert await socket.recv() == "one two three"
        await (await socket.ping(b"are you there"))
        await socket.send("ping me")
        assert await socket.recv() == "you answered"
        await socket.send("close with 4001")
        with contextlib.suppress(websockets.ConnectionClosed):
            await socket.recv()
        assert (socket.close_code, socket.close_reason) == (4001, "as you asked")


async def many(count):
    """So many connections at once, each with a message there and back in every round."""
    async with contextlib.AsyncExitStack() as stack:
        connecting = (stack.enter_async_context(websockets.connect(URL, **OPTIONS)) for _ in range(count))
        sockets = await asyncio.gather(*connecting)
        for number in range(5):
            await asyncio.gather(*(echoes(socket, f"{number}") for socket in sockets))


async def main():
    await one()
    await many(100)
    print("ok")


asyncio.run(asyncio.wait_for(main(), 50))
