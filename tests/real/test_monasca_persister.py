"""monasca-persister 9.0.0 as it is, under `nilometer run`: Kafka, InfluxDB, a real collector.

It is killed three times on its way: one of its processors at rest, all that it is, and a
processor between two of its reports.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError

import pytest

from examples.servers.monasca import InfluxDB, MockKafka, Persister, message
from tests.collector import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

GOOD = 3000
REPORTED = 500  # after those, and before the processor that had them is killed
UNREPORTED = 300
BROKEN = [b"no json", b"{}", b'{"metric": 7}']
TIMERS = ("process", "write", "flush", "commit")
COUNTERS = ("received", "completed", "dropped", "duplicated")

# What is completed is not committed: as if Kafka could not be reached for just that.
COMMITS_ARE_LOST = """
import datetime
from monasca_common.confluent_kafka.consumer import KafkaConsumer

def commit(self):
    self._last_commit = datetime.datetime.now()

KafkaConsumer.commit = commit
"""

# It reports when a file is there, and else after an hour.
REPORTS_WHEN_ASKED = """
import os, threading, time
from pathlib import Path

def report():
    import nilometer
    while not Path({asked!r}).exists():
        time.sleep(0.05)
    Path({asked!r}).write_text(str(nilometer.flush(30)))

start = lambda: threading.Thread(target=report, daemon=True).start()
os.register_at_fork(after_in_child=start)
"""

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


class Seen(NamedTuple):
    """What the collector and InfluxDB have, after one life of the persister."""

    sums: dict[str, int]
    by_processor: dict[str, dict[str, int]]  # what was received, by pid and number
    counts: dict[str, int]
    lost: int
    points: int
    said: str


class Watched:
    """A collector, and what it knows of the persister."""

    def __init__(self, collector: Collector, influxdb: InfluxDB) -> None:
        self.collector = collector
        self.influxdb = influxdb

    def statistics(self, name: str, **asked: Any) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = self.collector.get(
                "metrics", f"monasca.persister.{name}", "statistics", **asked
            )["statistics"]
        except HTTPError:  # it never moved
            return []
        return found

    def sum(self, name: str) -> int:
        return sum(int(row["sum"]) for row in self.statistics(name))

    def lost(self) -> int:
        rows = self.collector.get("losses")["losses"]
        return sum(
            int(row["count"]) for row in rows if row["dimensions"].get("what") == "interval"
        )

    def seen(self, said: str) -> Seen:
        by = {
            f"{row['group']['monasca.processor']}": {row["group"]["pid"]: int(row["sum"])}
            for row in self.statistics("received", group_by="monasca.processor,pid")
        }
        return Seen(
            {name: self.sum(name) for name in COUNTERS},
            by,
            {name: sum(row["count"] for row in self.statistics(name)) for name in TIMERS},
            self.lost(),
            self.influxdb.points(),
            said,
        )


class Story(NamedTuple):
    """Four lives of one persister."""

    working: Seen
    killed: Seen
    again: Seen
    after: Seen
    between: Seen
    processors: list[int]
    victim: int


class Servers(NamedTuple):
    folder: Path
    kafka: MockKafka
    influxdb: InfluxDB


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("monasca")
    with (
        MockKafka(folder / "kafka") as kafka,
        InfluxDB(folder / "influxdb") as influxdb,
    ):
        yield Servers(folder, kafka, influxdb)


@pytest.fixture(scope="module")
def story(servers: Servers) -> Story:
    folder, kafka, influxdb = servers
    with Collector(folder) as collector:
        watched = Watched(collector, influxdb)
        settings = {
            "export": collector.url.replace("http://", "otlp://"),
            "interval_s": "500ms",
            "state": str(folder / "state"),
            "service": "persister",
        }
        produce(kafka)
        return lives(folder, kafka, watched, settings)


def produce(kafka: MockKafka) -> None:
    good = some(0, GOOD)
    third = GOOD // 3
    for number, broken in enumerate(BROKEN):
        kafka.produce("metrics", [*good[number * third : (number + 1) * third], broken])


def some(first: int, count: int) -> list[bytes]:
    at_ms = time.time_ns() // 1_000_000
    return [message(number, at_ms=at_ms) for number in range(first, first + count)]


def lives(
    folder: Path, kafka: MockKafka, watched: Watched, settings: Mapping[str, str]
) -> Story:
    influxdb = watched.influxdb
    persister = Persister(
        folder / "first", kafka, influxdb, measured=settings, before=COMMITS_ARE_LOST
    )
    with persister:
        wait(lambda: watched.sum("completed") == GOOD, "all is completed", persister)
        wait(lambda: watched.sum("dropped") == len(BROKEN), "all is dropped", persister)
        working, processors = watched.seen(persister.log), persister.processors()
        victim = processors[0]
        os.kill(victim, signal.SIGKILL)
        wait(lambda: watched.lost() > 0, "a loss is told", persister)
    killed = watched.seen(persister.log)
    persister = Persister(folder / "second", kafka, influxdb, measured=settings)
    with persister:
        wait(lambda: watched.sum("completed") == 2 * GOOD, "all came again", persister)
        wait(lambda: watched.sum("received") == 2 * (GOOD + 3), "all came again", persister)
        again = watched.seen(persister.log)
        os.killpg(persister.pid, signal.SIGKILL)
    persister = Persister(folder / "third", kafka, influxdb, measured=settings)
    with persister:
        wait(lambda: watched.lost() > 1, "the losses of before are told", persister)
    after = watched.seen(persister.log)
    between = killed_between(folder, kafka, watched, settings)
    return Story(working, killed, again, after, between, processors, victim)


def killed_between(
    folder: Path, kafka: MockKafka, watched: Watched, settings: Mapping[str, str]
) -> Seen:
    """A life that reports once, goes on, and is killed before it would report again."""
    influxdb, asked = watched.influxdb, folder / "asked"
    points, completed = influxdb.points(), watched.sum("completed")
    persister = Persister(
        folder / "fourth",
        kafka,
        influxdb,
        processors=1,
        measured={**settings, "interval_s": "3600"},
        before=REPORTS_WHEN_ASKED.format(asked=str(asked)),
    )
    with persister:
        kafka.produce("metrics", some(points, REPORTED))
        points += REPORTED
        wait(lambda: influxdb.points() == points, "it is written", persister)
        asked.touch()
        wait(lambda: asked.read_text() == "True", "it reported", persister)
        wait(lambda: watched.sum("completed") == completed + REPORTED, "it is told", persister)
        kafka.produce("metrics", some(points, UNREPORTED))
        points += UNREPORTED
        wait(lambda: influxdb.points() == points, "it is written", persister)
        lost = watched.lost()
        os.kill(persister.processors()[0], signal.SIGKILL)
        wait(lambda: watched.lost() > lost, "a loss is told", persister)
    return watched.seen(persister.log)


def wait(condition: Any, what: str, persister: Persister) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        if time.monotonic() > give_up:
            pytest.fail(f"waited in vain until {what}:\n{persister.log[-6000:]}")
        time.sleep(0.2)


@pytest.mark.slow
def test_what_was_produced_is_what_each_processor_received_completed_and_dropped(
    story: Story,
) -> None:
    seen = story.working
    by_pid = {pid for by in seen.by_processor.values() for pid in by}
    received = [n for by in seen.by_processor.values() for n in by.values()]

    assert seen.sums == {
        "received": GOOD + len(BROKEN),
        "completed": GOOD,
        "dropped": len(BROKEN),
        "duplicated": 0,
    }
    assert seen.points == GOOD
    assert sum(received) == GOOD + len(BROKEN)
    assert {int(pid) for pid in by_pid} <= {*story.processors}
    assert set(seen.by_processor) <= {"0", "1"}


def test_each_message_and_each_batch_is_timed(story: Story) -> None:
    counts = story.working.counts

    assert counts["process"] == GOOD + len(BROKEN)
    assert counts["write"] == counts["flush"] == counts["commit"] >= GOOD / 1000


def test_a_processor_that_is_killed_costs_an_interval_at_most_and_its_parent_says_so(
    story: Story,
) -> None:
    said = [line for line in story.killed.said.splitlines() if "interval-lost" in line]

    assert story.killed.sums == story.working.sums
    assert (story.killed.lost, len(said)) == (1, 1)
    assert f"process {story.victim})" in said[0]


def test_what_kafka_delivers_again_is_told_from_what_is_new(story: Story) -> None:
    assert story.again.sums == {
        "received": 2 * (GOOD + len(BROKEN)),
        "completed": 2 * GOOD,
        "dropped": 2 * len(BROKEN),
        "duplicated": GOOD,
    }
    assert story.again.points == GOOD


def test_of_a_service_that_is_killed_as_a_whole_its_next_start_tells_what_is_lost(
    story: Story,
) -> None:
    lines = [line for line in story.after.said.splitlines() if "interval-lost" in line]

    assert (story.after.lost, len(lines)) == (1 + 2, 2)
    assert story.after.sums == story.again.sums


def test_what_a_killed_processor_measured_since_its_report_is_lost_and_nothing_else(
    story: Story,
) -> None:
    before, seen = story.after, story.between
    lines = [line for line in seen.said.splitlines() if "interval-lost" in line]

    assert seen.points == before.points + REPORTED + UNREPORTED
    assert seen.sums == {
        **before.sums,
        "received": before.sums["received"] + REPORTED,
        "completed": before.sums["completed"] + REPORTED,
    }
    assert (seen.lost, len(lines)) == (before.lost + 1, 1)


@pytest.mark.slow
def test_by_the_group_statsd_of_its_own_file_it_sends_to_a_statsd(
    story: Story, servers: Servers, tmp_path: Path
) -> None:
    folder, kafka, influxdb = servers
    first = story.between.points
    # The processor that was killed last may have written what it had not yet committed.
    all_told = kafka.behind("metrics") + REPORTED
    with Collector(tmp_path) as collector:
        watched = Watched(collector, influxdb)
        port = collector.statsd_port
        persister = Persister(
            folder / "statsd",
            kafka,
            influxdb,
            measured={"interval_s": "500ms"},
            besides=f"[statsd]\nhost = 127.0.0.1\nport = {port}\n",
        )
        with persister:
            kafka.produce("metrics", some(first, REPORTED))
            wait(lambda: watched.sum("completed") >= all_told, "all is told", persister)
            wait(lambda: watched.sum("process.count") >= all_told, "all is told", persister)
        seen, timed = watched.seen(persister.log), watched.sum("process.count")

    assert influxdb.points() == first + REPORTED
    # Where its processors share the partitions out anew meanwhile, some come twice.
    all_told += seen.sums["duplicated"]
    assert (seen.sums["received"], seen.sums["completed"], timed) == (all_told,) * 3
