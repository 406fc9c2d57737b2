"""Processes of the benchmark: each on its core, and what the kernel says they took."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass

AGENT_CORE, SINK_CORE = 0, 1
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Cost:
    """What a process took."""

    events: int
    cpu: float
    wall: float
    peak_mib: float

    @property
    def micros(self) -> float:
        return self.cpu / self.events * 1e6


def on_core(core: int):
    cores = os.sched_getaffinity(0)
    return (lambda: os.sched_setaffinity(0, {core})) if core in cores and len(cores) > 1 else None


def start(core: int, command: list, **options) -> subprocess.Popen:
    return subprocess.Popen(command, preexec_fn=on_core(core), **options)


def reap(child: subprocess.Popen, events: int, started: float) -> Cost:
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{child.args[0]} ended with {child.returncode}")
    return Cost(events, usage.ru_utime + usage.ru_stime, time.monotonic() - started, usage.ru_maxrss / 1024)


def measure(command: list, events: int, **options) -> Cost:
    """A command that ends by itself."""
    started = time.monotonic()
    return reap(start(AGENT_CORE, command, stdout=subprocess.DEVNULL, **options), events, started)


def cpu_seconds(process: int) -> float:
    """User and system time of all threads so far, to 10 ms."""
    fields = open(f"/proc/{process}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mib(process: int, field: str) -> float:
    line = next(line for line in open(f"/proc/{process}/status") if line.startswith(field))
    return int(line.split()[1]) / 1024


class Sink:
    """A cluster that counts."""

    def __init__(self, whole: str):
        self.process = start(SINK_CORE, [whole, "sink"], stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{self.process.stdout.readline().strip()}"

    def ask(self, what: str) -> dict:
        with urllib.request.urlopen(f"{self.url}/{what}") as answer:
            return json.load(answer)

    def await_events(self, events: int, sender: "subprocess.Popen", log):
        """Until so many documents of predictions and labels have arrived."""
        while self.ask("count")["events"] < events:
            if sender.poll() is not None:
                sys.exit(log.read_text())
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
