"""`nilometer measure`: the command is left alone, and no run is lost, whatever happens."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nilometer.cli.measure import measure
from nilometer.cli.measuring import Job, Watch, measure_once
from nilometer.cli.run_json import as_json, run_of
from nilometer.cli.run_summary import most, summary
from nilometer.cli.shown import shown, shown_flags
from nilometer.counters.gather import Gatherer
from nilometer.model.reading import Kind
from nilometer.model.run import BackendRead, Count, Run
from nilometer.store.runs import History
from nilometer.testing import FakeTime
from tests.cli import fake_backend
from tests.cli.conftest import bare_environment

BUMP = [sys.executable, fake_backend.__file__]
WAIT = (
    "import sys, pathlib, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)"
)
ENTRY_POINTS = "[nilometer.backends]\nfake = tests.cli.fake_backend\n"


class Place(NamedTuple):
    """Where a test measures: an empty directory, a fake server, an environment."""

    root: Path
    server: Path
    environment: dict[str, str]

    def measure(self, *arguments: object, backend: bool = True, **more: Any) -> Any:
        """Run the command to its end."""
        command = self.command(*arguments, backend=backend)
        options = {"input": "", "capture_output": True, "text": True, "timeout": 60, **more}
        return subprocess.run(
            command, cwd=self.root, env=self.environment, check=False, **options
        )

    def gate(self, *arguments: object) -> Any:
        """Run a command of the gate to its end."""
        command = [sys.executable, "-m", "nilometer", "gate", *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
        )

    def start(self, *arguments: object, **more: Any) -> subprocess.Popen[bytes]:
        """Start it and return at once."""
        options = {"stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **more}
        return subprocess.Popen(
            self.command(*arguments), cwd=self.root, env=self.environment, **options
        )

    def command(self, *arguments: object, backend: bool = True) -> list[str]:
        fake = ["-b", f"fake://{self.server}"] if backend else []
        words = [sys.executable, "-m", "nilometer", "measure", "--idle", "0s", *fake]
        return words + [str(word) for word in arguments]

    def runs(self, location: str = ".nilometer") -> list[Run]:
        history = History(self.root / location)
        try:
            return history.runs()
        finally:
            history.close()

    def journal(self) -> list[str]:
        return sorted(path.name for path in (self.root / ".nilometer/journal").glob("*"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    brought = tmp_path / "packages" / "fake-1.dist-info"
    brought.mkdir(parents=True)
    (brought / "METADATA").write_text("Name: fake\nVersion: 1\n")
    (brought / "entry_points.txt").write_text(ENTRY_POINTS)
    root = tmp_path / "here"
    root.mkdir()
    server = tmp_path / "server.json"
    server.write_text(json.dumps({"calls": 100}))
    paths = [str(tmp_path / "packages"), str(Path(__file__).parents[2])]
    environment = {
        **bare_environment(),
        "PYTHONPATH": os.pathsep.join(paths),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    return Place(root, server, environment)


def moved(run: Run, backend: str = "fake") -> dict[str, object]:
    return {c.counter: c.delta for c in run.counts if c.backend == backend}


def until(wait_until: Any, path: Path) -> None:
    wait_until(path.exists, what=f"{path.name} is there")


# ---- what is recorded ------------------------------------------------------------------------


def test_a_run_is_recorded_with_what_the_command_moved_and_nothing_else(place):
    ended = place.measure(
        "--suite", "unit", "--work", "5", "--", *BUMP, place.server, "calls", 40
    )

    [run] = place.runs()
    assert (ended.returncode, ended.stdout) == (0, "")
    assert moved(run) == {"calls": 40, "reads": 0}
    assert run.backends == (
        BackendRead("fake", str(place.server), "1.0", "start-1", counters=("calls", "reads")),
        BackendRead("command"),
    )
    assert (run.suite, run.work, run.exit_status, run.because) == ("unit", 5, 0, "")
    assert run.started_ns < run.ended_ns
    assert 0 < run.wall_ns <= run.ended_ns - run.started_ns
    assert run.attributes == {
        "command": shown([*BUMP, str(place.server), "calls", "40"]),
        "idle_s": 0.0,
        "flags": shown(["-b", f"fake://{place.server}", "--idle", "0s", "--work", "5"]),
    }
    assert place.journal() == []
    assert (place.root / ".nilometer/.gitignore").read_text() == "*\n"


def test_what_the_kernel_charged_to_the_command_is_counted_too(place):
    place.measure("--", sys.executable, "-c", "sum(range(10**6)); b'x' * 10**8")

    [run] = place.runs()
    costs = moved(run, "command")
    assert sorted(costs) == [
        "blocks.read",
        "blocks.written",
        "context_switches.involuntary",
        "context_switches.voluntary",
        "cpu.system",
        "cpu.user",
        "memory.peak",
        "page_faults.major",
        "page_faults.minor",
        "rchar",
        "read_bytes",
        "syscr",
        "syscw",
        "wchar",
        "write_bytes",
    ]
    assert costs["cpu.user"] > 1_000_000
    assert 10**8 < costs["memory.peak"] < 10**9


def test_each_call_that_reads_or_writes_is_counted_and_none_of_ours(place):
    none, many = "import os", "import os\nfor _ in range(500): os.write(fd, os.read(zero, 7))"
    opened = "\nzero, fd = os.open('/dev/zero', 0), os.open('/dev/null', 1)\n"
    for script in (none, none, many):
        words = script.partition("\n")
        text = words[0] + opened + words[2]
        child = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
        place.measure("--", sys.executable, "-c", child, text)

    first, again, more = (moved(run, "command") for run in place.runs())
    by = {name: more[name] - again[name] for name in ("syscr", "syscw", "rchar", "wchar")}
    assert [first[name] - again[name] for name in by] == [0, 0, 0, 0]
    assert by == {"syscr": 500, "syscw": 500, "rchar": 3500, "wchar": 3500}


def test_memory_is_unknown_where_it_is_no_more_than_our_own(place):
    place.measure("--", "true")

    [run] = place.runs()
    [count] = [c for c in run.counts if c.counter == "memory.peak"]
    assert count.delta is None
    assert count.because.startswith("not more than the ")


def test_each_of_several_runs_is_a_run_of_its_own(place):
    ended = place.measure("--runs", "3", "--", *BUMP, place.server, "calls", 7)

    runs = place.runs()
    assert ended.returncode == 0
    assert [moved(run)["calls"] for run in runs] == [7, 7, 7]
    assert len({run.id for run in runs}) == 3


def test_two_servers_of_one_kind_stay_two_backends(place, tmp_path):
    other = tmp_path / "other.json"
    other.write_text("{}")

    place.measure("-b", f"fake://{other}", "--", *BUMP, place.server, "calls", 7)

    [run] = place.runs()
    names = [f"fake@{place.server}", f"fake@{other}", "command"]
    assert [read.name for read in run.backends] == names
    assert moved(run, names[0])["calls"] == 7
    assert "calls" not in moved(run, names[1])


def test_the_history_and_the_suite_may_stand_in_the_settings(place):
    (place.root / "nilometer.toml").write_text('history = "kept"\nsuite = "from file"\n')

    place.measure("--", "true")

    assert [run.suite for run in place.runs("kept")] == ["from file"]


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    answer = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return answer.stdout.strip()


def test_revision_and_branch_are_those_of_the_repository(place):
    git(place.root, "init", "-q", "-b", "topic")
    (place.root / "a").write_text("1")
    git(place.root, "add", "a")
    git(place.root, "commit", "-q", "-m", "a")
    place.measure("--", "true")
    clean = git(place.root, "status", "--porcelain")
    (place.root / "a").write_text("2")
    place.measure("--", "true")
    place.measure("--revision", "v1.2", "--", "true")

    runs = place.runs()
    commit = git(place.root, "rev-parse", "HEAD")
    told = [(run.revision, run.branch, run.attributes.get("vcs.dirty")) for run in runs]
    assert told == [(commit, "topic", None), (commit, "topic", True), ("v1.2", "", None)]
    assert clean == ""  # the history ignores itself


def test_the_json_file_has_a_line_for_each_run(place):
    place.measure("--runs", "2", "--json", "runs.jsonl", "--", "true")

    lines = (place.root / "runs.jsonl").read_text().splitlines()
    assert [run_of(json.loads(line)) for line in lines] == place.runs()


# ---- the command is left alone ---------------------------------------------------------------


def test_input_and_output_of_the_command_are_its_own(place):
    script = "import sys; print(sys.stdin.read().upper()); print('beside', file=sys.stderr)"

    ended = place.measure("-q", "--", sys.executable, "-c", script, input="said")

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "SAID\n", "beside\n")


@pytest.mark.parametrize(
    ("script", "code", "status"),
    [("exit 3", 3, 3), ("kill -KILL $$", 137, -9), ("kill -TERM $$", 143, -15)],
)
def test_the_command_s_end_is_kept_and_recorded(place, script, code, status):
    ended = place.measure("--", "sh", "-c", script)

    [run] = place.runs()
    assert (ended.returncode, run.exit_status, run.because) == (code, status, "")


@pytest.mark.parametrize("unread", ["closed pipe", "full disk"])
def test_where_nobody_can_be_told_the_command_runs_and_its_end_is_kept(place, unread):
    if unread == "full disk":
        stderr = os.open("/dev/full", os.O_WRONLY)
    else:
        nobody, stderr = os.pipe()
        os.close(nobody)

    done = place.measure(
        *("-b", "redis://127.0.0.1:1", "--", "sh", "-c", "echo out; exit 3"),  # not there: said
        capture_output=False,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )

    os.close(stderr)
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert [(run.exit_status, run.because) for run in place.runs()] == [(3, "")]


def test_a_command_that_does_not_exist_is_no_run(place):
    ended = place.measure("--", "no-such-program")

    assert ended.returncode == 127
    assert ended.stderr == "nilometer: no program 'no-such-program' on PATH\n"
    assert place.runs() == []


def test_a_command_that_cannot_start_is_no_run(place):
    script = place.root / "bare"
    script.write_bytes(b"\x00no shebang")
    script.chmod(0o755)

    ended = place.measure("--", script)

    assert ended.returncode == 126
    assert "Exec format error" in ended.stderr
    assert (place.runs(), place.journal()) == ([], [])


COUNTS_SIGNALS = """
import signal, sys, time, pathlib
came = []
signal.signal(signal.SIGINT, lambda *_: came.append("INT"))
signal.signal(signal.SIGTERM, lambda *_: came.append("TERM"))
pathlib.Path(sys.argv[1]).touch()
while not came: time.sleep(0.01)
time.sleep(0.3)
pathlib.Path(sys.argv[2]).write_text(" ".join(came))
sys.exit(5)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_is_handed_on_once_and_the_run_recorded_as_interrupted(
    place, wait_until, name
):
    ready, told = place.root / "ready", place.root / "told"
    started = place.start("--", sys.executable, "-c", COUNTS_SIGNALS, ready, told)
    until(wait_until, ready)

    started.send_signal(signal.Signals[name])
    started.communicate()

    [run] = place.runs()
    assert told.read_text() == name.removeprefix("SIG")
    assert (started.returncode, run.exit_status) == (5, 5)
    assert run.because == f"interrupted by {name}"
    assert run.backends[0].because == run.because
    assert moved(run) == {}


