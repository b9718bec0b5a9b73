"""A command run as if nobody watched: its own input and output, its signals, its end.

Signals that we get are meant for the command and handed on, but for those that a terminal
has sent to it already. We go on until it has ended, however it does.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.cli.memory import KIB, peak_kib
from nilometer.model.reading import Kind
from nilometer.model.run import Count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from resource import struct_rusage

    from nilometer.clock import Clock

HANDED_ON: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
ENDING: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
"""A run that got one of these is no measurement, however its command took it."""

BY_TERMINALS: Final = {signal.SIGINT, signal.SIGQUIT, signal.SIGHUP}

BACKEND: Final = "command"
IO: Final = Path("/proc/self/io")
UNITS: Final = {
    **dict.fromkeys(("syscr", "syscw"), "{call}"),
    **dict.fromkeys(("rchar", "wchar", "read_bytes", "write_bytes"), "By"),
}
"""What the kernel counts of reading and writing: calls, their bytes, bytes of disks."""


class Ended(NamedTuple):
    """How a command ended; `status` is negative for the signal that ended it.

    `own_kib` is what we ourselves held in memory when it began, which Linux takes for its own.
    `moved` is what it read and wrote, by the kernel's names, as far as the kernel tells.
    `interrupted` is the name of the signal that somebody sent through us to end it.
    """

    status: int
    wall_ns: int
    usage: struct_rusage
    own_kib: int
    moved: Mapping[str, int]
    interrupted: str = ""


class Signals:
    """Those that came meanwhile, handed on to the command as soon as there is one."""

    def __init__(self) -> None:
        self.came: list[signal.Signals] = []
        self._waiting: list[signal.Signals] = []
        self._pid: int | None = None

    def take(self, number: int, _frame: object) -> None:
        """Hand a signal on, unless the command has had it from the terminal."""
        came = signal.Signals(number)
        self.came.append(came)
        if self._pid is None:
            self._waiting.append(came)
        elif not (came in BY_TERMINALS and is_in_foreground()):
            self._send(came)

    def begin(self, pid: int) -> None:
        """The command runs: what came until now is for it, too."""
        self._pid = pid
        while self._waiting:
            self._send(self._waiting.pop(0))

    def _send(self, number: signal.Signals) -> None:
        if self._pid is not None:
            with suppress(ProcessLookupError):  # it ended at the same moment
                os.kill(self._pid, number)


class Held:
    """Signals that would end us, from `begin` to `end`: what a run came to is recorded first.

    They raise KeyboardInterrupt until the command has `started`, and while we are `waiting`
    after it; else only by their number: whoever sends so many has lost patience with recording.
    """

    IMPATIENT: Final = 3

    def __init__(self) -> None:
        self.came: list[str] = []
        self._breaks = False
        self._before: dict[int, Any] = {}

    def begin(self) -> None:
        """From now on they do not end us; those that are ignored already stay so."""
        self._breaks = True
        for number in ENDING:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._take)

    def started(self) -> None:
        """From now on there is a command, whose end must not be lost."""
        self._breaks = False

    def end(self) -> None:
        """From now on they do again."""
        for number, before in self._before.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)
        self._before.clear()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What may be broken off: a signal raises KeyboardInterrupt in it."""
        self._breaks = True
        try:
            if self.came:
                raise KeyboardInterrupt(self.came[0])
            yield
        finally:
            self._breaks = False

    def _take(self, number: int, _frame: object) -> None:
        self.came.append(signal.Signals(number).name)
        if self._breaks or len(self.came) >= self.IMPATIENT:
            self._breaks = False
            raise KeyboardInterrupt(self.came[0])


