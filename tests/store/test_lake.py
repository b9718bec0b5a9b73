"""What an append promises: all or nothing, on the disk, and each row counted once."""

import functools
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from deltalake import DeltaTable

from nilometer.clock import Clock
from nilometer.errors import StoreError
from nilometer.model import Batch, Event, Rejected, Resource
from nilometer.store import disk as disk_module
from nilometer.store import lake as lake_module
from nilometer.store import places, stored, tables
from nilometer.store.lake import FUTURE_DAYS, PAST_DAYS, Lake
from nilometer.store.query import Reader
from nilometer.store.reading import Questions
from tests.store.batches import NOW_NS, counted, one_of_each, span

CLOCK = Clock(wall_ns=lambda: NOW_NS)
TRACE = (1).to_bytes(16, "big").hex()


def spans_in(place):
    return [int.from_bytes(record.span_id, "big") for _, record in Reader(place).trace(TRACE)]


def child(code, *arguments, **more):
    """Start Python on the code; `lake` is opened on the first argument."""
    head = """
        import sys, time
        from nilometer.store.lake import Lake
        from nilometer.model import *
        from tests.store.batches import *
        lake = Lake(sys.argv[1], durability="os")
    """
    text = textwrap.dedent(head) + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        **more,
    )


def test_what_is_appended_is_read_at_once(tmp_path):
    lake, reader = Lake(tmp_path / "new"), Reader(tmp_path / "new")
    assert reader.trace(TRACE) == []

    lake.append([one_of_each(1)])
    lake.append([one_of_each(2)])

    assert spans_in(tmp_path / "new") == [1, 2]
    assert [row.total for row in reader.statistics("c")] == [3]
    assert len(reader.events()) == 2


@pytest.mark.parametrize("at_ns", [-(2**63), 0, 2**63 - 2, 2**63 - 1])
def test_open_ends_leave_no_time_out(tmp_path, at_ns):
    record = span(1)._replace(started_ns=at_ns, ended_ns=at_ns)
    reading, event = counted(1)._replace(ended_ns=at_ns), Event("e", at_ns, {})
    Lake(tmp_path).append([Batch(Resource("api"), (reading,), (record,), (event,))])
    reader = Reader(tmp_path)

    def found(**ends):
        traces, events = reader.find_traces(**ends), reader.events(**ends)
        return (
            len(traces),
            len(events),
            *(len(asked("c", **ends)) for asked in (reader.metric_names, reader.statistics)),
        )

    assert found() == found(since_ns=at_ns) == found(until_ns=at_ns + 1) == (1, 1, 1, 1)
    assert found(until_ns=at_ns) == found(since_ns=at_ns + 1) == (0, 0, 0, 0)
    assert found(since_ns=2**70) == found(until_ns=-(2**70)) == (0, 0, 0, 0)


def test_appending_nothing_commits_nothing(tmp_path):
    lake = Lake(tmp_path)
    lake.append([])
    lake.append([Batch(Resource("api"))])

    assert DeltaTable(str(tmp_path / "spans")).version() == 0


def test_a_batch_sent_again_counts_once(tmp_path):
    lake, reader = Lake(tmp_path), Reader(tmp_path)
    lake.append([one_of_each(1), one_of_each(1)])
    lake.append([one_of_each(1)])

    assert len(reader.trace(TRACE)) == 1
    assert [row.total for row in reader.statistics("c")] == [1]
    assert len(reader.events()) == 1


def test_rows_that_came_before_are_counted_as_far_as_remembered(tmp_path, monkeypatch):
    lake = Lake(tmp_path, durability="os")
    lake.append([one_of_each(1), one_of_each(1), one_of_each(2)])
    assert lake.again == {"spans": 1, "readings": 1, "events": 1}

    lake.append([one_of_each(2), one_of_each(3)])
    assert lake.again == {"spans": 2, "readings": 2, "events": 2}

    monkeypatch.setattr(lake_module, "DELIVERIES_MAX", 2)
    lake.append([one_of_each(4)])
    lake.append([one_of_each(1)])  # forgotten by now

    assert lake.again == {"spans": 2, "readings": 2, "events": 2}
    assert [row.samples for row in Reader(tmp_path).statistics("c")] == [4]