def test_ctrl_c_at_a_terminal_reaches_the_command_once(place, wait_until):
    ours, theirs = pty.openpty()
    ready, told = place.root / "ready", place.root / "told"

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    started = place.start(
        "--", sys.executable, "-c", COUNTS_SIGNALS, ready, told,
        stdin=theirs, preexec_fn=take_terminal,
    )  # fmt: skip
    until(wait_until, ready)
    os.write(ours, b"\x03")
    started.communicate()
    os.close(ours)
    os.close(theirs)

    [run] = place.runs()
    assert told.read_text() == "INT"
    assert (started.returncode, run.because) == (5, "interrupted by SIGINT")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize(("status", "code"), [(7, 7), (0, 130)])
def test_a_signal_while_figures_are_waited_for_loses_neither_the_run_nor_its_status(
    place, wait_until, name, status, code
):
    lagging = f"fake://{place.server}?settle_s=600"
    command = place.command("-b", lagging, "--", "sh", "-c", f"exit {status}", backend=False)
    started = subprocess.Popen(
        command, cwd=place.root, env=place.environment, stderr=subprocess.PIPE, text=True
    )
    reads = 1 + 3 + 1
    wait_until(lambda: read_so_often(place.server) == reads, what="the end was read")

    started.send_signal(signal.Signals[name])
    started.communicate(timeout=30)

    [run] = place.runs()
    assert (started.returncode, run.exit_status) == (code, status)
    assert run.because == f"interrupted by {name} before its counters were read"
    assert run.backends[0].because == run.because
    assert moved(run) == {}
    assert place.journal() == []


