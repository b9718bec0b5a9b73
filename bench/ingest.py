"""What one machine takes in: ``make bench-ingest`` sends for minutes, then counts rows.

The collector has one core and the sender the other. Spans and readings count when they were
acknowledged, which is after they were committed and synced; the tables are then asked, by
DuckDB and not by us, how many they hold. Nobody acknowledges statsd's lines: all that were sent
must be in the sums.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import struct
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from deltalake import DeltaTable
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.collector import (
    LINES_PER_DATAGRAM,
    SENDER_CORE,
    SENDERS_MANY,
    SPANS_PER_REQUEST,
    Collector,
    bodies,
    datagrams,
)
from bench.ingest_peers import Phoenix, Statsd, into_own_network, missing, settled
from nilometer.model import Batch, Distribution, Kind, Reading, Resource
from nilometer.wire.otlp import encode_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 600
STEP_S = 10
PACE = 1.02  # a little faster than is wanted, so that it is within reach
WANTED = {"spans": 100_000, "lines": 300_000, "readings": 1_000_000 / 60}
MEMORY_MB_MAX = 500
PROCESSES, INTERVAL_S = 100, 10
READINGS_PER_PROCESS = int(WANTED["readings"] * INTERVAL_S / PROCESSES) + 1
ANSWERS_S_MAX = 30
COME_S = 5  # what was sent last is in the tables by then: the collector flushes each second
SLICES = 16  # ids are compared in so many parts, so that memory holds one


@dataclass
class Taken:
    """One load: how much was sent and acknowledged in each step, and what the tables hold."""

    load: str
    wanted_per_s: float
    steps: list[int] = field(default_factory=list)
    took_s: float = 0.0
    sent: int = 0
    stored: int = 0
    cpu_us: float = 0.0
    memory_mb: float = 0.0

    @property
    def per_s(self) -> float:
        """Over the whole time."""
        return self.sent / self.took_s

    @property
    def least_per_s(self) -> float:
        """In the worst of the steps."""
        return min(self.steps) / STEP_S if self.steps else self.per_s

    @property
    def short(self) -> str:
        """What falls short of what is wanted, in words; empty if nothing does."""
        said = []
        if self.per_s < self.wanted_per_s:
            said.append(f"{self.per_s / self.wanted_per_s:.0%} of the rate")
        if self.stored != self.sent:
            said.append(f"{self.sent - self.stored:,} lost")
        if self.memory_mb > MEMORY_MB_MAX:
            said.append(f"{self.memory_mb:,.0f} MB")
        return ", ".join(said)


def span_requests() -> Iterator[tuple[bytes, int]]:
    """Requests of spans without end; only their ids differ from those sent before."""
    made = [bytearray(body) for body in bodies(20, MARK)]
    places = [list(_places(bytes(body))) for body in made]
    numbers = count(1)
    while True:
        for body, at in zip(made, places, strict=True):
            for place in at:
                struct.pack_into(">Q", body, place, next(numbers))
            yield bytes(body), SPANS_PER_REQUEST


MARK = b"\xfemarked\xfe"


def _places(body: bytes) -> Iterator[int]:
    at = body.find(MARK)
    while at >= 0:
        yield at
        at = body.find(MARK, at + len(MARK))


def reading_requests() -> Iterator[tuple[bytes, int]]:
    """A hundred processes that send all their series each ten seconds, and never wait."""
    chance = random.Random(7)
    spreads = [{chance.randrange(300, 400): n + 1 for n in range(10)} for _ in range(50)]
    at_ns = time.time_ns()
    while True:
        at_ns += INTERVAL_S * 10**9
        for process in range(PROCESSES):
            made = tuple(
                _reading(number, at_ns, spreads) for number in range(READINGS_PER_PROCESS)
            )
            yield (
                encode_metrics(Batch(Resource("bench", "here", process), made)),
                READINGS_PER_PROCESS,
            )


def _reading(number: int, at_ns: int, spreads: list[dict[int, int]]) -> Reading:
    dimensions = (("http.route", f"/r/{number // 2}"),)
    began_ns = at_ns - INTERVAL_S * 10**9
    if number % 2:
        return Reading("bench.requests", Kind.COUNTER, dimensions, number, began_ns, at_ns)
    buckets = spreads[number % len(spreads)]
    value = Distribution(sum(buckets.values()), 10**9, 10**5, 10**8, buckets)
    kind = Kind.DISTRIBUTION
    return Reading("bench.request", kind, dimensions, value, began_ns, at_ns, "ns")


def post(
    taken: Taken,
    path: str,
    requests: Iterator[tuple[bytes, int]],
    port: int,
    seconds: float,
    rate: float,
    tell: Callable[[float], None],
) -> None:
    """Send what is given from several connections at once, evenly if there is a rate."""
    place, began = threading.Lock(), time.monotonic()
    acknowledged = [0] * SENDERS_MANY
    planned = 0

    def sender(number: int) -> None:
        nonlocal planned
        connection = HTTPConnection("127.0.0.1", port, timeout=ANSWERS_S_MAX)
        while time.monotonic() - began < seconds:
            with place:
                body, rows = next(requests)
                planned += rows
                due = began + planned / rate if rate else 0
            time.sleep(max(0, due - time.monotonic()))
            while not taken_in(connection, path, body):
                if time.monotonic() - began > seconds:
                    return
                time.sleep(0.05)  # it is busy, and says so
            acknowledged[number] += rows

    threads = [
        threading.Thread(target=sender, args=(number,)) for number in range(SENDERS_MANY)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        tell(time.monotonic() - began)
        time.sleep(0.5)
        if time.monotonic() - began >= STEP_S * (len(taken.steps) + 1):
            taken.steps.append(sum(acknowledged) - sum(taken.steps))
    taken.took_s, taken.sent = time.monotonic() - began, sum(acknowledged)


def taken_in(connection: HTTPConnection, path: str, body: bytes) -> bool:
    """Whether it was acknowledged; an answer that does not come in time is none."""
    try:
        connection.request("POST", path, body, {"Content-Type": "application/x-protobuf"})
        answer = connection.getresponse()
        answer.read()
    except OSError:
        connection.close()
        return False
    return answer.status == 200


def send_lines(taken: Taken, port: int, seconds: float, tell: Callable[[float], None]) -> None:
    """Send statsd's lines as evenly as one process can at the rate that is wanted."""
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.connect(("127.0.0.1", port))
    packets, rate = datagrams("bench.ingest"), taken.wanted_per_s * PACE
    burst = max(1, int(rate / LINES_PER_DATAGRAM / 1000))  # each millisecond
    sent, began = 0, time.perf_counter()
    while (gone := time.perf_counter() - began) < seconds:
        ahead = sent * LINES_PER_DATAGRAM / rate - gone
        if ahead > 0:
            time.sleep(ahead)
        for _ in range(burst):
            out.send(packets[sent % len(packets)])
            sent += 1
        if sent % (burst * 500) == 0:
            tell(gone)
        if gone >= STEP_S * (len(taken.steps) + 1):
            taken.steps.append(sent * LINES_PER_DATAGRAM - sum(taken.steps))
    taken.took_s, taken.sent = time.perf_counter() - began, sent * LINES_PER_DATAGRAM