def test_a_delivery_of_its_own_tells_a_batch_from_others_of_equal_content(tmp_path):
    lake, reader = Lake(tmp_path, durability="os"), Reader(tmp_path)
    for delivery in ("", "first", "second", "second"):
        lake.append([one_of_each(1)._replace(delivery=delivery)])

    assert len(reader.trace(TRACE)) == 1  # a span has an identity of its own
    assert [row.total for row in reader.statistics("c")] == [3]
    assert len(reader.events()) == 3


def test_if_the_second_table_fails_the_retry_counts_once(tmp_path, monkeypatch):
    lake, reader = Lake(tmp_path), Reader(tmp_path)
    whole_commit = stored.StoredTable.commit

    def failing(self, actions, turn=None):
        if self.table.name == "readings":
            raise OSError(28, "No space left on device")
        whole_commit(self, actions, turn)

    monkeypatch.setattr(stored.StoredTable, "commit", failing)
    with pytest.raises(StoreError) as error:
        lake.append([one_of_each(1)])
    monkeypatch.undo()
    assert error.value.slug == "store-full"

    lake.append([one_of_each(1)])

    assert len(reader.trace(TRACE)) == 1
    assert [row.total for row in reader.statistics("c")] == [1]
    assert len(reader.events()) == 1


def test_an_append_that_fails_waits_for_what_it_began(tmp_path, monkeypatch):
    lake, ended = Lake(tmp_path), []
    whole_commit = stored.StoredTable.commit
    all_have_begun, failed = threading.Barrier(3, timeout=10), threading.Event()

    def failing(self, actions, turn=None):
        all_have_begun.wait()
        if self.table.name == "spans":
            failed.set()
            raise OSError(28, "No space left on device")
        assert failed.wait(10)
        whole_commit(self, actions, turn)
        ended.append(self.table.name)

    monkeypatch.setattr(stored.StoredTable, "commit", failing)
    with pytest.raises(StoreError):
        lake.append([one_of_each(1)])

    assert sorted(ended) == ["events", "readings"]


def test_two_events_alike_in_one_batch_are_two(tmp_path):
    twice = one_of_each(1)
    Lake(tmp_path).append([twice._replace(events=twice.events * 2)])

    assert len(Reader(tmp_path).events()) == 2


def test_rows_of_wrong_clocks_keep_their_time_and_make_few_partitions(tmp_path):
    lake, reader = Lake(tmp_path, clock=CLOCK), Reader(tmp_path)
    day = 24 * 3600 * 10**9
    lake.append([Batch(Resource(), (), tuple(span(n + 1, at_ns=n * day) for n in range(1000)))])
    lake.append([Batch(Resource(), (), (span(2000, at_ns=NOW_NS + 9 * day), span(2001)))])

    files = Questions(places.Place.of(tmp_path)).listed("spans")

    assert lake.clamped == {"spans": 1001}
    assert sorted({file.date for file in files}) == [
        date(2026, 11, 18),
        date(2026, 11, 19),
    ]
    assert (PAST_DAYS, FUTURE_DAYS) == (31, 1)
    assert [s.started_ns for _, s in reader.trace(TRACE)][:2] == [0, day]
    assert [t.spans for t in reader.find_traces(since_ns=5 * day, until_ns=6 * day)] == [1002]
    assert reader.find_traces(since_ns=5 * day + 1, until_ns=6 * day) == []


# ---- the disk --------------------------------------------------------------------------------


def test_what_is_acknowledged_was_synced_before(tmp_path, monkeypatch):
    lake = Lake(tmp_path)
    synced = {}
    real = os.fsync

    def recorded(handle):
        real(handle)
        path = Path(f"/proc/self/fd/{handle}").readlink()
        whole = path.read_bytes if path.is_file() else lambda: [p.name for p in path.iterdir()]
        synced[path] = whole()

    monkeypatch.setattr(os, "fsync", recorded)
    lake.append([one_of_each(1)])
    monkeypatch.undo()

    for name in ("spans", "readings", "events"):
        root = tmp_path / name
        [data] = root.glob("date=*/*.parquet")
        entry = root / "_delta_log" / f"{1:020}.json"
        assert synced[data] == data.read_bytes()
        assert synced[entry] == entry.read_bytes()
        for path in (data, entry):
            assert path.name in synced[path.parent]
        assert data.parent.name in synced[root]