def read_so_often(server: Path) -> int:
    try:
        return json.loads(server.read_text()).get("reads", 0)
    except ValueError:  # it is being written
        return 0


def test_signals_that_are_ignored_stay_ignored(place):
    script = "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    command = place.command("-q", "--", sys.executable, "-c", script)

    ended = subprocess.run(
        ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *command],
        cwd=place.root, env=place.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (ended.returncode, ended.stdout) == (0, "True\n")


def test_the_end_is_seen_also_where_ends_are_ignored(place):
    command = place.command("--", "sh", "-c", "exit 3")

    ended = subprocess.run(
        command,
        cwd=place.root,
        env=place.environment,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        check=False,
    )

    [run] = place.runs()
    assert (ended.returncode, run.exit_status) == (3, 3)


def test_ctrl_c_before_the_command_starts_is_no_run(place, wait_until):
    started = place.start("--idle", "60s", "--", "touch", "ran")
    wait_until(lambda: "reads" in place.server.read_text(), what="the idle time has begun")

    started.send_signal(signal.SIGINT)
    started.communicate()

    assert started.returncode == 130
    assert list(place.root.iterdir()) == []


def test_what_is_waited_for_is_said_when_it_takes_long(place):
    ended = place.measure("--idle", "2500ms", "-q", "--", "true")

    assert ended.stderr.startswith("learning how the counters drift by themselves, ")


