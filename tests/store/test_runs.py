"""The history: what was appended comes back whole; what is broken is told, never dropped."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Schema
from hypothesis import given
from hypothesis import strategies as st

from nilometer.errors import StoreError
from nilometer.model import Kind
from nilometer.model.run import Accepted, BackendRead, Count, Run
from nilometer.store import tables
from nilometer.store.columns import table_of
from nilometer.store.compaction import FILES_MIN
from nilometer.store.lake import Lake
from nilometer.store.places import Place
from nilometer.store.run_rows import part_of, runs_of
from nilometer.store.runs import History
from nilometer.store.stored import StoredTable
from nilometer.testing import FakeTime
from tests.store.batches import NOW_NS, S, attributes, dimensions, floats, texts, times, whole

PROCESSES = 3
RUNS_EACH = 5

numbers = whole | floats
counts = st.builds(
    Count,
    backend=texts,
    counter=texts,
    delta=st.none() | numbers,
    dimensions=dimensions,
    kind=st.sampled_from(Kind),
    unit=texts,
    raw=st.none() | numbers,
    footprint=numbers,
    idle=numbers,
    because=texts,
)
reads = st.builds(
    BackendRead,
    *[texts] * 5,
    st.lists(texts, max_size=3).map(tuple),
    st.none() | st.lists(texts, max_size=3).map(tuple),
)
some_runs = st.builds(
    Run,
    id=texts,
    suite=texts,
    started_ns=times,
    ended_ns=times,
    wall_ns=whole,
    counts=st.lists(counts, max_size=5).map(tuple),
    backends=st.lists(reads, max_size=3).map(tuple),
    test_set=texts,
    work=whole,
    revision=texts,
    branch=texts,
    host=texts,
    exit_status=st.none() | st.integers(-64, 255),
    because=texts,
    attributes=attributes,
)


def run_of(number: int, **more: object) -> Run:
    """A run that its number tells apart, a minute after the one before."""
    at_ns = NOW_NS + number * 60 * S
    plain = Run(
        f"run-{number}",
        "unit",
        at_ns,
        at_ns + S,
        S,
        (
            Count("mysql", "Com_select", 100 + number),
            Count("mysql", "x", 1, (("digest", "a"),)),
        ),
        (BackendRead("mysql", "db:3306", "10.11", "start-1"),),
        "t1",
        40,
    )
    return plain._replace(**more)


@pytest.fixture
def history(tmp_path):
    found = History(tmp_path / "history", clock=FakeTime(wall_ns=NOW_NS).clock)
    yield found
    found.close()


def ids(runs):
    return [run.id for run in runs]


@given(some_runs)
def test_a_run_becomes_rows_and_the_same_run_again(run):
    part = part_of(run)

    rows = table_of("runs", [part], 1)

    assert rows.num_rows == part.rows == 1 + len(run.backends) + len(run.counts)
    assert runs_of(rows.to_pylist()) == [run]


@given(some_runs, st.data())
def test_whatever_stands_in_a_row_the_run_is_told_and_nothing_raised(run, data):
    rows = table_of("runs", [part_of(run)], 1).to_pylist()
    broken = data.draw(st.sampled_from(rows))
    column = data.draw(st.sampled_from(sorted(broken.keys() - {"delivery", "append"})))
    broken[column] = data.draw(st.none() | st.text(max_size=5) | st.integers() | st.floats())

    found = runs_of(rows)

    assert 1 <= len(found) <= 2


def test_what_was_appended_comes_back_in_that_order_whatever_its_clock_said(history):
    runs = [run_of(2), run_of(0), run_of(1, suite="other"), run_of(3)]
    for run in runs:
        history.append(run)

    assert history.runs() == runs
    assert history.runs("unit") == [runs[0], runs[1], runs[3]]
    assert history.runs("unit", limit=2) == [runs[1], runs[3]]
    assert history.runs(since_ns=runs[0].ended_ns) == [runs[0], runs[3]]
    assert history.runs("nobody's") == []
    assert history.runs("unit", limit=1, parts=False) == [
        runs[3]._replace(counts=runs[3].counts[:1])
    ]


def test_a_history_that_nobody_has_written_is_empty(tmp_path):
    history = History(tmp_path / "none")

    assert history.runs() == []
    assert history.accepted() == []
    assert not (tmp_path / "none").exists()
    history.close()


def test_a_run_that_is_appended_again_counts_once(history):
    for _ in range(2):
        history.append(run_of(1))

    assert history.runs() == [run_of(1)]


def test_a_run_during_which_the_clock_went_back_stands_where_it_was_appended(tmp_path):
    time = FakeTime(wall_ns=NOW_NS)
    history = History(tmp_path / "history", clock=time.clock)
    ahead = run_of(0, id="ahead", started_ns=NOW_NS + 10**6 * S, ended_ns=NOW_NS)
    for run in (run_of(-2), ahead, run_of(2)):
        history.append(run)

    assert ids(history.runs()) == ["run--2", "ahead", "run-2"]
    history.close()


def test_a_run_recorded_while_the_clock_was_ahead_is_before_those_recorded_after(tmp_path):
    time = FakeTime(wall_ns=NOW_NS + 7_200 * S)
    place = tmp_path / "history"
    for number, back_s in enumerate([7_200, 0, 0, 0]):
        history = History(place, clock=time.clock)  # each run by a process of its own
        history.append(run_of(number, started_ns=time.clock.wall_ns()))
        history.close()
        time = FakeTime(wall_ns=NOW_NS + number * S) if back_s else time

    found = History(place)
    assert ids(found.runs()) == ["run-0", "run-1", "run-2", "run-3"]
    assert ids(found.runs(limit=1)) == ["run-3"]
    found.close()


def test_a_history_of_many_runs_stays_a_few_files_and_loses_none(history):
    for number in range(20):
        history.append(run_of(number))

    assert history.upkeep_failed == ""
    assert history.runs() == [run_of(number) for number in range(20)]
    assert len(DeltaTable(history.place.inside("runs").url).file_uris()) < 8


def test_upkeep_that_fails_takes_no_run_along(history, monkeypatch):
    for number in range(7):
        history.append(run_of(number))

    def fail(*_args, **_more):
        raise StoreError("no upkeep today", slug="store-failed")

    monkeypatch.setattr("nilometer.store.runs.maintain", fail)
    history.append(run_of(7))

    assert history.upkeep_failed == "no upkeep today [store-failed]"
    assert len(history.runs()) == 8


def test_a_collector_s_maintenance_keeps_the_history_whole(history):
    for number in range(3):
        history.append(run_of(number))
    history.append(run_of(2))
    lake = Lake(history.place.url, clock=FakeTime(wall_ns=NOW_NS + 3 * 86_400 * S).clock)

    done = lake.maintain()

    assert done.merged == 4
    assert history.runs() == [run_of(number) for number in range(3)]


APPENDER = """
import sys
from nilometer.store.runs import History
from tests.store.test_runs import RUNS_EACH, run_of
history = History(sys.argv[1])
print("ready", flush=True)
sys.stdin.read(1)
for number in range(RUNS_EACH):
    history.append(run_of(number, id=f"{sys.argv[2]}-{number}"))
    print(number, flush=True)
