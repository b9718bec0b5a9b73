"""OSProfiler's starts and stops that did not come together: events, until a pair is a span."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from nilometer.store.limits import MARGIN_NS, POINTS, POINTS_MAX, TooMuch, ends
from nilometer.store.rows import events_of, spans_of

if TYPE_CHECKING:
    from nilometer.model import Event, Resource, SpanRecord
    from nilometer.store.broken import Forgiving
    from nilometer.store.reading import Row, Wanted

TIMES: Final = (1, 2, 4, 8)
"""So often spans may have come, on the average, that are looked through."""


class Points:
    """What a reader answers about them."""

    _questions: Forgiving

    def lone_points(self, since_ns: int) -> list[Event]:
        """Those since then that wait for the other of their pair, oldest first."""
        values = {"since_ns": since_ns, "margin_ns": MARGIN_NS, "rows_max": POINTS_MAX}
        wanted: Wanted = {"at_ns": (since_ns, None), "name": POINTS}
        rows = self._questions.ask("lone_points", "events", wanted, values)
        return [event for _, event in reversed(events_of(rows))]

    def trace_points(self, trace_id: str) -> list[Event]:
        """Those of a trace (32 hex digits), oldest first."""
        values = {"trace_id": trace_id, "rows_max": POINTS_MAX}
        rows = self._questions.ask("trace_points", "events", {"name": POINTS}, values)
        return [event for _, event in events_of(rows)]

    def spans_between(
        self, since_ns: int | None, until_ns: int | None, *, latest: bool, limit: int
    ) -> list[tuple[Resource, SpanRecord]]:
        """Spans of any trace that ran in that time, at most so many, each once: those that
        ended last first, or, if not `latest`, those that started first."""
        since, last = ends(since_ns, until_ns)
        values: Row = {"since_ns": since, "last_ns": last, "latest": latest}
        wanted: Wanted = {"started_ns": (None, last)}
        for times in TIMES:
            values["rows_max"] = limit * times
            rows = self._questions.ask("spans_between", "spans", wanted, values)
            first: dict[tuple[str, str], Row] = {}
            for row in rows:
                first.setdefault((row["trace_id"], row["span_id"]), row)
            # Where some came again there may be others behind them.
            if len(first) >= limit or len(rows) < limit * times:
                return spans_of(islice(first.values(), limit))
        raise TooMuch(
            f"the spans of this time came more than {TIMES[-1]} times each",
            "ask for less time, or for one trace",
            "since",
        )
