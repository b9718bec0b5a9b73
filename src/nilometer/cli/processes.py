"""Servers of a demonstration: started in order, watched until they are up, ended by pid.

Each runs in a session of its own: Ctrl-C reaches only the program that started them, which then
ends them in order; and whatever they started themselves can be ended with them. Where that
program is killed, which it cannot see coming, Linux asks them to end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NoReturn, Self
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from nilometer.cli import terminal
from nilometer.cli.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READY_S_MAX = 60.0  # a few seconds on an idle machine; ten times that on a busy one
ANSWER_S_MAX = 5.0
END_S_MAX = 15.0  # the collector commits what it has; a web server lets its requests finish
PAUSE_S = 0.05  # between two looks whether a server is up, or gone
LOG_CHARACTERS_SHOWN = 3000  # the last screen of a log: a traceback and what came before it

SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2); it outlives an exec
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

# No proxy: an environment's http_proxy is meant for the world, not for this machine.
_opener = build_opener(ProxyHandler({}))


def free_port() -> int:
    """A port on loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """One server: its command, its log file, the URL that answers once it is up."""

    def __init__(
        self, name: str, command: list[str], *, folder: Path, ready: str, env: dict[str, str]
    ) -> None:
        self.name = name
        self.ready = ready
        self.log = folder / f"{name}.log"
        starter = os.getpid()

        def end_with_starter() -> None:
            """In the child, before it is a program; no lock is asked for here."""
            if _prctl is not None:
                _prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
                if os.getppid() != starter:  # it was killed meanwhile
                    os._exit(1)

        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_starter,  # noqa: PLW1509 - see there
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._ended() is None

    def _ended(self) -> int | None:
        """The code or signal it ended with. It stays unreaped, so that its number stays its."""
        if self._process.returncode is not None:
            return self._process.returncode
        seen = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return None if seen is None else seen.si_status

    def said(self) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace")[-LOG_CHARACTERS_SHOWN:]
        return f"{self.name} said:\n{text or '(nothing)'}"

    def wait_until_ready(self) -> None:
        """Any HTTP answer will do; a process that ends first is shown with its log."""
        until = time.monotonic() + READY_S_MAX
        while time.monotonic() < until and self.is_running:
            try:
                _opener.open(self.ready, timeout=ANSWER_S_MAX).close()
            except HTTPError:
                return
            except OSError:
                time.sleep(PAUSE_S)
            else:
                return
        because = f"is not up after {READY_S_MAX:.0f} s"
        if not self.is_running:
            because = f"ended with code {self._ended()}"
        terminal.stop(f"{self.name} {because}; {self.said()}", Exit.UNREACHABLE)

    def ask_to_end(self) -> None:
        """As an operator would."""
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Wait for its end; a server that does not end is killed, and all that it started."""
        until = time.monotonic() + END_S_MAX
        while self.is_running and time.monotonic() < until:
            time.sleep(PAUSE_S)
        if self.is_running:
            terminal.say(f"{self.name} does not end within {END_S_MAX:.0f} s and is killed")
        # Also after a good end: a worker may have outlived its master.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


class Processes:
    """All of them; leaving the block ends them, the one started first as the last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[Process] = []

    def begin(self, name: str, *command: str, ready: str, **env: str) -> Process:
        """Start one more; it is not up yet."""
        with _uninterrupted():
            process = Process(name, list(command), folder=self._folder, ready=ready, env=env)
            self._running.append(process)
        return process

    def start(self, name: str, *command: str, ready: str, **env: str) -> Process:
        """Start one more and wait until it answers at `ready`."""
        process = self.begin(name, *command, ready=ready, **env)
        process.wait_until_ready()
        return process

    def said(self) -> str:
        """The ends of all logs, for an error that may be anybody's."""
        return "\n".join(process.said() for process in self._running)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A second Ctrl-C must not leave half of them behind; each wait here has an end.
        before = [(one, signal.signal(one, signal.SIG_IGN)) for one in INTERRUPTS]
        try:
            # The first is the collector: it still takes what the others send last.
            for together in (self._running[:0:-1], self._running[:1]):
                for process in together:
                    process.ask_to_end()
                for process in together:
                    process.end()
        finally:
            for one, handler in before:
                signal.signal(one, handler)
        if _interrupted and kind is None:  # it was raised where Python only reports it
            raise KeyboardInterrupt


_interrupted: Final[list[int]] = []
"""The signals that asked us to end: an exception that they raise in a callback of Python's own
is lost there."""

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Signals that ask us to end wait: whom one met half started, nobody would know to end."""
    seen: list[int] = []

    def note(number: int, _frame: object) -> None:
        seen.append(number)

    before = [(one, signal.signal(one, note)) for one in INTERRUPTS]
    try:
        yield
    finally:
        for one, handler in before:
            signal.signal(one, handler)
        for number in seen:
            signal.raise_signal(number)


def end_as_by_ctrl_c() -> None:
    """From now on SIGTERM and a closed terminal unwind the blocks that end servers."""

    def interrupt(number: int, _frame: object) -> NoReturn:
        _interrupted.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)


def nilometer(*arguments: str) -> list[str]:
    """The command line of this very checkout."""
    return [sys.executable, "-m", "nilometer", *arguments]
