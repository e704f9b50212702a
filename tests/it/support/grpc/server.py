"""A gRPC server for tests: bytes in, bytes out, so nothing has to be generated.

usage: server.py PORT [CERT KEY]
"""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

HEALTH = "/grpc.health.v1.Health/Check"
SERVICE = b"orders.v1.Orders"


class Server(grpc.GenericRpcHandler):
    """Methods are called after what they do."""

    def __init__(self):
        self.lock = threading.Lock()
        self.cancelled = 0
        self.waiting = 0
        self.deadlines = []
        # HealthCheckResponse.ServingStatus; below 0: a status of the call.
        self.health = 1

    def service(self, details):
        kinds = {
            "/test.Calls/Echo": (grpc.unary_unary_rpc_method_handler, self.echo),
            "/test.Calls/Down": (grpc.unary_stream_rpc_method_handler, self.down),
            "/test.Calls/Up": (grpc.stream_unary_rpc_method_handler, self.up),
            "/test.Calls/Both": (grpc.stream_stream_rpc_method_handler, self.both),
            "/test.Calls/Fail": (grpc.unary_unary_rpc_method_handler, self.fail),
            "/test.Calls/FailLate": (grpc.unary_stream_rpc_method_handler, self.fail_late),
            "/test.Calls/Wait": (grpc.unary_stream_rpc_method_handler, self.wait),
            "/test.Control/Seen": (grpc.unary_unary_rpc_method_handler, self.seen),
            "/test.Control/Health": (grpc.unary_unary_rpc_method_handler, self.set_health),
            HEALTH: (grpc.unary_unary_rpc_method_handler, self.check),
        }
        found = kinds.get(details.method)
        return found and found[0](found[1])

    def echo(self, request, context):
        metadata = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-initial", metadata.get("x-ask", "none")),))
        context.set_trailing_metadata((("x-behind", "text"), ("x-behind-bin", b"\0\xff")))
        return request

    def down(self, request, context):
        for number in range(int(request)):
            yield b"%d" % number

    def up(self, requests, context):
        count = size = 0
        for request in requests:
            count += 1
            size += len(request)
        return b"%d %d" % (count, size)

    def both(self, requests, context):
        for request in requests:
            yield b"heard " + request

    def fail(self, request, context):
        context.set_trailing_metadata((("x-why", "because"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "50 % of it: n\u00e4in ei k\u00e4y")

    def fail_late(self, request, context):
        yield b"one"
        yield b"two"
        context.set_trailing_metadata((("x-why", "late"),))
        context.abort(grpc.StatusCode.DATA_LOSS, "after two")

    def wait(self, request, context):
        gone = threading.Event()
        context.add_callback(gone.set)
        with self.lock:
            self.waiting += 1
            self.deadlines.append(context.time_remaining())
        yield b"here"
        gone.wait(60)
        with self.lock:
            self.cancelled += 1

    def seen(self, request, context):
        with self.lock:
            seen = {"waiting": self.waiting, "cancelled": self.cancelled, "deadlines": self.deadlines}
            return json.dumps(seen).encode()

    def set_health(self, request, context):
        self.health = int(request)
        return b""

    def check(self, request, context):
        if request not in (b"", b"\x0a" + bytes([len(SERVICE)]) + SERVICE):
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        if self.health < 0:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no health here")
        return b"\x08" + bytes([self.health]) if self.health else b""


def main():
    unbounded = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    pool = futures.ThreadPoolExecutor(max_workers=64)
    server = grpc.server(pool, handlers=(Server(),), options=unbounded + [("grpc.so_reuseport", 0)])
    address = "127.0.0.1:" + sys.argv[1]
    if len(sys.argv) > 2:
        cert, key = (open(path, "rb").read() for path in sys.argv[2:4])
        bound = server.add_secure_port(address, grpc.ssl_server_credentials([(key, cert)]))
    else:
        bound = server.add_insecure_port(address)
    assert bound, "the port is taken"
    server.start()
    while True:
        time.sleep(3600)


main()
