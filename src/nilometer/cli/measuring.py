"""One measured run of a command: the bracket around it, and all that is known of it after."""

from __future__ import annotations

import os
import socket
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.cli.child import BACKEND, Ended, counts_of, run_command
from nilometer.cli.run_file import VARIABLE, Told, read_junit, read_run_file, written_when
from nilometer.counters.bracket import Bracket
from nilometer.counters.overlap import OpenBracket, open_bracket, places_of
from nilometer.model.run import BackendRead, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from nilometer.clock import Clock
    from nilometer.counters.gather import Gatherer
    from nilometer.model.run import Count

JUMP_S_MIN: Final = 2.0
JUMP_SHARE: Final = 0.01
"""The wall clock has jumped if it differs from the monotonic one by more than these: a clock
that is only being slewed is off by 0.05 % at most."""

TESTS: Final = "tests"
"""The backend of what a command tells of itself, where it names no other."""


class Job(NamedTuple):
    """What is measured, and what is known of it before it runs.

    `work` and `test_set` of None are asked of the command; `junit` is a file that it writes.
    """

    command: tuple[str, ...]
    suite: str
    directory: Path
    environment: Mapping[str, str]
    idle_s: float = 10.0
    revision: str = ""
    branch: str = ""
    work: int | None = None
    test_set: str | None = None
    junit: Path | None = None
    attributes: Mapping[str, Any] = {}  # never written to


class Watch(NamedTuple):
    """Who hears of a run while it goes on.

    `waiting` of what is waited for and how long, `opened` why nothing will be known of some
    backends, `begun` of the run when the command is about to start, then `started`, `ended`.
    What is read after it is read within `breakable`, which KeyboardInterrupt may end.
    """

    waiting: Callable[[str, float], None] = lambda _what, _seconds: None
    opened: Callable[[Sequence[str]], None] = lambda _unread: None
    begun: Callable[[Run], None] = lambda _run: None
    ended: Callable[[], None] = lambda: None
    started: Callable[[], None] = lambda: None
    breakable: Callable[[], AbstractContextManager[None]] = nullcontext


ALONE: Final = Watch()


def measure_once(
    job: Job, gatherer: Gatherer, clock: Clock, *, watch: Watch = ALONE, brackets: Path | None
) -> Run:
    """Run a command between two snapshots of the backends.

    `brackets` is where brackets that are open at the same time see each other. Raises OSError
    if the command cannot start; then nothing was measured. KeyboardInterrupt comes through
    before the command starts; after that it makes a run that says so.
    """
    run_id = new_id(clock)
    notes: dict[str, Any] = dict(job.attributes)
    seen = _seen(job, gatherer, clock, run_id, brackets, notes)
    try:
        idle_s = job.idle_s if gatherer.backends else 0
        bracket = Bracket(gatherer, clock, idle_s=idle_s, told=watch.waiting)
        bracket.open()
        _identified(seen, gatherer, notes)
        watch.opened(bracket.unread())
        started_ns, began_ns = clock.wall_ns(), clock.elapsed_ns()
        bare = _bare(job, run_id, started_ns, notes)
        watch.begun(bare)
        held = () if seen is None else (seen.lock,)
        ended, told = _run_it(job, gatherer, clock, notes, held, watch)
        watch.ended()
        backends, counts, because = _closed(bracket, gatherer, ended, watch)
        _tell_jump(notes, clock.wall_ns() - started_ns, clock.elapsed_ns() - began_ns)
        ended_ns = clock.wall_ns()
    finally:
        met = {} if seen is None else _met(seen, notes)
    backends = _without_met(backends, gatherer, met)
    unusable = {one.name for one in backends if one.because}
    moved = (*counts, *counts_of(ended), *told.counts)
    return bare._replace(
        ended_ns=ended_ns,
        wall_ns=ended.wall_ns,
        counts=tuple(count for count in moved if count.backend not in unusable),
        backends=(*backends, BackendRead(BACKEND), *_told_backends(told, backends)),
        test_set=told.test_set if job.test_set is None else job.test_set,
        work=told.work if job.work is None else job.work,
        exit_status=ended.status,
        because=because,
    )


def _bare(job: Job, run_id: str, started_ns: int, notes: Mapping[str, Any]) -> Run:
    """What is known of a run when it begins."""
    return Run(
        run_id,
        job.suite,
        started_ns,
        started_ns,
        test_set=job.test_set or "",
        work=job.work or 0,
        revision=job.revision,
        branch=job.branch,
        host=socket.gethostname(),
        exit_status=None,
        attributes=notes,
    )


def new_id(clock: Clock) -> str:
    """A run's id: when it began, in UTC, and what no other run has.

    >>> from nilometer.testing import FakeTime
    >>> new_id(FakeTime().clock)[:16]
    '20231114T221320-'
    """
    at = datetime.fromtimestamp(clock.wall_ns() / 1e9, UTC)
    return f"{at:%Y%m%dT%H%M%S}-{token_hex(4)}"


