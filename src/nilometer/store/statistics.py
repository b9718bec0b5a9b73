"""Statistics from merged readings: averages from sums, quantiles from merged buckets.

Never an average of averages. Quantiles are the estimates of `model.Distribution`, whose merging
and reading of buckets is used as it is; SQL has only added up equal buckets.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.model import Distribution
from nilometer.model.distribution import bucket_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NS_PER_S: Final = 10**9

Number = int | float
Key = tuple[int, str, int | None]


class Statistics(NamedTuple):
    """One instrument in one period, in one group.

    | kind | samples | total | average, minimum, maximum | last | rate (1/s) |
    |---|---|---|---|---|---|
    | counter | readings | moved | None | None | moved |
    | gauge | readings | None | of the readings | the latest reading | None |
    | distribution | values | sum of values | of the values | None | values |

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


def statistics_of(
    rows: Sequence[Mapping[str, Any]],
    buckets: Sequence[Mapping[str, Any]],
    groups: Sequence[tuple[str | None, ...]],
    quantiles: Sequence[float],
    *,
    period_ns: int | None,
    asked_ns: tuple[int | None, int | None],
) -> list[Statistics]:
    """The statistics that rows of `measured` and `buckets` tell."""
    merged = _merged(buckets)
    made = []
    for row in rows:
        started, ended = _span(row, period_ns, asked_ns)
        one = _BY_KIND[row["kind"]](row, (ended - started) / NS_PER_S)
        shares = tuple(quantiles) if row["kind"] == "distribution" else ()
        values = _quantiles(one, merged.get(_key(row), []), shares)
        made.append(
            one._replace(started_ns=started, group=groups[row["part"]], quantiles=values)
        )
    return made


def _span(
    row: Mapping[str, Any], period_ns: int | None, asked_ns: tuple[int | None, int | None]
) -> tuple[int, int]:
    if period_ns:
        return row["period_ns"], row["period_ns"] + period_ns
    since, until = asked_ns
    first, last = row["started_ns"], row["ended_ns"]
    return (first if since is None else since), (last if until is None else until)


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
    least = _one_of(min, row["minimum_int"], row["minimum_float"])
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


def _key(row: Mapping[str, Any]) -> Key:
    return row["part"], row["unit"], row["period_ns"]


def _merged(rows: Iterable[Mapping[str, Any]]) -> dict[Key, list[Distribution]]:
    """Per row of statistics one distribution, and one more per set of explicit bounds."""
    sides: dict[tuple[Key, int, tuple[float, ...]], dict[int, dict[int, int]]] = {}
    for row in rows:
        bounds = tuple(row["bounds"])
        held = sides.setdefault((_key(row), 0 if bounds else row["scale"], bounds), {})
        held.setdefault(row["side"], {})[row["bucket"]] = int(row["held"])
    families: dict[Key, dict[tuple[float, ...], list[Distribution]]] = {}
    for (key, scale, bounds), held in sides.items():
        zeros = held.get(0, {}).get(0, 0)
        above, below = held.get(1, {}), held.get(-1, {})
        samples = zeros + sum(above.values()) + sum(below.values())
        one = Distribution(samples, 0, None, None, above, zeros, below, scale, bounds)
        families.setdefault(key, {}).setdefault(bounds, []).append(one)
    return {
        key: [reduce(Distribution.merged, each) for each in by_bounds.values()]
        for key, by_bounds in families.items()
    }


def _quantiles(
    one: Statistics, merged: Sequence[Distribution], shares: Sequence[float]
) -> tuple[tuple[float, float | None], ...]:
    if not shares:
        return ()
    if len(merged) > 1:  # bounds of several kinds: told together by our own buckets
        merged = [reduce(Distribution.merged, [_in_our_buckets(each) for each in merged])]
    held = merged[0] if merged else Distribution(0, 0, None, None)
    whole = held._replace(samples=one.samples, minimum=one.minimum, maximum=one.maximum)
    return tuple((share, whole.quantile(share)) for share in shares)


def _in_our_buckets(held: Distribution) -> Distribution:
    """The same estimates in exponential buckets: at most 1.1 % further off."""
    if not held.bounds:
        return held
    zeros, sides = 0, {True: {}, False: {}}  # type: tuple[int, dict[bool, dict[int, int]]]
    for index, count in held.buckets.items():
        alone = Distribution(1, 0, None, None, {index: 1}, bounds=held.bounds)
        value = alone.quantile(1) or 0.0
        if value == 0:
            zeros += count
        else:
            bucket = bucket_of(abs(value))
            sides[value > 0][bucket] = sides[value > 0].get(bucket, 0) + count
    return Distribution(held.samples, 0, None, None, sides[True], zeros, sides[False])
