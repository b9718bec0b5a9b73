"""Real MariaDB and PostgreSQL for the tests: one of each for all tests of a process.

A test that needs one of its own, or other options, starts it from `examples.servers.databases`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from examples.servers.databases import MariaDB, PostgreSQL, folder
from nilometer.clock import Clock
from nilometer.counters.bracket import Bracket
from nilometer.counters.gather import Gatherer
from nilometer.counters.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nilometer.counters.backend import Backend
    from nilometer.counters.figures import Number, Series
    from nilometer.counters.snapshot import Snapshot


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    with folder() as place, MariaDB(place) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_15() -> Iterator[PostgreSQL]:
    with folder() as place, PostgreSQL(place, version=15) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_18() -> Iterator[PostgreSQL]:
    with folder() as place, PostgreSQL(place, version=18) as server:
        yield server


def snapshots(backend: Backend, count: int = 1) -> list[Snapshot]:
    """So many, one right after the other."""
    return [snapshot(backend, Clock()) for _ in range(count)]


def moved(backend: Backend, work: Callable[[], object]) -> dict[Series, Number]:
    """What the work moved, by `Bracket`, which subtracts what reading costs; what is known."""
    bracket = Bracket(Gatherer([backend], Clock()), Clock(), idle_s=0)
    bracket.open()
    work()
    (read,), counts = bracket.close()
    assert read.because == ""
    return {(c.counter, c.dimensions): c.delta for c in counts if c.delta is not None}


def of(moves: dict[Series, Number], names: Sequence[str]) -> dict[str, Number]:
    """The totals with these names."""
    return {name: moves.get((name, ()), 0) for name in names}
