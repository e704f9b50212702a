"""Processes, CPU seconds and memory of one machine. Linux only."""

import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time

PAGE = os.sysconf("SC_PAGE_SIZE")
OWN_NETWORK = "FAIRLEAD_COMPARE_OWN_NETWORK"


class Started:
    """Everything this run has started; `end` ends it, by pid, the newest first."""

    def __init__(self):
        self.processes = []

    def start(self, command, cpu=None, **keywords):
        if cpu is not None:
            command = ["taskset", "-c", str(cpu), *command]
        # A session of its own: Ctrl-C reaches us alone, and we end the rest in order.
        process = subprocess.Popen([str(word) for word in command], start_new_session=True, **keywords)
        self.processes.append(process)
        return process

    def end(self, which=None):
        ending = [p for p in reversed(self.processes) if which is None or p is which]
        for process in ending:
            # Children first found, then signalled: a killed parent would hide them.
            family = tree(process.pid)
            for number in (signal.SIGTERM, signal.SIGKILL):
                if process.poll() is None:
                    process.send_signal(number)
                try:
                    process.wait(timeout=3)
                    break
                except subprocess.TimeoutExpired:
                    continue
            for pid in family:
                if pid != process.pid and parent_of(pid) == 1:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
            self.processes.remove(process)


def stat(pid):
    """The fields of /proc/PID/stat after the command name, or None."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def parent_of(pid):
    fields = stat(pid)
    return int(fields[1]) if fields else None


def tree(pid):
    """A process and all its descendants."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            children.setdefault(parent_of(int(name)), []).append(int(name))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting.extend(children.get(one, []))
    return found


def cpu_seconds(pid):
    """CPU time of a process tree, to the nanosecond: of all its threads, also those that have ended."""
    return sum(map(process_seconds, tree(pid)))


def process_seconds(pid):
    # The clock that clock_getcpuclockid(3) names; Python has no call for it.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def unpaced():
    """Goes on in a network namespace with a congestion control that does not pace, where we may.

    BBR sends by a timer per burst even over loopback. That costs whoever sends most at once, here a third of
    the CPU of spliced bytes, and is not what is compared.
    """
    if os.geteuid() != 0 or OWN_NETWORK in os.environ:
        return
    os.environ[OWN_NETWORK] = "1"
    inside = f"ip link set lo up && echo reno >/proc/sys/net/ipv4/tcp_congestion_control && exec {shlex.join(sys.orig_argv)}"
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", inside])


def rss_bytes(pid):
    """Resident memory of a process tree."""
    fields = [f for f in map(stat, tree(pid)) if f]
    return sum(int(f[21]) for f in fields) * PAGE


def raise_descriptor_limit():
    """Takes all descriptors the hard limit allows and says how many that is."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_ports(count):
    """Ports that were free a moment ago."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def wait_for_port(port, process, seconds=10):
    """Waits until something accepts; an error when the process ends or time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"ended with {process.returncode}")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"nothing accepts on port {port} after {seconds} s")


def describe():
    """What the numbers depend on."""
    with open("/proc/cpuinfo") as file:
        models = {line.split(":")[1].strip() for line in file if line.startswith("model name")}
    with open("/proc/sys/net/ipv4/tcp_congestion_control") as file:
        congestion_control = file.read().strip()
    return {
        "cpu": ", ".join(sorted(models)) or "unknown",
        "cpus": os.cpu_count(),
        "kernel": os.uname().release,
        "congestion_control": congestion_control,
        "load_average": os.getloadavg(),
    }
