"""What the tables answer: traces, and what instruments measured.

Times are whole nanoseconds since 1970; `since_ns` is in, `until_ns` is out, None leaves an end
open. A question whose answer would be too large is refused with StoreError, never cut in
silence, where a cut answer would be wrong; lists say with `limit` how much they give.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

from nilometer.store.limits import ends
from nilometer.store.measured import Measured
from nilometer.store.notices import Notices
from nilometer.store.places import Place
from nilometer.store.points import Points
from nilometer.store.presence import Presences
from nilometer.store.reading import MEMORY_MAX, Wanted
from nilometer.store.rolled import Rolling
from nilometer.store.rows import events_of, rejected_of
from nilometer.store.runs import History
from nilometer.store.traces import Traces

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nilometer.model import Event, Rejected, Resource
    from nilometer.store.broken import Broken

HISTORY_MEMORY_MAX: Final = "500MB"
"""What reading measured runs may use beside all other questions: 2,000 runs of 400 counters are
800,000 rows of some 300 bytes."""


class Reader(Traces, Measured, Presences, Points, Notices):
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
        history = self._history
        return self._questions.broken() + list(history.broken if history is not None else ())

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
