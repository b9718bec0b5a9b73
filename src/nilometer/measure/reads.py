"""Reading one gauge's `read=`: the service's own code, which may raise, and may hang.

Whoever collects calls each; the pump does so in a thread that it does not wait for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nilometer.measure.family import Instrument
    from nilometer.measure.pure import Gauge


class GaugeRead:
    """One gauge to be read. `key` is the same at each collect."""

    __slots__ = ("_lost", "_read", "_series", "key", "name")

    def __init__(
        self,
        lost: Callable[[str, str], None],
        key: Gauge,
        series: Gauge,
        read: Callable[[], float | None],
    ) -> None:
        self._lost = lost
        self._series = series
        self._read = read
        self.key = key
        self.name = key.name

    def __call__(self) -> None:
        """Read it. Raises KeyboardInterrupt alone: that may be meant for who collects."""
        try:
            value = self._read()
            if value is None:
                self._series.reset()
            else:
                self._series.set(value)
        except KeyboardInterrupt:
            self._failed("read_failed")
            raise
        except BaseException:  # noqa: BLE001 (a gauge's fault must not stop the others)
            self._failed("read_failed")

    def missed(self) -> None:
        """Say that it was not read in time: it has no value then, and that is counted."""
        self._failed("read_hangs")

    def _failed(self, reason: str) -> None:
        self._series.reset()
        self._lost("gauge", reason)


def reads_of(
    instruments: Iterable[Instrument], lost: Callable[[str, str], None]
) -> list[GaugeRead]:
    """Return what is to be called for the gauges that are on and read something."""
    found = []
    for instrument in instruments:
        if instrument.kind != "gauge" or not instrument.family.on:
            continue
        for series in [*instrument.handles.values(), *instrument.series.values()]:
            read = series.read
            if read is not None:
                held = instrument.thread_child(series) if instrument.per_thread else series
                found.append(GaugeRead(lost, series, held, read))
    return found
