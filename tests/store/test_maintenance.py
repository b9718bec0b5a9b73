"""Maintenance changes how the rows lie, never what is read."""

import errno
import os
import random
import threading
from collections import Counter
from datetime import date, timedelta

import duckdb
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from hypothesis import given
from hypothesis import strategies as st

from nilometer.clock import Clock, elapsed_ns
from nilometer.errors import StoreError
from nilometer.model import Batch, Resource
from nilometer.store import broken, compaction
from nilometer.store import lake as lakes
from nilometer.store.compaction import FILES_MIN, ROWS_MAX, chosen
from nilometer.store.disk import CHECKPOINT_EVERY
from nilometer.store.lake import Lake
from nilometer.store.places import Place
from nilometer.store.query import Reader
from nilometer.store.reading import Questions, needed
from nilometer.store.stored import EPOCH, DataFile, StoredTable
from nilometer.store.tables import SPANS, TABLES
from nilometer.testing import FakeTime
from tests.store.batches import NOW_NS, counted, one_of_each, span
from tests.store.test_lake import TRACE, child, spans_in

DAY_NS = 24 * 3600 * 10**9
AT_ONCE = timedelta(0)


def listed(place, table="spans"):
    return Questions(Place.of(place)).listed(table)


def filled(place, numbers=range(20), **more):
    lake = Lake(place, durability="os", **more)
    for number in numbers:
        lake.append([one_of_each(number)])
    return lake


def answers(place):
    reader = Reader(place)
    found = (
        reader.find_traces(),
        reader.statistics("c", group_by=["pid"]),
        reader.metric_names(),
    )
    return reader.trace(TRACE), *found, sorted(reader.events())


def test_merging_changes_the_files_and_no_answer(tmp_path):
    lake = filled(tmp_path)
    before = answers(tmp_path)

    done = lake.maintain()

    assert (done.merged, done.written) == (60, 3)
    assert [len(listed(tmp_path, name)) for name in ("spans", "readings", "events")] == [
        1,
        1,
        1,
    ]
    assert answers(tmp_path) == before


def test_merging_drops_what_was_delivered_twice(tmp_path):
    lake = filled(tmp_path)
    filled(tmp_path)
    before = answers(tmp_path)
    assert sum(file.rows for file in listed(tmp_path)) == 40

    lake.maintain()

    for name in ("spans", "readings", "events"):
        assert [file.rows for file in listed(tmp_path, name)] == [20]
    assert answers(tmp_path) == before


def test_a_merged_file_is_sorted_so_that_a_trace_lies_together(tmp_path):
    lake = Lake(tmp_path, durability="os")
    for number in range(10):
        lake.append([Batch(Resource(), (), tuple(span(number, trace=t) for t in (7, 5, 9)))])
    lake.maintain()
    [file] = listed(tmp_path)

    ids = pq.read_table(tmp_path / "spans" / file.path).column("trace_id").to_pylist()

    assert ids == sorted(ids)
    assert (file.least["trace_id"], file.greatest["trace_id"]) == (ids[0], ids[-1])


def test_columns_of_unlike_values_have_no_dictionary(tmp_path):
    Lake(tmp_path).append([one_of_each(1)])
    [file] = listed(tmp_path)

    group = pq.ParquetFile(tmp_path / "spans" / file.path).metadata.row_group(0)
    columns = [group.column(n) for n in range(group.num_columns)]

    plain = {c.path_in_schema for c in columns if not c.has_dictionary_page}
    assert plain == set(SPANS.unlike) == {"span_id", "parent_id", "started_ns", "ended_ns"}


def test_only_files_that_can_hold_the_trace_are_opened(tmp_path):
    lake = Lake(tmp_path, durability="os")
    for trace in (3, 5, 9):
        lake.append([Batch(Resource(), (), (span(1, trace=trace),))])
    wanted = f"{5:032x}"

    assert len(needed(listed(tmp_path), {"trace_id": (wanted, wanted)})) == 1


def test_old_days_go_as_a_whole_and_new_ones_stay(tmp_path):
    now = [NOW_NS]
    lake = Lake(tmp_path, clock=Clock(wall_ns=lambda: now[0]))
    for days in range(5):
        lake.append([Batch(Resource(), (), (span(days + 1, at_ns=NOW_NS - days * DAY_NS),))])

    done = lake.maintain(keep=timedelta(days=2), vacuum_after=AT_ONCE)

    assert done.dropped == 2
    assert sorted(spans_in(tmp_path)) == [1, 2, 3]
    assert sorted(p.name for p in (tmp_path / "spans").glob("date=*")) == [
        "date=2026-11-16",
        "date=2026-11-17",
        "date=2026-11-18",
    ]


