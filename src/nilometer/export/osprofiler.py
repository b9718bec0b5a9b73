"""Spans for a notifier of OSProfiler's: its drivers, or a function that a service set.

They are told by the pump, after the request: what such a driver does takes a round trip to its
store for each start and each stop, and it may raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.export.exporter import Undelivered
from nilometer.wire.osprofiler import payloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.model import Batch

    Notifier = Callable[[dict[str, Any]], object]


class Notifying:
    """Tells the notifier that ``get()`` answers of each span, twice: its start and its stop."""

    waits: Final = True
    takes: Final = ("spans",)

    def __init__(self, get: Callable[[], Notifier]) -> None:
        self._get = get

    def __call__(self, batch: Batch, /) -> None:
        notify = self._get()
        for at, span in enumerate(batch.spans):
            duration_ns = max(0, span.ended_ns - span.started_ns)
            try:
                for payload in payloads(span, batch.resource, duration_ns):
                    notify(payload)
            except Exception as error:
                left = batch._replace(spans=batch.spans[at:])
                raise Undelivered(f"{type(error).__name__}: {error}", left=left) from error

    def close(self) -> None:
        """The notifier is the service's."""
