"""A fleet at a thousandth: ``python -m bench.scale`` measures, reckons, and looks if it is so.

First one collector is measured on its own: idle, taking single spans out of Kafka, taking as
many as it can, and merging them. From that follows what a million spans a second need. That
fleet is then started here, every collector, partition and store of it, and sent a thousandth
of the spans, each message one instead of a thousand: messages, commits and files are as many
as they would be, and the work of each collector is what the arithmetic says, or it is wrong.
Kafka is librdkafka's own cluster of brokers, the stores are folders.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import Producer
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from rich.console import Console
from rich.table import Table

from bench.collector import Collector
from bench.sizing import GROUP_ROWS, Figures, Fleet, cpu_s, fleet
from bench.store import spans as some_spans
from nilometer.collect.kafka_consumer import GATHER_S
from nilometer.model import Batch, Resource
from nilometer.store.lake import Lake
from nilometer.wire.kafka import SIGNAL
from nilometer.wire.otlp import encode_traces
from tests import objects
from tests.kafka import Cluster, cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

SPANS_PER_S = 1_000_000
PART = 1000
MESSAGE_SPANS = 1000  # of a message at full size
MANY = 400_000
MERGED_COMMITS = 20
QUIET_S, SINGLE_S, FLEET_S = 10.0, 20.0, 60.0
SETTLES_S_MAX = 120.0
PARTITIONS = 16  # each of the brokers' partitions holds 5 MB, and forgets what is older
REQUEST_S = 0.05  # what an object store takes to answer
WRITERS, WRITE_S = 3, 20.0
OFF_BY_MAX = 0.25


class Checked(NamedTuple):
    """One figure of the fleet: what was reckoned, and what came."""

    what: str
    reckoned: float
    came: float

    @property
    def is_right(self) -> bool:
        return abs(self.came / self.reckoned - 1) <= OFF_BY_MAX


# --- senders and stores -----------------------------------------------------------------------


def messages(spans: int) -> list[bytes]:
    """Some requests of so many spans each; no two spans alike."""
    now = time.time_ns()
    service = Resource("bench", "here", 1)
    return [encode_traces(Batch(service, spans=some_spans(spans, now))) for _ in range(200)]


class Sender:
    """Sends requests to topics, and counts the spans."""

    def __init__(self, brokers: Cluster, *, many: int) -> None:
        told = {"bootstrap.servers": brokers.servers, "linger.ms": 5, "log_level": 0}
        self._producer = Producer({**told, "queue.buffering.max.kbytes": 1 << 20})
        self._many = many
        self._prepared: list[bytes] = []
        self.sent = 0

    def send(self, topic: str, partition: int) -> None:
        """One message."""
        if not self._prepared:
            self._prepared = messages(self._many)
        told = [(SIGNAL, b"traces")]
        self._producer.produce(topic, self._prepared.pop(), partition=partition, headers=told)
        self._producer.poll(0)
        self.sent += self._many

    def flush(self) -> None:
        """Return when all is acknowledged."""
        if self._producer.flush(30):
            raise SystemExit("Kafka did not take all messages")


def rows(store: Path) -> int:
    """How many spans a store's list says it holds."""
    try:
        told = DeltaTable(str(store / "spans")).get_add_actions(flatten=True)
    except TableNotFoundError:
        return 0
    return sum(row or 0 for row in told.column("num_records").to_pylist())


def commits(store: Path) -> int:
    """How many commits its table of spans has had since it was made."""
    return int(DeltaTable(str(store / "spans")).version())


def wait_for(store: Path, spans: int) -> None:
    """Return when they are all there."""
    until = time.monotonic() + SETTLES_S_MAX
    while rows(store) < spans:
        if time.monotonic() > until:
            raise SystemExit(f"{store}: {rows(store):,} of {spans:,} spans came")
        time.sleep(0.1)


# --- one collector ----------------------------------------------------------------------------


