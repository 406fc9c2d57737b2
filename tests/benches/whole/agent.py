"""The release binary in a folder of its own, and the pipeline it runs."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from process import AGENT_CORE, Cost, Sink, cpu_seconds, memory_mib, reap, start

PIPELINE = """
pipeline: bench
inputs:
{inputs}
mapping:
  prediction: {{when: {{event: prediction}}, id: prediction_id, time: ts, model: model, version: model_version,
               predicted: predicted, score: score, latency_ms: latency_ms,
               slices: {{country: segment.country, device: segment.device}}}}
{label}
task: {{kind: binary, positive: fraud}}
windows: [{windows}]
output: {{elasticsearch: {{hosts: ["{sink}"], index_prefix: bench, compression: {compression}}}}}
"""
LABEL = "  label: {when: {event: label}, id: prediction_id, time: ts, actual: label}"
FILES = "  - {type: file, paths: [logs/*.jsonl], format: json}"
HTTP = "  - {type: http, listen: 127.0.0.1:0}"


class Agent:
    """Reads `logs/*.jsonl` of its folder, or HTTP, and ships to a sink. `with` it, it ends and is cleared away."""

    def __init__(self, binary: str, sink: Sink, room: pathlib.Path, watch: Callable[[int], None], *, labels=False,
                 http=False, compression="none", windows="1m, 1h, 1d"):
        self.binary, self.sink, self.watch = binary, sink, watch
        self.folder = tempfile.TemporaryDirectory(prefix="modelbeat-bench.", dir=room)
        self.home = pathlib.Path(self.folder.name)
        self.log = self.home / "agent.log"
        self.process = None
        self.events = 0
        (self.home / "logs").mkdir()
        (self.home / "bench.yml").write_text(PIPELINE.format(
            inputs=HTTP if http else FILES, label=LABEL if labels else "", windows=windows, sink=sink.url,
            compression=compression))

    @property
    def command(self) -> list:
        return [self.binary, "--log-format", "json", "run", "bench.yml"]

    def start(self):
        self.started = time.monotonic()
        self.process = start(AGENT_CORE, self.command, cwd=self.home, stderr=open(self.log, "w"))
        self.watch(self.process.pid)

    def await_message(self, message: str) -> dict:
        """The first line of its log that says this."""
        while True:
            for line in open(self.log):
                if line.endswith("\n") and (said := json.loads(line)).get("message") == message:
                    return said
            if self.process.poll() is not None:
                sys.exit(self.log.read_text())
            time.sleep(0.001)

    def give(self, file: pathlib.Path):
        """Puts a file where it is tailed, without a copy."""
        os.link(file, self.home / "logs" / file.name)

    def take(self, events: int):
        """Waits until so many more events have arrived."""
        self.events += events
        self.sink.await_events(self.events, self.process, self.log)

    def cpu(self) -> float:
        return cpu_seconds(self.process.pid)

    def memory_mib(self, field: str) -> float:
        return memory_mib(self.process.pid, field)

    def stop(self) -> Cost:
        """As a service manager does. The wall clock stops before, when all has arrived."""
        wall = time.monotonic() - self.started
        self.process.send_signal(signal.SIGTERM)
        cost = reap(self.process, self.events, self.started)
        cost.wall = wall
        return cost

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.returncode is None:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()
