"""What the kernel counts: of a tree of processes, a control group, the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.clock import Clock
from nilometer.counters import linux, procfs
from nilometer.counters.backend import BackendError, Surroundings, connect
from nilometer.counters.delta import delta
from nilometer.counters.snapshot import snapshot
from nilometer.errors import ConfigError

DATA = Path(__file__).parent.parent / "data" / "counters" / "linux"

# Reads and writes as often as it is told, in its own process and in a child that it waits for.
WORK = """
import os, sys
def work(times, size):
    fd = os.open(sys.argv[1], os.O_RDWR)
    for _ in range(times):
        os.pread(fd, size, 0)
        os.pwrite(fd, b'x' * size, 0)
for line in sys.stdin:
    times, size = map(int, line.split())
    work(times, size)
    if (pid := os.fork()) == 0:
        work(times, size)
        os._exit(0)
    os.waitpid(pid, 0)
    print('done', flush=True)
"""


@pytest.fixture
def worker(tmp_path: Path):
    """``worker(times, size)``: so many reads and writes of that size, twice."""
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, tmp_path / "file"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def work(times: int, size: int) -> None:
        process.stdin.write(f"{times} {size}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"

    work.pid = process.pid
    yield work
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


def moved_by(backend: object, act) -> dict:
    before = snapshot(backend, Clock())
    act()
    return {
        n: v for (n, of), v in delta(before, snapshot(backend, Clock())).moved.items() if not of
    }


def test_calls_and_bytes_of_a_process_and_its_children_are_exact(worker) -> None:
    backend = connect(f"linux://?pid={worker.pid}", origin="-b")
    worker(1, 1)
    none = moved_by(backend, lambda: worker(0, 1))

    moved = moved_by(backend, lambda: worker(100, 700))

    more = {name: moved[name] - none[name] for name in ("syscr", "syscw", "rchar", "wchar")}
    # Of the order "100 700" some bytes more are read than of "0 1".
    assert more.pop("rchar") in range(140_000, 140_010)
    assert more == {"syscr": 200, "syscw": 200, "wchar": 140_000}


def test_processes_are_found_by_a_pattern_of_their_command_and_named(
    worker, tmp_path: Path
) -> None:
    backend = connect(f"linux://?name={tmp_path.name}/file$", origin="-b")
    worker(0, 1)

    values = backend.read().values

    assert values["processes", ()] == 1
    assert [of for name, of in values if name == "processes" and of] == [
        (("process", Path(sys.executable).name[:15]),)
    ]


# The middle process has a child that works before and after it is alone, and after a third word
# ends; the root waits for the middle. With "ignored" nobody asks how a child ended.
FAMILY = """
import os, signal, sys
def work(fd, times):
    for _ in range(times): os.write(fd, b'x')
null = os.open('/dev/null', os.O_WRONLY)
to_middle, to_child = os.pipe(), os.pipe()
back = os.pipe()
def step(word):
    os.write(back[1], b'.')
if sys.argv[1] == 'ignored':
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
middle = os.fork()
if middle == 0:
    os.close(to_child[1])
    if os.fork() == 0:
        work(null, 1000); step('born')
        os.read(to_child[0], 1); work(null, 100); step('alone')
        os.read(to_child[0], 1); step('ends'); os._exit(0)
    os.read(to_middle[0], 1)
    os._exit(0)
for line in sys.stdin:
    if line == 'orphan\\n':
        os.write(to_middle[1], b'.')
        try: os.waitpid(middle, 0)
        except ChildProcessError: pass
        os.write(to_child[1], b'.')
    if line == 'end\\n':
        os.write(to_child[1], b'.')
    os.read(back[0], 1)
    work(null, 2000)
    print('done', flush=True)
