"""What roll-ups answer is what the readings they were made of answer."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from functools import partial

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nilometer.model import Batch, Distribution, Kind, Reading, Resource
from nilometer.store import rolled, rollups
from nilometer.store.broken import Forgiving
from nilometer.store.lake import Lake
from nilometer.store.query import Reader
from nilometer.store.rolled import GRID_NS, overlapping, shared_times
from nilometer.store.series import Parts
from tests.store.batches import NOW_NS, S

GRID_S = GRID_NS // S
SHARES = (0.0, 0.5, 0.99, 1.0)
AT_NS = NOW_NS // GRID_NS * GRID_NS - 3 * 3600 * S  # some hours ago, where a roll-up begins

KINDS = {"c": Kind.COUNTER, "g": Kind.GAUGE, "d": Kind.DISTRIBUTION}


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch):
    """Files as small as these are rolled up, too."""
    monkeypatch.setattr(rollups, "ROWS_MIN", 1)
    monkeypatch.setattr(rollups, "FILES_A_TURN", 100)


class Clock:
    """Stands still, at the time that the readings are of."""

    def __init__(self):
        self.now_ns = NOW_NS

    def wall_ns(self):
        return self.now_ns

    def elapsed_ns(self):
        return self.now_ns


def reading(name, second, value, *, series="", cumulative=False):
    kind = KINDS[name]
    if kind is Kind.DISTRIBUTION and not isinstance(value, Distribution):
        value = Distribution.of([value])
    at = AT_NS + second * S
    began = AT_NS - S if cumulative else at - S
    pairs = (("series", series),) if series else ()
    return Reading(name, kind, pairs, value, began, at, "1", cumulative=cumulative)


def batch(*readings, pid=1):
    return Batch(Resource("api", "h", pid), readings)


def lake_of(place, *appends, merged=True):
    lake = Lake(place, durability="os", clock=Clock())
    for batches in appends:
        lake.append(batches)
    if merged:
        lake.maintain()
    return lake


def from_readings(place):
    """A reader that knows of no roll-ups."""
    reader = Reader(place)
    reader._questions.close()
    reader._questions = Forgiving(reader._questions.place)
    return reader


def both(place, ask):
    """What a question gives from roll-ups, and from the readings alone."""
    return ask(Reader(place)), ask(from_readings(place))


def near(rows):
    """Rows in which floats are told to the digits that the order of adding leaves alone."""
    return [tuple(f"{v:.9g}" if isinstance(v, float) else v for v in row) for row in rows]


# ---- the same answers ------------------------------------------------------------------------

numbers = st.integers(-50, 50) | st.floats(-1e6, 1e6) | st.just(2**61)
held = st.lists(numbers, min_size=1, max_size=4).map(Distribution.of)
coarse = held.map(lambda d: d.at_scale(2))
seconds = st.integers(-30, 1530)  # five roll-ups and a little
series = st.sampled_from(["a", "b"])


@st.composite
def readings(draw):
    name = draw(st.sampled_from("ccggddd"))
    if name == "d":
        value = draw(held | coarse)
    elif name == "c":
        value = draw(st.integers(0, 100) | st.floats(0, 100))
    else:
        value = draw(numbers | st.just(float("nan")))
    rarely = draw(st.integers(0, 30)) == 0 and name == "c"
    return reading(name, draw(seconds), value, series=draw(series), cumulative=rarely)


batches = st.lists(readings(), min_size=1, max_size=12).map(lambda some: batch(*some))
stores = st.lists(st.lists(batches, min_size=1, max_size=2), min_size=1, max_size=9)
questions = st.fixed_dictionaries(
    {
        "name": st.sampled_from("cgd"),
        "since_ns": st.none() | seconds.map(lambda s: AT_NS + s * S),
        "until_ns": st.none() | seconds.map(lambda s: AT_NS + s * S),
        "period_ns": st.sampled_from([None, GRID_NS, 2 * GRID_NS, 60 * S, 7 * S]),
        "group_by": st.sampled_from([(), ("series",), ("pid", "series")]),
        "quantiles": st.sampled_from([(), SHARES]),
    }
)


@pytest.mark.slow
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(stores, st.data())
def test_statistics_are_those_of_the_readings(appends, data):
    again = data.draw(st.lists(st.sampled_from(appends), max_size=2))  # delivered twice
    maintained_after = data.draw(st.integers(0, len(appends) + len(again)))
    late = [*appends, *again]
    with tempfile.TemporaryDirectory() as place:
        lake = lake_of(place, *late[:maintained_after])
        for each in late[maintained_after:]:
            lake.append(each)
        if data.draw(st.booleans()):
            lake.maintain()
        for question in data.draw(st.lists(questions, min_size=1, max_size=3)):
            name = question.pop("name")
            ours, theirs = both(place, partial(Reader.statistics, name=name, **question))
            assert near(ours) == near(theirs)
        ours, theirs = both(
            place, lambda r: [(i.name, i.kind, i.series) for i in r.metric_names()]
        )
        assert ours == theirs
        ours, theirs = both(place, lambda r: sorted(map(repr, r.catalogue())))
        assert ours == theirs


def asked_of(monkeypatch):
    """Names the questions that are answered from readings alone, from now on."""
    plain = []
    ask = Forgiving.ask

    def noted(self, name, *args, **named):
        plain.append(name)
        return ask(self, name, *args, **named)

    monkeypatch.setattr(Forgiving, "ask", noted)
    return plain


def day(name="d", *, step=10, hours=2):
    """Appends of a quarter of an hour each."""
    spans = [range(first, first + 900, step) for first in range(0, hours * 3600, 900)]
    return [[batch(*(reading(name, s, s % 7 + 1) for s in span))] for span in spans]


def test_whole_periods_of_whole_roll_ups_are_answered_without_readings(tmp_path, monkeypatch):
    lake_of(tmp_path, *day())
    for file in (tmp_path / "readings").glob("date=*/*.parquet"):
        file.write_bytes(b"gone")
    plain = asked_of(monkeypatch)

    [row] = Reader(tmp_path).statistics(
        "d", since_ns=AT_NS, until_ns=AT_NS + 7200 * S, quantiles=SHARES
    )

    assert (row.samples, row.minimum, row.maximum, plain) == (720, 1, 7, [])


def test_what_is_not_whole_is_asked_of_the_readings_as_well(tmp_path, monkeypatch):
    lake = lake_of(tmp_path, *day())
    lake.append([batch(reading("d", 7210, 100))])  # in a file that is not rolled up
    plain = asked_of(monkeypatch)

    [row] = Reader(tmp_path).statistics("d", since_ns=AT_NS + 5 * S, until_ns=AT_NS + 7215 * S)

    assert (row.samples, row.maximum, plain) == (720, 100, [])


def test_other_periods_than_whole_roll_ups_are_asked_of_the_readings(tmp_path, monkeypatch):
    lake_of(tmp_path, *day())
    plain = asked_of(monkeypatch)

    rows = Reader(tmp_path).statistics(
        "d", since_ns=AT_NS, until_ns=AT_NS + 600 * S, period_ns=60 * S
    )

    assert [row.samples for row in rows] == [6] * 10
    assert plain == ["measured"]


def test_a_delivery_that_comes_again_after_its_roll_up_counts_once(tmp_path):
    appends = day()
    lake = lake_of(tmp_path, *appends)
    lake.append(appends[3])

    def counted(reader):
        [row] = reader.statistics("d", since_ns=AT_NS, until_ns=AT_NS + 7200 * S)
        return row.samples

    before = counted(Reader(tmp_path))
    for late in appends[4:]:  # so that there is something to merge the second one with
        lake.append(late)
    lake.maintain()

    assert (before, counted(Reader(tmp_path))) == (720, 720)


@pytest.mark.parametrize("again", [0, 7])
def test_a_delivery_that_comes_again_counts_once_in_a_part_of_its_five_minutes(tmp_path, again):
    appends = day()
    lake = lake_of(tmp_path, *appends)
    lake.append(appends[again])
    since, until = AT_NS + 105 * S, AT_NS + 7105 * S

    ours, theirs = both(tmp_path, lambda r: r.statistics("d", since_ns=since, until_ns=until))

    assert ours == theirs
    assert [row.samples for row in ours] == [700]


def test_late_readings_count_where_they_belong(tmp_path):
    lake = lake_of(tmp_path, *day())
    lake.append([batch(reading("d", 15, 1000))])

    ours, theirs = both(
        tmp_path,
        lambda r: r.statistics(
            "d", since_ns=AT_NS, until_ns=AT_NS + 600 * S, period_ns=GRID_NS
        ),
    )

    assert ours == theirs
    assert [(row.samples, row.maximum) for row in ours] == [(31, 1000), (30, 7)]


@pytest.mark.parametrize("last", [reading("c", 20, 9, cumulative=True)])
def test_what_counts_from_its_start_is_asked_of_the_readings(tmp_path, monkeypatch, last):
    lake_of(
        tmp_path,
        *[[batch(reading("c", s, s, cumulative=True))] for s in range(10)],
        [batch(last)],
    )
    plain = asked_of(monkeypatch)

    [row] = Reader(tmp_path).statistics("c", since_ns=AT_NS, until_ns=AT_NS + 600 * S)

    assert (row.total, plain) == (9, ["measured"])


@pytest.mark.parametrize("second", [-3, 302])
def test_what_counts_from_its_start_at_an_end_of_the_time_is_asked_of_the_readings(
    tmp_path, second
):
    lake_of(
        tmp_path,
        [batch(reading("c", -200, 1000, cumulative=True))],
        [batch(*(reading("c", s, 1) for s in range(10)))],
        [batch(reading("c", second, 1007, cumulative=True))],
    )

    ours, theirs = both(
        tmp_path,
        lambda r: r.statistics("c", since_ns=AT_NS - 9 * S, until_ns=AT_NS + 310 * S),
    )

    assert (ours, [row.total for row in ours]) == (theirs, [17])


def test_series_in_several_parts_have_the_buckets_of_each(tmp_path):
    sizes = {"a": 1, "b": 50, "c": 900}
    lake_of(
        tmp_path,
        *[
            [batch(*(reading("d", s, size, series=name) for name, size in sizes.items()))]
            for s in range(0, 600, 60)
        ],
    )
    reader = Reader(tmp_path)
    of = {dict(one.dimensions)["series"]: one.series for one in reader.series("d")}
    groups = [("a",), ("a", "b"), ("a", "b", "c")]
    pairs = [(of[name], part) for part, names in enumerate(groups) for name in names]
    parts = Parts(groups, [one for one, _ in pairs], [part for _, part in pairs])
    times = {"since_ns": AT_NS, "until_ns": AT_NS + 600 * S, "period_ns": GRID_NS}

    rows = reader.measured("d", parts, **times, quantiles=(0.5, 1.0))
    alone = [
        row
        for group in groups
        for row in reader.measured(
            "d",
            Parts([group], [of[name] for name in group], [0] * len(group)),
            **times,
            quantiles=(0.5, 1.0),
        )
    ]

    def told(some):
        return sorted((one.group, one.started_ns, one.samples, one.quantiles) for one in some)

    assert told(rows) == told(alone)
    tops = [row.quantiles[1][1] for row in rows[:3]]
    assert tops == pytest.approx([1, 50, 900], rel=0.012)


def test_which_five_minutes_to_read_is_asked_once_of_the_same_files(tmp_path, monkeypatch):
    lake = lake_of(tmp_path, *day("c"))
    reader = Reader(tmp_path)
    asked = []
    look = reader._questions._looked_apart
    monkeypatch.setattr(
        reader._questions, "_looked_apart", lambda *told: asked.append(1) or look(*told)
    )

    def total():
        times = {"since_ns": AT_NS, "until_ns": AT_NS + 3600 * S}
        return reader.statistics("c", **times)[0].total

    first, again = total(), total()
    lake.append([batch(reading("c", 1000, 10**6))])
    late = total()

    assert (again, late, len(asked)) == (first, first + 10**6, 2)


# ---- how they are kept -----------------------------------------------------------------------


def rollup_files(place):
    return Reader(place)._questions.listed("rollups")


def test_each_file_of_readings_has_one_roll_up_and_no_other_has(tmp_path):
    lake = lake_of(tmp_path, *day())
    first = {file.least["file"] for file in rollup_files(tmp_path)}
    for late in day("c"):
        lake.append(late)
    lake.maintain()
    lake.maintain()
    listed = {file.path for file in Reader(tmp_path)._questions.listed("readings")}

    found = [file.least["file"] for file in rollup_files(tmp_path)]

    assert sorted(found) == sorted(listed)
    assert first
    assert not first & listed


def test_days_that_are_dropped_take_their_roll_ups_along(tmp_path):
    lake = lake_of(tmp_path, *day())
    assert rollup_files(tmp_path)
    lake._clock.now_ns += 40 * 24 * 3600 * S

    lake.maintain(timedelta(days=14))

    assert rollup_files(tmp_path) == []
    assert Reader(tmp_path).statistics("d") == []


def test_small_files_are_not_worth_a_roll_up(tmp_path, monkeypatch):
    monkeypatch.setattr(rollups, "ROWS_MIN", 10_000)

    lake_of(tmp_path, *day())

    assert rollup_files(tmp_path) == []


def test_sums_beyond_64_bits_are_left_to_the_readings(tmp_path):
    appends = [[batch(reading("g", s, 2**62))] for s in range(9)]
    lake = lake_of(tmp_path, *appends)
    lake.maintain()

    [row] = Reader(tmp_path).statistics("g", since_ns=AT_NS, until_ns=AT_NS + 600 * S)

    assert (rollup_files(tmp_path), row.average) == ([], 2.0**62)


def test_a_roll_up_that_cannot_be_read_is_passed_over(tmp_path):
    lake_of(tmp_path, *day())
    for file in (tmp_path / "rollups").glob("date=*/*.parquet"):
        file.write_bytes(b"garbage")

    [row] = Reader(tmp_path).statistics("d", since_ns=AT_NS, until_ns=AT_NS + 7200 * S)

    assert row.samples == 720


@pytest.mark.parametrize("told", [duckdb.OutOfMemoryException, OSError])
def test_what_is_too_large_to_be_rolled_up_is_asked_of_the_readings(
    tmp_path, monkeypatch, told
):
    """Arrow tells what DuckDB lacks in the midst of an answer, as an error of its own."""

    def in_little_memory(*_):
        raise told("Out of Memory Error: failed to pin block")

    monkeypatch.setattr(rollups, "show", in_little_memory)
    lake_of(tmp_path, *day())

    [row] = Reader(tmp_path).statistics("d", since_ns=AT_NS, until_ns=AT_NS + 7200 * S)

    assert (rollup_files(tmp_path), row.samples) == ([], 720)


def test_two_maintainers_make_no_roll_up_twice(tmp_path):
    lake_of(tmp_path, *day())
    other = Lake(tmp_path, durability="os", clock=Clock())
    other.maintain()

    assert len(rollup_files(tmp_path)) == len({f.least["file"] for f in rollup_files(tmp_path)})


# ---- times that several files tell of --------------------------------------------------------


class File:
    def __init__(self, first, last, path=""):
        self.path = path
        self.least, self.greatest = {"ended_ns": first * S}, {"ended_ns": last * S}


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=8))
@example([(0, 9), (0, 9), (3, 3)])
def test_shared_times_are_those_of_at_least_two_files(told):
    ends = [(first, first + more) for first, more in told]

    found = shared_times([File(a * GRID_S, b * GRID_S + 1) for a, b in ends])

    grids = {n for first, last in found for n in range(first // GRID_NS, last // GRID_NS + 1)}
    counts = {n: sum(a <= n <= b for a, b in ends) for n in range(61)}
    assert grids == {n for n, count in counts.items() if count > 1}
    assert found == sorted(found)


def test_files_of_unknown_times_may_share_all_of_them():
    assert shared_times([File(0, 1), File(0, 1)])
    unknown = File(0, 1)
    unknown.least = {"ended_ns": None}
    assert shared_times([unknown]) == [(rolled.TIME_MIN, rolled.TIME_MAX)]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=8))
def test_a_batch_may_be_twice_only_in_files_that_overlap(told):
    ends = [(first, first + more) for first, more in told]
    files = [File(*each, path=str(number)) for number, each in enumerate(ends)]

    def meets(one, other):
        return (
            one != other and ends[one][0] <= ends[other][1] and ends[other][0] <= ends[one][1]
        )

    here = range(len(ends))
    assert overlapping(files) == {
        str(one) for one in here if any(meets(one, other) for other in here)
    }


def test_files_of_unknown_times_may_all_hold_a_batch_twice():
    unknown = File(5, 6, path="b")
    unknown.greatest = {"ended_ns": None}

    assert overlapping([File(0, 1, path="a"), unknown]) == {"a", "b"}
