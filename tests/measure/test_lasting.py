"""Values in a file: what a killed process leaves, who collects it, and what is refused."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from nilometer.errors import ArenaError, ConfigError
from nilometer.measure import Registry
from nilometer.measure import registry as registry_module
from nilometer.measure.arena_layout import CATALOGUE_AT, HEADER, OCTAVE, REGION_AT, read
from nilometer.measure.catalogue import Kept, checked_folder
from nilometer.measure.living import living
from nilometer.measure.remains import COLLECTED, Remains
from nilometer.model import Distribution, Resource

from .conftest import moved

HEAD = """
import os, resource, signal, sys, threading
import nilometer
from nilometer import assembly
from nilometer.measure import REGISTRY
folder = sys.argv[1]
def begin(**more):
    nilometer.configure(service="shop", arena=folder, interval_s=3600, **more)
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""
TWINS = {"python": {"NILOMETER_PURE_PYTHON": "1"}, "c": {"NILOMETER_REQUIRE_C": "1"}}


@pytest.fixture(params=TWINS)
def run(request, tmp_path):
    """Run a program in a process of its own, by each twin; what it wrote, and how it ended."""
    without = {k: v for k, v in os.environ.items() if not k.startswith("NILOMETER_")}

    def run_it(body, *arguments):
        program = HEAD + textwrap.dedent(body)
        return subprocess.run(
            # From 3.12 on Python warns of a fork beside threads, which is what is tried.
            [
                *(sys.executable, "-W", "ignore::DeprecationWarning", "-c", program),
                *(str(tmp_path / "values"), *arguments),
            ],
            env={**without, **TWINS[request.param]},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run_it


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "values"


@pytest.fixture
def kept(registry, folder):
    """A registry of this process whose values lie in a file."""
    held = Kept(registry, checked_folder(str(folder), "test"), Resource("shop", pid=7), 10)
    yield held
    held.end()


def claims(folder, told=lambda *_: None):
    return list(Remains(folder, told).claims(100))


def values(readings):
    """Values by name and dimensions, without our own."""
    return {
        (one.name, *(f"{key}={value}" for key, value in one.dimensions)): one.value
        for one in readings
        if not one.name.startswith("nilometer.")
    }


def seen(kept):
    file = os.open(kept.path, os.O_RDONLY)
    try:
        return values([one for one in read(file).series if one.value is not None])
    finally:
        os.close(file)


MEASURED = """
early, boot = nilometer.counter("early"), nilometer.timer("boot")
early.add(2**63 - 1)
boot.record(5)
begin(dimensions={"tier": "gold"})
early.add(2**63 - 1)
early.bind(tenant="acme", path="a/b\\n\\u202e").add(3)
for n in range(2000):
    boot.record(n * n)
nilometer.gauge("ratio").set(0.5)
nilometer.gauge("depth").add(-7)
nilometer.gauge("none")
nilometer.counter("by.thread", per_thread=True).add(4)
"""


@pytest.mark.parametrize("end", ["die()", "os._exit(3)"])
def test_a_killed_process_leaves_its_values_and_they_are_collected_once(run, folder, end):
    ran = run(MEASURED + end)
    claimed = claims(folder)
    others = claims(folder)
    for claim in claimed:
        claim.done()

    assert ran.returncode in (-signal.SIGKILL, 3), ran.stderr
    (batch,) = (claim.batch for claim in claimed)
    assert values(batch.readings) == {
        ("early",): 2**64 - 2,
        ("early", "path=a/b\n\u202e", "tenant=acme"): 3,
        ("boot",): Distribution.of([5, *(n * n for n in range(2000))]),
        ("ratio",): 0.5,
        ("depth",): -7,
        ("by.thread", "thread=MainThread"): 4,
    }
    assert (batch.resource.service, batch.resource.host) == ("shop", os.uname().nodename)
    assert batch.resource.attributes == (COLLECTED, ("tier", "gold"))
    assert (others, list(folder.iterdir())) == ([], [])


def test_what_was_collected_before_the_kill_is_not_left_again(run, folder):
    run("""
        begin(export=[f"file://{folder}.jsonl"])
        nilometer.counter("c").add(5)
        nilometer.timer("t").record(5)
        assert nilometer.flush()
        nilometer.counter("c").add(2)
        die()
        """)

    (claim,) = claims(folder)

    assert values(claim.batch.readings) == {("c",): 2}
    claim.done()


def test_its_last_interval_begins_at_the_last_collect_and_is_no_longer_than_any(run, folder):
    ran = run("""
        nilometer.configure(
            service="s", arena=folder, interval_s=0.05, export=[f"file://{folder}.jsonl"]
        )
        assembly.current().pump.pause(10)
        nilometer.counter("c").add(5)
        print(REGISTRY.clock.wall_ns())
        REGISTRY.collect()
        nilometer.counter("c").add(5)
        sys.stdout.flush()
        die()
        """)
    (claim,) = claims(folder)
    claim.done()

    times = {(r.started_ns, r.ended_ns) for r in claim.batch.readings if r.name == "c"}
    ((started_ns, ended_ns),) = times
    assert int(ran.stdout) <= started_ns <= ended_ns <= started_ns + 50_000_000


def test_a_process_that_ends_in_order_leaves_nothing_and_sends_all_itself(run, folder):
    ran = run("""
        begin(export=[f"file://{folder}.jsonl"])
        nilometer.counter("orders").add(5)
        """)

    sent = folder.with_name("values.jsonl").read_text()

    assert ran.returncode == 0, ran.stderr
    assert sent.count('"orders"') == 1
    assert list(folder.iterdir()) == []


def test_a_forked_child_has_a_file_of_its_own_and_harms_nothing_of_its_parent(run, folder):
    """Threads of the parent record all the while; their sums say whether anything was lost."""
    ran = run("""
        c, t = nilometer.counter("c"), nilometer.timer("t")
        begin()
        going = True
        def record():
            while going:
                c.bind(by="thread").add()
                t.record(1000)
        thread = threading.Thread(target=record)
        thread.start()
        for n in range(20):
            pid = os.fork()
            if pid == 0:
                c.add(100 + n)
                t.record(n)
                os._exit(0)
            os.waitpid(pid, 0)
            c.add()
        going = False
        thread.join()
        die()
        """)
    left = [claim.batch for claim in claims(folder)]
    by_pid = {batch.resource.pid: values(batch.readings) for batch in left}

    assert ran.stderr == ""
    assert len(by_pid) == 21
    (parent,) = (found for found in by_pid.values() if found["c",] == 20)
    assert parent["c", "by=thread"] == parent["t",].samples == parent["t",].buckets[318]
    children = {found["c",]: found for found in by_pid.values() if found is not parent}
    assert children == {
        100 + n: {("c",): 100 + n, ("t",): Distribution.of([n])} for n in range(20)
    }


def test_a_child_of_a_child_starts_from_zero(run, folder):
    run("""
        begin()
        nilometer.counter("c").add(1)
        if os.fork() == 0:
            nilometer.counter("c").add(10)
            if os.fork() == 0:
                nilometer.counter("c").add(100)
                os._exit(0)
            os.wait()
            os._exit(0)
        os.wait()
        die()
        """)
    claimed = claims(folder)

    assert sorted(values(claim.batch.readings)["c",] for claim in claimed) == [1, 10, 100]


def test_a_daemon_that_closes_all_descriptors_goes_on_and_nobody_s_file_is_written_to(
    run, folder
):
    ran = run("""
        from nilometer.measure.remains import Remains
        from pathlib import Path
        c = nilometer.counter("c")
        begin()
        c.add(3)
        os.closerange(3, 1000)
        others = [os.open(f"{folder}-{n}", os.O_RDWR | os.O_CREAT) for n in range(9)]
        for n in range(300):
            nilometer.timer(f"t{n}").record(n)
        assert list(Remains(Path(folder), print).claims()) == []  # it lives, and is locked
        REGISTRY.collect()
        c.add(4)
        c.bind(late=1).add(5)
        if os.fork() == 0:
            c.add(100)
            os._exit(0)
        os.wait()
        assert all(os.fstat(one).st_size == 0 for one in others)
        die()
        """)
    left = [values(claim.batch.readings) for claim in claims(folder)]

    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert sorted(left, key=len) == [{("c",): 100}, {("c",): 4, ("c", "late=1"): 5}]


def test_where_the_disk_is_full_series_are_counted_as_refused_and_the_process_goes_on(
    run, folder
):
    """No file may grow beyond what it is: that fails as a full disk does, where it is asked."""
    ran = run("""
        begin()
        c = nilometer.counter("c")
        c.add(3)
        size = os.stat(os.path.join(folder, os.listdir(folder)[0])).st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, 1 << 17))
        for n in range(900):
            for m in range(10):
                nilometer.timer(f"t{n}").bind(m=m).record(10**m)
        c.add(4)
        readings, _ = REGISTRY.collect()
        lost = {r.dimensions: r.value for r in readings if r.name == "nilometer.lost"}
        assert lost[(("reason", "arena_full"), ("what", "values"))] > 1000, lost
        assert [r.value for r in readings if r.name == "c"] == [7]
        c.add(5)
        die()
        """)
    (claim,) = claims(folder)

    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert values(claim.batch.readings)["c",] == 5


def test_where_no_file_can_be_made_values_stay_in_memory_and_that_is_said(run, folder):
    ran = run("""
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, 1 << 17))
        nilometer.counter("c").add(3)
        begin()
        nilometer.counter("c").add(4)
        assert [r.value for r in REGISTRY.collect()[0] if r.name == "c"] == [7]
        """)

    assert (ran.returncode, list(folder.iterdir())) == (0, []), ran.stderr
    assert "[arena-not-kept]" in ran.stderr


# --- in this process -------------------------------------------------------------------------


def test_values_go_into_the_file_and_are_collected_from_it(registry, kept):
    counter, timer, gauge = registry.counter("c"), registry.timer("t"), registry.gauge("g")
    counter.add(3)
    timer.record(0)
    timer.record(700)
    gauge.set(2**62)
    before = seen(kept)
    collected = moved(registry)
    after = seen(kept)
    counter.add(1)
    timer.record(9)
    gauge.add(-0.5)

    assert before == {("c",): 3, ("t",): Distribution.of([0, 700]), ("g",): 2**62}
    assert collected == {("c",): 3, ("t",): (2, 700), ("g",): 2**62}
    assert after == {("g",): 2**62}
    assert seen(kept) == {("c",): 1, ("t",): Distribution.of([9]), ("g",): 2**62 - 0.5}


def test_values_go_back_into_memory_with_all_they_are(registry, kept):
    counter, timer = registry.counter("c"), registry.timer("t")
    counter.add(3)
    timer.record(700)
    kept.end()
    counter.bind(a=1).add(2)
    timer.record(1)

    assert moved(registry) == {("c",): 3, ("c", "a=1"): 2, ("t",): (2, 701)}
    assert not kept.path.exists()


def test_a_file_may_follow_a_file(registry, kept, folder):
    registry.counter("c").add(3)
    kept.end()
    second = Kept(registry, folder, Resource("shop"), 10)
    registry.counter("c").add(4)
    registry.counter("late").add(1)

    assert seen(second) == {("c",): 7, ("late",): 1}
    assert moved(registry) == {("c",): 7, ("late",): 1}
    second.end()


def test_a_series_that_is_given_back_is_in_the_file_no_more(registry, kept):
    """Its block tells which one is free next: that is nobody's value."""
    counter = registry.counter("c", per_thread=True)
    for n in range(30):
        threads = [
            threading.Thread(target=counter.add, name=f"worker-{n}-{m}") for m in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        registry.collect()
        registry.collect()
        assert seen(kept) == {}

    assert kept.path.stat().st_size < CATALOGUE_AT + 8192  # lines are written over


def test_instruments_beyond_their_bound_are_not_in_the_file(registry, kept, monkeypatch):
    """Nobody knows when they are gone, and their blocks given to others."""
    monkeypatch.setattr(registry_module, "INSTRUMENTS_MAX", 5)
    for n in range(10):
        registry.counter(f"c{n}").bind(a=1).add()
    file = os.open(kept.path, os.O_RDONLY)
    names = {one.name for one in read(file).series if one.name.startswith("c")}
    os.close(file)

    assert names == {"c0", "c1", "c2"}  # and two of our own


def test_what_a_tally_counts_is_left_too(registry, kept, folder):
    served = registry.counter("served", unit="{request}")
    timer = registry.timer("t", tally=served)
    timer.record(5)
    timer.bind(a=1).record(6)
    file = os.open(kept.path, os.O_RDONLY)
    tallies = {one.tally for one in read(file).series if one.name == "t"}
    os.close(file)

    assert tallies == {("served", "{request}", "")}


def test_reading_beside_threads_that_record_tells_no_impossible_distribution(registry, kept):
    timer = registry.timer("t")
    going = threading.Event()

    def record():
        while not going.is_set():
            timer.record(1000)

    threads = [threading.Thread(target=record) for _ in range(3)]
    for thread in threads:
        thread.start()
    looked = [seen(kept).get(("t",)) for _ in range(300)]
    going.set()
    for thread in threads:
        thread.join()

    for one in filter(None, looked):
        assert (one.minimum, one.maximum) == (1000, 1000)
        assert abs(sum(one.buckets.values()) - one.samples) <= 3000 / 3 + one.samples // 10
    whole = seen(kept)["t",]
    assert whole.samples == sum(whole.buckets.values()) == whole.total // 1000


def test_a_timer_that_changes_while_it_is_read_is_read_again(registry, kept, monkeypatch):
    timer = registry.timer("t")
    timer.record(1000)
    late = [1000, 1000]

    def pread(file, size, at):
        block = os_pread(file, size, at)
        if size == OCTAVE.size and late:
            timer.record(late.pop())
        return block

    os_pread = os.pread
    monkeypatch.setattr(os, "pread", pread)
    read_beside = seen(kept)["t",]

    assert read_beside == Distribution.of([1000, 1000, 1000])


def test_a_living_process_is_seen_and_not_claimed(registry, kept, folder):
    registry.counter("c").add(3)

    assert claims(folder) == []
    ((path, lives, contents, because),) = living(folder)
    assert (path, lives, because) == (kept.path, True, "")
    assert contents.resource == Resource("shop", pid=7)


# --- who collects ----------------------------------------------------------------------------


@pytest.fixture
def left(folder):
    """A file that a killed process left: a copy of one, which nobody has locked."""

    def leave(name="1-a.arena", service="shop"):
        registry = Registry()
        registry.counter("c").add(3)
        registry.timer("t").record(3)
        kept = Kept(registry, checked_folder(str(folder), "test"), Resource(service), 10)
        registry.counter("late").bind(a=1).add(1)
        content = kept.path.read_bytes()
        kept.end()
        path = folder / name
        with path.open("wb") as file:  # a copy with its hole would take 64 MiB
            file.write(content[: REGION_AT + 16384])
            file.seek(CATALOGUE_AT)
            file.write(content[CATALOGUE_AT:])
        return path

    return leave


def test_of_many_who_come_at_once_one_gets_a_file(left, folder):
    for n in range(10):
        left(f"{n}-a.arena", f"s{n}")
    got, barrier = [], threading.Barrier(8)

    def collect():
        barrier.wait()
        got.extend(claims(folder))

    threads = [threading.Thread(target=collect) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(claim.batch.resource.service for claim in got) == [f"s{n}" for n in range(10)]
    for claim in got:
        claim.done()


def test_what_did_not_arrive_is_the_next_one_s_and_just_the_same(left, folder):
    left()
    (first,) = claims(folder)
    first.let_go()
    (second,) = claims(folder)
    second.done()

    assert second.batch == first.batch  # times included: by these a collector knows it again
    assert claims(folder) == []


def test_a_torn_last_line_harms_nobody(left, folder):
    path = left()
    whole = path.read_bytes()
    os.truncate(path, len(whole.rstrip(b" \n")) - 5)

    (claim,) = claims(folder)

    assert values(claim.batch.readings) == {("c",): 3, ("t",): Distribution.of([3])}
    claim.done()


def test_a_file_that_was_not_finished_is_taken_away_quietly(left, folder):
    path = left()
    with path.open("r+b") as file:
        file.write(bytes(8))
    (folder / "2-b.arena").touch()
    told = []

    assert claims(folder, lambda *fault: told.append(fault)) == []
    assert (told, list(folder.iterdir())) == ([], [])


DAMAGES = {
    "foreign": lambda path: path.write_bytes(b"\x7fELF" * 100),
    "short": lambda path: os.truncate(path, 1000),
    "no catalogue": lambda path: os.truncate(path, CATALOGUE_AT),
    "endless": lambda path: os.truncate(path, 1 << 40),
    "nobody's": lambda path: overwrite(path, CATALOGUE_AT, b"-"),
    "far away": lambda path: replace(path, b'"at":', b'"at":-'),
    "no kind": lambda path: replace(path, b'"timer"', b'"timid"'),
}


def overwrite(path, at, octets):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(octets)


def replace(path, old, new):
    content = path.read_bytes()
    at = content.index(old, CATALOGUE_AT)
    line_end = content.index(b"\n", at)
    line = content[at:line_end].replace(old, new, 1)[: line_end - at]
    overwrite(path, at, line.ljust(line_end - at))


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_read_is_set_aside_and_said_and_the_others_are_collected(
    left, folder, damage
):
    path = left("1-a.arena")
    left("2-b.arena")
    DAMAGES[damage](path)
    told = []

    claimed = claims(folder, lambda *fault: told.append(fault))

    assert len(claimed) == 1
    ((where, error),) = told
    assert (where, error.slug) == (path, "arena-unreadable")
    assert sorted(one.name for one in folder.iterdir()) == [
        "1-a.arena.unreadable",
        "2-b.arena",
    ]
    claimed[0].done()


def test_a_file_of_another_version_is_left_for_who_can_read_it(left, folder):
    path = left()
    overwrite(path, 8, (99).to_bytes(4, sys.byteorder))
    told = []
    remains = Remains(folder, lambda *fault: told.append(fault))

    assert [*remains.claims(), *remains.claims()] == []
    assert [(one, error.slug) for one, error in told] == [(path, "arena-version")]
    assert path.exists()


def test_no_damage_does_more_than_be_refused(left):
    path = left()
    content = path.read_bytes()
    head, tail = content[: HEADER.size], content[CATALOGUE_AT:]
    dice = random.Random(4)
    for _ in range(400):
        part, at = dice.choice([(head, 0), (tail, CATALOGUE_AT)])
        spoilt = bytearray(part)
        for _ in range(dice.randint(1, 4)):
            spoilt[dice.randrange(len(spoilt))] = dice.randrange(256)
        overwrite(path, at, bytes(spoilt))
        file = os.open(path, os.O_RDONLY)
        try:
            found = read(file)
        except ArenaError:
            found = None
        finally:
            os.close(file)
            overwrite(path, at, part)
        assert found is None or found.resource.pid == found.resource.pid + 0


def test_links_and_pipes_are_nobody_s_files(left, folder, tmp_path):
    path = left()
    path.rename(tmp_path / "elsewhere")
    (folder / "link.arena").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / "pipe.arena")

    assert claims(folder) == []
    assert living(folder) == []


# --- whose folder ----------------------------------------------------------------------------


def test_files_and_folder_are_for_this_user_only(registry, kept, folder):
    assert (folder.stat().st_mode & 0o777, kept.path.stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.parametrize(("mode", "is_refused"), [(0o777, True), (0o770, True), (0o755, False)])
def test_a_folder_where_others_may_write_is_refused(folder, mode, is_refused):
    folder.mkdir()
    folder.chmod(mode)
    if not is_refused:
        assert checked_folder(str(folder), "arena") == folder
        return

    with pytest.raises(ConfigError, match=f"NILOMETER_ARENA: {folder} is open .* chmod 700"):
        checked_folder(str(folder), "NILOMETER_ARENA")


def test_a_sticky_folder_of_everybody_s_will_do(folder):
    folder.mkdir()
    folder.chmod(0o1777)

    assert checked_folder(str(folder), "arena") == folder


def test_another_user_s_folder_is_refused(folder, monkeypatch):
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)

    with pytest.raises(ConfigError, match="belongs to another user"):
        checked_folder(str(folder), "arena")


def test_what_is_no_folder_is_refused(folder):
    folder.write_text("")

    with pytest.raises(ConfigError, match="is no folder"):
        checked_folder(str(folder), "arena")
    with pytest.raises(ConfigError, match="Not a directory"):
        checked_folder(str(folder / "in"), "arena")