def test_an_append_after_old_days_were_dropped_is_taken_at_once(tmp_path):
    now = [NOW_NS]
    clock = Clock(wall_ns=lambda: now[0])
    lake, elsewhere = Lake(tmp_path, clock=clock), Lake(tmp_path, clock=clock)
    dropped = []
    for number, maintainer in enumerate([lake, lake, elsewhere], start=1):
        old = span(number + 100, at_ns=NOW_NS - 20 * DAY_NS)
        lake.append([Batch(Resource(), (), (old,))])
        dropped.append(maintainer.maintain(keep=timedelta(days=14)).dropped)
        lake.append([Batch(Resource(), (), (span(number),))])

    assert dropped == [1, 1, 1]
    assert sorted(spans_in(tmp_path)) == [1, 2, 3]


def test_a_commit_that_fails_for_another_reason_is_not_tried_again(tmp_path, monkeypatch):
    lake, tries = filled(tmp_path, [1]), []

    def failing(*_):
        tries.append(1)
        raise CommitFailedError("Metadata changed since last commit")

    monkeypatch.setattr(StoredTable, "commit", failing)
    with pytest.raises(StoreError) as error:
        lake.append([Batch(Resource(), (), (span(2),))])

    assert (error.value.slug, len(tries)) == ("store-failed", 1)
    assert sorted(spans_in(tmp_path)) == [1]


HOUR_NS = 3600 * 10**9


@pytest.mark.parametrize("keep_h", [1, 5, 24, 30, 36, 14 * 24])
@pytest.mark.parametrize("hour", [0, 6, 23])
def test_no_row_goes_before_its_time_and_none_stays_a_day_longer(tmp_path, keep_h, hour):
    now_ns = NOW_NS // DAY_NS * DAY_NS + hour * HOUR_NS
    lake = Lake(tmp_path, durability="os", clock=Clock(wall_ns=lambda: now_ns))
    ages_h = [*range(72), *range(13 * 24, 16 * 24)]
    spans = (span(age_h + 1, at_ns=now_ns - age_h * HOUR_NS) for age_h in ages_h)
    lake.append([Batch(Resource(), (), tuple(spans))])

    lake.maintain(keep=timedelta(hours=keep_h))

    left = {number - 1 for number in spans_in(tmp_path)}
    assert {age_h for age_h in ages_h if age_h <= keep_h} <= left
    assert max(left) <= keep_h + 24


@pytest.mark.parametrize("age_days", [3, 20, 40, 730])
def test_what_is_older_than_is_kept_when_it_comes_is_kept_as_long_from_then_on(
    tmp_path, age_days
):
    keep, now_ns = timedelta(days=2), [NOW_NS]
    clock = Clock(wall_ns=lambda: now_ns[0])
    lake = Lake(tmp_path, durability="os", keep=keep, clock=clock)
    lake.append([Batch(Resource(), (), (span(1, at_ns=NOW_NS - age_days * DAY_NS),))])

    lake.maintain(keep=keep)
    at_once = spans_in(tmp_path)
    now_ns[0] += keep // timedelta(microseconds=1) * 1000
    lake.maintain(keep=keep)
    then = spans_in(tmp_path)
    now_ns[0] += DAY_NS
    lake.maintain(keep=keep)

    assert (list(at_once), list(then), list(spans_in(tmp_path))) == ([1], [1], [])


def test_keeping_for_ever_is_no_error(tmp_path):
    assert filled(tmp_path, [1]).maintain(keep=timedelta.max).dropped == 0


def test_replaced_files_stay_for_readers_that_hold_the_old_list(tmp_path):
    lake = filled(tmp_path)
    kept = set((tmp_path / "spans").glob("date=*/*.parquet"))

    lake.maintain()
    assert kept < set((tmp_path / "spans").glob("date=*/*.parquet"))

    done = lake.maintain(vacuum_after=AT_ONCE)
    assert done.deleted == 60
    assert len(list((tmp_path / "spans").glob("date=*/*.parquet"))) == 1