"""


@pytest.fixture
def family():
    """``family()`` starts one; ``.say(word)`` makes it do that, and returns when it is done."""
    started: list[subprocess.Popen[str]] = []

    def start(ignored: str = "asked") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", FAMILY, ignored],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        process.say = lambda word: say(process, word)
        process.say("born")
        return process

    def say(process: subprocess.Popen[str], word: str) -> None:
        process.stdin.write(f"{word}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"

    yield start
    for process in started:
        process.kill()  # and its child reads an end, and ends
        process.communicate(timeout=10)


def test_what_outlives_its_parent_stays_in_the_tree(family) -> None:
    process = family()
    backend = connect(f"linux://?pid={process.pid}", origin="-b")

    moved = moved_by(backend, lambda: process.say("orphan"))

    assert 2100 <= moved["syscw"] < 2110  # what they did, and a few words to each other


def test_a_process_that_ends_without_a_parent_makes_the_totals_unknown(
    family, wait_until
) -> None:
    process = family()
    backend = connect(f"linux://?pid={process.pid}", origin="-b")
    backend.read()  # which sees whose child it is
    process.say("orphan")
    before = snapshot(backend, Clock())
    process.say("end")
    wait_until(lambda: backend.read().values["processes", ()] == 1, what="the orphan ended")

    found = delta(before, snapshot(backend, Clock()))

    assert found.unknown["syscw", ()] == (
        "not one count throughout: 1 process of it ended, and its figures are with none of its "
        "parents"
    )
    assert found.moved["processes", ()] == -1


def test_where_nobody_asks_how_a_child_ended_the_totals_are_unknown(family, wait_until) -> None:
    process = family("ignored")
    backend = connect(f"linux://?pid={process.pid}", origin="-b")
    before = snapshot(backend, Clock())
    process.say("orphan")

    found = delta(before, snapshot(backend, Clock()))

    assert "1 process of it ended" in found.unknown["syscw", ()]


def test_a_pattern_means_neither_us_nor_who_started_us(worker, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom nilometer.counters.backend import connect\n"
        "values = connect(sys.argv[1], origin='-b').read().values\n"
        "print(values['processes', ()])"
    )
    url = f"linux://?name={tmp_path.name}/file"
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", script, url]

    told = subprocess.run(command, capture_output=True, text=True, check=True)

    assert told.stdout == "1\n"


def test_a_process_that_is_gone_is_told(worker) -> None:
    with pytest.raises(BackendError, match=r"linux at pid=\d+: no such process runs"):
        connect("linux://?pid=4194304", origin="-b").read()


def test_another_process_of_the_same_number_is_another_incarnation() -> None:
    ours = connect(f"linux://?pid={os.getpid()}", origin="-b").read().incarnation

    assert ours.endswith(f" {os.getpid()}:{_started()}")


def _started() -> int:
    return procfs.process(Path("/proc/self/stat").read_text()).numbers["started_ticks"]


def test_the_machine_is_found_and_counts_its_forks() -> None:
    [target] = linux.find(Surroundings({}, Path("/")))
    backend = linux.connect(target)

    moved = moved_by(backend, lambda: [subprocess.run(["true"], check=True) for _ in range(5)])

    assert moved["forks"] >= 5
    assert set(moved) <= set(backend.facts())


@pytest.mark.parametrize(
    ("url", "because"),
    [
        ("linux://?pid=me", "pid='me' is not a number"),
        ("linux://?name=(", r"name='\(' is not a pattern"),
        ("linux://?pid=1&name=x", "one of pid, name and cgroup, not several"),
        ("linux://?pip=1", "no option 'pip'; did you mean 'pid'"),
    ],
)
def test_wrong_options_are_told(url: str, because: str) -> None:
    with pytest.raises(ConfigError, match=because):
        connect(url, origin="-b")


def test_a_control_group_that_is_not_there_is_told() -> None:
    with pytest.raises(BackendError, match="no control group of version 2 in"):
        connect("linux://?cgroup=/no/such", origin="-b").read()


def test_the_machine_s_files_are_read_as_they_are() -> None:
    files = {f"{at}{n}": (DATA / f"{n}.txt").read_text() for at, n in KERNEL}

    found = {name: value for (name, _), value in linux.machine_counters(files).items()}

    assert set(found) == set(linux.OF_MACHINES)
    assert (found["forks"], found["tcp.accepts"]) == (
        procfs.named_numbers(files["stat"], " ")["processes"],
        procfs.paired_lines(files["net/snmp"])["Tcp.PassiveOpens"],
    )


KERNEL = (("", "stat"), ("", "vmstat"), ("net/", "snmp"), ("net/", "netstat"))


def test_a_control_group_s_files_are_read_by_device_and_together() -> None:
    """The files are as the kernel's documentation shows them; there is no such group here."""
    files = dict.fromkeys(linux.CGROUP_FILES, "")
    files["cpu.stat"] = "usage_usec 900\nuser_usec 500\nsystem_usec 400\nthrottled_usec 7\n"
    files["memory.stat"] = "anon 4096\npgfault 100\npgmajfault 3\n"
    files["memory.peak"], files["memory.current"] = "8192\n", "max\n"
    files["io.stat"] = "8:16 rbytes=5 wbytes=6 rios=1 wios=2 dbytes=0\n8:0 rbytes=10 wbytes=0\n"

    assert linux.cgroup_counters(files) == {
        ("cpu.user", ()): 500_000,
        ("cpu.system", ()): 400_000,
        ("cpu.throttled", ()): 7_000,
        ("page_faults.minor", ()): 97,
        ("page_faults.major", ()): 3,
        ("memory.peak", ()): 8192,
        ("io.read_bytes", (("device", "8:16"),)): 5,
        ("io.write_bytes", (("device", "8:16"),)): 6,
        ("io.reads", (("device", "8:16"),)): 1,
        ("io.writes", (("device", "8:16"),)): 2,
        ("io.read_bytes", (("device", "8:0"),)): 10,
        ("io.write_bytes", (("device", "8:0"),)): 0,
        ("io.reads", (("device", "8:0"),)): 0,
        ("io.writes", (("device", "8:0"),)): 0,
        ("io.read_bytes", ()): 15,
        ("io.write_bytes", ()): 6,
        ("io.reads", ()): 1,
        ("io.writes", ()): 2,
    }