# ---- nothing is lost -------------------------------------------------------------------------


def test_a_run_whose_measure_was_killed_is_told_by_the_next(place, wait_until):
    ready, go = place.root / "ready", place.root / "go"
    script = f"touch {ready}; while [ ! -e {go} ]; do sleep 0.01; done"
    killed = place.start("--suite", "unit", "--", "sh", "-c", script)
    until(wait_until, ready)
    killed.kill()
    killed.wait()
    left = place.journal()
    go.touch()
    killed.communicate()  # the command that was left behind has ended, too

    ended = place.measure("--", *BUMP, place.server, "calls", 1)

    dead, run = place.runs()
    because = f"never seen to end: measure (pid {killed.pid} on {os.uname().nodename}) died"
    assert left == [f"{dead.id}.json"]
    assert (dead.suite, dead.exit_status, dead.because) == ("unit", None, because)
    assert (moved(run)["calls"], run.because) == (1, "")
    assert f"recorded, too: run {dead.id} of unit: {because}" in ended.stderr
    assert place.journal() == []


def test_a_command_that_a_killed_measure_leaves_behind_is_another_run(place, wait_until):
    ready, go = place.root / "ready", place.root / "go"
    script = f"touch {ready}; while [ ! -e {go} ]; do sleep 0.01; done"
    killed = place.start("--suite", "unit", "--", "sh", "-c", script)
    until(wait_until, ready)
    killed.kill()
    killed.wait()

    place.measure("--", *BUMP, place.server, "calls", 1)
    go.touch()
    killed.communicate()

    dead, run = place.runs()
    told = f"another run ({dead.id}, unit) was measured on it meanwhile"
    assert run.backends[0].because == told


