"""Runs and histories of them, made for tests."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from bench.gate.series import counters
from nilometer.model.reading import Kind
from nilometer.model.run import BackendRead, Count, Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

# Of MariaDB's status: how much there is now. Its facts in `counters` say the same.
GAUGES = frozenset(
    {
        *("Innodb_buffer_pool_bytes_data", "Innodb_buffer_pool_bytes_dirty"),
        *("Innodb_buffer_pool_pages_data", "Innodb_buffer_pool_pages_dirty"),
        *("Innodb_buffer_pool_pages_free", "Innodb_buffer_pool_pages_old"),
        *("Innodb_checkpoint_age", "Innodb_history_list_length", "Memory_used"),
        *("Open_table_definitions", "Open_tables", "Uptime", "Uptime_since_flush_status"),
    }
)

SECOND = 1_000_000_000


def run(
    number: int,
    figures: Mapping[str, float | None],
    *,
    backend: str = "mysql",
    version: str = "10.11.6",
    parts: Iterable[Count] = (),
    **told: Any,
) -> Run:
    """The run of this number, with one backend; a counter of None is not known."""
    found = [
        Count(backend, name, value, kind=Kind.GAUGE if name in GAUGES else Kind.COUNTER)
        if value is not None
        else Count(backend, name, None, because="vanished: it was there in the first snapshot")
        for name, value in figures.items()
        if value != 0  # those that did not move are left out, as the bracket does
    ]
    facts: dict[str, Any] = {
        "id": f"r{number}",
        "suite": "shop",
        "started_ns": number * 60 * SECOND,
        "ended_ns": number * 60 * SECOND + SECOND,
        "counts": (*found, *parts),
        "backends": (BackendRead(backend, "127.0.0.1:3306", version),),
        "test_set": "t1",
        "work": 10,
        "revision": f"rev{number}",
    }
    return Run(**facts | told)


def runs(number: int, figures: Mapping[str, float] | None = None, **told: Any) -> list[Run]:
    """As many runs that all did the same."""
    return [
        run(at, figures or {"Com_select": 800, "Bytes": 9000}, **told) for at in range(number)
    ]


def noisy(number: int, seed: int, *, counted: int = 20, likeness: float = 0.0) -> list[Run]:
    """Runs of as many counters with normal noise of 0.5 %, each pair as alike as asked for."""
    random = Random(seed)
    found = []
    for at in range(number):
        shared = random.gauss(0, 1)
        own = [random.gauss(0, 1) for _ in range(counted)]
        mixed = [likeness**0.5 * shared + (1 - likeness) ** 0.5 * one for one in own]
        figures = {
            f"c{i}": float(round(1e6 * (1 + 0.005 * one))) for i, one in enumerate(mixed)
        }
        found.append(run(at, figures))
    return found


def measured(backend: str, variant: str, *, start: int = 0) -> list[Run]:
    """The runs of a real server on a fixed workload, numbered from `start`."""
    moved: Mapping[str, Sequence[float]] = counters(backend)[variant]
    number = len(next(iter(moved.values())))
    return [
        run(start + at, {name: values[at] for name, values in moved.items()}, backend=backend)
        for at in range(number)
    ]
