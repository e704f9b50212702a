"""Checks what comes through a proxy, then measures it: one function per kind of load."""

import http.client
import json
import re
import socket
import ssl
import subprocess
import time

from machine import cpu_seconds, rss_bytes
from proxies import BODIES, CIPHER, HEADERS_PATH, body


class Wrong(Exception):
    """A proxy did not do the work, so its numbers would mean nothing."""


def check(port):
    """Compares whole bodies, the added fields, and what comes through the TCP listeners."""
    connection = http.client.HTTPConnection("127.0.0.1", port["http"], timeout=10)
    for path, size in BODIES.items():
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200 or answer.read() != body(path, size):
            raise Wrong(f"{path}: status {answer.status} or not the body of the origin")
    connection.request("GET", HEADERS_PATH)
    fields = connection.getresponse().read().decode().split("|")
    if len(fields) != 4 or not all(fields):
        raise Wrong(f"X-Forwarded-For, -Proto, -Host and the request id are not all set: {fields}")
    connection.close()
    check_tls(port["https"])
    with socket.create_connection(("127.0.0.1", port["ping"]), timeout=10) as stream:
        stream.sendall(b"?" * 64)
        if read(stream, 64) != b"?" * 64:
            raise Wrong("the TCP listener does not echo")
    for name in (name for name in port if name.startswith("bulk")):
        with socket.create_connection(("127.0.0.1", port[name]), timeout=10) as stream:
            if read(stream, 1 << 22) != b"x" * (1 << 22):
                raise Wrong("the bulk listener changes bytes")


# What all of them agree on with OpenSSL's client.
TLS = ("TLSv1.3", CIPHER)


def check_tls(port):
    """The same version and cipher everywhere, and the body of the origin under it."""
    anybody = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=anybody)
    connection.request("GET", "/64k")
    answer = connection.getresponse()
    if answer.status != 200 or answer.read() != body("/64k", BODIES["/64k"]):
        raise Wrong(f"https: status {answer.status} or not the body of the origin")
    agreed = (connection.sock.version(), connection.sock.cipher()[0])
    connection.close()
    if agreed != TLS:
        raise Wrong(f"https is {agreed}, not {TLS}")


def read(stream, count):
    parts, missing = [], count
    while missing:
        part = stream.recv(min(missing, 1 << 18))
        if not part:
            raise Wrong(f"closed {missing} bytes early")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def http_load(run, process, port, path, connections, scheme="http", is_kept=True):
    """Closed loop: every connection asks again as soon as it has its answer, or makes room for the next."""
    header = [] if is_kept else ["-H", "Connection: close"]
    command = ["wrk", "-t1", f"-c{connections}", f"-d{run.seconds}s", "--timeout", "10s", "--latency", *header,
               f"{scheme}://127.0.0.1:{port[scheme]}{path}"]
    text, cpu = timed(run, process, command)
    found = re.search(r"(\d+) requests in ([\d.]+)(m?s)", text)
    if not found:
        raise Wrong(f"wrk said: {text}")
    seconds = float(found.group(2)) / (1000 if found.group(3) == "ms" else 1)
    errors = re.findall(r"(?:Non-2xx or 3xx responses:|connect|read|write|timeout) (\d+)", text)
    return {
        "work": int(found.group(1)), "unit": "requests", "seconds": seconds, "cpu_seconds": cpu,
        "p50_ms": milliseconds(text, 50), "p99_ms": milliseconds(text, 99),
        "failed": sum(map(int, errors)),
    }


def http2_load(run, process, port, path, connections, streams):
    """The same over HTTP/2: so many requests at once on each connection."""
    command = ["h2load", "-D", run.seconds, "-c", connections, "-m", streams,
               f"https://127.0.0.1:{port['https']}{path}"]
    text, cpu = timed(run, process, list(map(str, command)))
    agreed = re.search(r"Application protocol: (\S+)", text)
    if not agreed or agreed.group(1) != "h2":
        raise Wrong(f"h2load said: {text}")
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    good = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    return {
        "work": int(good.group(1)), "unit": "requests", "seconds": run.seconds, "cpu_seconds": cpu,
        "p50_ms": None, "p99_ms": None,
        "failed": sum(map(int, done.groups()[1:])) + sum(map(int, good.groups()[1:])),
    }


