"""Where the time of a run goes: perf over the agent's life, as text."""

import pathlib
import subprocess

from process import SINK_CORE, on_core

HERTZ = 1_999
TOP = 10


class Profiler:
    """`perf record` of a process that runs already, until it ends."""

    def __init__(self, room: pathlib.Path):
        self.data = room / "perf.data"
        self.recorder = None

    def attach(self, process: int):
        self.recorder = subprocess.Popen(
            ["perf", "record", "--quiet", "--freq", str(HERTZ), "--output", self.data, "--pid", str(process)],
            preexec_fn=on_core(SINK_CORE))

    def report(self) -> str:
        self.recorder.wait()
        parts = []
        for title, keys in [("thread", "comm"), ("library", "dso"), ("function", "symbol")]:
            shares = self.shares(keys)
            parts.append(f"| % of the time | {title} |\n|---|---|")
            parts += [f"| {share:.1f} | `{name}` |" for share, name in shares[:TOP]]
            parts.append("")
        return "\n".join(parts)

    def shares(self, keys: str) -> list[tuple[float, str]]:
        told = subprocess.run(
            ["perf", "report", "--input", self.data, "--stdio", "--no-children", "--sort", keys,
             "--field-separator", "|", "--percent-limit", "0.1"],
            check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        lines = [line.split("|", 1) for line in told.splitlines() if line.strip() and not line.startswith("#")]
        return [(float(share.strip().rstrip("%")), name.strip()) for share, name in lines]