def test_orphans_of_a_killed_writer_are_deleted(tmp_path):
    lake = filled(tmp_path, [1])
    [folder] = (tmp_path / "spans").glob("date=*")
    (folder / "never-committed.parquet").write_bytes(b"PAR1 and then the power went")

    lake.maintain(vacuum_after=AT_ONCE)

    assert not (folder / "never-committed.parquet").exists()
    assert spans_in(tmp_path) == [1]


def test_a_reader_whose_file_is_gone_asks_again(tmp_path, monkeypatch):
    lake, reader = filled(tmp_path), Reader(tmp_path)
    assert len(reader.trace(TRACE)) == 20
    shelf = reader._questions._shelves["spans"]
    fresh, stale = shelf.files, shelf.files()
    lake.maintain(vacuum_after=AT_ONCE)
    lists = iter([stale])
    monkeypatch.setattr(shelf, "files", lambda: next(lists, None) or fresh())

    assert len(reader.trace(TRACE)) == 20


def test_a_file_that_is_gone_for_good_is_told(tmp_path):
    filled(tmp_path, [1])
    for path in (tmp_path / "spans").glob("date=*/*.parquet"):
        path.unlink()

    with pytest.raises(StoreError) as error:
        Reader(tmp_path).trace(TRACE)

    assert error.value.slug == "store-unreadable"


def test_two_maintainers_at_once_merge_once(tmp_path, monkeypatch):
    one, other = filled(tmp_path), Lake(tmp_path, durability="os")
    whole = compaction._write_merged

    def while_the_other_is_quicker(stored, *rest):
        whole(stored, *rest)
        monkeypatch.setattr(compaction, "_write_merged", whole)
        other.maintain()

    monkeypatch.setattr(compaction, "_write_merged", while_the_other_is_quicker)
    before = answers(tmp_path)
    one.maintain()

    assert len(listed(tmp_path, "events")) == 1
    assert answers(tmp_path) == before
    assert sum(file.rows for file in listed(tmp_path, "events")) == 20


def test_appends_go_on_during_maintenance_and_nothing_is_lost(tmp_path):
    code = """
        for number in range(40):
            lake.append([one_of_each(int(sys.argv[2]) * 1000 + number)])
    """
    lake = Lake(tmp_path, durability="os")
    writers = [child(code, tmp_path, n + 1) for n in range(2)]
    reader, faults, done = Reader(tmp_path), [], threading.Event()

    def read():
        seen = 0
        while not done.is_set():
            now = len(reader.trace(TRACE))
            if now < seen:
                faults.append((seen, now))
            seen = now

    watching = threading.Thread(target=read)
    watching.start()
    while any(writer.poll() is None for writer in writers):
        lake.maintain()
    done.set()
    watching.join()
    lake.maintain()

    numbers = [w * 1000 + n for w in (1, 2) for n in range(40)]
    assert ([w.returncode for w in writers], faults) == ([0, 0], [])
    assert sorted(spans_in(tmp_path)) == numbers
    assert [row.total for row in reader.statistics("c")] == [sum(numbers)]


@pytest.mark.parametrize("step_s", [-(10**7), 0, 10**4])
def test_tidying_takes_its_turn_whatever_happens_to_the_wall_clock(
    tmp_path, monkeypatch, step_s
):
    tidied, time = [], FakeTime(NOW_NS)
    monkeypatch.setattr(
        lakes, "tidy", lambda *_, **__: tidied.append(1) or compaction.Maintained()
    )
    lake = Lake(tmp_path, durability="os", clock=time.clock)
    found = []
    for passed_s in (0, 3599, 1):
        time.advance(passed_s)
        lake.maintain()
        time.step_wall(step_s)
        found.append(len(tidied) / len(TABLES))

    assert found == [1, 1, 2]


def test_the_log_of_many_commits_stays_short(tmp_path):
    lake = Lake(tmp_path, durability="os")
    commits = 5 * CHECKPOINT_EVERY + 5
    for number in range(commits):
        lake.append([Batch(Resource(), (), (span(number),))])
    log = tmp_path / "spans" / "_delta_log"
    assert len(list(log.glob("*.checkpoint.parquet"))) == 5
    old = NOW_NS // 10**9 - 10 * 365 * 24 * 3600
    for entry in log.glob("[0-9]*"):
        os.utime(entry, (old, old))

    lake.maintain()

    assert len(list(log.glob("*.json"))) < CHECKPOINT_EVERY
    assert len(spans_in(tmp_path)) == commits
    assert DeltaTable(str(tmp_path / "spans")).version() > commits


