"""Servers of a demonstration: up when started, shown when they fail, gone when left."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nilometer.cli import processes
from nilometer.cli.processes import Processes, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

SERVER = """
import http.server, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
at = ("127.0.0.1", int(sys.argv[1]))
http.server.HTTPServer(at, http.server.BaseHTTPRequestHandler).serve_forever()
"""


def is_alive(pid: int) -> bool:
    """Whether it runs; a zombie that nobody reaps here does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("manner", ["polite", "stubborn"])
def test_leaving_ends_a_server_and_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Any, manner: str
) -> None:
    monkeypatch.setattr(processes, "END_S_MAX", 0.5)
    port = free_port()
    with Processes(tmp_path) as running:
        server = running.start(
            *("web", sys.executable, "-c", SERVER, str(port), manner),
            ready=f"http://127.0.0.1:{port}/",
        )
        pids = [server.pid, int(server.log.read_text().split()[0])]

        assert [is_alive(pid) for pid in pids] == [True, True]
    wait_until(lambda: not any(map(is_alive, pids)), what="both are gone")


def test_a_server_that_does_not_come_up_is_shown_with_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fail = "import sys; print('no such table: [bold]\\x1b[2J'); sys.exit(9)"
    with pytest.raises(SystemExit) as ended, Processes(tmp_path) as running:
        running.start("web", sys.executable, "-c", fail, ready="http://127.0.0.1:1/")

    assert ended.value.code == 3
    assert capsys.readouterr().err == (
        "nilometer: web ended with code 9; web said:\nno such table: [bold]·[2J\n\n"
    )


def test_one_that_hangs_is_given_up_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "READY_S_MAX", 0.2)
    hang = "import time; time.sleep(600)"
    with pytest.raises(SystemExit), Processes(tmp_path) as running:
        running.start("web", sys.executable, "-c", hang, ready="http://127.0.0.1:1/")

    assert capsys.readouterr().err.startswith("nilometer: web is not up after 0 s; web said:")


def test_a_server_that_ended_by_itself_is_no_trouble(tmp_path: Path, wait_until: Any) -> None:
    with Processes(tmp_path) as running:
        short = running.begin("short", sys.executable, "-c", "", ready="http://127.0.0.1:1/")
        wait_until(lambda: not short.is_running, what="it ended")


JOB = """
import sys, time
from pathlib import Path
from nilometer.cli.processes import Processes, end_as_by_ctrl_c
end_as_by_ctrl_c()
sleep = "import time; time.sleep(600)"
with Processes(Path(sys.argv[1])) as running:
    for name in ("first", "second"):
        print(running.begin(name, sys.executable, "-c", sleep, ready="").pid, flush=True)
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_the_program_ends_its_servers(
    tmp_path: Path, start_process: Callable[..., Any], wait_until: Any, number: int
) -> None:
    process = start_process([sys.executable, "-c", JOB, tmp_path], ready="up")
    pids = [int(line) for line in process.output().split()[:2]]
    for _ in range(3):  # impatient people press it again
        os.kill(process.pid, number)
        time.sleep(0.01)
    process.popen.wait(30)
    wait_until(lambda: not any(map(is_alive, pids)), what="all are gone")

    assert [is_alive(pid) for pid in pids] == [False, False]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_was_half_started_when_the_signal_came_is_ended_too(
    tmp_path: Path, start_process: Callable[..., Any], wait_until: Any, number: int
) -> None:
    asked = f"""
import os, subprocess
from nilometer.cli import processes
processes._prctl = None  # Linux would end it, only later
start = subprocess.Popen
def asked_to_end_meanwhile(*args, **settings):
    process = start(*args, **settings)
    print(process.pid, flush=True)
    os.kill(os.getpid(), {number:d})
    return process
subprocess.Popen = asked_to_end_meanwhile
"""
    process = start_process([sys.executable, "-c", asked + JOB, tmp_path])
    process.popen.wait(30)
    pids = [int(line) for line in process.output().split() if line.isdigit()]

    assert len(pids) == 1
    assert "KeyboardInterrupt" in process.output()
    assert not is_alive(pids[0])


def test_servers_of_a_program_that_is_killed_end_with_it(
    tmp_path: Path, start_process: Callable[..., Any], wait_until: Any
) -> None:
    process = start_process([sys.executable, "-c", JOB, tmp_path], ready="up")
    pids = [int(line) for line in process.output().split()[:2]]
    os.kill(process.pid, signal.SIGKILL)

    wait_until(lambda: not any(map(is_alive, pids)), what="all are gone")


def test_ctrl_c_in_a_terminal_reaches_only_the_program_itself(
    tmp_path: Path, start_process: Callable[..., Any]
) -> None:
    """The servers must still take what is sent last, so they are in sessions of their own."""
    process = start_process([sys.executable, "-c", JOB, tmp_path], ready="up")
    pids = [int(line) for line in process.output().split()[:2]]

    assert [os.getsid(pid) for pid in pids] == pids
