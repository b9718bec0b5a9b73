"""A first figure for the collector: OTLP spans and statsd lines in a second, and the loss.

The collector has one core and the sender the other. Spans count when they were acknowledged,
which is after they were committed and synced; the tables are then asked how many they hold.
statsd has no acknowledgement: the rate is raised until lines are missing from the tables.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from rich.table import Table

from nilometer.cli.processes import free_port
from nilometer.model import Batch, Resource, SpanKind, SpanRecord
from nilometer.wire.otlp import encode_traces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

COLLECTOR_CORE, *_, SENDER_CORE = sorted(os.sched_getaffinity(0)) * 2
SECONDS = 10
SPANS_PER_REQUEST = 2000
SENDERS = 4  # so that one request is read while another is committed
SENDERS_MANY = 16  # as of a fleet: what waits for a commit is no longer what holds them up
LINES_PER_DATAGRAM = 20
SERIES = 5_000  # more than any part of the collector remembers of lines that it has read
STATSD_RATES = (25_000, 50_000, 100_000, 200_000, 300_000)
READY_S_MAX = 20


class Server:
    """A process, on the first of our processors only if it is to have none beside it; what it
    costs. It ends by SIGTERM."""

    def __init__(
        self, command: Sequence[str], *, alone: bool = True, env: dict[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
        )
        if alone:
            os.sched_setaffinity(self.process.pid, {COLLECTOR_CORE})

    def is_ready(self) -> bool:
        """Whether it answers."""
        raise NotImplementedError

    def wait_till_ready(self, seconds: float = READY_S_MAX) -> None:
        """Return once it answers; end with a message if it does not."""
        until = time.monotonic() + seconds
        while not self.is_ready():
            if time.monotonic() > until or self.process.poll() is not None:
                raise SystemExit(f"{type(self).__name__.lower()} did not come up")
            time.sleep(0.1)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
        return 0.0

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


class Collector(Server):
    """`nilometer serve` on a store."""

    def __init__(self, folder: Path, *, alone: bool = True, kafka: str = "") -> None:
        self.port, self.statsd = free_port(), free_port()
        command = ["serve", "--store", str(folder), "--listen", f"127.0.0.1:{self.port}"]
        command += ["--statsd", f"127.0.0.1:{self.statsd}", "--flush", "1s"]
        command += ["--kafka", kafka] if kafka else []
        super().__init__([sys.executable, "-m", "nilometer", *command], alone=alone)
        self.wait_till_ready()

    def is_ready(self) -> bool:
        try:
            self.ask("health")
        except OSError:
            return False
        return True

    def ask(self, path: str) -> Any:
        with urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=30) as answer:
            return json.load(answer)


def bodies(count: int = 200, mark: bytes = b"") -> list[bytes]:
    """Requests of spans as a service would send them; no id comes twice.

    Span ids are all `mark` if that is given, to be replaced.
    """
    now = time.time_ns()
    resource = Resource(service="bench", host="here", pid=1)
    made = []
    for request in range(count):
        spans = tuple(
            SpanRecord(
                os.urandom(16),
                mark or os.urandom(8),
                b"",
                f"operation {number % 20}",
                SpanKind.SERVER,
                now + number,
                now + number + 10**6,
                {
                    "http.request.method": "GET",
                    "http.route": f"/r/{request % 7}",
                    "size": number,
                },
            )
            for number in range(SPANS_PER_REQUEST)
        )
        made.append(encode_traces(Batch(resource, spans=spans)))
    return made


def measure_spans(folder: Path) -> dict[str, float]:
    """Spans acknowledged per second, and how many of them the tables hold afterwards."""
    collector = Collector(folder)
    prepared = bodies()
    acknowledged = [0] * SENDERS
    place = threading.Lock()
    waiting = iter(prepared)
    until = time.monotonic() + SECONDS

    def sender(number: int) -> None:
        connection = HTTPConnection("127.0.0.1", collector.port, timeout=30)
        while time.monotonic() < until:
            with place:
                body = next(waiting, None)
            if body is None:
                return
            connection.request(
                "POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"}
            )
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                acknowledged[number] += SPANS_PER_REQUEST
            else:
                time.sleep(0.05)

    started, cpu = time.monotonic(), collector.cpu_s()
    threads = [threading.Thread(target=sender, args=(number,)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, cpu = time.monotonic() - started, collector.cpu_s() - cpu
    stored = stored_spans(folder)
    memory = collector.memory_mb()
    collector.stop()
    total = sum(acknowledged)
    return {
        "spans_per_s": total / took,
        "cpu_us_per_span": cpu / max(total, 1) * 1e6,
        "acknowledged": total,
        "lost": total - stored,
        "memory_mb_max": memory,
    }


def stored_spans(folder: Path) -> int:
    """How many different spans the table holds, counted by DuckDB and not by us."""
    import duckdb
    from deltalake import DeltaTable

    files = DeltaTable(str(folder / "spans")).file_uris()
    counted = duckdb.connect().execute(
        "select count(distinct (trace_id, span_id)) from read_parquet(?)", [files]
    )
    return int(counted.fetchall()[0][0])


def measure_statsd(folder: Path) -> dict[str, float]:
    """The highest rate up to which no line is missing, and the loss at each that was tried."""
    collector = Collector(folder)
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.connect(("127.0.0.1", collector.statsd))
    result: dict[str, float] = {"lines_per_s": 0}
    lost_before = False
    for rate in STATSD_RATES:
        name = f"bench.rate{rate}"
        sent, took_s = send_at(out, datagrams(name), rate)
        time.sleep(3)
        rows = collector.ask(f"metrics/{name}/statistics")["statistics"]
        received = sum(row["sum"] for row in rows)
        result[f"lost_share_at_{rate}"] = round(1 - received / sent, 5)
        lost_before = lost_before or received != sent
        if not lost_before:
            result["lines_per_s"] = sent / took_s  # a sender may be slower than it was told
    result["memory_mb_max"] = collector.memory_mb()
    collector.stop()
    return result


def datagrams(name: str) -> list[bytes]:
    """Lines of many series of one metric, a tenant after the other."""
    lines = [b"%b:1|c|#tenant:t%d" % (name.encode(), tenant) for tenant in range(SERIES)]
    return [
        b"\n".join(lines[first : first + LINES_PER_DATAGRAM])
        for first in range(0, SERIES, LINES_PER_DATAGRAM)
    ]


def send_at(
    out: socket.socket, datagrams: list[bytes], rate: int, seconds: float = 5
) -> tuple[int, float]:
    """Send lines evenly at a rate; gives how many were sent, and in how long."""
    started = time.perf_counter()
    gap = LINES_PER_DATAGRAM / rate
    count = int(seconds / gap)
    for number in range(count):
        while time.perf_counter() - started < number * gap:
            time.sleep(0) if gap < 0.0005 else time.sleep(gap / 4)
        out.send(datagrams[number % len(datagrams)])
    return count * LINES_PER_DATAGRAM, time.perf_counter() - started


def measure_collector(console: Console) -> dict[str, Any]:
    """Both figures, as a table and for JSON."""
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.sched_setaffinity(0, {SENDER_CORE})
        try:
            with console.status("collector: OTLP spans"):
                spans = measure_spans(folder / "spans")
            with console.status("collector: statsd lines"):
                lines = measure_statsd(folder / "statsd")
        finally:  # what is measured next has all of them
            os.sched_setaffinity(0, cores)
    table = Table(
        title="collector, on one core", box=None, title_justify="left", padding=(0, 1)
    )
    table.add_column("figure")
    table.add_column("OTLP spans", justify="right")
    table.add_column("statsd lines", justify="right")
    for key in dict.fromkeys([*spans, *lines]):
        shown = [f"{x[key]:,.5g}" if key in x else "" for x in (spans, lines)]
        table.add_row(key, *shown)
    console.print(table)
    return {"spans": spans, "statsd": lines}
