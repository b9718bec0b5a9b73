"""Made-up snapshots for the tests of what is done with them."""

from __future__ import annotations

from nilometer.counters.figures import Fact
from nilometer.counters.snapshot import Snapshot
from nilometer.model.reading import Kind

FACTS = {
    "level": Fact("a level", kind=Kind.GAUGE),
    "calls": Fact("calls", from_zero=True),
}


def snapshot_of(values: dict, **differing: object) -> Snapshot:
    """A snapshot with these values; a key is a counter's name, or its name and dimensions."""
    keyed = {k if isinstance(k, tuple) else (k, ()): v for k, v in values.items()}
    whole = Snapshot("mysql", "db:3306", "10.11", "start-1", 10, 10, 1, keyed, FACTS)
    return whole._replace(**differing)
