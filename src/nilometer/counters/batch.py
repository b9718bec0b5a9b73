"""Counters as readings, for exporters: of a document, of a difference, of a measured run."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.model import Batch, Event, Kind, Reading, Resource
from nilometer.model.dimensions import dimensions_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nilometer.counters.document import Document
    from nilometer.counters.figures import Number
    from nilometer.model.dimensions import AttributeValue, Dimensions
    from nilometer.model.run import BackendRead, Count, Run

SERVICE: Final = "counters"
TEST_RUN: Final = "testrun"  # how long it took; the name that os-performance-tools gave it
RUN: Final = "measure.run"  # the event that says which run the readings are of
NS_PER_S: Final = 10**9
SECONDS_MAX: Final = 2**63 // NS_PER_S  # the year 2262; protocols have 63 bits for nanoseconds
WHOLE_MAX: Final = 2**63 - 1  # of integers in protocols; what is larger goes as a float


class Sendable(NamedTuple):
    """A batch, and what is not in it: each counter's name, with the reason."""

    batch: Batch
    left_out: tuple[str, ...] = ()


class _Span(NamedTuple):
    """Between which moments counters moved, by the wall clock."""

    started_ns: int
    ended_ns: int
    is_move: bool  # else they are what servers counted since they started


def batch_of(document: Document, *, wall_ns: int, parts: bool = False) -> Sendable:
    """The counters of a document, named ``[prefix.]backend.counter``.

    Those of a difference are how far they moved, and ``testrun`` is its time in nanoseconds;
    those of a snapshot count from the server's start, and are cumulative. Where the clock was
    set back meanwhile there is no ``testrun``. A document that says no time is taken for a
    difference that ended at `wall_ns`. What went back is left out.
    """
    told = document.told
    until, since_s = _seconds(told.get("unixtime")), _seconds(told.get("delta_seconds"))
    ended_ns = wall_ns if until is None else until
    is_move = until is None or document.is_move
    span = _Span(ended_ns - (since_s or 0), ended_ns, is_move)
    prefix = f"{told['prefix']}." if isinstance(told.get("prefix"), str) else ""
    readings: list[Reading] = []
    left_out = [f"{prefix}{name}: it is not a number" for name in _no_numbers(told)]
    if since_s is not None:
        readings.append(_duration(prefix + TEST_RUN, since_s, span))
    for key in sorted({*document.totals, *(document.parts if parts else ())}):
        gauges = _gauges(told, key)
        for counter, dimensions, value in _values(document, key, parts=parts):
            kind = Kind.GAUGE if counter in gauges else Kind.COUNTER
            made = _reading(prefix, key, counter, dimensions, value, kind, "1", span)
            if isinstance(made, Reading):
                readings.append(made)
            else:
                left_out.append(made)
    return Sendable(Batch(Resource(SERVICE), tuple(readings)), tuple(left_out))


def _values(
    document: Document, key: str, *, parts: bool
) -> Iterator[tuple[str, Mapping[str, str], Number]]:
    for counter, value in document.totals.get(key, {}).items():
        yield counter, {}, value
    if parts:
        yield from document.parts.get(key, ())


def _no_numbers(told: Mapping[str, Any]) -> list[str]:
    """The counters that were passed over when the document was read."""
    names = told.get("left_out")
    return [n for n in names if isinstance(n, str)] if isinstance(names, list) else []


def _gauges(told: Mapping[str, Any], key: str) -> frozenset[str]:
    backends = told.get("backends")
    about = backends.get(key) if isinstance(backends, dict) else None
    gauges = about.get("gauges") if isinstance(about, dict) else None
    return (
        frozenset(g for g in gauges if isinstance(g, str))
        if isinstance(gauges, list)
        else frozenset()
    )


def batch_of_run(run: Run, *, parts: bool = False) -> Sendable:
    """What a measured run moved, named ``backend.counter``, and an event that tells the run.

    What is not known of a run is left out, with its reason.
    """
    span = _Span(run.started_ns, run.ended_ns, is_move=True)
    left_out = [f"{b.name}: {b.because}" for b in run.backends if b.because]
    readings = [_duration(TEST_RUN, run.wall_ns, span)]
    for count in run.counts:
        if count.dimensions and not parts:
            continue
        made = _of_count(count, span)
        if isinstance(made, Reading):
            readings.append(made)
        else:
            left_out.append(made)
    resource = Resource(
        run.suite or SERVICE,
        run.host,
        version=run.revision,
        attributes=(("vcs.ref.head.name", run.branch),) if run.branch else (),
    )
    return Sendable(Batch(resource, tuple(readings), events=(_event(run),)), tuple(left_out))


def _of_count(count: Count, span: _Span) -> Reading | str:
    if count.delta is None:
        return f"{count.backend}.{count.counter}: {count.because}"
    dimensions = dict(count.dimensions)
    return _reading(
        "", count.backend, count.counter, dimensions, count.delta, count.kind, count.unit, span
    )


def _event(run: Run) -> Event:
    attributes: dict[str, AttributeValue] = {
        **run.attributes,
        "run.id": run.id,
        "suite": run.suite,
        "test_set": run.test_set,
        "work": run.work,
        **_versions(run.backends),
    }
    if run.exit_status is not None:
        attributes["exit_status"] = run.exit_status
    if run.because:
        attributes["because"] = run.because
    return Event(RUN, run.ended_ns, attributes, body=f"run {run.id} of {run.suite}")


def _versions(backends: Iterable[BackendRead]) -> dict[str, AttributeValue]:
    return {f"{one.name}.version": one.version for one in backends if one.version}


def _duration(name: str, elapsed_ns: int, span: _Span) -> Reading:
    return Reading(name, Kind.GAUGE, (), elapsed_ns, span.started_ns, span.ended_ns, "ns")


def _reading(
    prefix: str,
    key: str,
    counter: str,
    dimensions: Mapping[str, str],
    value: Number,
    kind: Kind,
    unit: str,
    span: _Span,
) -> Reading | str:
    """One reading, or why there is none. Of two backends of a kind each says where it is."""
    backend, _, instance = key.partition("@")
    name = f"{prefix}{backend}.{counter}"
    if isinstance(value, float) and not isfinite(value):
        return f"{name}: {value} is not a number"
    if value < 0 and kind is Kind.COUNTER:
        return f"{name}: it went back by {-value}"
    if isinstance(value, int) and abs(value) > WHOLE_MAX:
        try:
            value = float(value)
        except OverflowError:
            return f"{name}: its value has too many digits"
    pairs: Dimensions = dimensions_of(
        {**dimensions, **({"instance": instance} if instance else {})}
    )
    return Reading(
        name,
        kind,
        pairs,
        value,
        span.started_ns if span.is_move else 0,
        span.ended_ns,
        unit,
        cumulative=not span.is_move and kind is Kind.COUNTER,
    )


def _seconds(value: object) -> int | None:
    """A time of a document in whole nanoseconds; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return int(value * NS_PER_S) if 0 <= value < SECONDS_MAX else None