def test_what_maintenance_cannot_do_is_told_and_leaves_all_readable(tmp_path, monkeypatch):
    lake = filled(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compaction, "_write_merged", full)
    with pytest.raises(StoreError) as error:
        lake.maintain()
    monkeypatch.undo()

    assert error.value.slug == "store-full"
    assert len(spans_in(tmp_path)) == 20
    assert lake.maintain().merged == 60


# ---- the choice of files ---------------------------------------------------------------------


def files(*rows):
    return [
        DataFile(str(n), each, each, date(2026, 11, 18), {}, {}) for n, each in enumerate(rows)
    ]


@given(st.lists(st.integers(1, ROWS_MAX), max_size=60).map(lambda rows: files(*rows)))
def test_a_merge_is_of_several_small_files_and_never_too_large(some):
    found = chosen(some, FILES_MIN)

    assert found == [] or len(found) >= FILES_MIN
    assert sum(file.rows for file in found) <= ROWS_MAX
    assert len(set(map(id, found))) == len(found)


def test_a_large_file_waits_until_small_ones_have_grown_to_its_size():
    assert chosen(files(*[10] * 9, 5000), FILES_MIN) == files(*[10] * 9)
    assert len(chosen(files(*[1000] * 9, 5000), FILES_MIN)) == 10
    assert chosen(files(10, 10), FILES_MIN) == []


def test_a_row_is_rewritten_a_logarithm_of_times():
    store, rewritten = [], 0
    for _ in range(600):
        store += files(*[1000] * 20)
        merge = chosen(store, FILES_MIN)
        if merge:
            size = sum(file.rows for file in merge)
            rewritten += size
            store = [file for file in store if all(file is not m for m in merge)] + files(size)

    assert rewritten / (600 * 20 * 1000) < 10  # log2 of 1,000,000 / 1,000
    assert len(store) < 60


def test_statistics_count_what_was_merged_and_what_was_not(tmp_path):
    lake = filled(tmp_path, range(10))
    lake.maintain()
    lake.append(
        [Batch(Resource("api", "h", 5), (counted(5, at_ns=NOW_NS + 1),)), one_of_each(5)]
    )

    assert [row.total for row in Reader(tmp_path).statistics("c")] == [sum(range(10)) + 5]


# ---- files that cannot be read ---------------------------------------------------------------


def harm(path, how):
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:50])
    elif how == "noise":
        path.write_bytes(random.Random(3).randbytes(path.stat().st_size))
    else:  # only what lies between the marks at its ends
        content = bytearray(path.read_bytes())
        content[8:200] = random.Random(3).randbytes(192)
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["missing", "cut", "noise", "a page of noise"])
@pytest.mark.parametrize("by_url", [False, True])
def test_a_broken_file_takes_no_other_along_and_is_told(tmp_path, how, by_url):
    filled(tmp_path, range(1, 6))
    reader = Reader(tmp_path.as_uri() if by_url else tmp_path)
    assert reader.broken() == []
    kept = {name: listed(tmp_path, name)[2] for name in ("spans", "readings", "events")}
    whole = {name: (tmp_path / name / f.path).read_bytes() for name, f in kept.items()}
    for name, file in kept.items():
        harm(tmp_path / name / file.path, how)

    assert [row.spans for row in reader.find_traces()] == [4]
    assert len(reader.trace(TRACE)) == len(reader.events()) == 4
    assert [row.samples for row in reader.statistics("c")] == [4]
    assert [(each.table, each.path, each.rows) for each in reader.broken()] == [
        (name, kept[name].path, kept[name].rows) for name in ("events", "readings", "spans")
    ]
    assert all(each.because for each in reader.broken())

    if not by_url:  # an object store does not say when a file was put back
        for name, file in kept.items():
            (tmp_path / name / file.path).write_bytes(whole[name])
        assert len(reader.trace(TRACE)) == len(reader.events()) == 5
        assert [row.samples for row in reader.statistics("c")] == [5]
        assert reader.broken() == []