"""


def appender(location: Path, name: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(location), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_processes_that_append_at_once_lose_nothing(tmp_path):
    several = [appender(tmp_path / "history", str(number)) for number in range(PROCESSES)]
    for one in several:
        assert one.stdout.readline() == "ready\n"
    for one in several:
        one.stdin.write("\n")
        one.stdin.flush()
    codes = [(one.communicate()[0], one.returncode) for one in several]
    history = History(tmp_path / "history")

    assert codes == [("0\n1\n2\n3\n4\n", 0)] * PROCESSES
    assert sorted(ids(history.runs())) == sorted(
        f"{process}-{number}" for process in range(PROCESSES) for number in range(RUNS_EACH)
    )
    history.close()


def test_what_was_told_to_be_recorded_survives_kill_9(tmp_path):
    killed = appender(tmp_path / "history", "k")
    killed.stdout.readline()
    killed.stdin.write("\n")
    killed.stdin.flush()
    told = [killed.stdout.readline() for _ in range(2)]
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    history = History(tmp_path / "history")

    assert told == ["0\n", "1\n"]
    assert ids(history.runs())[:2] == ["k-0", "k-1"]
    history.close()


# ---- broken histories ------------------------------------------------------------------------


def spoil(history: History, **columns: object) -> None:
    """Append a run of which the row of its last count has other values in these columns."""
    table = StoredTable(history.place.inside("runs"), tables.RUNS, durable=False)
    rows = table_of("runs", [part_of(run_of(9))], 2**62)
    listed = rows.to_pylist()
    listed[-2] |= columns
    spoiled = type(rows).from_pylist(listed, schema=rows.schema)
    days = [NOW_NS // (86_400 * S)] * rows.num_rows
    table.append(spoiled, tables.pa.array(days))


@pytest.mark.parametrize(
    ("columns", "because"),
    [
        ({"kind": "sum"}, "its row of mysql x cannot be read: KeyError("),
        ({"dimensions": "{"}, "its row of mysql x cannot be read: JSONDecodeError("),
        ({"unit": None}, "its row of mysql x cannot be read: TypeError("),
        ({"what": "gift"}, "a row of it is of 'gift', which is nothing"),
    ],
    ids=["kind", "dimensions", "null", "what"],
)
def test_a_corrupt_row_makes_its_run_unusable_and_says_so(history, columns, because):
    history.append(run_of(1))
    spoil(history, **columns)

    whole_one, spoiled = history.runs()

    assert whole_one == run_of(1)
    assert spoiled.because.startswith(f"corrupt in the history: {because}")
    assert spoiled._replace(because="") == run_of(9)._replace(counts=run_of(9).counts[:1])


@pytest.mark.parametrize("parts", [True, False], ids=["parts", "totals"])
@pytest.mark.parametrize("lost", range(4), ids=["backend", "total", "part", "run"])
def test_a_run_of_which_a_row_is_lost_is_unusable_and_says_so(history, lost, parts):
    table = StoredTable(history.place.inside("runs"), tables.RUNS, durable=False)
    rows = table_of("runs", [part_of(run_of(1))], 1)
    rest = tables.pa.concat_tables([rows.slice(0, lost), rows.slice(lost + 1)])
    table.append(rest, tables.pa.array([NOW_NS // (86_400 * S)] * 3))

    [run] = history.runs("unit", parts=parts)

    why = "the row that tells of the run itself is missing" if lost == 3 else "1 of its rows"
    assert run.because.startswith(f"corrupt in the history: {why}")


@pytest.mark.parametrize("dimensions", ['{"a":', "", "{", None], ids=str)
def test_a_total_whose_dimensions_are_damaged_is_told_where_no_parts_are_read(
    history, dimensions
):
    spoil(history, dimensions=dimensions)

    [run] = history.runs("unit", parts=False)

    assert run.because.startswith("corrupt in the history: its row of mysql x cannot be read: ")


def test_a_run_without_its_own_row_is_told(history):
    rows = table_of("runs", [part_of(run_of(1))], 1).to_pylist()[:-1]

    [run] = runs_of(rows)

    assert run == run_of(1)._replace(
        because="corrupt in the history: "
        "the row that tells of the run itself is missing, or cannot be read"
    )


def newest_file(history: History) -> Path:
    root = history.place.inside("runs").path
    entry = sorted((root / "_delta_log").glob("*.json"))[-1]
    [added] = [
        json.loads(line)["add"] for line in entry.read_text().splitlines() if '"add"' in line
    ]
    return root / added["path"]


@pytest.mark.parametrize("damage", ["cut", "noise", "gone"])
def test_a_file_that_is_damaged_is_told_and_the_others_are_read(history, damage):
    history.append(run_of(0))
    history.append(run_of(1))
    broken = newest_file(history)
    history.append(run_of(2))
    content = broken.read_bytes()
    if damage == "gone":
        broken.unlink()
    else:
        broken.write_bytes(
            content[: len(content) // 2] if damage == "cut" else b"\x00" * len(content)
        )

    first, lost, last = history.runs("unit")

    assert (first, last) == (run_of(0), run_of(2))
    assert lost.because.startswith("lost: date=")
    assert f"{broken.name} of the history, 4 rows, cannot be read: " in lost.because
    assert lost._replace(because="") == Run(
        "", "unit", run_of(1).ended_ns, run_of(1).ended_ns, exit_status=None
    )
    assert history.runs("another suite") == []


def test_a_file_that_is_damaged_stands_where_it_was_recorded_whatever_its_clock_said(history):
    for number in (5, 6, 1):  # the clock was set back before the last one
        history.append(run_of(number))
    newest_file(history).write_bytes(b"broken")

    assert ids(history.runs("unit")) == ["run-5", "run-6", ""]


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("entry empty", "is empty"),
        ("entry cut", "cannot be read"),
        ("entry cut after a line", "is cut before it names a file"),
    ],
)
def test_a_last_entry_that_is_torn_is_told_as_a_run_that_is_lost(history, what, why):
    history.append(run_of(0))
    history.append(run_of(1))
    entry = spoil_newest(history, what)
    again = History(history.place.url)

    for asked, suite in ((None, ""), ("unit", "unit")):
        because = f"lost: {entry.name} of the history's log {why}; see store-damaged"
        lost = Run("", suite, 0, 0, exit_status=None, because=because)
        assert again.runs(asked) == [run_of(0), lost]
    again.close()


CUT = '{"commitInfo":{"operation":"WRITE","operationParameters":{"mode":"Append"}}}'
ENDS = ["", '{"add": {', CUT]


@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ENDS)
def test_several_torn_entries_at_the_end_are_each_told_and_then_set_aside(
    history, first, second
):
    for number in range(3):
        history.append(run_of(number))
    log = history.place.inside("runs").path / "_delta_log"
    torn = sorted(log.glob("*.json"))[-2:]
    for entry, content in zip(torn, (first, second), strict=True):
        entry.write_text(content)

    again = History(history.place.url, clock=FakeTime(wall_ns=NOW_NS).clock)
    whole, *lost = again.runs()
    again.append(run_of(3))

    assert whole == run_of(0)
    assert [run.because.split()[1] for run in lost] == [entry.name for entry in torn]
    assert again.runs() == [run_of(0), run_of(3)]
    assert all(f"{entry}.torn" in again.lost for entry in torn)
    again.close()


def test_a_commit_of_nothing_amid_the_log_is_damage_and_not_passed_over(history):
    for number in range(3):
        history.append(run_of(number))
    log = history.place.inside("runs").path / "_delta_log"
    sorted(log.glob("*.json"))[-2].write_text(CUT)
    again = History(history.place.url)

    with pytest.raises(StoreError, match="is empty, or cut"):
        again.runs()
    again.close()


def test_what_was_accepted_in_a_torn_entry_is_told_and_what_was_before_is_known(history):
    for number in (1, 2):
        history.accept(Accepted("unit", f"run-{number}", number, "meant", "ada"))
    root = history.place.inside("events").path
    entry = sorted((root / "_delta_log").glob("*.json"))[-1]
    entry.write_bytes(entry.read_bytes()[:50])

    again = History(history.place.url)
    lost, known = again.accepted("unit")
    again.close()

    assert (lost.run_id, known.run_id) == ("", "run-1")
    assert f"{entry.name} of the history's log cannot be read" in lost.reason


def spoil_newest(history: History, what: str) -> Path:
    """Damage the log's last entry or the file that it adds; the entry."""
    root = history.place.inside("runs").path
    entry, file = sorted((root / "_delta_log").glob("*.json"))[-1], newest_file(history)
    if what == "file gone":
        file.unlink()
    elif what == "file cut":
        file.write_bytes(file.read_bytes()[:100])
    elif what == "entry cut after a line":
        entry.write_text(entry.read_text().partition("\n")[0])
    else:
        entry.write_text("" if what == "entry empty" else '{"add": {')
    return entry


