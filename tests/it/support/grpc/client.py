"""A gRPC client for tests: does what its second argument says and fails when it came out otherwise.

usage: client.py HOST:PORT WHAT [CA NAME]
"""

import json
import queue
import sys
import time

import grpc

MANY = 300
BIG = 4 * 1024 * 1024


def open_channel(at, tls):
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
    ]
    if not tls:
        return grpc.insecure_channel(at, options)
    ca, name = tls
    options.append(("grpc.ssl_target_name_override", name))
    credentials = grpc.ssl_channel_credentials(open(ca, "rb").read())
    return grpc.secure_channel(at, credentials, options)


def same(found, expected):
    assert found == expected, f"{found!r}, expected {expected!r}"


def within(seconds, what, check):
    """Waits until `check` gives something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come within {seconds} s")


def refused(call):
    """The error of a call that must fail."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call succeeded")


class Calls:
    def __init__(self, channel):
        self.channel = channel
        self.echo = channel.unary_unary("/test.Calls/Echo")
        self.waiting = channel.unary_stream("/test.Calls/Wait")

    def seen(self):
        return json.loads(self.channel.unary_unary("/test.Control/Seen")(b"", timeout=20))

    def unary(self):
        answer, call = self.echo.with_call(b"hello", metadata=(("x-ask", "this"),), timeout=20)
        same(answer, b"hello")
        same(call.code(), grpc.StatusCode.OK)
        same(dict(call.initial_metadata())["x-initial"], "this")
        same(self.echo(b"", timeout=20), b"")

    def down(self):
        for count in (0, 1, 500):
            heard = list(self.channel.unary_stream("/test.Calls/Down")(b"%d" % count, timeout=20))
            same(heard, [b"%d" % number for number in range(count)])

    def up(self):
        up = self.channel.stream_unary("/test.Calls/Up")
        same(up(iter([b"x" * 1000] * 500), timeout=20), b"500 500000")
        same(up(iter([]), timeout=20), b"0 0")

    def both(self):
        """Each message is answered before the next one is sent."""
        said = queue.Queue()
        answers = self.channel.stream_stream("/test.Calls/Both")(iter(said.get, None), timeout=20)
        for number in range(50):
            said.put(b"%d" % number)
            same(next(answers), b"heard %d" % number)
        said.put(None)
        same(list(answers), [])
        same(answers.code(), grpc.StatusCode.OK)

    def fail(self):
        error = refused(lambda: self.channel.unary_unary("/test.Calls/Fail")(b"", timeout=20))
        same(error.code(), grpc.StatusCode.FAILED_PRECONDITION)
        same(error.details(), "50 % of it: n\u00e4in ei k\u00e4y")

    def fail_late(self):
        answers = self.channel.unary_stream("/test.Calls/FailLate")(b"", timeout=20)
        same([next(answers), next(answers)], [b"one", b"two"])
        error = refused(lambda: next(answers))
        same((error.code(), error.details()), (grpc.StatusCode.DATA_LOSS, "after two"))

    def metadata(self):
        """What comes behind an answer, or with an error."""
        _, call = self.echo.with_call(b"", timeout=20)
        behind = dict(call.trailing_metadata())
        same((behind["x-behind"], behind["x-behind-bin"]), ("text", b"\0\xff"))
        error = refused(lambda: self.channel.unary_unary("/test.Calls/Fail")(b"", timeout=20))
        same(dict(error.trailing_metadata())["x-why"], "because")
        answers = self.channel.unary_stream("/test.Calls/FailLate")(b"", timeout=20)
        error = refused(lambda: list(answers))
        same(dict(error.trailing_metadata())["x-why"], "late")

    def deadline(self):
        began = time.monotonic()
        answers = self.waiting(b"", timeout=1)
        same(next(answers), b"here")
        same(refused(lambda: next(answers)).code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        assert time.monotonic() - began < 10, "much too late"
        within(10, "the end at the endpoint", lambda: self.seen()["cancelled"] == 1)
        told = self.seen()["deadlines"][0]
        assert told is not None and told <= 1, f"the endpoint knew of {told} s"

    def cancel(self):
        answers = self.waiting(b"")
        same(next(answers), b"here")
        same(self.seen()["cancelled"], 0)
        answers.cancel()
        within(10, "the end at the endpoint", lambda: self.seen()["cancelled"] == 1)
        same(answers.code(), grpc.StatusCode.CANCELLED)

    def big(self):
        message = bytes(range(256)) * (BIG // 256)
        same(self.echo(message, timeout=60) == message, True)

    def many(self):
        calls = [self.echo.future(b"%d" % n * 1000, timeout=60) for n in range(MANY)]
        for number, call in enumerate(calls):
            same(call.result(), b"%d" % number * 1000)

    def unknown(self):
        call = self.channel.unary_unary("/test.Calls/Unknown")
        same(refused(lambda: call(b"", timeout=20)).code(), grpc.StatusCode.UNIMPLEMENTED)

    def unavailable(self):
        """Nobody is behind."""
        began = time.monotonic()
        error = refused(lambda: self.echo(b"", timeout=20))
        same(error.code(), grpc.StatusCode.UNAVAILABLE)
        assert time.monotonic() - began < 5, "much too late"
        print(error.details())


def main():
    at, what, *tls = sys.argv[1:]
    if what.startswith("health="):
        # Straight to the endpoint.
        channel = open_channel(at, tls)
        channel.unary_unary("/test.Control/Health")(what.split("=")[1].encode(), timeout=20)
        return
    with open_channel(at, tls) as channel:
        getattr(Calls(channel), what)()


main()
