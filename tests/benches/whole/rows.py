"""What is measured: one function a row, which runs once and returns its figures by name."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import rsyslog
from agent import Agent
from process import AGENT_CORE, SINK_CORE, Cost, Sink, measure, on_core, start

ROOT = pathlib.Path(__file__).resolve().parents[3]
OPEN = {"100 k": 100_000, "1 M": 1_000_000, "5 M": 5_000_000}
POSTING_CONNECTIONS = 4
PACED_SECONDS = 20
QUIET_FILES, QUIET_LINES = 1_000, 10
# A checkpoint is due every 10 s, and so are windows that changed.
SETTLING_SECONDS, IDLE_SECONDS = 15, 30


@dataclass
class Bench:
    """The programs, and the log of so many predictions."""

    agent: str
    whole: str
    events: int
    # Called with every agent's process id once it runs.
    watch: Callable[[int], None] = lambda process: None

    @property
    def room(self) -> pathlib.Path:
        room = ROOT / "target" / "benches"
        room.mkdir(parents=True, exist_ok=True)
        return room

    def log(self, events: int) -> tuple[pathlib.Path, pathlib.Path]:
        """Predictions and labels; written once."""
        folder = self.room / str(events)
        if not folder.exists():
            fresh = folder.with_name(f"{events}.new")
            fresh.mkdir(exist_ok=True)
            subprocess.run([self.whole, "generate", fresh, str(events)], check=True)
            fresh.rename(folder)
        return folder / "predictions.jsonl", folder / "labels.jsonl"

    def tailed(self, sink: Sink, **settings) -> Agent:
        return Agent(self.agent, sink, self.room, self.watch, **settings)


@dataclass
class Flow:
    """What reading a whole log took: a row of the first table."""

    cost: Cost
    counted: dict
    # The wall clock shows the agent's speed: it never waits.
    busy: bool = True


# --- events through the whole process ---


def tail(bench: Bench, **settings) -> Flow:
    predictions, _ = bench.log(bench.events)
    with Sink(bench.whole) as sink, bench.tailed(sink, **settings) as agent:
        agent.give(predictions)
        agent.start()
        agent.take(bench.events)
        return Flow(agent.stop(), sink.ask("count"))


def hour(bench: Bench) -> Flow:
    return tail(bench, windows="1h")


def gzip(bench: Bench) -> Flow:
    return tail(bench, compression="gzip")


def join(bench: Bench) -> Flow:
    predictions, labels = bench.log(bench.events)
    with Sink(bench.whole) as sink, bench.tailed(sink, labels=True) as agent:
        agent.give(predictions)
        agent.start()
        agent.take(bench.events)
        agent.give(labels)
        agent.take(lines(labels))
        return Flow(agent.stop(), sink.ask("count"), busy=False)


def http(bench: Bench) -> Flow:
    predictions, _ = bench.log(bench.events)
    with Sink(bench.whole) as sink, bench.tailed(sink, http=True) as agent:
        agent.start()
        address = agent.await_message("http input is listening")["address"]
        url = f"http://{address}/v1/events"
        subprocess.run([bench.whole, "post", url, predictions, str(POSTING_CONNECTIONS)], check=True,
                       preexec_fn=on_core(SINK_CORE))
        agent.take(bench.events)
        return Flow(agent.stop(), sink.ask("count"))


# --- beside them, on the same log and core ---


def count_lines(bench: Bench) -> Flow:
    predictions, _ = bench.log(bench.events)
    return Flow(measure(["wc", "-l", predictions], bench.events), {})


def parse(bench: Bench) -> Flow:
    predictions, _ = bench.log(bench.events)
    return Flow(measure([bench.whole, "parse", predictions], bench.events), {})


def peer(bench: Bench) -> Flow | None:
    predictions, _ = bench.log(bench.events)
    with Sink(bench.whole) as sink:
        cost = rsyslog.tail(predictions, bench.events, sink, bench.room)
        return cost and Flow(cost, sink.ask("count"))


# --- everything else ---


def open_predictions(bench: Bench) -> dict:
    """As many predictions wait as the log has; each event's cost, checkpoints included, once the agent runs."""
    figures = {}
    for name, events in OPEN.items():
        predictions, labels = bench.log(events)
        label_count = lines(labels)
        with Sink(bench.whole) as sink, bench.tailed(sink, labels=True) as agent:
            agent.start()
            agent.await_message("pipeline is running")
            before = agent.cpu()
            agent.give(predictions)
            agent.take(events)
            between = agent.cpu()
            agent.give(labels)
            agent.take(label_count)
            after = agent.cpu()
            figures[f"{name}: µs CPU a prediction"] = (between - before) / events * 1e6
            figures[f"{name}: µs CPU a label"] = (after - between) / label_count * 1e6
            figures[f"{name}: µs CPU an event"] = (after - before) / (events + label_count) * 1e6
            figures[f"{name}: peak MiB"] = agent.stop().peak_mib
    few, many, most = OPEN
    for less, more in [(few, many), (many, most)]:
        figures[f"{less} → {more}: cost of an event, times"] = (
            figures[f"{more}: µs CPU an event"] / figures[f"{less}: µs CPU an event"])
    return figures