def test_a_commit_syncs_nothing_twice(tmp_path, monkeypatch):
    lake = Lake(tmp_path)
    lake.append([one_of_each(1)])
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink())
    )

    lake.append([one_of_each(2)])

    assert (
        len(synced) == len(set(synced)) == 15
    )  # of three tables: two files, three directories


def test_os_durability_syncs_nothing_of_an_append(tmp_path, monkeypatch):
    lake = Lake(tmp_path, durability="os")
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("synced"))

    lake.append([one_of_each(1)])


def test_entries_of_others_are_synced_before_ours_is_acknowledged(tmp_path, monkeypatch):
    ours, theirs = Lake(tmp_path), Lake(tmp_path, durability="os")
    theirs.append([one_of_each(1)])
    [foreign] = (tmp_path / "spans").glob("date=*/*.parquet")
    synced = []
    monkeypatch.setattr(disk_module, "sync", lambda path: bool(synced.append(path)))

    ours.append([one_of_each(2)])

    assert foreign in synced
    assert tmp_path / "spans" / "_delta_log" / f"{1:020}.json" in synced


DEEP = "[" * 100_000
BROKEN = ["garbage", "5", '{"add":5}', '{"add":{"path":"x","size":1e999}}', DEEP, "\udcff"]


@pytest.mark.parametrize(
    "torn", ["", '{"add":{"path"', "whole entry, short file", *BROKEN], ids=lambda t: t[:24]
)
def test_an_end_torn_by_a_power_cut_is_set_aside(tmp_path, torn):
    lake = Lake(tmp_path)
    lake.append([one_of_each(1)])
    lake.append([one_of_each(2)])
    entry = tmp_path / "spans" / "_delta_log" / f"{2:020}.json"
    if torn.startswith("whole"):
        newest = max((tmp_path / "spans").glob("date=*/*"), key=lambda p: p.stat().st_mtime_ns)
        newest.write_bytes(newest.read_bytes()[:-1])
    else:
        entry.write_bytes(torn.encode(errors="surrogateescape"))

    again = Lake(tmp_path)
    assert spans_in(tmp_path) == [1]
    again.append([one_of_each(3)])

    assert spans_in(tmp_path) == [1, 3]
    assert entry.with_suffix(".json.torn").exists()


@pytest.mark.parametrize("content", BROKEN, ids=lambda text: text[:24])
def test_a_damaged_entry_that_a_checkpoint_stands_in_for_is_no_matter(tmp_path, content):
    lake = Lake(tmp_path)
    for number in range(12):
        lake.append([one_of_each(number)])
    entry = tmp_path / "spans" / "_delta_log" / f"{7:020}.json"
    entry.write_bytes(content.encode(errors="surrogateescape"))

    Lake(tmp_path).append([one_of_each(12)])

    assert spans_in(tmp_path) == list(range(13))


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\v", "\x1c", "\r", "\n"])
def test_what_unicode_takes_for_a_lines_end_is_acknowledged_in_a_name_and_kept(tmp_path, end):
    reading = counted(1)._replace(name=f"a{end}b")
    Lake(tmp_path).append([Batch(Resource("api"), (reading,))])

    Lake(tmp_path).append([one_of_each(1)])  # a start looks for torn ends

    assert [row.total for row in Reader(tmp_path).statistics(f"a{end}b")] == [1]


@pytest.mark.parametrize("damage", ["{garbage", ""])
def test_damage_in_the_middle_is_told_and_nothing_is_touched(tmp_path, damage):
    lake = Lake(tmp_path)
    for number in range(3):
        lake.append([one_of_each(number)])
    entry = tmp_path / "spans" / "_delta_log" / f"{2:020}.json"
    entry.write_text(damage)
    before = sorted(tmp_path.rglob("*"))

    for opening in (Lake, lambda place: Reader(place).trace(TRACE)):
        with pytest.raises(StoreError) as error:
            opening(tmp_path)
        assert error.value.slug == "store-damaged"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("gone", ["the folder", "its content"])
