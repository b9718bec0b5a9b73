"""Readings out of an ExportMetricsServiceRequest, for every kind of metric.

A sum that only grows is a counter, `cumulative` if it counts from a start; one that may fall
is, cumulative, a gauge and, delta, a counter. A summary is a gauge per quantile and two
cumulative counters, ``<name>.count`` and ``<name>.sum``. Points that say "nothing recorded" are
passed over. Points are refused for ``kind`` (no data), ``temporality`` (not told), ``time`` or
``count`` (beyond 63 bits), ``value`` (none, or not finite), ``bounds``, ``buckets`` (not one a
bound and one more, nowhere near a double, or they do not add up to the count), ``scale``.
A request whose points hold too many buckets together is a WireError ``too-large``.
"""

from __future__ import annotations

from functools import partial
from itertools import compress, pairwise
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.errors import WireError
from nilometer.model import Distribution, Kind, Reading
from nilometer.wire.otlp_values import TIME_NS_MAX, dimensions_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.wire.otlp_values import Inbox

COUNT_MAX: Final = 2**63 - 1  # what the tables keep

BUCKETS_MAX: Final = 1 << 20
"""Of one request: 6,500 histograms of OpenTelemetry's 160. A bucket is one byte on the wire and
some 250 here: without a bound one body of 16 MiB, which packs to 16 kB, took 4 GB."""

SCALE_MIN: Final = -9  # at -10 one bucket holds every double above 1, and its base is infinite
SCALE_MAX: Final = 20  # OpenTelemetry's own; a bucket is then 0.7 millionths wide

_NOTHING_RECORDED: Final = 1  # DataPointFlags.NO_RECORDED_VALUE_MASK

_DELTA: Final = 1
_CUMULATIVE: Final = 2


class _Metric(NamedTuple):
    """What all points of one metric share."""

    name: str
    unit: str
    description: str
    scope: str
    cumulative: bool


class _RefusedPoint(Exception):  # noqa: N818  an answer, not a fault: it never leaves this module
    pass


def read(request: Any, inbox: Inbox) -> None:
    """Put all data points of the request into the inbox."""
    for resource_metrics in request.resource_metrics:
        readings, _, _ = inbox.of(resource_metrics.resource)
        for scope_metrics in resource_metrics.scope_metrics:
            scope = scope_metrics.scope.name
            for metric in scope_metrics.metrics:
                _metric(metric, scope, readings, inbox)


def _metric(message: Any, scope: str, readings: list[Reading], inbox: Inbox) -> None:
    which = message.WhichOneof("data")
    if which is None:
        inbox.rejected["kind"] += 1
        return
    data = getattr(message, which)
    if which in _TEMPORAL and data.aggregation_temporality not in (_DELTA, _CUMULATIVE):
        inbox.rejected["temporality"] += len(data.data_points)
        return
    # A summary says nothing of it: its counts are from a start.
    cumulative = which == "summary" or (
        which in _TEMPORAL and data.aggregation_temporality == _CUMULATIVE
    )
    metric = _Metric(message.name, message.unit, message.description, scope, cumulative)
    read_point = _reader(which, data, metric)
    inbox.expect(len(data.data_points))
    for point in data.data_points:
        if point.flags & _NOTHING_RECORDED:
            continue
        if which in _BUCKETED:
            inbox.buckets += _buckets(which, point)
            if inbox.buckets > BUCKETS_MAX:
                raise WireError(
                    f"more than {BUCKETS_MAX} buckets; send fewer points at a time",
                    reason="too-large",
                )
        elif which == "summary":
            inbox.expect(1 + len(point.quantile_values))  # count and sum, and each quantile
        try:
            readings.extend(read_point(point))
        except _RefusedPoint as refused:
            inbox.rejected[str(refused)] += 1


_BUCKETED: Final = frozenset({"histogram", "exponential_histogram"})
_TEMPORAL: Final = _BUCKETED | {"sum"}


def _buckets(which: str, point: Any) -> int:
    """How many buckets a point brings, told before any is looked at."""
    if which == "histogram":
        return len(point.bucket_counts)
    return len(point.positive.bucket_counts) + len(point.negative.bucket_counts)


def _reader(which: str, data: Any, metric: _Metric) -> Callable[[Any], list[Reading]]:
    if which == "histogram":
        return partial(_distribution_point, metric, _explicit)
    if which == "exponential_histogram":
        return partial(_distribution_point, metric, _exponential)
    if which == "summary":
        return partial(_summary_point, metric)
    if which == "gauge" or (metric.cumulative and not data.is_monotonic):
        return partial(_number_point, metric._replace(cumulative=False), Kind.GAUGE)
    return partial(_number_point, metric, Kind.COUNTER)