NEWEST = ["file gone", "file cut", "entry empty", "entry cut", "entry cut after a line"]


@pytest.mark.parametrize("what", NEWEST)
def test_the_history_goes_on_where_a_checkpoint_holds_the_last_entry(tmp_path, what):
    history = History(tmp_path, clock=FakeTime(wall_ns=NOW_NS).clock)
    for number in range(FILES_MIN):  # the last of them merges, and makes a checkpoint
        history.append(run_of(number))
    entry = spoil_newest(history, what)
    history = History(tmp_path, clock=FakeTime(wall_ns=NOW_NS).clock)

    for number in range(FILES_MIN, 4 * FILES_MIN):
        history.append(run_of(number))

    found = history.runs("unit")
    lost = [run.because for run in found if not run.id]
    assert entry.exists()
    assert history.lost == history.upkeep_failed == ""
    assert ids(found)[-3 * FILES_MIN :] == [f"run-{n}" for n in range(8, 32)]
    if what.startswith("file"):
        assert len(lost) == 1
        assert lost[0].startswith("lost: date=")
    else:
        assert found == [run_of(number) for number in range(32)]
    history.close()


def test_an_entry_that_was_set_aside_though_a_checkpoint_holds_it_comes_back(history):
    for number in range(FILES_MIN):
        history.append(run_of(number))
    entry = sorted((history.place.inside("runs").path / "_delta_log").glob("*.json"))[-1]
    entry.rename(entry.with_suffix(".json.torn"))

    again = History(history.place.url, clock=FakeTime(wall_ns=NOW_NS).clock)
    again.append(run_of(FILES_MIN))

    assert again.runs() == [run_of(number) for number in range(FILES_MIN + 1)]
    again.close()