@pytest.mark.parametrize("by_url", [False, True])
def test_files_whose_log_is_gone_are_told_as_damage_and_kept(tmp_path, gone, by_url):
    lake = Lake(tmp_path)
    lake.append([one_of_each(1)])
    log = tmp_path / "spans" / "_delta_log"
    shutil.rmtree(log)
    if gone == "its content":
        log.mkdir()
    before = sorted(tmp_path.rglob("*"))

    place = tmp_path.as_uri() if by_url else tmp_path
    for opening in (Lake, lambda place: Reader(place).trace(TRACE)):
        with pytest.raises(StoreError, match="files such as date=") as error:
            opening(place)
        assert error.value.slug == "store-damaged"
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_wrong_is_said_without_the_structures_of_a_library(tmp_path):
    lake = Lake(tmp_path, durability="os")
    for number in range(13):
        lake.append([one_of_each(number)])
    (tmp_path / "spans" / "_delta_log" / f"{12:020}.json").unlink()

    with pytest.raises(StoreError) as error:
        Lake(tmp_path)

    assert str(error.value) == (
        f"{tmp_path / 'spans'}: the table's log cannot be read: Kernel error: Generic delta "
        "kernel error: Expected contiguous commit files, but found gap; put a copy of that "
        "directory back, or move it away: an empty table is begun then, without what it held "
        "[store-damaged]"
    )


NO_SUCH_BUCKET = b"""<?xml version="1.0"?>
<Error><Code>NoSuchBucket</Code><Message>None of that name</Message></Error>"""


class Refusing(BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(403)
        self.send_header("Content-Length", str(len(NO_SUCH_BUCKET)))
        self.end_headers()
        self.wfile.write(NO_SUCH_BUCKET)

    do_PUT = do_GET

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (
            True,
            (
                "403 Forbidden, NoSuchBucket; make the bucket b, name one that is there, or "
                "look at AWS_ENDPOINT_URL and AWS_REGION"
            ),
        ),
        (
            False,
            (
                "Connection refused; look whether it is up, and at AWS_ENDPOINT_URL, "
                "AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ),
        ),
    ],
)
@pytest.mark.parametrize("opening", [Lake, Reader])
def test_an_object_store_that_does_not_serve_is_told_with_its_address_and_the_cause(
    monkeypatch, answers, why, opening
):
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    if answers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    else:
        server.server_close()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    for name in ("AWS_ALLOW_HTTP", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "true")
    try:
        with pytest.raises(StoreError) as error:
            opening("s3://b/x").find_traces()
    finally:
        if answers:
            server.shutdown()
        server.server_close()

    said = str(error.value).replace(" (os error 111)", "")
    assert re.match("cannot (open|write to) s3://b/x(/spans)?: ", said)
    assert said.endswith(f" at {endpoint}: {why}; nothing was acknowledged [store-failed]")


# ---- other processes -------------------------------------------------------------------------

ENDLESS = """
    number = int(sys.argv[2]) * 1_000_000
    while True:
        number += 1
        lake.append([one_of_each(number, at_ns=NOW_NS + number)])
        print(number, flush=True)
"""


def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path):
    Lake(tmp_path)
    acknowledged, in_flight = [], []
    chance = random.Random(7)
    for round_ in range(4):
        with child(ENDLESS, tmp_path, round_) as process:
            process.stdout.readline()
            acknowledged.append(round_ * 1_000_000 + 1)
            signal.sigtimedwait([], chance.uniform(0.05, 0.4))
            process.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in process.stdout.read().split()]
        lake, reader = Lake(tmp_path), Reader(tmp_path)

        found = spans_in(tmp_path)
        assert len(found) == len(set(found))
        assert set(acknowledged) <= set(found)
        assert set(found) <= {*acknowledged, *in_flight, acknowledged[-1] + 1}

        # A sender whose answer did not come sends again; so does one that is told twice.
        in_flight.append(acknowledged[-1] + 1)
        sent = sorted({*acknowledged, *in_flight})
        lake.append([one_of_each(number, at_ns=NOW_NS + number) for number in sent])

        [told] = reader.statistics("c")
        assert sorted(spans_in(tmp_path)) == sent
        assert (told.samples, told.total) == (len(sent), sum(sent))


def test_three_processes_appending_at_once_lose_nothing(tmp_path):
    code = """
        for number in range(25):
            lake.append([one_of_each(int(sys.argv[2]) * 1000 + number)])
    """
    Lake(tmp_path)
    writers = [child(code, tmp_path, n + 1) for n in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]

    numbers = [w * 1000 + n for w in (1, 2, 3) for n in range(25)]

    assert sorted(spans_in(tmp_path)) == numbers
    assert [row.total for row in Reader(tmp_path).statistics("c")] == [sum(numbers)]


