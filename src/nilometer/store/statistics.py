"""Statistics from merged readings: averages from sums, quantiles from merged buckets.

Never an average of averages. Quantiles are the estimates of `model.Distribution`, whose merging
and reading of buckets is used as it is; SQL has only added up equal buckets.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.model import Distribution
from nilometer.model.distribution import SCALE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NS_PER_S: Final = 10**9

Number = int | float
Key = tuple[int, int | None]


class Statistics(NamedTuple):
    """One instrument in one period, in one group.

    | kind | samples | total | average | minimum, maximum | last | rate (1/s) |
    |---|---|---|---|---|---|---|
    | counter | readings | moved | None | of single moves | None | moved |
    | gauge | readings | None | of the readings | the same | the latest reading | None |
    | distribution | values | sum of values | of the values | the same | None | values |

    `started_ns` is the period's start, or that of the asked time (of the first reading where
    that was open). `quantiles` are pairs of share and value, for distributions only.
    """

    started_ns: int
    group: tuple[str | None, ...]
    kind: str
    unit: str
    samples: int
    total: Number | None
    average: float | None
    minimum: Number | None
    maximum: Number | None
    last: Number | None
    rate: float | None
    quantiles: tuple[tuple[float, float | None], ...] = ()
    part: int = 0


class Point(NamedTuple):
    """What one part told of one moment: how far a counter moved, a gauge, or a distribution's
    average, with its `samples`, sum and extremes.
    """

    place: int
    ended_ns: int
    part: int
    kind: str
    value: Number
    samples: int | None
    total: Number | None
    minimum: Number | None
    maximum: Number | None
    description: str


def point_of(row: Mapping[str, Any]) -> Point:
    """The point that a row of `points` tells."""
    total = _total(row)
    at = row["place"], row["ended_ns"], row["part"], row["kind"]
    if row["kind"] == "gauge":
        value = _one_of(max, row["greatest_int"], row["greatest_float"])
        return Point(*at, value, None, None, None, None, row["description"])
    if row["kind"] == "counter":
        return Point(*at, total, None, None, None, None, row["description"])
    samples = int(row["samples"] or 0)
    average = total / samples if samples else 0
    least = _one_of(min, row["minimum_int"], row["minimum_float"])
    greatest = _one_of(max, row["maximum_int"], row["maximum_float"])
    return Point(*at, average, samples, total, least, greatest, row["description"])


class Asked(NamedTuple):
    """What was asked for; None where an end of the time was left open."""

    since_ns: int | None
    until_ns: int | None
    period_ns: int | None
    quantiles: tuple[float, ...]

    def span(self, row: Mapping[str, Any]) -> tuple[int, int]:
        """From when to when a row of statistics counts."""
        if self.period_ns:
            return row["period_ns"], row["period_ns"] + self.period_ns
        first = row["started_ns"] if self.since_ns is None else self.since_ns
        last = row["ended_ns"] if self.until_ns is None else self.until_ns
        return first, last


def statistics_of(
    rows: Sequence[Mapping[str, Any]],
    merged: Merged,
    groups: Sequence[tuple[str | None, ...]],
    asked: Asked,
) -> list[Statistics]:
    """The statistics that rows of `measured` and their merged buckets tell."""
    made = []
    for row in rows:
        started, ended = asked.span(row)
        one = _BY_KIND[row["kind"]](row, (ended - started) / NS_PER_S)
        one = one._replace(started_ns=started, group=groups[row["part"]], part=row["part"])
        if asked.quantiles and row["kind"] == "distribution":
            held = merged.of(row)
            one = one._replace(quantiles=_quantiles(one, held, asked.quantiles))
        made.append(one)
    return made


def with_extremes(
    rows: Iterable[Mapping[str, Any]], extremes: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Rows of `measured`, with those of `extremes` that belong to them."""
    found = {(each["part"], each["period_ns"]): each for each in extremes}
    joined = []
    for row in rows:
        running = found.get((row["part"], row["period_ns"]), {})
        both = dict(row)
        for name in ("minimum_int", "minimum_float"):
            both[name] = _one_of(min, row[name], running.get(name))
        for name in ("maximum_int", "maximum_float"):
            both[name] = _one_of(max, row[name], running.get(name))
        for name in ("without_minimum", "without_maximum"):
            both[name] += running.get(name, 0)
        joined.append(both)
    return joined


def _counter(row: Mapping[str, Any], seconds: float) -> Statistics:
    total = _total(row)
    return _row(row, row["readings"], total, rate=total / seconds if seconds > 0 else None)


def _gauge(row: Mapping[str, Any], seconds: float) -> Statistics:  # noqa: ARG001
    late_float = (row["last_float_ns"] or 0) >= (row["last_int_ns"] or 0)
    last = row["last_float"] if late_float or row["last_int"] is None else row["last_int"]
    if last is None:
        last = row["last_int"]
    samples = row["readings"]
    one = _row(row, samples, None, last=last)
    return one._replace(average=_total(row) / samples if samples else None)


