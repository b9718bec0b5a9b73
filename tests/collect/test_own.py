"""Laws of what the collector says about itself: nothing of it vanishes, and damage is named."""

from __future__ import annotations

import os
import socket
import time

import pytest
from deltalake import DeltaTable

from nilometer.collect.own import OWN_SERVICE
from tests.collect.doors import Tables, visit
from tests.collector import start


class WithOwn(Tables):
    """Keeps the collector's own batches, too."""

    def __init__(self):
        super().__init__()
        self.own = []

    def append(self, batches):
        super().append(batches)
        self.own.extend(batch for batch in batches if batch.resource.service == OWN_SERVICE)

    def rejected_items(self):
        return [
            (dict(reading.dimensions)["reason"], reading.value)
            for batch in self.own
            for reading in batch.readings
            if reading.name == "nilometer.collector.rejected"
        ]


def test_what_is_refused_while_the_disk_is_full_is_in_the_account_when_there_is_room(tmp_path):
    tables = WithOwn()

    async def talk(_client, collector):
        tables.error = OSError(28, "No space left on device")
        for items in (1, 10, 100):
            collector.refusals.count("otlp", "not-committed", items)
            await collector.own.write()
        tables.error = None
        await collector.own.write()
        return tables.rejected_items()

    assert visit(tmp_path, talk, tables=tables) == [
        ("not-committed", 1),
        ("not-committed", 110),
    ]


def test_writing_about_itself_is_no_news_to_write_about(tmp_path):
    tables = WithOwn()

    async def talk(_client, collector):
        collector.refusals.count("otlp", "not-committed")
        for _ in range(3):
            await collector.own.write()
        return len(tables.own)

    assert visit(tmp_path, talk, tables=tables) == 1


def test_what_can_never_be_written_about_itself_is_lost_counted_and_blocks_nothing(tmp_path):
    tables = WithOwn()

    async def talk(_client, collector):
        collector.refusals.count("otlp", "first")
        tables.error = ValueError("no such row")
        await collector.own.write()
        tables.error = None
        collector.refusals.count("otlp", "second")
        await collector.own.write()
        lost = [
            dict(reading.dimensions)
            for batch in tables.own
            for reading in batch.readings
            if reading.name == "nilometer.lost"
        ]
        return tables.rejected_items(), lost

    rejected, lost = visit(tmp_path, talk, tables=tables)

    assert rejected == [("second", 1)]
    assert lost == [{"what": "own-readings", "reason": "not-committed"}]


@pytest.mark.real
def test_a_commit_that_is_found_torn_at_the_start_is_said_and_told_among_the_losses(tmp_path):
    with start(tmp_path) as collector:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"a:1|c", ("127.0.0.1", collector.statsd_port))
        while not collector.get("metrics", prefix="a")["metrics"]:
            time.sleep(0.05)
        collector.stop()
        place = collector.store / "readings"
        version = DeltaTable(str(place)).version()
        newest = max(place.glob("date=*/*.parquet"), key=lambda p: p.stat().st_mtime_ns)
        os.truncate(newest, 50)
        collector.restart()
        collector.restart()
        losses = collector.get("losses")["losses"]
        said = [line for line in collector.output().splitlines() if "torn" in line]

    assert losses == [
        {
            "service": OWN_SERVICE,
            "name": "nilometer.lost",
            "dimensions": {"what": "commits", "reason": "torn"},
            "count": 1,
        }
    ]
    what = "the last commit in the log of readings was torn and is set aside (1 times)"
    assert said == [f"{what}: '{version:020}.json.torn; see store-damaged'"]


@pytest.mark.real
def test_a_file_that_cannot_be_read_is_named_in_health_and_in_the_account(tmp_path):
    with start(tmp_path) as collector:
        for line in (b"a:1|c", b"a:2|c"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.sendto(line, ("127.0.0.1", collector.statsd_port))
            while not collector.get("metrics", prefix="a")["metrics"]:
                time.sleep(0.05)
            collector.restart()
        place = collector.store / "readings"
        bad = min(place.glob("date=*/*.parquet"), key=lambda p: p.stat().st_mtime_ns)
        os.truncate(bad, 50)
        assert collector.get("health")["status"] == "ok"

        found = collector.get("metrics", "a", "statistics")["statistics"]
        health = collector.get("health")
        collector.restart()
        losses = [
            (loss["dimensions"], loss["count"]) for loss in collector.get("losses")["losses"]
        ]

    assert [row["sum"] for row in found] == [2]
    assert health["status"] == "1 files cannot be read; answers leave them out"
    assert health["broken_files"] == [f"readings/{bad.relative_to(place)}"]
    assert losses == [({"what": "stored-readings", "reason": "unreadable"}, 1)]