def test_a_run_that_goes_on_is_not_taken_for_dead(place, wait_until):
    ready, go = place.root / "ready", place.root / "go"
    script = f"touch {ready}; while [ ! -e {go} ]; do sleep 0.01; done"
    first = place.start("--", "sh", "-c", script)
    until(wait_until, ready)

    place.measure("--", "true")
    go.touch()
    first.communicate()

    assert first.returncode == 0
    assert [run.exit_status for run in place.runs()] == [0, 0]


def test_runs_at_once_on_one_server_are_both_recorded_and_neither_is_believed(
    place, wait_until
):
    ready, go = place.root / "ready", place.root / "go"
    script = f"touch {ready}; while [ ! -e {go} ]; do sleep 0.01; done"
    outer = place.start("--suite", "outer", "--", "sh", "-c", script)
    until(wait_until, ready)
    place.measure("--suite", "inner", "--", *BUMP, place.server, "calls", 3)
    go.touch()
    outer.communicate()

    second, first = place.runs()  # the inner one was recorded first
    told = [run.backends[0].because for run in (first, second)]
    assert told == [
        f"another run ({second.id}, inner) was measured on it meanwhile",
        f"another run ({first.id}, outer) was measured on it meanwhile",
    ]
    assert [moved(run) for run in (first, second)] == [{}, {}]
    assert [run.because for run in (first, second)] == ["", ""]
    assert moved(first, "command")["cpu.user"] is not None


def test_several_that_end_at_once_are_all_recorded(place, wait_until):
    go = place.root / "go"
    ready = [place.root / f"ready{number}" for number in range(3)]
    several = [
        place.start("--", sys.executable, "-c", f"open({str(one)!r}, 'w'); {WAIT}", go)
        for one in ready
    ]
    for one in ready:
        until(wait_until, one)
    go.touch()
    for started in several:
        started.communicate()

    assert [started.returncode for started in several] == [0, 0, 0]
    assert len(place.runs()) == 3


@pytest.mark.parametrize("by", ["measure", "gate"])
def test_the_name_of_a_suite_begins_no_line_of_what_is_told(place, by):
    history = place.root / "kept"
    history.mkdir()
    (history / "thesis.tex").write_text("")
    place.measure("--history", "kept", "--suite", "a\n::error::run me", "--", "true")
    (history / "thesis.tex").unlink()

    if by == "measure":
        told = place.measure("--history", "kept", "--", "true").stderr
    else:
        told = place.gate("check", "--history", "kept").stderr

    assert "of a·::error::run me" in told
    assert not [line for line in told.splitlines() if line.startswith("::")]


def test_a_history_that_takes_nothing_loses_no_run(place, tmp_path):
    history = place.root / "kept"
    history.mkdir()
    (history / "thesis.tex").write_text("")
    arguments = ("--history", "kept", "--json", "runs.jsonl", "--")

    refused = place.measure(*arguments, *BUMP, place.server, "calls", 3)
    failed = place.measure(*arguments, "sh", "-c", "exit 3")
    kept = list((tmp_path / "state").rglob("unrecorded/*.json"))
    (history / "thesis.tex").unlink()
    mended = place.measure(*arguments, "true")

    first, second, third = place.runs("kept")
    assert (refused.returncode, failed.returncode, mended.returncode) == (7, 3, 0)
    assert "the history did not take the run: " in refused.stderr
    assert {path.stem for path in kept} == {first.id, second.id}
    assert f"{first.id}.json" in refused.stderr
    assert (moved(first)["calls"], second.exit_status) == (3, 3)
    assert f"recorded, too: run {first.id}" in mended.stderr
    assert third.exit_status == 0
    assert sorted((tmp_path / "state").rglob("unrecorded/*.json")) == []


