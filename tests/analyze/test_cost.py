"""What work costs: each run's counters by its work, and revisions by their medians."""

from collections import defaultdict
from random import Random

import pytest

from nilometer.analyze.asking import Wanted
from nilometer.analyze.cost import QUESTION
from nilometer.model import Kind
from nilometer.model.run import BackendRead, Count, Run
from tests.analyze.over import rows
from tests.store.batches import NOW_NS, S

COUNTERS = ["Com_select", "pay'; DROP TABLE runs; --", "naïve 店", "rows %_!"]
MYSQL = BackendRead("mysql")


def _run(number, counts=(), *, backends=(MYSQL,), revision="a", work=10, suite="unit", **more):
    at_ns = NOW_NS + number * 60 * S
    return Run(
        f"run-{number}",
        suite,
        at_ns,
        at_ns + S,
        1000 + number,
        tuple(counts),
        tuple(backends),
        revision=revision,
        work=work,
        **more,
    )


def _count(delta, counter="Com_select", **more):
    return Count("mysql", counter, delta, **more)


def _median(values):
    return sorted(values)[(len(values) - 1) // 2]


def _costs(runs):
    """By suite, backend, counter and revision the cost of each run, in the order of runs."""
    names = defaultdict(set)
    for run in runs:
        for one in run.counts:
            names[run.suite, one.backend].add(one.counter)
    found = defaultdict(list)
    for run in runs:
        if run.because or run.work <= 0:
            continue
        found[run.suite, "", "wall time", run.revision].append(run.wall_ns / run.work)
        for read in run.backends:
            told = {one.counter: one for one in run.counts if one.backend == read.name}
            for name in names[run.suite, read.name]:
                if name in told:
                    delta = None if told[name].because else told[name].delta
                else:
                    delta = 0 if read.counters is None or name in read.counters else None
                if delta is not None and not read.because:
                    cost = delta / run.work
                    found[run.suite, read.name, name, run.revision].append(cost)
    return found


def random_runs(seed):
    random, runs = Random(seed), []
    for number in range(40):
        counts = [
            _count(
                random.choice([3, 250, 99.5, 2**62, -7]),
                name,
                because=random.choice(["", "", "?"]),
            )
            for name in random.sample(COUNTERS, random.randrange(4))
        ]
        listed = random.choice(
            [None, tuple(random.sample(COUNTERS, 2) + [c.counter for c in counts])]
        )
        runs.append(
            _run(
                number,
                counts,
                backends=[BackendRead("mysql", counters=listed), BackendRead("redis")],
                revision=random.choice(["", "a'b", "c"]),
                work=random.choice([0, 1, 7, 100]),
                suite=random.choice(["unit", 'x"y']),
                because=random.choice(["", "", "", "the server went away"]),
            )
        )
    return runs


@pytest.mark.parametrize("seed", range(6))
def test_a_cost_is_the_median_of_runs_by_their_work(seed):
    runs = random_runs(seed)
    expected = {
        key: {
            "runs": len(costs),
            "cost": _median(costs),
            "cost_minimum": min(costs),
            "cost_maximum": max(costs),
            "spread": 1.4826 * _median([abs(each - _median(costs)) for each in costs]),
        }
        for key, costs in _costs(runs).items()
    }

    found = rows(QUESTION, runs=[*runs, *runs[:9]])

    told = {
        tuple(row[name] for name in ("suite", "backend", "counter", "revision")): row
        for row in found
    }
    assert len(told) == len(found) > 10
    for key, row in told.items():
        assert {name: row[name] for name in expected[key]} == expected[key]
    assert told.keys() == expected.keys()


def test_a_revision_is_compared_with_the_one_before_and_what_moved_furthest_comes_first():
    runs = [
        _run(number, [_count(100 + number % 3), _count(50 + 20 * (number % 3), "noisy")])
        for number in range(9)
    ]
    runs += [
        _run(10 + n, [_count(200 + n % 3), _count(60 + 20 * (n % 3), "noisy")], revision="b")
        for n in range(9)
    ]

    found = rows(QUESTION, runs=runs)

    first = found[0]
    assert (first["counter"], first["revision"]) == ("Com_select", "b")
    assert (first["cost"], first["before"]) == (20.1, 10.1)
    assert first["ratio"] == 20.1 / 10.1
    assert first["moved"] == pytest.approx(10 / (1.4826 * 0.1))
    [noisy] = [r for r in found if r["counter"] == "noisy" and r["revision"] == "b"]
    assert noisy["moved"] == pytest.approx(1 / (1.4826 * 2))
    assert {row["moved"] for row in found if row["revision"] == "a"} == {None}


def test_what_did_not_move_has_not_moved_whatever_its_spread_is():
    runs = [_run(0, [_count(0)]), _run(1, [_count(0)], revision="b")]

    found = rows(QUESTION, runs=runs)

    [row] = [r for r in found if r["backend"] == "mysql" and r["revision"] == "b"]
    assert (row["cost"], row["ratio"], row["moved"]) == (0.0, None, 0.0)


def test_a_difference_of_a_row_in_a_thousand_is_no_move_however_still_the_runs_are():
    runs = [_run(0, [_count(1000)]), _run(1, [_count(1001)], revision="b")]

    found = rows(QUESTION, runs=runs)

    [row] = [r for r in found if r["backend"] == "mysql" and r["revision"] == "b"]
    assert row["moved"] == pytest.approx(0.1 / (0.002 * 100.1))


def test_a_run_that_lost_a_row_is_left_out():
    runs = [_run(0, [_count(5)]), _run(1, [_count(7)])]

    found = rows(QUESTION, runs=runs, lost={"delta_int": 7})

    assert {(row["counter"], row["runs"]) for row in found} == {
        ("wall time", 1),
        ("Com_select", 1),
    }


def test_parts_of_a_total_and_gauges_cost_nothing():
    counts = [
        _count(5),
        _count(4, dimensions=(("table", "t"),)),
        _count(7, "Threads", kind=Kind.GAUGE),
    ]

    found = rows(QUESTION, runs=[_run(0, counts)])

    assert [(r["counter"], r["cost"]) for r in found] == [
        ("wall time", 100.0),
        ("Com_select", 0.5),
    ]


def test_only_runs_of_the_suite_and_the_time_asked_for_are_looked_at():
    runs = [_run(n, [_count(10 * n)], suite="unit" if n < 5 else "it's") for n in range(9)]
    after = Wanted(since_ns=NOW_NS + 3 * 60 * S)

    suite = rows(QUESTION, runs=runs, suite="it's")
    late = rows(QUESTION, runs=runs, suite="unit", wanted=after)

    assert {row["suite"] for row in suite} == {"it's"}
    assert {row["runs"] for row in late} == {2}


def test_no_runs_cost_nothing_and_one_run_is_its_own_median():
    found = rows(QUESTION, runs=[_run(0, [_count(5)], work=2)])

    assert rows(QUESTION) == []
    assert [(r["counter"], r["cost"], r["spread"]) for r in found] == [
        ("wall time", 500.0, 0.0),
        ("Com_select", 2.5, 0.0),
    ]
