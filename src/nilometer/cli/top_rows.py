"""What `nilometer top` shows of each series: one row, from one look or from two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.model import Distribution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nilometer.measure.arena_layout import Contents, Series
    from nilometer.measure.living import Living

QUANTILES: Final = (0.5, 0.95, 0.99)
SHORT_NS: Final = 500_000_000
"""Just after a collect there is next to nothing: then what was seen before it is shown."""


class Row(NamedTuple):
    """One series of one process; times in ns, `rate` per second, None for what is not known."""

    service: str
    pid: int
    lives: bool
    name: str
    kind: str
    unit: str
    dimensions: dict[str, str]
    seconds: float  # since the values were last collected
    value: int | float | None  # of counters and gauges
    samples: int | None  # of timers, as all that follow but the rate
    rate: float | None
    average: float | None
    quantiles: tuple[float | None, ...]
    maximum: float | None

    @property
    def busy(self) -> float:
        """Nanoseconds of timers a second: what costs most comes first."""
        return (self.rate or 0) * (self.average or 0) if self.kind == "timer" else 0


class Looks:
    """Remembers what was seen of each process before its last collect."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[int, list[Row]]] = {}

    def rows(self, processes: Iterable[Living], now_ns: int) -> list[Row]:
        """One row for each series that has a value."""
        rows: list[Row] = []
        seen: dict[str, tuple[int, list[Row]]] = {}
        for one in processes:
            if one.contents is None:
                continue
            found = one.contents
            began_ns, own = self._before.get(found.identity, (found.collected_ns, []))
            is_short = now_ns - found.collected_ns < SHORT_NS and began_ns < found.collected_ns
            if not (is_short and own):
                own = rows_of(found, one.lives, now_ns)
                began_ns = found.collected_ns
            seen[found.identity] = began_ns, own
            rows += own
        self._before = seen
        return rows


def rows_of(found: Contents, lives: bool, now_ns: int) -> list[Row]:
    """The rows of one process; of one that has ended, up to its end as far as that is known."""
    until_ns = found.ended_ns or now_ns
    if not lives and found.interval_ns:
        until_ns = min(until_ns, found.collected_ns + found.interval_ns)
    seconds = max(until_ns - found.collected_ns, 1) / 1e9
    made = (_row(found, one, lives, seconds) for one in found.series if one.value is not None)
    return list(made)


def _row(found: Contents, one: Series, lives: bool, seconds: float) -> Row:
    value, resource = one.value, found.resource
    timed = value if isinstance(value, Distribution) else None
    moved = timed.samples if timed is not None else value if one.kind == "counter" else None
    assert not isinstance(moved, Distribution)
    return Row(
        resource.service,
        resource.pid,
        lives,
        one.name,
        one.kind,
        one.unit,
        dict(one.dimensions),
        seconds,
        None if isinstance(value, Distribution) else value,
        None if timed is None else timed.samples,
        None if moved is None else moved / seconds,
        None if timed is None else timed.average,
        tuple(None if timed is None else timed.quantile(q) for q in QUANTILES),
        None if timed is None else timed.maximum,
    )


ORDERS: Final[dict[str, Callable[[Row], Any]]] = {
    "time": lambda row: (-row.busy, -(row.rate or 0), row.name),
    "rate": lambda row: (-(row.rate or 0), row.name),
    "name": lambda row: (row.name, sorted(row.dimensions.items()), row.service, row.pid),
    "process": lambda row: (row.service, row.pid, row.name, sorted(row.dimensions.items())),
}
"""What may come first."""


def as_json(row: Row) -> dict[str, Any]:
    """A row for programs."""
    told = row._asdict()
    told["quantiles"] = dict(zip(map(str, QUANTILES), row.quantiles, strict=True))
    return told