def test_where_nothing_at_all_can_be_written_the_run_is_printed(place, tmp_path):
    (place.root / "file").write_text("")
    (tmp_path / "state").write_text("")

    ended = place.measure("--history", "file/inside", "--", "true")

    [line] = [line for line in ended.stderr.splitlines() if line.startswith("{")]
    printed = run_of(json.loads(line))
    assert ended.returncode == 7
    assert printed.exit_status == 0
    assert "whether other runs went on at the same time is not known" in ended.stderr


def test_what_is_torn_of_a_history_is_said_with_the_next_run(place):
    place.measure("--", "true")
    place.measure("--", "true")
    entry = sorted((place.root / ".nilometer").glob("runs/_delta_log/*.json"))[-1]
    entry.write_text('{"add": {')

    ended = place.measure("-q", "--", "true")
    later = place.measure("-q", "--", "true")

    assert ended.returncode == 0
    assert f"{entry.name}.torn; see store-damaged" in ended.stderr
    assert (later.returncode, later.stderr) == (0, "")  # it is told once
    assert len(place.runs()) == 3


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_has_the_name_of_an_entry_and_is_none_is_named_and_blocks_nothing(place, make):
    place.measure("-q", "--", "true")
    strange = place.root / ".nilometer/journal/x.json"
    make(strange)

    measured, judged = place.measure("-q", "--", "true"), place.gate("check")

    told = f"nilometer: {strange} is no file, so no run: it is passed over; move it away\n"
    assert (measured.returncode, measured.stderr) == (0, told)
    assert (judged.returncode, judged.stderr) == (0, told)
    assert len(place.runs()) == 2


@pytest.mark.parametrize("damage", ["broken entry", "no log"])
def test_a_damaged_table_says_how_to_go_on_and_moved_away_runs_are_recorded_again(
    place, tmp_path, damage
):
    """What the damaged one held is lost; no run that was measured meanwhile is."""
    for _ in range(2):
        place.measure("-q", "--", "true")
    table = place.root / ".nilometer" / "runs"
    entries = sorted(table.glob("_delta_log/*.json"))
    if damage == "broken entry":
        entries[1].write_text("not JSON")
    else:
        table.joinpath("_delta_log").rename(tmp_path / "log")

    refused = [place.measure("-q", "--", "true") for _ in range(2)]
    judged = place.gate("check")
    table.rename(tmp_path / "damaged")
    mended = place.measure("-q", "--", "true")

    how = "put a copy of that directory back, or move it away: an empty table is begun then"
    assert [(one.returncode, how in one.stderr) for one in refused] == [(7, True)] * 2
    assert (judged.returncode, how in judged.stderr) == (2, True)
    assert (mended.returncode, mended.stderr.count("recorded, too: run ")) == (0, 2)
    assert len(place.runs()) == 3


def test_a_journal_entry_of_nonsense_is_told_as_a_run(place):
    journal = place.root / ".nilometer" / "journal"
    journal.mkdir(parents=True)
    (journal / "odd.json").write_text("{")

    place.measure("--", "true")

    odd, _ = sorted(place.runs(), key=lambda run: run.id, reverse=True)
    assert (odd.id, odd.exit_status) == ("odd", None)
    assert odd.because.startswith("its entry in the journal cannot be read: ")


# ---- bad input -------------------------------------------------------------------------------


def test_a_backend_that_cannot_be_read_is_named_and_the_rest_is_recorded(place):
    place.server.unlink()

    ended = place.measure("--", "sh", "-c", "exit 4")

    [run] = place.runs()
    assert ended.returncode == 4
    assert run.backends[0].because.startswith(f"fake at {place.server}: ")
    assert ended.stderr.startswith(f"nilometer: fake at {place.server}: ")