@pytest.mark.parametrize("what", NEWEST)
def test_what_is_set_aside_of_a_history_is_named(history, what):
    for number in range(3):
        history.append(run_of(number))
    entry = spoil_newest(history, what)

    again = History(history.place.url, clock=FakeTime(wall_ns=NOW_NS).clock)
    again.append(run_of(3))

    assert ids(again.runs()) == ["run-0", "run-1", "run-3"]
    assert again.lost == f"torn, and set aside: {entry}.torn; see store-damaged"
    again.close()


def test_a_log_that_is_damaged_is_an_error_that_says_so(history):
    history.append(run_of(0))
    log = history.place.inside("runs").path / "_delta_log"
    for entry in log.iterdir():
        entry.write_text("{")
    again = History(history.place.url)

    with pytest.raises(StoreError, match="the table's log cannot be read"):
        again.runs()
    again.close()


# ---- earlier schemas -------------------------------------------------------------------------


def make_version_1(location: Path, rows: int = 0) -> None:
    """The table as the first schema had it."""
    names = ("run_id", "suite", "backend", "counter", "attributes")
    columns = [tables.pa.field("date", tables.pa.date32())]
    columns += [tables.pa.field(name, tables.TEXT) for name in names]
    columns += [
        tables.pa.field("ended_ns", tables.WHOLE),
        tables.pa.field("delta", tables.FLOAT),
    ]
    schema = tables.pa.schema(columns)
    made = DeltaTable.create(
        str(location / "runs"),
        schema=Schema.from_arrow(schema),
        partition_by=["date"],
        name="nilometer.runs",
        description="schema 1",
    )
    if rows:
        from deltalake import write_deltalake

        write_deltalake(
            made, tables.pa.Table.from_pylist([{"run_id": "r"}], schema=schema), mode="append"
        )