def _seen(
    job: Job,
    gatherer: Gatherer,
    clock: Clock,
    run_id: str,
    brackets: Path | None,
    notes: dict[str, Any],
) -> OpenBracket | None:
    """Let other runs see this one; where that cannot be, the run says so and goes on."""
    if brackets is None or not gatherer.backends:
        return None
    places = [place for one in gatherer.backends for place in places_of(one)]
    try:
        return open_bracket(brackets, clock, run_id=run_id, suite=job.suite, places=places)
    except OSError as error:
        notes["overlap.unknown"] = f"{brackets}: {error.strerror or error}"
        return None


def _identified(seen: OpenBracket | None, gatherer: Gatherer, notes: dict[str, Any]) -> None:
    """Let others see, too, what the servers said they are when they were read."""
    if seen is not None:
        try:
            seen.also(place for one in gatherer.backends for place in places_of(one))
        except OSError as error:
            notes["overlap.unknown"] = error.strerror or str(error)


def _run_it(
    job: Job,
    gatherer: Gatherer,
    clock: Clock,
    notes: dict[str, Any],
    held: Sequence[int],
    watch: Watch,
) -> tuple[Ended, Told]:
    """Run the command, with a file to tell us what it did, which is gone after.

    A backend that has a method `of_process` is given the command's pid when it has started.
    """

    def started(pid: int) -> None:
        watch.started()
        for backend in gatherer.backends:
            try:
                getattr(backend, "of_process", lambda _pid: None)(pid)
            except Exception as error:  # noqa: BLE001 - the command runs, and goes on
                notes[f"of_process.{backend.name}"] = repr(error)

    junit = None if job.junit is None else job.directory / job.junit
    earlier = None if junit is None else written_when(junit)
    with TemporaryDirectory(prefix="nilometer-", ignore_cleanup_errors=True) as private:
        file = Path(private) / "run.json"
        ended = run_command(
            job.command,
            clock,
            directory=job.directory,
            environment={**job.environment, VARIABLE: str(file)},
            held=held,
            started=started,
        )
        taken = {*(one.name for one in gatherer.backends), BACKEND}
        told = read_run_file(file, taken=taken)
    if junit is not None and not told.work:
        from_junit = read_junit(junit, earlier=earlier)
        told = told._replace(
            work=from_junit.work,
            test_set=from_junit.test_set,
            notes=(*told.notes, *filter(None, [from_junit.because])),
        )
    return ended, told


def _closed(
    bracket: Bracket, gatherer: Gatherer, ended: Ended, watch: Watch
) -> tuple[tuple[BackendRead, ...], tuple[Count, ...], str]:
    """The backends' part of a run, and why it cannot be used as a whole.

    Of a run that was interrupted nothing is read: nobody could compare it, and whoever
    interrupts does not want to wait.
    """
    because = f"interrupted by {ended.interrupted}" if ended.interrupted else ""
    if not because:
        try:
            with watch.breakable():
                return *bracket.close(), ""
        except KeyboardInterrupt as broken:
            by = f" by {broken.args[0]}" if broken.args else ""
            because = f"interrupted{by} before its counters were read"
    backends = [BackendRead(b.name, b.instance, because=because) for b in gatherer.backends]
    return tuple(backends), (), because


def _tell_jump(notes: dict[str, Any], wall_ns: int, elapsed_ns: int) -> None:
    """Note a wall clock that was set meanwhile. Durations are not taken from it."""
    jumped_ns = wall_ns - elapsed_ns
    if abs(jumped_ns) > max(JUMP_S_MIN * 1e9, elapsed_ns * JUMP_SHARE):
        notes["clock.jumped_ns"] = jumped_ns


def _met(seen: OpenBracket, notes: dict[str, Any]) -> dict[tuple[str, str], str]:
    """On which backends others were measured meanwhile."""
    try:
        return seen.close()
    except OSError as error:
        notes["overlap.unknown"] = error.strerror or str(error)
        return {}


def _without_met(
    backends: Sequence[BackendRead], gatherer: Gatherer, met: Mapping[tuple[str, str], str]
) -> tuple[BackendRead, ...]:
    """The same, but nothing is known of those on which another run was measured, too."""
    return tuple(
        one._replace(
            because=one.because or next((met[p] for p in places_of(backend) if p in met), "")
        )
        for one, backend in zip(backends, gatherer.backends, strict=True)
    )


def _told_backends(told: Told, read: Sequence[BackendRead]) -> list[BackendRead]:
    """What stands for the command's own counts: their backends, and what is wrong with them."""
    names = sorted({count.backend for count in told.counts} - {one.name for one in read})
    reads = [BackendRead(name) for name in names if name != BACKEND]
    if told.because or (told.notes and not reads):
        return [BackendRead(TESTS, because=told.because or "; ".join(told.notes))]
    if told.notes:
        reads[0] = reads[0]._replace(notes=told.notes)
    return reads


def state_directory() -> Path:
    """Where this user's programs keep what they need from one start to the next."""
    told = os.environ.get("XDG_STATE_HOME", "")
    home = Path(told) if told.startswith("/") else Path.home() / ".local" / "state"
    return home / "nilometer"