def test_a_server_that_restarts_meanwhile_is_not_believed(place):
    script = f"import json; open({str(place.server)!r}, 'w').write(json.dumps({{'start': 2}}))"

    place.measure("--", sys.executable, "-c", script)

    [run] = place.runs()
    assert run.backends[0].because.startswith("restarted, or its figures were reset, meanwhile")
    assert moved(run) == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--work", "many"), "--work: 'many' is neither a number nor auto"),
        (("--idle", "soon"), "--idle"),
        (("-b", "mysq://x"), "did you mean 'mysql'"),
    ],
    ids=["work", "idle", "backend"],
)
def test_wrong_flags_are_refused_before_anything_runs(place, arguments, words):
    ended = place.measure(*arguments, "--", "touch", "ran")

    assert ended.returncode == 2
    assert words in ended.stderr
    assert list(place.root.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "work", "note"),
    [
        ('{"work": 7, "test_set": "abc"}', 7, ""),
        ("{", 0, "what the command told is not JSON"),
        ('{"work": -1}', 0, "work is '-1', not a number of units"),
    ],
    ids=["good", "cut", "hostile"],
)
def test_what_a_command_tells_of_itself_is_taken_or_named(place, said, work, note):
    script = 'printf %s "$1" >"$NILOMETER_RUN_FILE"'

    ended = place.measure("--", "sh", "-c", script, "sh", said)

    [run] = place.runs()
    assert (ended.returncode, run.exit_status, run.work) == (0, 0, work)
    assert note in ended.stderr
    told = [read for read in run.backends if read.name == "tests"]
    assert bool(told) == bool(note)


def test_work_and_test_set_may_come_from_junit_and_flags_win(place):
    junit = '<testsuites><testsuite><testcase classname="a" name="b"/></testsuite></testsuites>'
    command = ("--junit", "out.xml", "--", "sh", "-c", 'printf %s "$1" >out.xml', "sh", junit)

    place.measure(*command)
    place.measure("--work", "9", "--test-set", "mine", *command)

    first, second = place.runs()
    assert (first.work, len(first.test_set)) == (1, 16)
    assert (second.work, second.test_set) == (9, "mine")


@pytest.mark.parametrize("rewrites", [False, True])
def test_a_junit_file_of_an_earlier_run_tells_nothing_of_this_one(place, rewrites):
    junit = '<testsuites><testsuite><testcase classname="a" name="b"/></testsuite></testsuites>'
    (place.root / "out.xml").write_text(junit)
    script = 'printf %s "$1" >out.xml' if rewrites else "true"

    ended = place.measure("--junit", "out.xml", "--", "sh", "-c", script, "sh", junit)

    [run] = place.runs()
    assert run.work == int(rewrites)
    assert bool(run.test_set) == rewrites
    told = f"{place.root}/out.xml: not written by this run, but before it"
    assert [one.because for one in run.backends if one.because] == [told] * (not rewrites)
    assert (told in ended.stderr) == (not rewrites)


def job(**more: Any) -> Job:
    return Job(("true",), "unit", Path.cwd(), os.environ, 0.0)._replace(**more)


@pytest.mark.parametrize(("seconds", "told"), [(3600, True), (-60, True), (1.5, False)])
def test_a_clock_that_jumped_is_noted_and_the_duration_is_right(tmp_path, seconds, told):
    time = FakeTime()
    watch = Watch(begun=lambda _run: time.step_wall(seconds))

    run = measure_once(job(), Gatherer([], time.clock), time.clock, watch=watch, brackets=None)

    noted = {"clock.jumped_ns": seconds * 10**9} if told else {}
    assert run.attributes == noted
    assert (run.wall_ns, run.because) == (0, "")
    assert run.ended_ns - run.started_ns == seconds * 10**9


def test_a_backend_that_asks_for_it_gets_the_command_s_pid(place):
    time = FakeTime()
    fake = fake_backend.Fake(str(place.server))

    measure_once(job(), Gatherer([fake], time.clock), time.clock, brackets=None)

    assert len(fake.pids) == 1


# ---- what is shown ---------------------------------------------------------------------------