def _distribution(row: Mapping[str, Any], seconds: float) -> Statistics:
    samples, total = int(row["samples"] or 0), _total(row)
    one = _row(row, samples, total, rate=samples / seconds if seconds > 0 else None)
    return one._replace(average=total / samples if samples else None)


_BY_KIND: Final = {"counter": _counter, "gauge": _gauge, "distribution": _distribution}


def _row(
    row: Mapping[str, Any],
    samples: int,
    total: Number | None,
    *,
    last: Number | None = None,
    rate: float | None = None,
) -> Statistics:
    least = greatest = None  # where one sender did not keep them, nobody knows them
    if not row["without_minimum"]:
        least = _one_of(min, row["minimum_int"], row["minimum_float"])
    if not row["without_maximum"]:
        greatest = _one_of(max, row["maximum_int"], row["maximum_float"])
    return Statistics(
        0, (), row["kind"], row["unit"], samples, total, None, least, greatest, last, rate
    )


def _total(row: Mapping[str, Any]) -> Number:
    whole, rest = row["total_int"], row["total_float"]
    if rest is None:
        return 0 if whole is None else int(whole)
    return float(rest) if whole is None else int(whole) + float(rest)


def _one_of(choose: Any, *values: Number | None) -> Any:
    told = [value for value in values if value is not None]
    return choose(told) if told else None


# ---- quantiles -------------------------------------------------------------------------------


Sides = tuple[dict[int, int], dict[int, int]]
"""How many values in each bucket: of those above zero, and of those below."""


class Merged:
    """The merged buckets of each part and period, by scale and by explicit bounds.

    `parts` says to which parts that counts what rows tell; without it, to the part they name.
    """

    def __init__(self, parts: Sequence[tuple[int, ...]] | None = None) -> None:
        self._parts = parts
        self._scales: dict[Key, dict[int, Sides]] = {}
        self._bounds: dict[Key, dict[tuple[float, ...], dict[int, int]]] = {}

    def add_buckets(self, rows: Iterable[Mapping[str, Any]], *, negative: bool) -> None:
        """Take the rows of `buckets`."""
        for row in rows:
            counts = row["counts"] if row["huge"] is None else list(map(int, row["huge"]))
            for part in self._parts[row["part"]] if self._parts else (row["part"],):
                scales = self._scales.setdefault((part, row["period_ns"]), {})
                sides = scales.get(row["scale"])
                if sides is None:
                    sides = scales[row["scale"]] = ({}, {})
                _add(sides[negative], row["indexes"], counts)

    def add_bounds(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the rows of `bounds`."""
        for row in rows:
            for part in self._parts[row["part"]] if self._parts else (row["part"],):
                by_bounds = self._bounds.setdefault((part, row["period_ns"]), {})
                buckets = by_bounds.setdefault(tuple(row["bounds"]), {})
                _add(buckets, [row["bucket"]], [int(row["held"])])

    def of(self, row: Mapping[str, Any]) -> Distribution:
        """All buckets that belong to a row of `measured`; if of several sorts, in our own."""
        key = (row["part"], row["period_ns"])
        found = [
            _held(above, 0, below, scale=scale)
            for scale, (above, below) in self._scales.get(key, {}).items()
        ]
        zeros = int(row["zeros"] or 0)
        if zeros > 0:  # at any scale; the finest leaves the others as they are
            found.append(
                _held({}, zeros, scale=max((each.scale for each in found), default=SCALE))
            )
        found = [reduce(Distribution.merged, found)] if found else []
        bounds = self._bounds.get(key, {})
        found += [_held(held, bounds=each) for each, held in bounds.items()]
        if len(found) > 1:
            found = [reduce(Distribution.merged, [each.in_our_buckets() for each in found])]
        return found[0] if found else _held({})


def _add(held: dict[int, int], buckets: Sequence[int], counts: Sequence[int]) -> None:
    if not held:
        held.update(zip(buckets, counts, strict=True))
        return
    for bucket, count in zip(buckets, counts, strict=True):
        held[bucket] = held.get(bucket, 0) + count


def _held(
    above: dict[int, int],
    zeros: int = 0,
    below: Mapping[int, int] | None = None,
    *,
    scale: int = SCALE,
    bounds: tuple[float, ...] = (),
) -> Distribution:
    below = below or {}
    samples = zeros + sum(above.values()) + sum(below.values())
    return Distribution(samples, 0, None, None, above, zeros, below, scale, bounds)


def _quantiles(
    one: Statistics, held: Distribution, shares: Sequence[float]
) -> tuple[tuple[float, float | None], ...]:
    told = whole(one, held)
    return tuple((share, told.quantile(share)) for share in shares)


def whole(one: Statistics, held: Distribution) -> Distribution:
    """Merged buckets, with the count, sum and extremes that belong to them."""
    return held._replace(
        samples=one.samples,
        total=one.total or 0,
        minimum=one.minimum,
        maximum=one.maximum,
    )