def _reading(metric: _Metric, kind: Kind, point: Any, dimensions: Any, value: Any) -> Reading:
    started_ns, ended_ns = point.start_time_unix_nano, point.time_unix_nano
    if started_ns > TIME_NS_MAX or ended_ns > TIME_NS_MAX:
        raise _RefusedPoint("time")
    return Reading(
        metric.name,
        kind,
        dimensions,
        value,
        started_ns,
        ended_ns,
        metric.unit,
        metric.description,
        metric.scope,
        metric.cumulative,
    )


def _number_point(metric: _Metric, kind: Kind, point: Any) -> list[Reading]:
    which = point.WhichOneof("value")
    if which is None:
        raise _RefusedPoint("value")
    value = getattr(point, which)
    if not isfinite(value):
        raise _RefusedPoint("value")
    return [_reading(metric, kind, point, dimensions_of(point.attributes), value)]


def _distribution_point(
    metric: _Metric, distribution_of: Callable[[Any], Distribution], point: Any
) -> list[Reading]:
    if point.count > COUNT_MAX:
        raise _RefusedPoint("count")
    value = distribution_of(point)
    dims = dimensions_of(point.attributes)
    return [_reading(metric, Kind.DISTRIBUTION, point, dims, value)]


def _finished(point: Any, value: Distribution) -> Distribution:
    """With sum and extremes; a sum that was not sent is told from the buckets."""
    if point.HasField("sum"):
        total = _whole(point.sum)
    else:
        total = sum(estimate * count for estimate, count in value._ascending())
    if not isfinite(total):
        raise _RefusedPoint("value")
    return value._replace(
        total=total, minimum=_extreme(point, "min"), maximum=_extreme(point, "max")
    )


def _extreme(point: Any, name: str) -> float | None:
    if not point.HasField(name):
        return None
    value = getattr(point, name)
    return _whole(value) if isfinite(value) else None


def _whole(value: float) -> float:
    """Nanoseconds are whole numbers here; a float on the wire says so exactly up to 2**53."""
    return int(value) if abs(value) <= 2**53 and value.is_integer() else value


def _explicit(point: Any) -> Distribution:
    bounds, counts = tuple(point.explicit_bounds), point.bucket_counts
    if not all(map(isfinite, bounds)) or any(low >= high for low, high in pairwise(bounds)):
        raise _RefusedPoint("bounds")
    if (bounds or counts) and (len(counts) != len(bounds) + 1 or sum(counts) != point.count):
        raise _RefusedPoint("buckets")
    buckets = _filled(counts, 0) if bounds else {}
    value = Distribution(point.count, 0, None, None, buckets, bounds=bounds)
    return _finished(point, value)


def _exponential(point: Any) -> Distribution:
    scale = point.scale
    if not SCALE_MIN <= scale <= SCALE_MAX:
        raise _RefusedPoint("scale")
    if point.zero_count > COUNT_MAX:
        raise _RefusedPoint("count")
    value = Distribution(
        point.count,
        0,
        None,
        None,
        _side(point.positive, scale),
        point.zero_count,
        _side(point.negative, scale),
        scale,
    )
    counted = (point.zero_count, *value.buckets.values(), *value.negatives.values())
    if sum(counted) != point.count:
        raise _RefusedPoint("buckets")
    return _finished(point, value)


def _side(message: Any, scale: int) -> dict[int, int]:
    """Dense counts made sparse; all must lie where doubles are."""
    buckets = _filled(message.bucket_counts, message.offset)
    if buckets:
        octaves = 2.0**-scale  # a bucket's width
        lowest, highest = next(iter(buckets)), next(reversed(buckets))
        if lowest * octaves < -1076 or highest * octaves >= 1024:
            raise _RefusedPoint("buckets")
    return buckets


def _filled(counts: Any, offset: int) -> dict[int, int]:
    """The buckets that hold anything, in their order; dense counts are mostly zeros."""
    dense = counts[:]  # a list in one step
    if dense and max(dense) > COUNT_MAX:
        raise _RefusedPoint("count")
    return dict(compress(enumerate(dense, offset), dense))


def _summary_point(metric: _Metric, point: Any) -> list[Reading]:
    if point.count > COUNT_MAX:
        raise _RefusedPoint("count")
    dims = dimensions_of(point.attributes)
    gauge = metric._replace(cumulative=False)
    counted = metric._replace(name=f"{metric.name}.count", unit="1")
    summed = metric._replace(name=f"{metric.name}.sum")
    if not isfinite(point.sum):
        raise _RefusedPoint("value")
    found = [
        _reading(counted, Kind.COUNTER, point, dims, point.count),
        _reading(summed, Kind.COUNTER, point, dims, _whole(point.sum)),
    ]
    for quantile in point.quantile_values:
        if isfinite(quantile.value):
            named = {**dict(dims), "quantile": repr(quantile.quantile)}
            pairs = tuple(sorted(named.items()))
            found.append(_reading(gauge, Kind.GAUGE, point, pairs, quantile.value))
    return found
