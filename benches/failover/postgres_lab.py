"""A real Patroni with etcd: one etcd, three members, all on loopback and free ports.

PostgreSQL and Patroni refuse to run as root, so as root everything runs as `postgres`.
"""

import glob
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request

import machine

NAMES = ("pg1", "pg2", "pg3")
PASSWORD = "lab"


class PostgresLab:
    """`ttl`, `loop_wait` and `retry_timeout` as Patroni's own settings, in seconds."""

    kind = "postgres"

    def __init__(self, started, folder, ttl=5, loop_wait=1, retry_timeout=2):
        self.started, self.folder = started, folder
        self.timing = (ttl, loop_wait, retry_timeout)
        self.etcd_port, etcd_peer, *ports = machine.free_ports(2 + 2 * len(NAMES))
        self.sql = dict(zip(NAMES, ports[::2]))
        self.rest = dict(zip(NAMES, ports[1::2]))
        self.bin = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        self.patroni = {}
        folder.mkdir()
        hand_over(folder)
        # Nothing is synced to disk: it shares the machine with what is measured.
        self.etcd = self.start_etcd(etcd_peer)

    def start_etcd(self, peer):
        client = f"http://127.0.0.1:{self.etcd_port}"
        command = ["etcd", "--data-dir", self.folder / "etcd", "--listen-client-urls", client,
                   "--advertise-client-urls", client, "--unsafe-no-fsync",
                   "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                   "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                   "--initial-cluster", f"default=http://127.0.0.1:{peer}"]
        process = self.start(command, "etcd")
        machine.wait_for_port(self.etcd_port, process)
        return process

    def start(self, command, log):
        out = open(self.folder / f"{log}.log", "ab")
        keywords = {"stdout": out, "stderr": out, "cwd": self.folder}
        return self.started.start([*as_postgres(), *command], **keywords)

    def up(self):
        """Starts whoever does not run and waits until all are in step."""
        for name in NAMES:
            process = self.patroni.get(name)
            if process is None or process.poll() is not None:
                self.kill_postgres(name)
                self.write(name)
                self.patroni[name] = self.start(["patroni", self.folder / f"{name}.yml"], name)
                self.leader(wait=90)
        deadline = time.monotonic() + 120
        while not self.is_well():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the members are not in step: {self.cluster()}")
            time.sleep(0.2)

    def write(self, name):
        ttl, loop_wait, retry_timeout = self.timing
        data = self.folder / name
        (self.folder / f"{name}.yml").write_text(json.dumps({
            "scope": "lab", "namespace": "/service/", "name": name,
            "restapi": {"listen": f"127.0.0.1:{self.rest[name]}",
                        "connect_address": f"127.0.0.1:{self.rest[name]}"},
            "etcd3": {"hosts": f"127.0.0.1:{self.etcd_port}"},
            "bootstrap": {
                "dcs": {"ttl": ttl, "loop_wait": loop_wait, "retry_timeout": retry_timeout,
                        "postgresql": {"use_pg_rewind": True}},
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"],
                "pg_hba": ["host replication all 127.0.0.1/32 trust", "host all all 127.0.0.1/32 trust"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.sql[name]}", "connect_address": f"127.0.0.1:{self.sql[name]}",
                "data_dir": str(data), "bin_dir": self.bin, "pgpass": str(self.folder / f"{name}.pass"),
                "authentication": {role: {"username": user, "password": PASSWORD} for role, user in
                                   (("replication", "replicator"), ("superuser", "postgres"),
                                    ("rewind", "rewinder"))},
                "parameters": {"unix_socket_directories": str(self.folder), "fsync": "off",
                               "max_connections": 300, "shared_buffers": "32MB"},
            },
        }))

    def cluster(self):
        """`GET /cluster` of the first member that answers; empty when nobody does."""
        for name in NAMES:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.rest[name]}/cluster", timeout=1) as answer:
                    return json.load(answer)["members"]
            except (OSError, ValueError, urllib.error.URLError):
                continue
        return []

    def leader(self, wait=60):
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            for member in self.cluster():
                if member["role"] == "leader" and member["state"] == "running":
                    return member["name"]
            time.sleep(0.1)
        raise RuntimeError("no leader")

    def is_well(self):
        members = self.cluster()
        followers = [m for m in members if m["role"] in ("replica", "sync_standby")]
        ok = [m for m in followers if m["state"] in ("streaming", "running") and m.get("lag") == 0]
        timelines = {m.get("timeline") for m in members}
        return len(ok) == len(NAMES) - 1 and len(members) == len(NAMES) and len(timelines) == 1

    def postgres_pids(self, name):
        """The postmaster first, then its children."""
        try:
            first = (self.folder / name / "postmaster.pid").read_text().split()[0]
        except (FileNotFoundError, IndexError):
            return []
        return machine.tree(int(first)) if machine.stat(int(first)) else []

    def node_pids(self, name):
        return [self.patroni[name].pid, *machine.tree(self.patroni[name].pid)[1:], *self.postgres_pids(name)]

    def kill_postgres(self, name):
        for pid in self.postgres_pids(name):
            end(pid)

    def down(self):
        for name, process in self.patroni.items():
            pids = self.node_pids(name)
            for pid in pids:
                signal_pid(pid, signal.SIGCONT)
            self.started.end(process)
            self.kill_postgres(name)
        self.started.end(self.etcd)

    def direct(self):
        return ",".join(f"127.0.0.1:{port}" for port in self.sql.values())

    def drill_arguments(self):
        return ["postgres", "--user", "postgres", "--database", "postgres"]


def end(pid):
    signal_pid(pid, signal.SIGKILL)


def signal_pid(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def as_postgres():
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
            "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]


def hand_over(folder):
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")


def version():
    said = subprocess.run(["patroni", "--version"], capture_output=True, text=True).stdout.split()
    return said[-1] if said else "unknown"