def test_an_empty_table_of_the_first_schema_becomes_one_of_today(tmp_path):
    make_version_1(tmp_path)
    before = History(tmp_path)
    empty = before.runs()
    at_once = StoredTable(Place.of(tmp_path / "runs"), tables.RUNS, durable=True)
    before.append(run_of(1))
    told = DeltaTable(str(tmp_path / "runs"))
    names = [field.name for field in told.schema().fields]

    assert empty == []
    assert before.runs() == [run_of(1)]
    assert at_once.files() == []
    assert told.metadata().description == f"schema {tables.VERSION}"
    assert names == [column.name for column in tables.RUNS.columns]
    before.close()


def test_a_migration_that_was_broken_off_is_ended_by_the_next(tmp_path):
    make_version_1(tmp_path)
    delta = DeltaTable(str(tmp_path / "runs"))
    schema = Schema.from_arrow(tables.arrow_schema("runs"))
    delta.create_write_transaction([], "overwrite", schema, ["date"])
    history = History(tmp_path)

    history.append(run_of(1))

    assert history.runs() == [run_of(1)]
    told = DeltaTable(str(tmp_path / "runs")).metadata()
    assert told.description == f"schema {tables.VERSION}"
    history.close()


def test_rows_that_no_nilometer_has_written_are_left_alone(tmp_path):
    make_version_1(tmp_path, rows=1)
    history = History(tmp_path)

    with pytest.raises(StoreError, match=r"\[store-older\]"):
        history.append(run_of(1))
    with pytest.raises(StoreError, match=r"\[store-older\]"):
        history.runs()

    assert DeltaTable(str(tmp_path / "runs")).version() == 1
    history.close()


