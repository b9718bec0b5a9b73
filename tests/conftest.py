"""What every test may ask for: free ports, programs, processes that end with their test.

A missing server is a failure and never a skip: a suite that passes because it did not run says
nothing. Which twins run, and why, stands in the header of every report.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).parent.parent
CHOOSERS = (
    "measure.twin",
    "trace.twin",
    "wire.otlp",
    "wire.otlp_spans",
    "store.jsontexts",
    "integrations.exchange",
    "integrations.databases",
)
READY_S = 30  # the slowest server here, RabbitMQ, needs 3 s on an idle machine; ten times that
END_S = 10  # from SIGTERM to SIGKILL
OUTPUT_CHARS_MAX = 8000  # shown of each process when its test fails

# Properties run on busy machines too: no example is judged by its time. On CI they try the same
# examples each time, so that it fails by what was changed; whoever develops tries others.
settings.register_profile(
    "busy",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
# Of the same properties on another Python: what it breaks it breaks for nearly every example.
settings.register_profile("again", settings.get_profile("busy"), max_examples=20)
settings.load_profile("busy")

# A shell starts what it puts in the background with Ctrl-C ignored, nohup with SIGHUP ignored,
# and so would be every program that a test starts: tests that send one would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# pytest's workers are told how wide a terminal is that they do not have, and so would be every
# command that a test starts.
os.environ.pop("COLUMNS", None)


def pytest_report_header() -> list[str]:
    """Which twins are tested, from which files, and why."""
    import nilometer
    from nilometer import twin

    for name in CHOOSERS:
        import_module(f"nilometer.{name}")
    header = [f"nilometer: {Path(nilometer.__file__).parent}"]
    header += [
        f"{c.module}: {c.implementation}, because {c.because}" for c in twin.CHOICES.values()
    ]
    required = os.environ.get("NILOMETER_REQUIRE_C", "") not in ("", "0")
    header.append(
        "a missing C twin is " + ("an error" if required else "replaced by its Python twin")
    )
    return header


def pytest_make_parametrize_id(val: object) -> str | None:
    """No address in the name of a test: each worker must collect the same names."""
    return getattr(val, "__qualname__", "callable") if callable(val) else None


# --- Programs and ports --------------------------------------------------------------------


@pytest.fixture(scope="session")
def program() -> Callable[..., str]:
    """``program("node", install="apt-get install nodejs")``: its path, or a clear failure."""

    def find(name: str, *, install: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.fail(f"{name} is needed and not installed: {install}", pytrace=False)
        return path

    return find


@pytest.fixture(scope="session")
def free_port() -> Callable[..., int]:
    """``free_port()``, ``free_port(udp=True)``: a port of the loopback that nobody uses.

    Never the same twice in one run. The kernel hands ports out in turn, so that another
    process gets ours between this call and our bind is unlikely, not impossible.
    """
    given: set[tuple[bool, int]] = set()

    def find(*, udp: bool = False) -> int:
        while True:
            with socket.socket(type=socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as probe:
                probe.bind(("127.0.0.1", 0))
                port: int = probe.getsockname()[1]
            if (udp, port) not in given:
                given.add((udp, port))
                return port

    return find


def listens(port: int) -> bool:
    """Whether somebody accepts connections on this port of the loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- Processes -----------------------------------------------------------------------------


class Process(NamedTuple):
    """A program that a test started; it ends with the test."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def output(self) -> str:
        """What it wrote so far, standard output and error together."""
        return self.log.read_text(errors="replace")

    def end(self) -> int:
        """Ask it to end, make it end, return its exit status."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(END_S)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        return self.popen.wait()


def _wait_until(
    condition: Callable[[], object], *, what: str, timeout_s: float = READY_S
) -> None:
    """Return as soon as the condition holds; fail, saying what for, when it never does."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > give_up:
            pytest.fail(f"waited {timeout_s:g} s in vain until {what}")
        time.sleep(0.02)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """``wait_until(lambda: done, what="it is done")``: no sleep of a fixed length."""
    return _wait_until


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """``start_process([...], ready=PORT | TEXT | CALLABLE, env={...}, cwd=...)`` -> Process.

    Returns when it is ready: when it accepts connections on the port, has written the text, or
    the callable is true. Fails with its output when it ends before. `env` is added to ours.
    """
    started: list[Process] = []

    def start(
        command: Sequence[str | Path],
        *,
        ready: int | str | Callable[[], object] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Process:
        log = tmp_path / f"process-{len(started)}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
                cwd=cwd,
            )
        process = Process(popen, log)
        started.append(process)
        if ready is not None:
            _wait_until_ready(process, ready)
        return process

    yield start
    for process in reversed(started):
        process.end()
        text = process.output()[-OUTPUT_CHARS_MAX:]
        title = f"{process.popen.args} ended with {process.popen.returncode}"
        print(f"--- {title}\n{text}")  # pytest shows it where the test failed


def _wait_until_ready(process: Process, ready: int | str | Callable[[], object]) -> None:
    def is_ready() -> bool:
        if process.popen.poll() is not None:
            pytest.fail(
                f"{process.popen.args} ended with {process.popen.returncode}"
                f" before it was ready:\n{process.output()[-OUTPUT_CHARS_MAX:]}",
                pytrace=False,
            )
        if isinstance(ready, int):
            return listens(ready)
        return ready in process.output() if isinstance(ready, str) else bool(ready())

    try:
        _wait_until(is_ready, what=f"{process.popen.args} is ready")
    except pytest.fail.Exception as failure:
        if process.popen.poll() is None:
            pytest.fail(
                f"{failure}; it wrote:\n{process.output()[-OUTPUT_CHARS_MAX:]}", pytrace=False
            )
        raise


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter that runs this suite; a child started with it tests the same build."""
    return sys.executable


# --- Nothing is left behind ------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_thread_of_ours_outlives_its_test() -> Iterator[None]:
    """A pump or a server that a test started and did not stop would disturb all later ones."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("nilometer"):
            thread.join(1)
            assert not thread.is_alive(), f"the test left thread {thread.name!r} running"
