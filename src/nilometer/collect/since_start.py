"""What all services counted since the collector began, added up as it is committed.

In memory, beside the tables: who polls totals every few seconds would have the tables summed up
from their beginning each time. What a sender sends twice counts once. It is bounded: of
processes that are silent for the longest only the sums of their service stay. Who is heard is
never folded: of what counts since its own start that would lose what it had counted.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.model import Kind
from nilometer.wire.dropwizard import document
from nilometer.wire.dropwizard_totals import Total, Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nilometer.model import Batch, Resource
    from nilometer.wire.dropwizard_names import Names

PROCESSES_MAX: Final = 2000  # ten services of ten workers on twenty hosts; more if heard
SERIES_MAX: Final = 100_000  # of 0.5 kB, with its buckets 4 kB: 400 MB if all were timers
SILENT_NS: Final = 15 * 60 * 10**9
"""Who was not heard of for so long has ended: the slowest in use tell every five minutes."""

FOLDED: Final = "nilometer.dropwizard.processes.folded"
"""Of how many processes only their service's sums are left: a gauge, told from the first on."""
LEFT_OUT: Final = "nilometer.dropwizard.readings.left_out"
"""How many readings are in no sum at all: a gauge, told from the first on."""

_INSTANCE: Final = "service.instance.id"


class Process(NamedTuple):
    """Who counted; `rest` is the hash of all else that its resource tells."""

    service: str
    host: str
    pid: int
    rest: int


class SinceStart:
    """Takes what is committed, in one thread, and is asked in others.

    `append` is the tables' own; what it refuses is not counted. `began_ns` is now by the wall
    clock: of what counts since before that only the moves count.
    """

    def __init__(
        self,
        append: Callable[[Sequence[Batch]], None],
        elapsed_ns: Callable[[], int],
        *,
        began_ns: int = 0,
        processes_max: int = PROCESSES_MAX,
        series_max: int = SERIES_MAX,
    ) -> None:
        self._append = append
        self._elapsed_ns = elapsed_ns
        self._started_ns = elapsed_ns()
        self._began_ns = began_ns
        self._processes_max = processes_max
        self._series_max = series_max
        self._lock = threading.Lock()
        self._processes: dict[Process, Totals] = {}  # whoever was heard last is last
        self._ended: dict[str, Totals] = {}  # by service
        self._folded: dict[str, int] = {}  # how many of each service these are
        self._series = 0
        self._left_out = 0

    def append(self, batches: Sequence[Batch]) -> None:
        """Commit these, then count them."""
        self._append(batches)
        with self._lock:
            for batch in batches:
                if batch.readings:
                    self._count(batch)

    def _count(self, batch: Batch) -> None:
        resource = batch.resource
        process = Process(resource.service, resource.host, resource.pid, hash(resource))
        totals = self._processes.pop(process, None)
        self._make_room()
        if totals is None:
            if self._series >= self._series_max:
                self._left_out += len(batch.readings)
                return
            totals = Totals(
                self._elapsed_ns,
                started_ns=self._started_ns,
                began_ns=self._began_ns,
                of_one=_is_one(resource),
            )
            self._series += 1  # it takes as much room as one
        self._processes[process] = totals
        before, left_out = len(totals), totals.left_out
        totals.series_max = before + self._series_max - self._series
        totals.add(batch.readings, batch.delivery)
        self._series += len(totals) - before
        self._left_out += totals.left_out - left_out

    def _make_room(self) -> None:
        """Fold who fell silent, if there is no room for more."""
        while self._processes and (
            len(self._processes) >= self._processes_max or self._series >= self._series_max
        ):
            oldest = next(iter(self._processes.values()))
            if self._elapsed_ns() - oldest.heard_ns < SILENT_NS:
                return
            self._fold_the_oldest()

    def _fold_the_oldest(self) -> None:
        """Add who was not heard of for the longest to what is ended of its service.

        Should it be heard again, what it counted until then must not count twice.
        """
        oldest = next(iter(self._processes))
        totals = self._processes.pop(oldest)
        size = 1 + len(totals)
        self._began_ns = max(self._began_ns, totals.followed_ns())
        kept = self._ended.pop(oldest.service, None)
        if kept is None and len(self._ended) >= self._processes_max:
            name = next(iter(self._ended))  # somebody makes up services
            forgotten = self._ended.pop(name)
            del self._folded[name]
            self._left_out += len(forgotten)
            self._series -= len(forgotten)
        kept = kept or Totals(self._elapsed_ns, started_ns=self._started_ns)
        before = len(kept)
        kept.take_over(totals)
        self._ended[oldest.service] = kept
        self._folded[oldest.service] = self._folded.get(oldest.service, 0) + 1
        self._series -= size - (len(kept) - before)

    def document(
        self,
        names: Names,
        *,
        service: str | None = None,
        host: str | None = None,
        pid: int | None = None,
    ) -> dict[str, Any]:
        """DropWizard's metrics of all processes that fit, as one; and what is not in them."""
        with self._lock:
            elapsed_s = (self._elapsed_ns() - self._started_ns) / 1e9
            return document(self._of(service, host, pid), names, elapsed_s)

    def _of(self, service: str | None, host: str | None, pid: int | None) -> Iterator[Total]:
        for process, totals in self._processes.items():
            if (
                service in (None, process.service)
                and host in (None, process.host)
                and pid in (None, process.pid)
            ):
                yield from totals.all()
        if host is None and pid is None:
            for name, totals in self._ended.items():
                if service in (None, name):
                    yield from totals.all()
        yield from self._bounded(service)

    def _bounded(self, service: str | None) -> Iterator[Total]:
        """What the bounds did, as gauges: nothing where they did nothing."""
        folded = sum(n for name, n in self._folded.items() if service in (None, name))
        for name, value in ((FOLDED, folded), (LEFT_OUT, self._left_out)):
            if value:
                yield Total(name, Kind.GAUGE, (), "1", value, (0.0, 0.0, 0.0))

    def left_out(self) -> int:
        """How often a reading found no room for its series."""
        return self._left_out


def _is_one(resource: Resource) -> bool:
    """Whether it says which process it is, so that no other tells the same."""
    return bool(resource.pid) or any(key == _INSTANCE for key, _ in resource.attributes)
