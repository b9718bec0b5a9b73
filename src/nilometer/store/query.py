"""What the tables answer: traces, and what instruments measured.

Times are whole nanoseconds since 1970; `since_ns` is in, `until_ns` is out, None leaves an end
open. A question whose answer would be too large is refused with StoreError, never cut in
silence, where a cut answer would be wrong; lists say with `limit` how much they give.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.store.limits import (
    NS_PER_DAY,
    SPANS_MAX,
    TIME_MAX,
    TIME_MIN,
    TRACES_MAX,
    ends,
    within_64_bits,
)
from nilometer.store.measured import Measured
from nilometer.store.notices import Notices
from nilometer.store.places import Place
from nilometer.store.points import Points
from nilometer.store.reading import MEMORY_MAX, Row, Wanted
from nilometer.store.rolled import Rolling
from nilometer.store.rows import events_of, rejected_of, spans_of
from nilometer.store.runs import History

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nilometer.model import Event, Rejected, Resource, SpanRecord
    from nilometer.store.broken import Broken

HISTORY_MEMORY_MAX: Final = "500MB"
"""What reading measured runs may use beside all other questions: 2,000 runs of 400 counters are
800,000 rows of some 300 bytes."""


class TraceSummary(NamedTuple):
    """One trace: `root` is the name of its first span, if possible the one without a parent."""

    id: str
    root: str
    service: str
    started_ns: int
    duration_ns: int
    spans: int
    errors: int


class Reader(Measured, Points, Notices):
    """The tables at one place, to be asked. Any thread may ask, while any process writes."""

    def __init__(
        self,
        location: str | Path,
        *,
        storage_options: Mapping[str, str] | None = None,
        memory_max: str = MEMORY_MAX,
    ) -> None:
        self._questions = Rolling(Place.of(location, storage_options), memory_max=memory_max)
        self._history: History | None = None
        self._lock = Lock()

    def close(self) -> None:
        """Give the memory back; nothing can be asked after."""
        with self._lock:
            if self._history is not None:
                self._history.close()
        self._questions.close()

    def history(self) -> History:
        """The measured runs at the same place; opened when first asked for, closed with this.

        Any thread may read of it. Raises StoreError.
        """
        with self._lock:
            if self._history is None:
                place = self._questions.place
                self._history = History(place, memory_max=HISTORY_MEMORY_MAX)
            return self._history

    def broken(self) -> list[Broken]:
        """The files that cannot be read, as far as questions met them: they are passed over."""
        return self._questions.broken()

    # ---- traces ------------------------------------------------------------------------------

    def trace(self, trace_id: str) -> list[tuple[Resource, SpanRecord]]:
        """All spans of a trace (32 hex digits), oldest first; empty if there is none."""
        wanted = {"trace_id": (trace_id, trace_id)}
        values = {"trace_id": trace_id, "rows_max": SPANS_MAX}
        rows = self._questions.ask("trace", "spans", wanted, values)
        # Here and not in SQL: a window over whole rows took as long again as all the rest.
        first: dict[str, Row] = {}
        for row in rows:
            first.setdefault(row["span_id"], row)
        return spans_of(first.values())

    def find_traces(
        self,
        *,
        service: str | None = None,
        name: str | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        min_duration_ns: int | None = None,
        error: bool | None = None,
        request_id: str | None = None,
        limit: int = 100,
    ) -> list[TraceSummary]:
        """The traces with a span that started in that time, each summed up with all its spans;
        the latest first.

        The rest holds for a trace as a whole: that a span, whenever it started, is of that
        service, name and request id (one span all of these; `request_id` is the span attribute
        of that name), that it took at least so long, and has errors or none.
        """
        since, last = ends(since_ns, until_ns)
        met: Row = {"since_ns": since, "last_ns": last, "rows_max": max(0, limit)}
        asked = {"service": service, "name": name, "request_id": request_id, "error": error}
        if min_duration_ns or any(value is not None for value in asked.values()):
            duration_ns = within_64_bits(min_duration_ns or 0)
            met |= {**asked, "min_duration_ns": duration_ns, "looked_max": TRACES_MAX}
            rows = self._questions.ask("chosen_traces", "spans", self._around(since, last), met)
        else:
            rows = self._questions.ask(
                "latest_traces", "spans", {"started_ns": (since, last)}, met
            )
        if not rows:
            return []
        ids = [row["trace_id"] for row in rows]
        wanted = {"trace_id": (min(ids), max(ids)), **self._around(since, last)}
        summaries = self._questions.ask("traces", "spans", wanted, {"ids": ids})
        return [TraceSummary(**row) for row in summaries]

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

    def events(
        self,
        *,
        name: str | None = None,
        service: str | None = None,
        trace_id: str | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 1000,
    ) -> list[tuple[Resource, Event]]:
        """The events of that name, service, trace and time; the latest first."""
        since, last = ends(since_ns, until_ns)
        values = {
            "name": name,
            "service": service,
            "trace_id": trace_id,
            "since_ns": since,
            "last_ns": last,
            "rows_max": max(0, limit),
        }
        wanted = {"at_ns": (since, last), "name": (name, name)}
        return events_of(self._questions.ask("events", "events", wanted, values))

    def rejected(
        self, *, since_ns: int | None = None, until_ns: int | None = None, limit: int = 1000
    ) -> list[tuple[Resource, Rejected]]:
        """What came in that time and could not be read; the latest first, each once."""
        since, last = ends(since_ns, until_ns)
        values = {"since_ns": since, "last_ns": last, "rows_max": max(0, limit)}
        wanted: Wanted = {"at_ns": (since, last)}
        return rejected_of(self._questions.ask("rejected", "rejected", wanted, values))
