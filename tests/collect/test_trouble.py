"""Laws of what the collector says to be wrong: refused until taken, or until nobody waits."""

import asyncio

from nilometer.collect.daemon import Collector
from nilometer.collect.group import Commit
from nilometer.collect.settings import CollectorSettings
from nilometer.collect.trouble import RETRIED_NS, Trouble
from nilometer.errors import StoreError
from nilometer.store.lake import Lake
from nilometer.store.query import Reader
from nilometer.testing import FakeTime

REFUSED = StoreError("disk full", slug="store-failed")


def told(*commits, later_s=0):
    time = FakeTime()
    trouble = Trouble(time.clock)
    for kinds, error in commits:
        trouble.note(Commit(1, 1, frozenset(kinds.split()), quiet=False, error=error))
    time.advance(later_s)
    return trouble.kinds, trouble.failures


def test_what_is_refused_is_so_until_rows_of_its_kind_are_taken():
    assert told(("spans", REFUSED)) == (["spans"], 1)
    assert told(("spans events", REFUSED), ("spans", REFUSED)) == (["events", "spans"], 2)
    assert told(("spans", REFUSED), ("readings", None)) == (["spans"], 1)
    assert told(("spans", REFUSED), ("spans", None)) == ([], 0)
    assert told(("spans", REFUSED), ("spans", None), ("spans", REFUSED)) == (["spans"], 1)


def test_nothing_is_wrong_any_more_when_nobody_came_again():
    assert told(("spans", REFUSED), later_s=RETRIED_NS / 1e9) == (["spans"], 1)
    assert told(("spans", REFUSED), later_s=RETRIED_NS / 1e9 + 1) == ([], 0)


def test_rows_that_cannot_be_stored_are_no_fault_of_the_tables():
    assert told(("spans", ValueError("no such number"))) == ([], 0)


def test_upkeep_that_fails_is_told_until_it_succeeds(tmp_path):
    lake, reader = Lake(tmp_path), Reader(tmp_path)
    failing = StoreError("cannot merge files: the disk is full", slug="store-full")

    async def healths():
        collector = Collector(CollectorSettings(store=str(tmp_path)), lake, reader)
        told = [collector.health()["status"]]
        maintain = lake.maintain
        lake.maintain = lambda _: (_ for _ in ()).throw(failing)
        await collector.maintain()
        told.append(collector.health()["status"])
        lake.maintain = maintain
        await collector.maintain()
        return [*told, collector.health()["status"]]

    because = f"the tables cannot be maintained: {failing}"
    assert asyncio.run(healths()) == ["ok", because, "ok"]
