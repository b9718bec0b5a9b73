"""DropWizard's JSON of metrics and of health checks, in the shapes of its versions 3.1 to 3.2.

Counters are its meters, timers its timers, other distributions its histograms. Of several
series under one name counts and rates are added up, distributions merged, gauges added up.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.model import Distribution, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nilometer.wire.dropwizard_names import Name, Names
    from nilometer.wire.dropwizard_totals import Moving, Total

VERSION: Final = "3.1.3"
"""What the library writes from its 3.1.3 to 3.2.6: of the shape, not of the program."""

SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
"""Units of time: distributions of these are timers, all others histograms."""

SECTIONS: Final = ("gauges", "counters", "histograms", "meters", "timers")

QUANTILES: Final = {
    "p50": 0.5,
    "p75": 0.75,
    "p95": 0.95,
    "p98": 0.98,
    "p99": 0.99,
    "p999": 0.999,
}

MEDIA_TYPE: Final = "application/json"
UNCACHED: Final = "must-revalidate,no-cache,no-store"

_EMPTY: Final = re.compile(r"\{\}(?=,?$)", re.MULTILINE)


class _Metric(NamedTuple):
    kind: Kind
    unit: str
    value: int | float | Distribution
    rates: Moving


def document(totals: Iterable[Total], names: Names, elapsed_s: float) -> dict[str, Any]:
    """All of `/metrics`; `elapsed_s` is how long it has been counted."""
    found: dict[str, dict[str, _Metric]] = {section: {} for section in SECTIONS}
    for total in totals:
        name = names.of(total.name, total.dimensions)
        one = _Metric(total.kind, total.unit, total.value, total.rates)
        section = found[_section(one, name)]
        known = section.get(name.text)
        section[name.text] = one if known is None else _both(known, one)
    made: dict[str, Any] = {"version": VERSION}
    for section_name, metrics in found.items():
        told = sorted(metrics.items())
        made[section_name] = {n: _told(section_name, one, elapsed_s) for n, one in told}
    return made


def _section(one: _Metric, name: Name) -> str:
    if one.kind is Kind.GAUGE:
        return "gauges"
    if one.kind is Kind.COUNTER:
        return "counters" if name.is_counter else "meters"
    return "timers" if one.unit in SECONDS else "histograms"


def _both(one: _Metric, other: _Metric) -> _Metric:
    value, more, unit = one.value, other.value, one.unit
    if isinstance(value, Distribution) and isinstance(more, Distribution):
        if unit != other.unit and {unit, other.unit} <= SECONDS.keys():
            value, more = value.times(SECONDS[unit]), more.times(SECONDS[other.unit])
            unit = "s"
        value = value.joined(more)
    elif not isinstance(value, Distribution) and not isinstance(more, Distribution):
        value += more
    (one_a, five_a, fifteen_a), (one_b, five_b, fifteen_b) = one.rates, other.rates
    rates = (one_a + one_b, five_a + five_b, fifteen_a + fifteen_b)
    return one._replace(value=value, unit=unit, rates=rates)


def _told(section: str, one: _Metric, elapsed_s: float) -> dict[str, Any]:
    value = one.value
    if isinstance(value, Distribution):
        if section == "histograms":
            return {"count": value.samples, **_snapshot(value, 0)}
        told = {"count": value.samples, **_snapshot(value, SECONDS[one.unit])}
        units = {"duration_units": "seconds", "rate_units": "calls/second"}
        return {**told, **_rates(one.rates, value.samples, elapsed_s), **units}
    if section == "gauges":
        return {"value": value} if isfinite(value) else {"error": f"the value is {value}"}
    count = int(value) if isfinite(value) else 0
    if section == "counters":
        return {"count": count}
    rates = _rates(one.rates, count, elapsed_s)
    return {"count": count, **rates, "units": "events/second"}


def _rates(rates: Moving, count: int, elapsed_s: float) -> dict[str, float]:
    mean = count / elapsed_s if elapsed_s > 0 else 0.0
    return {
        "m15_rate": rates[2],
        "m1_rate": rates[0],
        "m5_rate": rates[1],
        "mean_rate": mean,
    }


def _snapshot(value: Distribution, seconds: float) -> dict[str, float]:
    """What DropWizard's snapshot tells; times in seconds, all else (of 0) as it was given."""
    told = {
        "max": value.maximum or 0,
        "mean": float(value.average or 0.0),
        "min": value.minimum or 0,
        **{name: float(value.quantile(q) or 0.0) for name, q in QUANTILES.items()},
        "stddev": value.deviation,
    }
    told = {name: one if isfinite(one) else 0.0 for name, one in told.items()}
    return {name: one * seconds for name, one in told.items()} if seconds else told


def health(checks: Mapping[str, tuple[bool, str]]) -> dict[str, Any]:
    """All of `/healthcheck`, from whether each is well and why not."""
    return {
        name: {"healthy": healthy, **({"message": because} if because else {})}
        for name, (healthy, because) in sorted(checks.items())
    }


def health_status(checks: Mapping[str, tuple[bool, str]]) -> int:
    """The status of that answer: 501 says that nothing is checked, as DropWizard does."""
    if not checks:
        return 501
    return 200 if all(healthy for healthy, _ in checks.values()) else 500


def encode(answer: Mapping[str, Any], *, pretty: bool) -> bytes:
    """The bytes, laid out as Java's writer does it.

    >>> encode({"a": {"b": 1}, "c": {}}, pretty=False)
    b'{"a":{"b":1},"c":{}}'
    >>> print(encode({"a": {"b": 1}, "c": {}}, pretty=True).decode())
    {
      "a" : {
        "b" : 1
      },
      "c" : { }
    }
    """
    if not pretty:
        return json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode(
            errors="replace"
        )
    text = json.dumps(answer, indent=2, separators=(",", " : "), ensure_ascii=False)
    return _EMPTY.sub("{ }", text).encode(errors="replace")
