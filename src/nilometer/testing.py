"""The test kit, for the users' tests and ours: time that stands still, batches in memory.

from nilometer.testing import capture

def test_an_order_is_counted():
    with capture() as captured:
        place_order()

    assert captured.total("orders.placed") == 1
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.clock import Clock
from nilometer.model import Batch, Distribution, Event, Reading, Resource, SpanRecord

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

EPOCH_NS = 1_700_000_000 * 10**9


class FakeTime:
    """Time that moves only when told to, or when somebody sleeps.

    >>> fake = FakeTime()
    >>> fake.clock.sleep_s(2.5)
    >>> fake.clock.elapsed_ns(), fake.slept_s
    (2500000000, [2.5])
    """

    def __init__(self, wall_ns: int = EPOCH_NS) -> None:
        self._elapsed_ns = 0
        self._wall_ns = wall_ns
        self.slept_s: list[float] = []
        self.clock = Clock(lambda: self._elapsed_ns, lambda: self._wall_ns, self._sleep)

    def advance(self, seconds: float) -> None:
        """Let that much time pass on both clocks."""
        self._elapsed_ns += round(seconds * 1e9)
        self._wall_ns += round(seconds * 1e9)

    def step_wall(self, seconds: float) -> None:
        """Correct the wall clock, as ntpd does; the monotonic one does not notice."""
        self._wall_ns += round(seconds * 1e9)

    def _sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.advance(seconds)


class MemoryExporter:
    """An exporter that keeps every batch; told to `fail_with` an error, it raises that."""

    def __init__(self, *, waits: bool = False) -> None:
        self.waits = waits
        self.batches: list[Batch] = []
        self.fail_with: Exception | None = None
        self.calls = 0
        self.closed = 0

    def __call__(self, batch: Batch, /) -> None:
        self.calls += 1
        if self.fail_with is not None:
            raise self.fail_with
        self.batches.append(batch)

    def close(self) -> None:
        """Only counts."""
        self.closed += 1


class Captured:
    """What was measured inside a ``with capture()``; it may be read inside and afterwards."""

    def __init__(self) -> None:
        self._readings: list[Reading] = []
        self._spans: list[SpanRecord] = []
        self._events: list[Event] = []
        self._open = False

    def __enter__(self) -> Self:
        _drain()  # what was measured before is not ours
        self._open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.take()
        self._open = False

    def take(self) -> None:
        """Take in what was measured since the last look; reading does it by itself."""
        if self._open:
            readings, spans, events = _drain()
            self._readings += readings
            self._spans += spans
            self._events += events

    @property
    def readings(self) -> tuple[Reading, ...]:
        """All readings so far, several per series if there were several looks."""
        self.take()
        return tuple(self._readings)

    @property
    def spans(self) -> tuple[SpanRecord, ...]:
        """All spans finished so far."""
        self.take()
        return tuple(self._spans)

    @property
    def events(self) -> tuple[Event, ...]:
        """All events so far."""
        self.take()
        return tuple(self._events)

    def batch(self, resource: Resource | None = None) -> Batch:
        """Everything so far as one batch."""
        return Batch(resource or Resource(), self.readings, self.spans, self.events)

    def total(self, name: str, /, **dimensions: object) -> float | Distribution | None:
        """One instrument's value: counters added up, gauges the last, distributions merged.

        Over all series that have at least these dimensions; None if there is none.
        """
        wanted = {(key, str(value)) for key, value in dimensions.items()}
        total: float | Distribution | None = None
        for reading in self.readings:
            if reading.name == name and wanted <= set(reading.dimensions):
                total = _combined(total, reading)
        return total


def capture() -> Captured:
    """Catch what this process measures, ``with capture() as captured:``.

    It drains in the pump's place while it is open, so do not `configure` in such a test.
    """
    return Captured()


def _drain() -> tuple[tuple[Reading, ...], tuple[SpanRecord, ...], tuple[Event, ...]]:
    from nilometer.measure import REGISTRY
    from nilometer.trace import drain_spans

    readings, events = REGISTRY.collect()
    return readings, drain_spans(), events


def _combined(total: float | Distribution | None, reading: Reading) -> float | Distribution:
    value = reading.value
    if isinstance(value, Distribution):
        return total.merged(value) if isinstance(total, Distribution) else value
    if reading.kind.value == "counter" and isinstance(total, int | float):
        return total + value
    return value