def seconds_a_commit(folder: Path) -> float:
    """How long a commit to one table in an object store takes, where several write it."""
    with objects.start(folder, delay_s=REQUEST_S) as s3:
        os.environ.update(s3.environment())
        url = f"s3://{s3.bucket}/commits"
        made = [0] * WRITERS
        lakes = [Lake(url) for _ in made]
        some = [Batch(Resource("bench", "here", n), (), some_spans(100, n)) for n in range(50)]
        until = time.monotonic() + WRITE_S

        def write(writer: int) -> None:
            while time.monotonic() < until:
                lakes[writer].append([some[made[writer] % len(some)]])
                made[writer] += 1

        began = time.monotonic()
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(write, range(WRITERS)))
        return (time.monotonic() - began) / sum(made)


def measured(folder: Path, console: Console) -> tuple[Figures, float]:
    """What one collector costs, and how many spans a second it took at most."""
    with console.status("commits to an object store"):
        commit_s = seconds_a_commit(folder)
    store = folder / "store"
    with cluster(["one"], partitions=PARTITIONS) as brokers:
        collector = Collector(store, kafka=_url(brokers, "one"))
        try:
            time.sleep(3)  # until it has joined its group
            with console.status("a collector without work"):
                idle = _work(collector, QUIET_S)
            single = Sender(brokers, many=1)
            with console.status("single spans"):
                before, began = collector.cpu_s(), time.monotonic()
                version = commits(store) if rows(store) else 0
                while time.monotonic() - began < SINGLE_S:
                    single.send("one", 0)
                    time.sleep(0.01)
                single.flush()
                wait_for(store, single.sent)
                took, made = time.monotonic() - began, commits(store) - version
                each = (collector.cpu_s() - before - idle * took) / made
            many = Sender(brokers, many=MESSAGE_SPANS)
            with console.status(f"{MANY:,} spans"):
                waiting = [messages(MESSAGE_SPANS) for _ in range(MANY // MESSAGE_SPANS // 200)]
                many_bytes = sum(len(one) for part in waiting for one in part)
                many._prepared = [one for part in waiting for one in part]
                before, began = collector.cpu_s(), time.monotonic()
                version = commits(store)
                while many.sent < MANY:
                    many.send("one", many.sent // MESSAGE_SPANS % PARTITIONS)
                many.flush()
                wait_for(store, single.sent + many.sent)
                took = time.monotonic() - began
                worked = collector.cpu_s() - before
                worked -= idle * took + each * (commits(store) - version)
        finally:
            collector.stop()
    with console.status("merging"):
        merging, size = merged(folder / "merged")
    told = Figures(
        idle,
        each,
        worked / MANY,
        merging,
        commit_s,
        many_bytes / MANY,
        size,
    )
    return told, MANY / took


def merged(store: Path) -> tuple[float, float]:
    """CPU seconds and bytes of a span in a file that was merged of as many as upkeep takes."""
    lake, spans = Lake(store, durability="os"), MERGED_COMMITS * GROUP_ROWS
    for number in range(MERGED_COMMITS):
        now = time.time_ns() - number * 10**9
        lake.append([Batch(Resource("bench", "here", 1), (), some_spans(GROUP_ROWS, now))])
    before = time.process_time()
    lake.maintain()
    took = time.process_time() - before
    told = DeltaTable(str(store / "spans")).get_add_actions(flatten=True)
    return took / spans, sum(told.column("size_bytes").to_pylist()) / spans


def _url(brokers: Cluster, topic: str) -> str:
    first, _, others = brokers.servers.partition(",")
    return f"kafka://{first}/{topic}?others={others}&group={topic}"


def _work(collector: Collector, seconds: float) -> float:
    before = collector.cpu_s()
    time.sleep(seconds)
    return (collector.cpu_s() - before) / seconds


# --- the fleet --------------------------------------------------------------------------------


def checked(told: Figures, wanted: Fleet, folder: Path, console: Console) -> list[Checked]:
    """Start all of it, send it a thousandth, and compare."""
    each = wanted.collectors // wanted.stores
    partitions = wanted.partitions // wanted.stores
    topics = [f"store{n}" for n in range(wanted.stores)]
    with ExitStack() as stack, cluster(topics, partitions=partitions) as brokers:
        collectors = {topic: [] for topic in topics}  # type: dict[str, list[Collector]]
        with console.status(f"{wanted.collectors} collectors start"):
            for topic in topics:
                for _ in range(each):
                    one = Collector(folder / topic, kafka=_url(brokers, topic), alone=False)
                    stack.callback(one.stop)
                    collectors[topic].append(one)
        time.sleep(10)  # until all have joined their groups
        running = [one for many in collectors.values() for one in many]
        before = [one.cpu_s() for one in running]
        sender, began = Sender(brokers, many=1), time.monotonic()
        with console.status(f"{SPANS_PER_S // PART:,} spans a second") as status:
            for number, topic, partition in _turns(topics, partitions):
                gone = time.monotonic() - began
                if gone > FLEET_S:
                    break
                time.sleep(max(0.0, number * PART / SPANS_PER_S - gone))
                sender.send(topic, partition)
                if number % 1000 == 0:
                    status.update(f"{gone:.0f} of {FLEET_S:.0f} s")
            sender.flush()
        sent = [
            sender.sent // len(topics) + (n < sender.sent % len(topics))
            for n in range(len(topics))
        ]
        for topic, spans in zip(topics, sent, strict=True):
            wait_for(folder / topic, spans)
        took = time.monotonic() - began
        worked = [one.cpu_s() - was for one, was in zip(running, before, strict=True)]
    made = [commits(folder / topic) for topic in topics]
    stored = sum(rows(folder / topic) for topic in topics)
    of_one = sender.sent / wanted.collectors
    reckoned = cpu_s(told, seconds=took, spans=of_one, commits=median(made) / each)
    return [
        Checked("spans in the tables", sender.sent, stored),
        Checked("spans of the busiest store", sender.sent / len(topics), max(sent)),
        Checked("CPU of a collector, ms/s", reckoned / took * 1e3, median(worked) / took * 1e3),
        Checked("commits of a collector, 1/s", 1 / GATHER_S, median(made) / each / took),
    ]


def _turns(topics: list[str], partitions: int) -> Iterator[tuple[int, str, int]]:
    number = 0
    while True:
        for partition in range(partitions):
            for topic in topics:
                yield number, topic, partition
                number += 1


# --- what is told -----------------------------------------------------------------------------


def shown(told: dict[str, Any], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    table.add_column("figure", justify="right")
    for name, value in told.items():
        table.add_row(name, f"{value:,.6g}")
    return table


def main() -> int:
    """Measure, reckon, look; 1 if the arithmetic is off by more than a quarter."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spans", type=float, default=SPANS_PER_S, help="a second, of a fleet")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    given = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        told, most = measured(Path(name), console)
        console.print(shown({**told._asdict(), "spans/s at most": most}, "one collector"))
        wanted = fleet(given.spans, told)
        console.print(shown(wanted._asdict(), f"for {given.spans:,.0f} spans/s"))
        found = checked(told, wanted, Path(name) / "fleet", console)
    table = Table(title=f"at a thousandth, on {os.cpu_count()} cores", title_justify="left")
    for head in ("what", "reckoned", "came", ""):
        table.add_column(head, justify="left" if head in {"what", ""} else "right")
    for one in found:
        verdict = "right" if one.is_right else "wrong"
        table.add_row(one.what, f"{one.reckoned:,.4g}", f"{one.came:,.4g}", verdict)
    console.print(table)
    if given.json:
        figures = {"figures": told._asdict(), "fleet": wanted._asdict(), "most": most}
        given.json.write_text(json.dumps({**figures, "checked": found}, indent=1))
    return 0 if all(one.is_right for one in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
