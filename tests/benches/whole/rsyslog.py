"""rsyslog at the same work: it tails the log, reads each line's JSON, and ships it in bulks."""

import os
import pathlib
import signal
import subprocess
import tempfile
import time

from process import AGENT_CORE, Cost, Sink, reap, start

PROGRAM = pathlib.Path(__file__).resolve().parents[2] / "debian-program"

CONFIGURATION = """
global(workDirectory="{home}" maxMessageSize="64k")
main_queue(queue.type="LinkedList" queue.size="100000" queue.dequeueBatchSize="2000")
module(load="imfile")
module(load="mmjsonparse")
module(load="omelasticsearch")
template(name="index" type="string" string="bench-predictions-2026.11.01")
template(name="document" type="list") {{ property(name="$!all-json") }}
input(type="imfile" File="{log}" Tag="bench:" freshStartTail="off")
action(type="mmjsonparse" cookie="")
action(type="omelasticsearch" server="127.0.0.1" serverport="{port}" template="document" searchIndex="index"
       dynSearchIndex="on" searchType="" bulkmode="on" maxbytes="4m" queue.type="LinkedList" queue.size="100000"
       queue.dequeueBatchSize="5000" action.resumeRetryCount="-1")
"""


def tail(log: pathlib.Path, events: int, sink: Sink, room: pathlib.Path) -> Cost | None:
    """`None` where it cannot be had, which is said on stderr."""
    found = subprocess.run([PROGRAM, "rsyslogd"], stdout=subprocess.PIPE, text=True)
    if found.returncode != 0:
        return None
    program = pathlib.Path(found.stdout.strip())
    with tempfile.TemporaryDirectory(prefix="modelbeat-bench.", dir=room) as home:
        home = pathlib.Path(home)
        (home / "rsyslog.conf").write_text(CONFIGURATION.format(home=home, log=log, port=sink.url.rsplit(":", 1)[1]))
        command = [program, "-n", "-f", home / "rsyslog.conf", "-i", home / "pid"]
        environment = dict(os.environ)
        libraries = program.parents[2] / "usr" / "lib" / f"{os.uname().machine}-linux-gnu"
        if (libraries / "rsyslog").is_dir():
            command += ["-M", libraries / "rsyslog"]
            if libraries.parents[2] != pathlib.Path("/"):
                environment["LD_LIBRARY_PATH"] = str(libraries)
        said = home / "said"
        started = time.monotonic()
        daemon = start(AGENT_CORE, command, env=environment, stdout=open(said, "w"), stderr=subprocess.STDOUT)
        try:
            sink.await_events(events, daemon, said)
            wall = time.monotonic() - started
            daemon.send_signal(signal.SIGTERM)
            cost = reap(daemon, events, started)
            cost.wall = wall
            return cost
        finally:
            if daemon.returncode is None:
                daemon.kill()
                daemon.wait()