MAKING = """
    for number in range(10):
        sys.stdin.readline()
        lake = Lake(sys.argv[2] + f"/{number}", durability="os")
        lake.append([one_of_each(int(sys.argv[3]))])
        print(number, flush=True)
"""


def test_three_processes_may_make_the_store_at_once(tmp_path):
    writers = [
        child(MAKING, tmp_path / "first", tmp_path, n, stdin=subprocess.PIPE) for n in (1, 2, 3)
    ]
    for number in range(10):
        for writer in writers:
            writer.stdin.write("go\n")
            writer.stdin.flush()
        assert [writer.stdout.readline() for writer in writers] == [f"{number}\n"] * 3

        assert sorted(spans_in(tmp_path / str(number))) == [1, 2, 3]
        for entry in (tmp_path / str(number)).glob("*/_delta_log/*.json"):
            made = entry.name == f"{0:020}.json"
            assert ('"metaData"' in entry.read_text()) is made  # described once, by the first
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]


def test_a_reader_sees_what_another_process_commits(tmp_path):
    Lake(tmp_path)
    reader = Reader(tmp_path)
    with child(ENDLESS, tmp_path, 0) as process:
        for _ in range(5):
            number = int(process.stdout.readline())
            assert len(reader.trace(TRACE)) >= number
        process.kill()


# ---- places that will not do -----------------------------------------------------------------


def test_a_directory_of_others_is_refused(tmp_path):
    (tmp_path / "diary.txt").write_text("dear diary")

    with pytest.raises(StoreError) as error:
        Lake(tmp_path)

    assert error.value.slug == "store-foreign"
    assert [p.name for p in tmp_path.iterdir()] == ["diary.txt"]


def test_a_table_of_others_is_refused(tmp_path):
    import pyarrow as pa
    from deltalake import write_deltalake

    write_deltalake(str(tmp_path / "spans"), pa.table({"a": [1]}))
    for opening in (Lake, lambda place: Reader(place).trace(TRACE)):
        with pytest.raises(StoreError) as error:
            opening(tmp_path)
        assert error.value.slug == "store-foreign"


def test_a_newer_schema_is_refused(tmp_path):
    Lake(tmp_path)
    newer = f"schema {tables.VERSION + 1}"
    DeltaTable(str(tmp_path / "events")).alter.set_table_description(newer)

    for opening in (Lake, lambda place: Reader(place).events()):
        with pytest.raises(StoreError) as error:
            opening(tmp_path)
        assert error.value.slug == "store-newer"


@pytest.mark.parametrize("location", ["a*b", "it's [x]?", "ä b"])
def test_any_directory_name_will_do(tmp_path, location):
    Lake(tmp_path / location).append([one_of_each(1)])

    assert spans_in(tmp_path / location) == [1]


def test_a_url_is_as_good_as_a_directory(tmp_path):
    url = (tmp_path / "by url").as_uri()
    (tmp_path / "by url").mkdir()
    lake = Lake(url)
    for number in range(10):
        lake.append([one_of_each(number)])

    assert lake.maintain().merged == 30
    assert sorted(spans_in(url)) == list(range(10))
    assert [row.total for row in Reader(url).statistics("c")] == [45]


def test_a_full_disk_acknowledges_nothing_and_shows_nothing(tmp_path):
    lake = Lake(tmp_path, durability="os")
    lake.append([one_of_each(1)])
    files = sorted(p for p in tmp_path.rglob("*.parquet"))
    big = Batch(
        Resource(),
        (),
        tuple(span(n + 10, name=random.randbytes(400).hex()) for n in range(500)),
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        with pytest.raises(StoreError) as error:
            lake.append([big])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)

    assert error.value.slug == "store-full"
    assert spans_in(tmp_path) == [1]
    assert sorted(p for p in tmp_path.rglob("*.parquet")) == files

    lake.append([big])
    assert len(spans_in(tmp_path)) == 501


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 400 kB, or None where we may not mount one: see `on_a_small_disk`."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        yield None
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def remount(place, option):
    """Mount it again with this option only: in a namespace it refuses those it shows itself."""
    command = ["mount", "--options-mode", "ignore", "-t", "tmpfs", "-o", f"remount,{option}"]
    subprocess.run([*command, "tmpfs", place], check=True)