def test_files_of_somebody_else_are_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")

    with pytest.raises(StoreError, match=r"\[store-foreign\]"):
        History(tmp_path)


def test_rows_of_a_run_say_what_every_column_means_to_other_tools(history):
    history.append(run_of(1))

    [found] = (
        pq.read_table(newest_file(history))
        .filter(tables.pa.compute.equal(tables.pa.compute.field("counter"), "Com_select"))
        .to_pylist()
    )

    assert {name: found[name] for name in ("run_id", "suite", "work", "what", "delta_int")} == {
        "run_id": "run-1",
        "suite": "unit",
        "work": 40,
        "what": "count",
        "delta_int": 101,
    }


# ---- accepted steps --------------------------------------------------------------------------

accepteds = st.builds(
    Accepted,
    suite=texts,
    run_id=texts,
    at_ns=st.integers(NOW_NS, NOW_NS + S),
    reason=texts,
    by=texts,
    counters=st.sets(texts.filter(bool), max_size=3).map(lambda found: tuple(sorted(found))),
)


@given(st.lists(accepteds, max_size=3, unique_by=lambda a: (a.at_ns, a.suite)))
def test_events_become_what_was_accepted_again(several):
    from nilometer.store.runs import _accepted_of, _event_of

    events = [_event_of(one, which) for one in several for which in one.counters or ("",)]

    assert sorted(_accepted_of(events)) == sorted(several)


def test_what_was_accepted_is_found_by_its_suite_oldest_first(history):
    first = Accepted("unit", "run-1", NOW_NS, "new index", "ada", ("mysql:Com_select",))
    second = Accepted("unit", "run-2", NOW_NS + S, "more tests", "ada")
    other = Accepted("api", "run-3", NOW_NS + 2 * S, "é\n", "bob", ("a:b:c", "x"))
    for one in (second, first, other):
        history.accept(one)

    assert history.accepted("unit") == [first, second]
    assert history.accepted() == [first, second, other]
