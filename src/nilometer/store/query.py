"""What the tables answer: traces, and what instruments measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.store.places import Place
from nilometer.store.reading import MEMORY_MAX, Questions
from nilometer.store.rows import spans_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nilometer.model import Resource, SpanRecord

SPANS_MAX: Final = 100_000
"""Of one trace; ten times what a trace may record by default."""


class Reader:
    """The tables at one place, to be asked. Any thread may ask, while any process writes."""

    def __init__(
        self,
        location: str | Path,
        *,
        storage_options: Mapping[str, str] | None = None,
        memory_max: str = MEMORY_MAX,
    ) -> None:
        self._questions = Questions(Place.of(location, storage_options), memory_max=memory_max)

    def close(self) -> None:
        """Give the memory back; nothing can be asked after."""
        self._questions.close()

    def trace(self, trace_id: str) -> list[tuple[Resource, SpanRecord]]:
        """All spans of a trace (32 hex digits), oldest first; empty if there is none."""
        wanted = {"trace_id": (trace_id, trace_id)}
        values = {"trace_id": trace_id, "rows_max": SPANS_MAX}
        return spans_of(self._questions.ask("trace", "spans", wanted, values))