def on_a_small_disk(test):
    """Where we are not root, run the test in a namespace of its own, in which we are."""

    @functools.wraps(test)
    def run(small_disk):
        if small_disk is not None:
            test(small_disk)
            return
        place = ["unshare", "--map-root-user", "--mount", sys.executable, "-m", "pytest", "-q"]
        place += ["-p", "no:cacheprovider", f"{__file__}::{test.__name__}"]
        done = subprocess.run(place, cwd=Path(__file__).parents[2], capture_output=True)
        assert done.returncode == 0, (done.stdout + done.stderr).decode()

    return run


@on_a_small_disk
def test_a_disk_that_fills_up_and_is_freed_works_again(small_disk):
    place = small_disk / "store"
    lake = Lake(place)
    acknowledged = fill(lake)
    assert set(acknowledged) <= set(spans_in(place))

    remount(small_disk, "size=4m")
    sent_again = len(acknowledged) + 1
    lake.append([one_of_each(sent_again)])

    numbers = [*acknowledged, sent_again]
    assert sorted(spans_in(place)) == numbers
    assert [row.total for row in Reader(place).statistics("c")] == [sum(numbers)]


def fill(lake):
    """Append until the disk is full; the numbers that were acknowledged."""
    for number in range(1, 1000):
        try:
            lake.append([one_of_each(number)])
        except StoreError as error:
            return (
                list(range(1, number))
                if error.slug == "store-full"
                else pytest.fail(str(error))
            )
    return pytest.fail("the disk never filled up")


@pytest.fixture
def nobody():
    """Root may write anywhere, so be somebody else for a while."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(before)


NOBODY = 65534


@pytest.fixture
def read_only():
    """A directory that everybody may read and nobody but root may write."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o555)
        yield Path(place)


def test_a_read_only_directory_is_told(read_only, nobody):
    with pytest.raises(StoreError) as error:
        Lake(read_only / "new")
    assert error.value.slug == "store-read-only"


@pytest.mark.parametrize("part", ["spans", "events/_delta_log"])
def test_tables_of_somebody_else_are_told_as_read_only_when_they_are_opened(part, nobody):
    with tempfile.TemporaryDirectory() as store:
        Lake(store)
        (Path(store) / part).chmod(0o555)

        with pytest.raises(StoreError) as error:
            Lake(store)
        assert Reader(store).find_traces() == []
        (Path(store) / part).chmod(0o755)

    assert str(error.value) == (
        f"cannot write to {store}/{part.partition('/')[0]}: it may not be written; nothing was "
        "acknowledged [store-read-only]"
    )


@on_a_small_disk
def test_a_disk_turned_read_only_is_told_and_can_be_read(small_disk):
    place = small_disk / "store"
    lake = Lake(place)
    lake.append([one_of_each(1)])
    remount(small_disk, "ro")

    acts = (
        lambda: lake.append([one_of_each(2)]),
        lambda: Lake(small_disk / "other"),
        lambda: Lake(place),
    )
    for act in acts:
        with pytest.raises(StoreError) as error:
            act()
        assert error.value.slug == "store-read-only"
    assert spans_in(place) == [1]

    remount(small_disk, "rw")
    lake.append([one_of_each(2)])
    assert spans_in(place) == [1, 2]


def test_what_was_rejected_is_kept_as_it_came_and_the_same_once(tmp_path):
    lake, reader = Lake(tmp_path), Reader(tmp_path)
    first = Rejected(NOW_NS, "notifications", "nova/n.info", "json", "not JSON", b"\xff\0", 2)
    second = first._replace(at_ns=NOW_NS + 1, body=b"", size=9)
    who = Resource("nilometer-collector")

    lake.append([Batch(who, rejected=(first,)), Batch(who, rejected=(second,))])
    lake.append([Batch(who, rejected=(first._replace(at_ns=NOW_NS + 5),))])

    assert reader.rejected() == [(who, second), (who, first)]
    assert reader.rejected(until_ns=NOW_NS + 1) == [(who, first)]
    for _ in range(7):
        lake.append([Batch(who, rejected=(first,))])
    assert lake.maintain().merged == 9
    assert reader.rejected() == [(who, second), (who, first)]
