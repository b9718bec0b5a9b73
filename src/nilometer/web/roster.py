"""The services of a time and their processes: who lives, what each did, how long that took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.store.series import Parts, matching, parted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nilometer.store.presence import Presence
    from nilometer.store.query import Reader
    from nilometer.store.series import Series
    from nilometer.store.statistics import Statistics
    from nilometer.web.moments import Window


class Work(NamedTuple):
    """What a service is there for: a timer, in units of so many ns, the counter of what failed,
    which of it counts, and what one is called."""

    timer: str
    errors: str
    where: tuple[str, str] | None
    thing: str
    unit_ns: dict[str, int]


_NS: Final = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}

WORKS: Final = (
    Work(
        "http.server.request",
        "http.server.responses",
        ("http.response.status_class", "5xx"),
        "request",
        _NS,
    ),
    Work("http.server.request.duration", "", None, "request", _NS),
    Work("rpc.server.request", "rpc.server.request.errors", None, "call", _NS),
    Work("messaging.process", "messaging.process.errors", None, "message", _NS),
    Work("task.run", "task.run.errors", None, "task", _NS),
)
"""The first of these that a service has is what its row tells of."""

BEATS: Final = 3  # of its intervals a process is silent before it counts as gone
SILENT_NS_MIN: Final = 15 * 10**9  # a busy machine is late by seconds
SILENT_NS_ONCE: Final = 150 * 10**9  # of whom only one word is known: two minutes and a half

Who = tuple[str, str, int]
Group = tuple[str | None, ...]


class Done(NamedTuple):
    """How much was done: how often, how often in vain (None: not counted), and how long it
    took; times in ns."""

    metric: str
    thing: str
    times: int
    rate: float
    errors: int | None
    avg_ns: float | None
    p50_ns: float | None
    p99_ns: float | None
    max_ns: float | None

    @property
    def failed(self) -> float | None:
        """Which share failed."""
        return self.errors / self.times if self.errors is not None and self.times else None


class Process(NamedTuple):
    """A process, whether it is alive, and since when it is silent."""

    host: str
    pid: int
    version: str
    alive: bool
    silent_ns: int
    interval_ns: int | None
    done: Done | None


class Service(NamedTuple):
    """A service with its processes, those alive first."""

    name: str
    processes: list[Process]
    done: Done | None

    @property
    def alive(self) -> int:
        """How many processes are."""
        return sum(one.alive for one in self.processes)

    @property
    def versions(self) -> list[str]:
        """Those of processes that are alive, or of all if none is."""
        living = [one for one in self.processes if one.alive] or self.processes
        return sorted({one.version for one in living if one.version})


def is_alive(presence: Presence, at_ns: int) -> bool:
    """Whether it was heard of within three of its own intervals."""
    silent_ns = at_ns - presence.ended_ns
    if presence.interval_ns is None:
        return silent_ns <= SILENT_NS_ONCE
    return silent_ns <= max(BEATS * presence.interval_ns, SILENT_NS_MIN)


def services(
    window: Window, done: Mapping[Group, Done], present: Iterable[Presence], here: Who
) -> list[Service]:
    """All services that told something, by name. `here` is the collector's own process, which
    lives, as it answers, though it tells nothing while it is idle."""
    processes: dict[str, list[Process]] = {}
    for one in present:
        who = one.service, one.host, one.pid
        silent_ns = max(0, window.ended_ns - one.ended_ns)
        alive = is_alive(one, window.ended_ns) or (window.is_live and who == here)
        made = (one.host, one.pid, one.version, alive, silent_ns, one.interval_ns)
        did = done.get((one.service, one.host, str(one.pid)))
        processes.setdefault(one.service, []).append(Process(*made, did))
    return [
        Service(name, sorted(found, key=lambda one: not one.alive), done.get((name,)))
        for name, found in sorted(processes.items())
    ]


class Job(NamedTuple):
    """A work with the series of those that do it, and of what failed of it."""

    work: Work
    series: list[Series]
    errors: list[Series] | None


def jobs(told: Mapping[str, Sequence[Series]]) -> list[Job]:
    """The works that are done, each with the services whose first one it is."""
    found: list[Job] = []
    taken: set[str] = set()
    for work in WORKS:
        series = [
            one
            for one in told.get(work.timer, ())
            if one.kind == "distribution" and one.unit in work.unit_ns
            if one.service not in taken
        ]
        doers = {one.service for one in series}
        errors = None
        if work.errors in told:
            where = dict([work.where] if work.where else [])
            errors = [one for one in matching(told[work.errors], where) if one.service in doers]
        taken |= doers
        if series:
            found.append(Job(work, series, errors))
    return found


def done(
    reader: Reader, window: Window, job: Job, *, quantiles: bool = True
) -> dict[Group, Done]:
    """How much of it each service did, and each process. Takes a thread's time."""
    rows = reader.measured(
        job.work.timer,
        _both(job.series),
        since_ns=window.since_ns,
        until_ns=window.until_ns,
        quantiles=(0.5, 0.99) if quantiles else (),
    )
    return {one.group: _told(one, job, window) for one in rows if one.samples}


def failed(reader: Reader, window: Window, job: Job) -> dict[Group, int]:
    """How much of it failed, likewise. Takes a thread's time."""
    if not job.errors:
        return {}
    rows = reader.measured(
        job.work.errors,
        _both(job.errors),
        since_ns=window.since_ns,
        until_ns=window.until_ns,
    )
    return {one.group: int(one.total or 0) for one in rows}


def _both(series: Sequence[Series]) -> Parts:
    """Each series twice: as a part of its service, and of its process."""
    whole, single = parted(series, ("service",)), parted(series, ("service", "host", "pid"))
    further = [part + len(whole.groups) for part in single.parts]
    return Parts(
        [*whole.groups, *single.groups],
        [*whole.series, *single.series],
        [*whole.parts, *further],
    )


def _told(one: Statistics, job: Job, window: Window) -> Done:
    unit_ns = job.work.unit_ns[one.unit]
    median, most = (value for _, value in one.quantiles or ((0, None), (0, None)))
    times = (
        None if value is None else value * unit_ns
        for value in (one.average, median, most, one.maximum)
    )
    rate = one.samples * 10**9 / window.lasts_ns
    errors = None if job.errors is None else 0
    return Done(job.work.timer, job.work.thing, one.samples, rate, errors, *times)
