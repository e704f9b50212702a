"""A real Redis with three Sentinels: one primary, two replicas, quorum 2, down after 1 s."""

import os
import signal
import subprocess
import time

import machine

NAMES = ("r1", "r2", "r3")
SENTINELS = ("s1", "s2", "s3")


class RedisLab:
    kind = "redis"

    def __init__(self, started, folder, down_after_ms=1000):
        self.started, self.folder, self.down_after_ms = started, folder, down_after_ms
        ports = machine.free_ports(len(NAMES) + len(SENTINELS))
        self.port = dict(zip((*NAMES, *SENTINELS), ports))
        self.process = {}
        folder.mkdir()

    def up(self):
        """Everything anew: a Sentinel remembers too much to be healed between two runs."""
        self.down()
        for name in NAMES:
            self.start(name, "r1" if name != "r1" else None)
        for name in SENTINELS:
            config = self.folder / f"{name}.conf"
            config.write_text(f"""port {self.port[name]}
bind 127.0.0.1
dir {self.folder}
sentinel monitor lab 127.0.0.1 {self.port["r1"]} 2
sentinel down-after-milliseconds lab {self.down_after_ms}
sentinel failover-timeout lab 10000
sentinel parallel-syncs lab 1
""")
            self.process[name] = self.launch(["redis-server", config, "--sentinel"], name)
        deadline = time.monotonic() + 60
        while not self.is_well():
            if time.monotonic() > deadline:
                raise RuntimeError("the Sentinels do not find each other")
            time.sleep(0.1)

    def start(self, name, primary):
        """A data node; `primary` is whom it follows."""
        command = ["redis-server", "--port", self.port[name], "--bind", "127.0.0.1", "--save", "",
                   "--appendonly", "no", "--dir", self.folder, "--repl-diskless-sync-delay", "0"]
        if primary:
            command += ["--replicaof", "127.0.0.1", self.port[primary]]
        self.process[name] = self.launch(command, name)

    def launch(self, command, name):
        out = open(self.folder / f"{name}.log", "ab")
        process = self.started.start(command, stdout=out, stderr=out)
        machine.wait_for_port(self.port[name], process)
        return process

    def say(self, name, *words):
        result = subprocess.run(["redis-cli", "-p", str(self.port[name]), *words],
                                capture_output=True, text=True, timeout=5)
        return result.stdout

    def is_well(self):
        for name in SENTINELS:
            lines = self.say(name, "sentinel", "master", "lab").splitlines()
            said = dict(zip(lines[::2], lines[1::2]))
            if (said.get("num-slaves"), said.get("num-other-sentinels")) != ("2", "2"):
                return False
        return all("master_link_status:up" in self.say(name, "info", "replication") for name in NAMES[1:])

    def leader(self):
        port = self.say("s1", "sentinel", "get-master-addr-by-name", "lab").split()[-1]
        return next(name for name in NAMES if str(self.port[name]) == port)

    def down(self):
        for process in self.process.values():
            subprocess.run(["kill", "-CONT", str(process.pid)], stderr=subprocess.DEVNULL)
            process.kill()
            self.started.end(process)
        self.process = {}
        returned = self.folder / "returned.pid"
        if returned.exists():
            # A scenario has started it, as a daemon; it removes the file when it ends.
            os.kill(int(returned.read_text()), signal.SIGTERM)
            while returned.exists():
                time.sleep(0.05)

    def direct(self):
        return ",".join(f"127.0.0.1:{self.port[name]}" for name in NAMES)

    def drill_arguments(self):
        return ["redis"]


def version():
    said = subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout
    return next((word[2:] for word in said.split() if word.startswith("v=")), "unknown")
