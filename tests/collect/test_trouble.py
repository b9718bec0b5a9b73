"""Laws of what the collector says to be wrong: refused until taken, or until nobody waits."""

from nilometer.collect.group import Commit
from nilometer.collect.trouble import RETRIED_NS, Trouble
from nilometer.errors import StoreError
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