def test_a_control_group_stays_the_same_one_while_groups_in_it_come_and_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of systemd: with an attribute of its own a group's times change with them."""
    monkeypatch.setattr(linux, "CGROUPS", (tmp_path,))
    for name in ("job", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpu.stat").write_text("user_usec 500\n")
    backend = connect("linux://?cgroup=/job", origin="-b")

    first = backend.read().incarnation
    changed_ns = (tmp_path / "job").stat().st_ctime_ns
    inner = count()
    while (tmp_path / "job").stat().st_ctime_ns == changed_ns:
        (tmp_path / "job" / f"inner{next(inner)}").mkdir()
    second = backend.read().incarnation
    (tmp_path / "job").rename(tmp_path / "old")
    (tmp_path / "new").rename(tmp_path / "job")
    third = backend.read().incarnation

    assert first == second != third


def test_a_tree_is_walked_once_even_where_parents_go_round() -> None:
    def of(pid: int, parent: int) -> procfs.Process:
        return procfs.Process(pid, "x", {"parent": parent})

    found = procfs.descendants([of(1, 2), of(2, 1), of(3, 2), of(4, 9)], [1, 7])

    assert [one.pid for one in found] == [1, 2, 3]


@given(st.text())
def test_any_text_is_a_process_or_a_value_error(text: str) -> None:
    try:
        procfs.process(text)
    except ValueError:
        return


@given(st.text())
def test_any_text_gives_whole_numbers_or_nothing(text: str) -> None:
    found = [*procfs.named_numbers(text).values(), *procfs.paired_lines(text).values()]
    found += [n for pairs in procfs.device_lines(text).values() for n in pairs.values()]

    assert all(isinstance(number, int) for number in found)