def stored(folder: Path, table: str, what: str, where: str = "true") -> int:
    """What the files of a table say, asked without any code of ours."""
    files = DeltaTable(str(folder / table)).file_uris()
    asked = f"select {what} from read_parquet(?) where {where}"
    found = duckdb.connect().execute(asked, [files]).fetchall()
    return int(found[0][0] or 0)


def different_spans(folder: Path) -> int:
    """How many different spans there are, by their ids."""
    return sum(
        stored(
            folder,
            "spans",
            "count(distinct (trace_id, span_id))",
            f"span_id like '{number:x}%'",
        )
        for number in range(SLICES)
    )


def measure(load: str, seconds: float, folder: Path, progress: Progress) -> Taken:
    """One load, on a collector of its own."""
    taken = Taken(load, WANTED[load])
    collector = Collector(folder)
    bar = progress.add_task(load, total=seconds)
    tell = lambda gone: progress.update(bar, completed=min(gone, seconds))  # noqa: E731
    try:
        cpu_s = collector.cpu_s()
        if load == "lines":
            send_lines(taken, collector.statsd, seconds, tell)
        elif load == "spans":
            post(taken, "/v1/traces", span_requests(), collector.port, seconds, 0, tell)
        else:
            rate = taken.wanted_per_s * PACE
            post(taken, "/v1/metrics", reading_requests(), collector.port, seconds, rate, tell)
        time.sleep(COME_S)
        taken.cpu_us = (collector.cpu_s() - cpu_s) / max(taken.sent, 1) * 1e6
        taken.memory_mb = collector.memory_mb()
    finally:
        collector.stop()
    if load == "spans":
        taken.stored = different_spans(folder)
    elif load == "lines":
        taken.stored = stored(folder, "readings", "sum(value_int)", "name = 'bench.ingest'")
    else:
        taken.stored = stored(folder, "readings", "count(*)", "name like 'bench.request%'")
    return taken