def test_the_summary_says_what_moved_most_and_what_is_not_known():
    run = Run(
        "run-1",
        "unit",
        0,
        10**9,
        2_500_000_000,
        (
            Count("mysql", "Bytes_sent", 10**6, unit="By"),
            Count("mysql", "Com_select", 1240),
            Count("mysql", "Com_select", 1240, (("digest", "a"),)),
            Count("mysql", "Com_insert", None, because="new"),
            Count("command", "cpu.user", 10**9, unit="ns"),
            Count("command", "level", 0, kind=Kind.GAUGE),
        ),
        (
            BackendRead("mysql", "db:3306", notes=("no digests: switch them on",)),
            BackendRead("redis", "c:1", because="redis at c:1: nobody listens there"),
            BackendRead("command"),
        ),
        work=40,
        exit_status=-9,
        attributes={"clock.jumped_ns": 3_600_000_000_000},
    )

    assert (
        "\n".join(summary(run))
        == """\
run run-1 of unit: ended by signal 9 after 2.50 s, 40 units of work
           counter            moved  per unit of work
  mysql    Com_select         1,240                31
  mysql    Bytes_sent  1,000,000 By         25,000 By
  command  cpu.user          1.00 s           25.0 ms
  nothing is known of redis: redis at c:1: nobody listens there
  mysql: no digests: switch them on
  the wall clock was set meanwhile, or the machine slept: 3600 s"""
    )


@pytest.mark.parametrize("backend", ["mysql", "mysql@db1:3306"])
def test_the_summary_begins_with_what_is_exact_and_ends_with_gauges(backend: str):
    def count(name: str, delta: int, **told: Any) -> Count:
        return Count(backend, name, delta, **told)

    age = count("Innodb_checkpoint_age", 9_000_000, kind=Kind.GAUGE)
    flushed = count("Innodb_lsn_flushed", 8_000_000)
    sent = count("Bytes_received", 7_000, unit="By")
    selects, inserts = count("Com_select", 40), count("Com_insert", 400)

    assert most([age]) == [age]
    assert most([flushed, age, selects, sent]) == [selects, flushed, sent, age]
    assert most([age, flushed, sent, selects, inserts]) == [inserts, selects, flushed, sent]


def test_the_summary_says_what_reading_itself_moved():
    moved = [
        ("Bytes_sent", 9000, "By"),
        ("Com_a", 1, "1"),
        ("Com_b", 3, "1"),
        ("Com_c", 2, "1"),
    ]
    counts = tuple(Count("mysql", n, 0, unit=unit, footprint=f) for n, f, unit in moved)
    part = Count("mysql", "Com_b", 0, (("digest", "a"),), footprint=9)
    run = Run(
        "run-1", "unit", 0, 1, 10**9, (*counts, part, Count("redis", "x", 0)), exit_status=0
    )

    assert summary(run)[1:] == [
        "  reading mysql itself moved, subtracted: Com_b 3, Com_c 2, Com_a 1 and 1 more"
    ]


def test_a_command_is_written_down_without_its_secrets():
    words = ["tox", "--db=mysql://me:s3@db/x?password=s3", "TOKEN=s3", "a b"]

    assert shown(words) == "tox '--db=mysql://***@db/x?password=***' 'TOKEN=***' 'a b'"
    assert shown(["tox", "--db=mysql://me@db:3306/x"]) == "tox --db=mysql://me@db:3306/x"
    assert len(shown(["x" * 1000])) == 200


def test_flags_are_told_as_they_were_given_and_without_what_is_secret():
    given = ["-b", "mysql://me:s3cret@db", "-b", "redis", "--idle", "1s", "--history", "a b"]

    told = shown_flags(measure.make_context("measure", [*given, "--", "true"]))
    none = shown_flags(measure.make_context("measure", ["--suite", "unit", "--", "true"]))

    assert told == {
        "flags": "-b 'mysql://***@db' -b redis --idle 1s",
        "flags.history": "--history 'a b'",
    }
    assert none == {}


def test_a_run_as_json_is_the_same_run_again():
    run = Run(
        "r", "s", 1, 2, 3,
        (Count("b", "c", None, (("k", "v"),), Kind.GAUGE, "By", 1.5, 2, 0.25, "why"),),
        (BackendRead("b", "i", "v", "n", "w", ("x",)),),
        "t", 4, "rev", "br", "h", None, "because", {"a": True},
    )  # fmt: skip

    assert run_of(json.loads(json.dumps(as_json(run)))) == run
