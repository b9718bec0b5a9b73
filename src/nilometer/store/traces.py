"""What the tables answer about traces: one, many found by what one knows of them, and how long
those took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict

from nilometer.store.jsontext import encode
from nilometer.store.limits import (
    NS_PER_DAY,
    SPANS_MAX,
    TIME_MAX,
    TIME_MIN,
    TRACES_MAX,
    ends,
    within_64_bits,
)
from nilometer.store.rows import spans_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from nilometer.model import Resource, SpanRecord
    from nilometer.store.broken import Forgiving
    from nilometer.store.reading import Row, Wanted


class TraceSummary(NamedTuple):
    """One trace: `root` is the name of its first span, if possible the one without a parent."""

    id: str
    root: str
    service: str
    started_ns: int
    duration_ns: int
    spans: int
    errors: int


class Sought(TypedDict, total=False):
    """What is known of traces that are looked for; None is as if it were not there.

    Those with a span that started in that time. The rest holds for a trace as a whole: that a
    span, whenever it started, is of that service, name, kind and request id and has these
    attributes, by their text (one span all of these; `request_id` is the span attribute of that
    name), and itself took at least `min_span_ns` and less than `max_span_ns`; that the trace
    took at least `min_duration_ns` and less than `max_duration_ns`, and has errors or none.
    """

    service: str | None
    name: str | None
    since_ns: int | None
    until_ns: int | None
    min_duration_ns: int | None
    max_duration_ns: int | None
    kind: str | None
    min_span_ns: int | None
    max_span_ns: int | None
    error: bool | None
    request_id: str | None
    attributes: Mapping[str, str] | None


class Took(NamedTuple):
    """So many traces took `from_ns` or longer, but less than the next; `failed` of them had
    errors."""

    from_ns: int
    traces: int
    failed: int


STEPS_NS: Final = (
    0,
    *(lead * 10**power // 10 for power in range(3, 16) for lead in (10, 15, 20, 30, 50, 70)),
)
"""Where the bars of durations begin: six a decade, from 100 ns to eleven days."""


class Traces:
    """What a reader answers about them."""

    _questions: Forgiving

    def trace(
        self, trace_id: str, *, limit: int = SPANS_MAX
    ) -> list[tuple[Resource, SpanRecord]]:
        """The spans of a trace (32 hex digits), oldest first, at most so many; empty if there
        is none."""
        wanted = {"trace_id": (trace_id, trace_id)}
        values = {"trace_id": trace_id, "rows_max": limit}
        rows = self._questions.ask("trace", "spans", wanted, values)
        found = _each_once(rows)
        if len(found) < len(rows) == limit:  # some came again, and others are behind them
            rows = self._questions.ask("trace_once", "spans", wanted, values)
            found = _each_once(rows)
        return found

    def traces(self, ids: Sequence[str]) -> dict[str, list[tuple[Resource, SpanRecord]]]:
        """The same of several, by id; those with fewest spans first, as long as all together
        have no more than one may have."""
        if not ids:
            return {}
        wanted = {"trace_id": (min(ids), max(ids))}
        values = {"ids": list(ids), "rows_max": SPANS_MAX}
        found: dict[str, list[Row]] = {}
        for row in self._questions.ask("some_traces", "spans", wanted, values):
            found.setdefault(row["trace_id"], []).append(row)
        return {trace_id: _each_once(rows) for trace_id, rows in found.items()}

    def find_traces(self, *, limit: int = 100, **sought: Unpack[Sought]) -> list[TraceSummary]:
        """The traces that are as sought, each with all its spans summed up, latest first."""
        since, last = ends(sought.get("since_ns"), sought.get("until_ns"))
        met: Row = {"since_ns": since, "last_ns": last, "rows_max": max(0, limit)}
        values = _values(sought)
        if values != _values({}):
            rows = self._questions.ask(
                "chosen_traces",
                "spans",
                self._around(since, last),
                met | values,
                heads=("chosen",),
            )
        else:
            rows = self._questions.ask(
                "latest_traces", "spans", {"started_ns": (since, last)}, met
            )
        return self._summed_up([row["trace_id"] for row in rows], since, last)

    def alike(
        self, span: tuple[Resource, SpanRecord], *, since_ns: int, until_ns: int, limit: int
    ) -> list[str]:
        """The ids of other traces with a span of that service and name in that time, nearest to
        the start of this one first; before all, those that begin with it, as this one does."""
        resource, here = span
        since, last = ends(since_ns, until_ns)
        values: Row = {"since_ns": since, "last_ns": last, "rows_max": max(0, limit)}
        values |= {"name": here.name, "service": resource.service, "at_ns": here.started_ns}
        values |= {"trace_id": here.trace_id.hex()}
        question = "alike_below"  # looks for the parent of each: only where one is named
        if not any(here.parent_id):
            question = "alike"
        rows = self._questions.ask(question, "spans", {"started_ns": (since, last)}, values)
        return [row["trace_id"] for row in rows]

    def summaries(
        self, ids: Sequence[str], *, since_ns: int, until_ns: int
    ) -> list[TraceSummary]:
        """These traces, which have a span of that time, each summed up, latest first."""
        return self._summed_up(ids, *ends(since_ns, until_ns))

    def _summed_up(self, ids: Sequence[str], since: int, last: int) -> list[TraceSummary]:
        if not ids:
            return []
        wanted = {"trace_id": (min(ids), max(ids)), **self._around(since, last)}
        rows = self._questions.ask("traces", "spans", wanted, {"ids": list(ids)})
        return [TraceSummary(**row) for row in rows]

    def durations(self, **sought: Unpack[Sought]) -> list[Took]:
        """How long the traces that are as sought took, by STEPS_NS; those that none took are
        left out. TRACES_MAX are looked through, as by `find_traces`."""
        since, last = ends(sought.get("since_ns"), sought.get("until_ns"))
        values = {"since_ns": since, "last_ns": last, "steps": list(STEPS_NS)}
        rows = self._questions.ask(
            "durations",
            "spans",
            self._around(since, last),
            values | _values(sought),
            heads=("chosen",),
        )
        return [Took(**row) for row in rows]

    def _around(self, since: int, last: int) -> Wanted:
        """Where the other spans of traces met in that time are looked for: everywhere, but of
        an object store, whose files are fetched whole, not in those of other days."""
        if self._questions.place.path is not None:
            return {}
        return {
            "started_ns": (
                max(TIME_MIN, since - NS_PER_DAY),
                min(TIME_MAX, last + NS_PER_DAY),
            )
        }


def _each_once(rows: Sequence[Row]) -> list[tuple[Resource, SpanRecord]]:
    # Here and not in SQL: a window over whole rows took as long again as all the rest.
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row["span_id"], row)
    return spans_of(first.values())


def _values(sought: Sought) -> Row:
    """What the question about traces needs to know, but for the time."""
    attributes = sought.get("attributes") or {}
    return {
        **{key: sought.get(key) for key in ("service", "name", "kind", "request_id", "error")},
        "min_duration_ns": within_64_bits(sought.get("min_duration_ns") or 0),
        "max_duration_ns": _bounded(sought.get("max_duration_ns")),
        "min_span_ns": _bounded(sought.get("min_span_ns")),
        "max_span_ns": _bounded(sought.get("max_span_ns")),
        "needle": next((f"{encode(key)}:" for key in attributes), None),
        "paths": [_path(key) for key in attributes] or None,
        "texts": list(attributes.values()) or None,
        "looked_max": TRACES_MAX,
    }


def _bounded(ns: int | None) -> int | None:
    return None if ns is None else within_64_bits(ns)


def _path(key: str) -> str:
    """An attribute as a JSON pointer.

    >>> _path("http.route/~")
    '/http.route~1~0'
    """
    return "/" + key.replace("~", "~0").replace("/", "~1")