def run_command(
    command: Sequence[str],
    clock: Clock,
    *,
    directory: Path,
    environment: Mapping[str, str],
    held: Sequence[int] = (),
    started: Callable[[int], None] = lambda _pid: None,
) -> Ended:
    """Run a command to its end; `started` gets its pid. Raises OSError if it cannot start.

    `held` are files that it keeps open, as long as it or what it starts is there.
    """
    signals = Signals()
    with _handing_on(signals):
        own_kib = peak_kib()
        before = _io()
        began_ns = clock.elapsed_ns()
        process = subprocess.Popen(command, cwd=directory, env=dict(environment), pass_fds=held)
        signals.begin(process.pid)
        started(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall_ns = clock.elapsed_ns() - began_ns
        after = _io()
        process.returncode = os.waitstatus_to_exitcode(status)
    ended_by = next((came.name for came in signals.came if came in ENDING), "")
    moved = _moved(before, after, _io())
    return Ended(process.returncode, wall_ns, usage, own_kib, moved, ended_by)


def _io() -> bytes:
    """What we read and wrote, and our children that have ended; empty where nobody counts."""
    try:
        return IO.read_bytes()
    except OSError:
        return b""


def _moved(before: bytes, after: bytes, again: bytes) -> dict[str, int]:
    """What was read and written between two looks, without the first look itself.

    A look takes as many calls each time, as a third one tells, and as many bytes as it shows.
    """
    looks = [_numbers(look) for look in (before, after, again)]
    if not all(UNITS.keys() <= look.keys() for look in looks):
        return {}
    one, two, three = looks
    look = {"syscr": three["syscr"] - two["syscr"], "rchar": len(before)}
    return {name: two[name] - one[name] - look.get(name, 0) for name in UNITS}


def _numbers(look: bytes) -> dict[str, int]:
    """The lines ``name: number`` of a look."""
    pairs = (line.split(": ") for line in look.decode().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


@contextmanager
def _handing_on(signals: Signals) -> Iterator[None]:
    """What whoever started us wants ignored, by nohup for example, stays ignored.

    All but SIGCHLD: the kernel would not keep the command's end and costs for us.
    """
    before = {n: signal.getsignal(n) for n in HANDED_ON}
    taken = {n: old for n, old in before.items() if old is not signal.SIG_IGN}
    for number in taken:
        signal.signal(number, signals.take)
    taken[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, old in taken.items():
            if old is not None:  # else nobody can put it back: it was not Python's
                signal.signal(number, old)


def is_in_foreground() -> bool:
    """Whether our terminal sends its signals to us, and so to what we started, too."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:  # there is none
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def counts_of(ended: Ended) -> tuple[Count, ...]:
    """What the kernel charged to a command, and to those of its children that it waited for."""
    counter, usage = Kind.COUNTER, ended.usage
    told: list[tuple[str, int, Kind, str]] = [
        ("cpu.system", round(usage.ru_stime * 1e9), counter, "ns"),
        ("cpu.user", round(usage.ru_utime * 1e9), counter, "ns"),
        ("page_faults.major", usage.ru_majflt, counter, "{fault}"),
        ("page_faults.minor", usage.ru_minflt, counter, "{fault}"),
        ("blocks.read", usage.ru_inblock, counter, "{block}"),
        ("context_switches.involuntary", usage.ru_nivcsw, counter, "{switch}"),
        ("context_switches.voluntary", usage.ru_nvcsw, counter, "{switch}"),
        ("blocks.written", usage.ru_oublock, counter, "{block}"),
    ]
    counts = [Count(BACKEND, n, moved, (), kind, unit, moved) for n, moved, kind, unit in told]
    for name, unit in UNITS.items():
        moved = ended.moved.get(name)
        because = "" if moved is not None else "the kernel does not count it here"
        counts.append(Count(BACKEND, name, moved, (), counter, unit, moved, because=because))
    return (*counts, _memory(ended))


def _memory(ended: Ended) -> Count:
    """The most that any of its processes held; a process begins with what its parent holds."""
    held = ended.usage.ru_maxrss * KIB
    count = Count(BACKEND, "memory.peak", held, (), Kind.GAUGE, "By", held)
    if ended.usage.ru_maxrss > ended.own_kib:
        return count
    why = (
        f"not more than the {ended.own_kib * KIB} bytes of measure itself, with which it began"
    )
    return count._replace(delta=None, because=why)