def milliseconds(text, percent):
    value, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s|m)\b", text).groups()
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}[unit]


def ping_load(run, process, port, connections):
    """64 bytes there and back, one in flight per connection."""
    result, cpu = own_load(run, process, "ping", port["ping"], connections)
    return {
        "work": result["round_trips"], "unit": "round trips", "seconds": result["seconds"],
        "cpu_seconds": cpu, "p50_ms": result["p50_us"] / 1000, "p99_ms": result["p99_us"] / 1000,
        "failed": result["failed"],
    }


def bulk_load(run, process, port, connections, listener="bulk"):
    """The origin sends as fast as it can."""
    result, cpu = own_load(run, process, "bulk", port[listener], connections)
    return {
        "work": result["bytes"] / (1 << 20), "unit": "MiB", "seconds": result["seconds"],
        "cpu_seconds": cpu, "p50_ms": None, "p99_ms": None, "failed": result["failed"],
    }


def own_load(run, process, kind, port, connections):
    command = [run.load, kind, f"127.0.0.1:{port}", connections, run.seconds]
    text, cpu = timed(run, process, command)
    return json.loads(text), cpu


def timed(run, process, command):
    """What the load printed, and the CPU seconds the proxy spent meanwhile."""
    before = cpu_seconds(process.pid)
    load = run.started.start(command, cpu=run.load_cpu, stdout=subprocess.PIPE, text=True)
    try:
        text = load.communicate(timeout=run.seconds + 60)[0]
        cpu = cpu_seconds(process.pid) - before
        if load.returncode != 0:
            raise Wrong(f"{command[0]} ended with {load.returncode}")
        return text, cpu
    finally:
        run.started.end(load)


def idle_memory(run, process, port, connections):
    """Growth of resident memory per connection that made one request and is silent since."""
    command = [run.load, "idle", f"127.0.0.1:{port['http']}", 100, "/128"]
    hold_idle(run, command, lambda: None)  # what the first requests allocate once is not per connection
    before = rss_bytes(process.pid)
    command[3] = connections
    after = hold_idle(run, command, lambda: rss_bytes(process.pid))
    return {
        "connections": connections, "rss_before": before, "rss_after": after,
        "bytes_per_connection": (after - before) / connections,
    }


def idle_tls_memory(process, port, connections):
    """The same under TLS."""
    anybody = ssl._create_unverified_context()
    held = []
    try:
        hold_tls(held, anybody, port["https"], 100)
        before = rss_bytes(process.pid)
        hold_tls(held, anybody, port["https"], connections)
        time.sleep(1)
        after = rss_bytes(process.pid)
    finally:
        for stream in held:
            stream.close()
    return {
        "connections": connections, "rss_before": before, "rss_after": after,
        "bytes_per_connection": (after - before) / connections,
    }


def hold_tls(held, context, port, count):
    """So many connections more, each with one answer."""
    for _ in range(count):
        stream = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10))
        held.append(stream)
        stream.sendall(b"GET /128 HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while not answer.endswith(body("/128", 128)):
            part = stream.recv(4096)
            if not part:
                raise Wrong("an idle connection was not served")
            answer += part


def hold_idle(run, command, look):
    load = run.started.start(command, cpu=run.load_cpu, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if load.stdout.readline().strip() != str(command[3]):
            raise Wrong(f"not all of {command[3]} idle connections were served")
        time.sleep(1)  # buffers that are given back late are given back by now
        return look()
    finally:
        load.stdin.close()
        run.started.end(load)