def recovery(bench: Bench) -> dict:
    """From starting the process again to the first new line's document in the sink."""
    predictions, labels = bench.log(OPEN["1 M"])
    with Sink(bench.whole) as sink, bench.tailed(sink, labels=True) as agent:
        agent.give(predictions)
        agent.start()
        agent.take(OPEN["1 M"])
        agent.stop()
        with open(labels) as log:
            (agent.home / "logs" / "late.jsonl").write_text(log.readline())
        agent.start()
        agent.await_message("going on from the last checkpoint")
        loaded = time.monotonic() - agent.started
        agent.await_message("pipeline is running")
        running = time.monotonic() - agent.started
        agent.take(1)
        arrived = time.monotonic() - agent.started
        stored = sum(file.stat().st_size for file in agent.home.rglob("modelbeat-data/**/*") if file.is_file())
        return {"ms to the state loaded": loaded * 1e3, "ms to running": running * 1e3,
                "ms to the first label joined": arrived * 1e3, "MB on disk": stored / 1e6,
                "peak MiB": agent.stop().peak_mib}


def latency(bench: Bench, rate: int) -> dict:
    """From a line's writing to its document's arrival, at a steady rate."""
    with Sink(bench.whole) as sink, bench.tailed(sink) as agent:
        agent.start()
        agent.await_message("pipeline is running")
        command = [bench.whole, "pace", agent.home / "logs" / "paced.jsonl", str(rate), str(PACED_SECONDS)]
        before = agent.cpu()
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, preexec_fn=on_core(SINK_CORE))
        agent.take(int(told.stdout))
        cpu = agent.cpu() - before
        delays = sink.ask("delays")
        agent.stop()
        return {"ms p50": delays["p50"] / 1e3, "ms p99": delays["p99"] / 1e3, "ms longest": delays["max"] / 1e3,
                "% of a core": cpu / PACED_SECONDS * 100}


def idle(bench: Bench) -> dict:
    """Files that were read and say nothing more."""
    predictions, _ = bench.log(OPEN["100 k"])
    with Sink(bench.whole) as sink, bench.tailed(sink) as agent, open(predictions) as log:
        for number in range(QUIET_FILES):
            text = "".join(log.readline() for _ in range(QUIET_LINES))
            (agent.home / "logs" / f"quiet-{number}.jsonl").write_text(text)
        agent.start()
        agent.take(QUIET_FILES * QUIET_LINES)
        time.sleep(SETTLING_SECONDS)
        before = agent.cpu()
        time.sleep(IDLE_SECONDS)
        return {"% of a core": (agent.cpu() - before) / IDLE_SECONDS * 100, "resident MiB": agent.memory_mib("VmRSS")}


def first_line(bench: Bench) -> dict:
    """From starting the process, without any state, to its first word and to its reading."""
    with Sink(bench.whole) as sink, bench.tailed(sink) as agent:
        started = time.monotonic()
        agent.process = start(AGENT_CORE, agent.command, cwd=agent.home, stderr=subprocess.PIPE)
        first = None
        with agent.process.stderr as log:
            for line in log:
                first = first or time.monotonic() - started
                if b"pipeline is running" in line:
                    break
        running = time.monotonic() - started
        return {"ms to the first log line": first * 1e3, "ms to running": running * 1e3}


def size(bench: Bench) -> dict:
    figures = {"MB": os.path.getsize(bench.agent) / 1e6}
    if shutil.which("strip"):
        with tempfile.NamedTemporaryFile(dir=bench.room) as stripped:
            subprocess.run(["strip", "-o", stripped.name, bench.agent], check=True)
            figures["MB stripped"] = os.path.getsize(stripped.name) / 1e6
    return figures


def lines(file: pathlib.Path) -> int:
    with open(file, "rb") as text:
        return sum(block.count(b"\n") for block in iter(lambda: text.read(1 << 20), b""))