@pytest.mark.parametrize("how", ["missing", "cut", "noise", "a page of noise"])
@pytest.mark.parametrize("by_url", [False, True])
def test_a_broken_file_is_left_where_it_is_and_the_others_are_merged(tmp_path, how, by_url):
    filled(tmp_path, range(1, 13))
    lake = Lake(tmp_path.as_uri() if by_url else tmp_path)
    bad = listed(tmp_path)[2]
    harm(tmp_path / "spans" / bad.path, how)

    done = lake.maintain()
    assert lake.maintain() == compaction.Maintained()

    assert done == compaction.Maintained(merged=35, written=3)
    assert bad.path in {file.path for file in listed(tmp_path)}
    assert len(listed(tmp_path)) == 2
    assert len(Reader(tmp_path).trace(TRACE)) == 11


@pytest.mark.parametrize("told", [duckdb.OutOfMemoryException, OSError])
@pytest.mark.parametrize(("at_once", "left"), [(12, 1), (3, 1), (1, 12)])
def test_rows_that_are_too_large_are_merged_fewer_at_a_time(
    tmp_path, monkeypatch, at_once, left, told
):
    """Arrow tells what DuckDB lacks in the midst of an answer, as an error of its own."""
    lake = filled(tmp_path, range(1, 13))
    write = compaction._write_merged

    def in_little_memory(stored, day, old, written):
        if len(old) > at_once:
            raise told("Out of Memory Error: failed to pin block")
        write(stored, day, old, written)

    monkeypatch.setattr(compaction, "_write_merged", in_little_memory)
    while lake.maintain() != compaction.Maintained():
        pass
    for _ in range(6):  # two are found too large at a time
        lake.maintain()

    assert len(listed(tmp_path)) == left
    assert len(Reader(tmp_path).trace(TRACE)) == 12


def test_what_cannot_be_merged_holds_up_no_other_table_and_no_day(tmp_path, monkeypatch):
    lake = filled(tmp_path, range(1, 13))
    for number in range(12):
        lake.append([one_of_each(100 + number, at_ns=NOW_NS + DAY_NS)])
    write, full = compaction._write_merged, EPOCH + timedelta(days=NOW_NS // DAY_NS)

    def on_a_full_disk(stored, day, old, written):
        if stored.table is SPANS and day == full:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(stored, day, old, written)

    monkeypatch.setattr(compaction, "_write_merged", on_a_full_disk)
    with pytest.raises(StoreError, match="the disk is full"):
        lake.maintain()

    days = Counter(file.date == full for file in listed(tmp_path))
    assert days == {True: 12, False: 1}
    assert len(listed(tmp_path, "readings")) == len(listed(tmp_path, "events")) == 2


def no_answer(*_):
    raise OSError("timed out")


def test_an_object_store_that_does_not_answer_leaves_no_file_out(tmp_path, monkeypatch):
    filled(tmp_path, range(1, 13))
    reader, upkeep = Reader(tmp_path.as_uri()), Lake(tmp_path.as_uri())

    with monkeypatch.context() as patched:
        patched.setattr(Place, "blocks", no_answer)
        with pytest.raises(StoreError, match="timed out"):
            reader.trace(TRACE)
        with pytest.raises(StoreError, match="timed out"):
            upkeep.maintain()

    assert reader.broken() == []
    assert len(reader.trace(TRACE)) == 12
    assert upkeep.maintain() == compaction.Maintained(merged=36, written=3)


def test_a_broken_file_of_an_object_store_is_looked_at_again(tmp_path, monkeypatch):
    filled(tmp_path, range(1, 6))
    reader = Reader(tmp_path.as_uri())
    file = tmp_path / "spans" / listed(tmp_path)[2].path
    whole = file.read_bytes()
    harm(file, "cut")
    assert len(reader.trace(TRACE)) == 4

    file.write_bytes(whole)
    later = broken.LOOK_AGAIN_NS + elapsed_ns()
    monkeypatch.setattr(broken, "elapsed_ns", lambda: later)

    assert len(reader.trace(TRACE)) == 5
    assert reader.broken() == []


def test_a_question_that_fails_for_another_reason_finds_no_file_broken(tmp_path):
    filled(tmp_path, [1])
    reader = Reader(tmp_path)

    with pytest.raises(StoreError) as error:
        reader._questions.ask("trace", "spans", {}, {"trace_id": TRACE})

    assert error.value.slug == "store-unreadable"
    assert reader.broken() == []
