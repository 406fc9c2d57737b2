"""Where the time of a run goes: perf over the agent's life, as text."""

import pathlib
import re
import subprocess
from collections import Counter

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
        """Shares of threads, of parts, and of single functions; a function that was inlined counts where it went."""
        self.recorder.wait()
        threads, parts, functions = Counter(), Counter(), Counter()
        for share, thread, symbol in self.samples():
            threads[thread] += share
            parts[thread, part(symbol)] += share
            functions[thread, symbol] += share
        tables = [table(threads, "thread"), table(parts, "thread | part"), table(functions, "thread | function")]
        return "\n\n".join(tables)

    def samples(self) -> list[tuple[float, str, str]]:
        told = subprocess.run(
            ["perf", "report", "--input", self.data, "--stdio", "--no-children", "--sort", "comm,symbol",
             "--field-separator", "|"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        lines = [line.split("|") for line in told.splitlines() if line.strip() and not line.startswith("#")]
        return [(float(share.strip().rstrip("%")), thread.strip(), symbol.strip()) for share, thread, symbol, *_ in lines]


def part(symbol: str) -> str:
    """A room of ours (its second level), a crate, or what of the system it is."""
    if symbol.startswith("[k]"):
        return "kernel"
    name = symbol.removeprefix("[.] ")
    if ours := re.search(r"modelbeat::(\w+)(::[a-z_]\w*)?", name):
        return ours[0].removeprefix("modelbeat::").replace("::", "/")
    if re.search(r"malloc|calloc|realloc|free|_int_|mi_|sysmalloc|unlink_chunk", name):
        return "allocator"
    if re.match(r"_*mem(move|cpy|cmp|set|chr)|bcmp", name):
        return "memory copied and compared"
    crate = re.search(r"([a-z_]\w+)::", name)
    return crate[1] if crate else name


def table(shares: Counter, heading: str) -> str:
    rows = [f"| % of the time | {heading} |", "|---|" + (heading.count("|") + 1) * "---|"]
    for names, share in shares.most_common(TOP):
        names = names if isinstance(names, tuple) else (names,)
        cells = [name.removeprefix("[.] ").replace("[k]", "kernel:") for name in names]
        rows.append(f"| {share:.1f} | {' | '.join(f'`{cell}`' for cell in cells)} |")
    return "\n".join(rows)
