"""A PostgreSQL and a Redis behind the proxies, and the load their own tools make."""

import csv
import glob
import io
import os
import re
import shutil
import subprocess
import time

import machine
from measure import Wrong, timed

VALUE_BYTES = 1 << 20
BIG_KEY = "big"


class Databases:
    """Both on the load's CPU, nothing synced to disk."""

    def __init__(self, run, folder):
        self.folder = folder
        self.redis, self.postgres = machine.free_ports(2)
        self.start_redis(run)
        self.start_postgres(run)

    def start_redis(self, run):
        command = ["redis-server", "--port", self.redis, "--bind", "127.0.0.1", "--save", "",
                   "--appendonly", "no", "--dir", self.folder]
        process = run.started.start(command, cpu=run.load_cpu, stdout=subprocess.DEVNULL)
        machine.wait_for_port(self.redis, process)
        subprocess.run(["redis-cli", "-p", str(self.redis), "-x", "set", BIG_KEY],
                       input=b"x" * VALUE_BYTES, stdout=subprocess.DEVNULL, check=True)

    def start_postgres(self, run):
        tools = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        data = self.folder / "postgres"
        data.mkdir()
        # PostgreSQL refuses to run as root.
        become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        if become:
            shutil.chown(data, "postgres", "postgres")
        init = [*become, f"{tools}/initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"]
        subprocess.run(init, stdout=subprocess.DEVNULL, check=True, cwd="/")
        command = [*become, f"{tools}/postgres", "-D", data, "-p", self.postgres, "-k", data,
                   "-c", "fsync=off", "-c", "max_connections=200", "-c", "log_min_messages=fatal"]
        process = run.started.start(command, cpu=run.load_cpu, stderr=subprocess.DEVNULL, cwd="/")
        machine.wait_for_port(self.postgres, process)
        for _ in range(50):
            made = subprocess.run(["pgbench", "-i", "-q", "-s", "10", *place(self.postgres)], capture_output=True)
            if made.returncode == 0:
                return
            time.sleep(0.2)
        raise Wrong(f"pgbench -i: {made.stderr.decode()}")


def place(port):
    return ["-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "postgres"]


def check(port):
    """Whether both answer through a proxy as they should."""
    said = subprocess.run(["redis-cli", "-p", str(port["redis"]), "strlen", BIG_KEY], capture_output=True, text=True)
    if said.stdout.strip() != str(VALUE_BYTES):
        raise Wrong(f"redis says {said.stdout!r} {said.stderr!r}")
    said = subprocess.run(["psql", "-XAtc", "SELECT count(*) FROM pgbench_branches", *place(port["postgres"])],
                          capture_output=True, text=True)
    if said.stdout.strip() != "10":
        raise Wrong(f"postgres says {said.stdout!r} {said.stderr!r}")


def pgbench_load(run, process, port, connections, protocol="simple"):
    """`pgbench -S`: one small SELECT after the other."""
    command = ["pgbench", "-S", "-n", "-c", connections, "-j", 1, "-M", protocol, "-T", run.seconds,
               *place(port["postgres"])]
    text, cpu = timed(run, process, command)
    done = int(re.search(r"actually processed: (\d+)", text).group(1))
    failed = re.search(r"failed transactions: (\d+)", text)
    rate = float(re.search(r"tps = ([\d.]+)", text).group(1))
    return {"work": done, "unit": "transactions", "seconds": done / rate, "cpu_seconds": cpu,
            "p50_ms": None, "p99_ms": None, "failed": int(failed.group(1)) if failed else 0}


def redis_load(run, process, port, connections, pipeline, requests, command=("get", "k"), mib=None):
    """`redis-benchmark`, so many requests; counted in MiB where values are large."""
    tool = ["redis-benchmark", "-p", port["redis"], "-c", connections, "-P", pipeline, "-n", requests, "--csv",
            *command]
    text, cpu = timed(run, process, tool)
    row = list(csv.DictReader(io.StringIO(text)))[-1]
    work = requests * mib if mib else requests
    return {"work": work, "unit": "MiB" if mib else "requests", "seconds": requests / float(row["rps"]),
            "cpu_seconds": cpu, "p50_ms": float(row["p50_latency_ms"]), "p99_ms": float(row["p99_latency_ms"]),
            "failed": 0}