def measure_peer(load: str, seconds: float, folder: Path, progress: Progress) -> Taken:
    """The same load on who else takes it in."""
    peer = {"lines": Statsd, "spans": Phoenix}[load](folder)
    taken = Taken(f"{load}: {type(peer).__name__.lower()}", WANTED[load])
    bar = progress.add_task(taken.load, total=seconds)
    tell = lambda gone: progress.update(bar, completed=min(gone, seconds))  # noqa: E731
    try:
        cpu_s = peer.cpu_s()
        if isinstance(peer, Statsd):
            send_lines(taken, peer.statsd, seconds, tell)
        else:
            post(taken, "/v1/traces", span_requests(), peer.port, seconds, 0, tell)
        taken.stored = settled(peer.stored)
        taken.cpu_us = (peer.cpu_s() - cpu_s) / max(taken.sent, 1) * 1e6
        taken.memory_mb = peer.memory_mb()
    finally:
        peer.stop()
    return taken


def shown(found: list[Taken]) -> Table:
    """The figures beside what is wanted."""
    table = Table(
        title="ingest: the collector on one core, the sender on the other",
        title_justify="left",
    )
    for head in ("load", "wanted/s", "taken/s", "least/s", "lost", "CPU us", "MB max", ""):
        table.add_column(head, justify="left" if head in {"load", ""} else "right")
    for each in found:
        table.add_row(
            each.load,
            f"{each.wanted_per_s:,.0f}",
            f"{each.per_s:,.0f}",
            f"{each.least_per_s:,.0f}",
            f"{each.sent - each.stored:,}",
            f"{each.cpu_us:.2f}",
            f"{each.memory_mb:,.0f}",
            each.short or "met",
        )
    return table


def main() -> None:
    """Send each load, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each load")
    parser.add_argument("--only", choices=WANTED, help="one load alone")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--peers", type=float, metavar="SECONDS", help="of each peer, too")
    given = parser.parse_args()
    if given.peers:
        if missing():
            raise SystemExit(missing())
        into_own_network([sys.executable, "-m", "bench.ingest", *sys.argv[1:]])
    os.sched_setaffinity(0, {SENDER_CORE})
    columns = (TextColumn("{task.description:9}"), BarColumn(), TimeRemainingColumn())
    found = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for load in [given.only] if given.only else WANTED:
            with tempfile.TemporaryDirectory() as folder:
                found.append(measure(load, given.seconds, Path(folder), progress))
            if given.peers and load != "readings":
                with tempfile.TemporaryDirectory() as folder:
                    found.append(measure_peer(load, given.peers, Path(folder), progress))
    Console().print(shown(found))
    if given.json:
        given.json.write_text(json.dumps([asdict(each) for each in found], indent=1))


if __name__ == "__main__":
    main()
