"""monasca-statsd's API, on our instruments: what it says once per call, we add up and say once.

    from nilometer.monasca import Client          # was: from monascastatsd import Client

    client = Client("persister", dimensions={"service": "monitoring"})
    received = client.get_counter("received")

Monasca's agent keeps of timers and gauges the last value of each of its intervals; sums,
extremes and counts are right only where they were added up before. Values go wherever the
process exports to; where nothing is configured, to the statsd that the client names. Times are
given in seconds, as there, and kept in ns. A sample rate leaves nothing out: what it saves
there costs nothing here. What cannot be counted is counted as lost, and never raised.
"""
# ruff: noqa: ARG002 - a sample rate is taken as monasca-statsd takes it

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from nilometer import assembly
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import TypeVar

    Function = TypeVar("Function", bound=Callable[..., Any])
    Metric = TypeVar("Metric", bound="MetricBase")

__all__ = ["Client", "Connection", "Counter", "Gauge", "Histogram", "MetricBase", "Timer"]

NS_PER_S: Final = 1_000_000_000


class Connection:
    """Where a statsd is, for processes that export to nobody else; opens nothing itself.

    Buffers are accepted and do nothing: all values of an interval go out packed.
    """

    def __init__(
        self, host: str = "localhost", port: int = 8125, max_buffer_size: int = 50
    ) -> None:
        self.max_buffer_size = max_buffer_size
        self.connect(host, port)

    def __enter__(self) -> Self:
        self.open_buffer(self.max_buffer_size)
        return self

    def __exit__(
        self,
        the_type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close_buffer()

    def open_buffer(self, max_buffer_size: int = 50) -> None:
        """Remember how much a buffer was to hold."""
        self.max_buffer_size = max_buffer_size

    def close_buffer(self) -> None:
        """Do nothing: values go out at each interval."""

    def connect(self, host: str, port: int) -> None:
        """Export to that statsd if this process exports nowhere yet."""
        if assembly.current() is None:
            assembly.configure({"export": [f"monasca-statsd://{_bracketed(host)}:{int(port)}"]})

    def report(
        self,
        metric: str,
        metric_type: str,
        value: float,
        dimensions: Mapping[str, object] | None,
        sample_rate: float,
    ) -> None:
        """Count a value of type ``c``; keep the last one of any other."""
        if metric_type == "c":
            Counter(metric, self, dimensions).increment(value, sample_rate=sample_rate)
        else:
            Gauge(self, metric, dimensions).send("", value, sample_rate=sample_rate)


class MetricBase:
    """A name and dimensions, to which each call may add."""

    def __init__(
        self, name: str | None, connection: Any, dimensions: Mapping[str, object] | None
    ) -> None:
        self._name = name
        self._connection = connection
        self._dimensions = dimensions
        self._series: dict[str, Any] = {}  # by name, of its own dimensions alone

    def update_dimensions(self, dimensions: Mapping[str, object] | None) -> dict[str, object]:
        """These dimensions added to its own."""
        return {**(self._dimensions or {}), **(dimensions or {})}

    def update_name(self, name: str | None) -> str:
        """This name below its own."""
        return _joined(self._name, name)

    def _bound(
        self, make: Callable[[str], Any], name: str, dimensions: Mapping[str, object] | None
    ) -> Any:
        """The series of that name and these dimensions besides its own."""
        known = None if dimensions else self._series.get(name)
        if known is None:
            own = self.update_dimensions(dimensions)
            known = make(name).bind(**{str(key): value for key, value in own.items()})
            if not dimensions:
                self._series[name] = known
        return known


class Counter(MetricBase):
    """Counts up and down; what goes down is counted in a counter of its own, `<name>.less`."""

    def __init__(
        self, name: str, connection: Any, dimensions: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(name, connection, dimensions)
        self._rests: dict[Any, deque[float]] = {}  # of a series: what makes no whole yet

    def increment(
        self,
        value: float = 1,
        dimensions: Mapping[str, object] | None = None,
        sample_rate: float = 1,
    ) -> None:
        """Count so much more."""
        self._change(value, dimensions)

    def decrement(
        self,
        value: float = 1,
        dimensions: Mapping[str, object] | None = None,
        sample_rate: float = 1,
    ) -> None:
        """Count so much less, as `increment` does."""
        with _counted_as_lost():
            self._change(-value, dimensions)

    def _change(self, value: float, dimensions: Mapping[str, object] | None) -> None:
        with _counted_as_lost():
            name = f"{self._name}.less" if value < 0 else str(self._name)
            series = self._bound(REGISTRY.counter, name, dimensions)
            change = abs(value)
            is_whole = isinstance(change, int)
            series.add(change if is_whole else self._whole(series, float(change)))

    def _whole(self, series: Any, change: float) -> int:
        """The whole of a change and of all rests; what remains is the one rest.

        Threads take rests out and put theirs in at once, each one atomically; who finds
        another's beside its own goes on, so that the last leaves one. A lock would do, but for
        signal handlers and children that were forked while it was held.
        """
        rests = self._rests.setdefault(series, deque())
        whole = int(change)
        rest = change - whole
        while True:
            with suppress(IndexError):
                while True:
                    rest += rests.pop()
            more = int(rest)
            whole += more
            rests.append(rest - more)
            if len(rests) == 1:
                return whole
            rest = 0.0

    def __add__(self, value: float) -> Self:
        """Count so much more."""
        self.increment(value=value)
        return self

    def __sub__(self, value: float) -> Self:
        """Count so much less."""
        self.decrement(value=value)
        return self


class _OfConnection(MetricBase):
    """What monasca-statsd makes of a connection first, and of a name after it."""

    def __init__(
        self,
        connection: Any,
        name: str | None = None,
        dimensions: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(name, connection, dimensions)


class Gauge(_OfConnection):
    """Keeps the last value."""

    def send(
        self,
        name: str | None,
        value: float,
        dimensions: Mapping[str, object] | None = None,
        sample_rate: float = 1,
    ) -> None:
        """Keep this value."""
        with _counted_as_lost():
            self._bound(REGISTRY.gauge, self.update_name(name), dimensions).set(value)


class Histogram(_OfConnection):
    """Keeps count, sum, least, greatest and quantiles of values, as whole numbers."""

    def send(
        self,
        name: str | None,
        value: float,
        dimensions: Mapping[str, object] | None = None,
        sample_rate: float = 1,
    ) -> None:
        """Keep a value from 0 on; fractions are rounded."""
        with _counted_as_lost():
            full = self.update_name(name)
            self._bound(REGISTRY.distribution, full, dimensions).record(round(value))


class Timer(_OfConnection):
    """Keeps count, sum, least, greatest and quantiles of times."""

    def timing(
        self,
        name: str | None,
        value: float,
        dimensions: Mapping[str, object] | None = None,
        sample_rate: float = 1,
    ) -> None:
        """Keep a time, in seconds."""
        with _counted_as_lost():
            self._timer(name, dimensions).record(round(value * NS_PER_S))

    def timed(
        self,
        name: str | None,
        dimensions: Mapping[str, object] | None = None,
        sample_rate: float = 1,
    ) -> Callable[[Function], Function]:
        """Time each call of a function, also one that raises; of a coroutine, its running."""

        def wrapper(function: Function) -> Function:
            with _counted_as_lost():
                timed: Function = self._timer(name, dimensions)(function)
                return timed
            return function

        return wrapper

    def time(
        self,
        name: str | None,
        dimensions: Mapping[str, object] | None = None,
        sample_rate: float = 1,
    ) -> Timing:
        """Time a block of code, or as a decorator each call, also one that raises."""
        with _counted_as_lost():
            return Timing(self._timer(name, dimensions))
        return Timing(None)

    def _timer(self, name: str | None, dimensions: Mapping[str, object] | None) -> Any:
        return self._bound(REGISTRY.timer, self.update_name(name), dimensions)


class Timing:
    """What `Timer.time` gives: for ``with``, and as monasca-statsd's a decorator, too."""

    __slots__ = ("_lap", "_timer")

    def __init__(self, timer: Any) -> None:
        self._timer = timer

    def __enter__(self) -> None:
        if self._timer is not None:
            self._lap = self._timer.lap()
            self._lap.__enter__()

    def __exit__(self, *raised: object) -> None:
        if self._timer is not None:
            self._lap.__exit__(*raised)

    def __call__(self, function: Function) -> Function:
        timed: Function = function if self._timer is None else self._timer(function)
        return timed


class Client:
    """Makes counters, gauges, timers and histograms below a name, with dimensions."""

    def __init__(
        self,
        name: str | None = None,
        host: str = "localhost",
        port: int = 8125,
        connection: Any = None,
        max_buffer_size: int = 50,
        dimensions: Mapping[str, object] | None = None,
    ) -> None:
        self.connection = connection or Connection(host, port, max_buffer_size)
        self._base = MetricBase(name, self.connection, dimensions)

    def get_counter(
        self,
        name: str,
        connection: Any = None,
        dimensions: Mapping[str, object] | None = None,
    ) -> Counter:
        """A counter of that name."""
        return Counter(
            self._base.update_name(name),
            connection or self.connection,
            self._base.update_dimensions(dimensions),
        )

    def get_gauge(
        self,
        name: str | None = None,
        connection: Any = None,
        dimensions: Mapping[str, object] | None = None,
    ) -> Gauge:
        """A gauge, or several below that name."""
        return self._below(Gauge, name, connection, dimensions)

    def get_timer(
        self,
        name: str | None = None,
        connection: Any = None,
        dimensions: Mapping[str, object] | None = None,
    ) -> Timer:
        """A timer, or several below that name."""
        return self._below(Timer, name, connection, dimensions)

    def get_histogram(
        self,
        name: str | None = None,
        connection: Any = None,
        dimensions: Mapping[str, object] | None = None,
    ) -> Histogram:
        """A histogram, or several below that name, as monasca-statsd's own page promises."""
        return self._below(Histogram, name, connection, dimensions)

    def _below(
        self,
        kind: Callable[..., Metric],
        name: str | None,
        connection: Any,
        dimensions: Mapping[str, object] | None,
    ) -> Metric:
        return kind(
            connection or self.connection,
            self._base.update_name(name),
            self._base.update_dimensions(dimensions),
        )


def _joined(base: str | None, name: str | None) -> str:
    return ".".join(str(part) for part in (base, name) if part)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _counted_as_lost:  # noqa: N801 - reads as what it does
    """What is raised here must not reach the service: a value that is none, a name taken."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        REGISTRY.lost("values", kind.__name__)
        return True
