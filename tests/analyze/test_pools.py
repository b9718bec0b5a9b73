"""Pools: what they told, put together, and Erlang's reckoning of how large they should be."""

from fractions import Fraction
from math import factorial
from random import Random
from statistics import mean

import pytest

from nilometer.analyze.asking import Wanted
from nilometer.analyze.pools import QUESTION, size_for, waiting_share
from nilometer.model import Batch, Distribution, Kind, Resource
from tests.analyze.over import rows
from tests.store.batches import NOW_NS, S, counted

START = NOW_NS // (300 * S) * 300 * S
DB = "db.client.connection"


def _threads(at_ns, used, free, waiting, *, pool="p", took_ns=()):
    """What a pool of threads tells at a moment, and how long each work took until then."""
    where = {"pool": pool}
    gauges = {"used": used, "free": free, "waiting": waiting}
    return (
        *(
            counted(
                value, at_ns=at_ns, name=f"thread_pool.{name}", kind=Kind.GAUGE, where=where
            )
            for name, value in gauges.items()
        ),
        _timed("thread_pool.run", took_ns, at_ns, where),
    )


def _timed(name, values, at_ns, where, **more):
    low, high = min(values, default=None), max(values, default=None)
    held = Distribution(len(values), sum(values), low, high, {})
    more = {"unit": "ns", "started_ns": at_ns - 10 * S} | more
    return counted(held, at_ns=at_ns, name=name, kind=Kind.DISTRIBUTION, where=where, **more)


def _connections(at_ns, state, value, *, family=DB, pool="d'b"):
    where = {f"{family}.pool.name": pool, f"{family}.state": state}
    return counted(value, at_ns=at_ns, name=f"{family}.count", kind=Kind.GAUGE, where=where)


def _batch(readings, pid=1):
    return Batch(Resource("web", "h", pid), tuple(readings))


def _exact_share(size, load):
    """Erlang's C by its sum of factorials, in whole numbers."""
    load = Fraction(load)
    last = load**size / factorial(size) * size / (size - load)
    return last / (sum(load**k / factorial(k) for k in range(size)) + last)


@pytest.mark.parametrize("size", [1, 2, 7, 30])
@pytest.mark.parametrize("busy", ["1/100", "1/2", "9/10", "999/1000"])
def test_the_share_that_waits_is_erlang_s(size, busy):
    load = size * Fraction(busy)

    assert waiting_share(size, float(load)) == pytest.approx(float(_exact_share(size, load)))


@pytest.mark.parametrize("load", ["0", "1/10", "3", "71/10", "50"])
def test_the_size_wanted_is_the_least_that_is_enough(load):
    size = size_for(float(Fraction(load)), 0.01)

    assert _exact_share(size, load) <= Fraction("0.01")
    assert size == 1 or size - 1 <= Fraction(load) or _exact_share(size - 1, load) > 0.01


def test_a_pool_s_load_is_that_of_its_busiest_window_in_its_busiest_process():
    random = Random(1)
    batches, told = [], {1: [], 2: []}
    for pid, moments in told.items():
        for number in range(60):
            used, waiting = random.randrange(pid, 6), random.randrange(3)
            moments.append((number // 30, used, waiting))
            took = [random.randrange(10**9) for _ in range(used)]
            at_ns = START + number * 10 * S
            batches.append(_batch(_threads(at_ns, used, 8 - used, waiting, took_ns=took), pid))
            moments[-1] += (took,)

    [found] = rows(QUESTION, [*batches, *batches[:70]])

    loads = {
        pid: max(mean(u + w for n, u, w, _ in each if n == window) for window in (0, 1))
        for pid, each in told.items()
    }
    busiest = told[max(loads, key=loads.get)]
    took = [ns for *_, each in busiest for ns in each]
    load = max(loads.values())
    assert found["load"] == pytest.approx(load, abs=1e-6)
    assert found["processes"] == 2
    assert found["size"] == 8
    assert found["used_mean"] == pytest.approx(mean(used for _, used, *_ in busiest))
    assert found["used_maximum"] == max(used for _, used, *_ in busiest)
    assert found["waiting_maximum"] == 2
    assert found["held_ns"] == pytest.approx(mean(took))
    assert found["rate"] == pytest.approx(len(took) / 600)
    assert found["wait_share"] == pytest.approx(float(_exact_share(8, Fraction(found["load"]))))
    assert found["wait_ns"] == pytest.approx(
        found["wait_share"] * mean(took) / (8 - load), rel=1e-5
    )


def _verdict(used, free, waiting, **given):
    batches = [_batch(_threads(START + n * S, used, free, waiting)) for n in range(5)]
    [found] = rows(QUESTION, batches, **given)
    return found["verdict"], found["size_wanted"]


def test_a_pool_is_too_small_or_fits_or_is_ample():
    assert _verdict(7, 1, 0) == ("too small", 15)
    assert _verdict(7, 8, 0) == ("fits", 15)
    assert _verdict(7, 23, 0) == ("ample", 15)
    assert _verdict(7, 2, 0, wait_share="0.5") == ("fits", 9)
    assert _verdict(7, 0, 100) == ("too small", size_for(107, 0.01))


def test_a_pool_of_connections_is_too_small_only_where_somebody_waits():
    plain = [
        _batch([_connections(START + n * S, "used", 4), _connections(START + n * S, "idle", 1)])
        for n in range(3)
    ]
    where = {f"{DB}.pool.name": "d'b"}
    waits = [
        _timed(f"{DB}.wait_time", [5 * S, 0, S], START, where),
        counted(2, at_ns=START, started_ns=START - 10 * S, name=f"{DB}.timeouts", where=where),
    ]

    [fits] = rows(QUESTION, plain)
    [small] = rows(QUESTION, [*plain, _batch(waits)])

    assert (fits["family"], fits["pool"], fits["size"]) == ("database connections", "d'b", 5)
    assert (fits["verdict"], fits["rate"], fits["waited_ns"]) == ("fits", None, None)
    assert (small["verdict"], small["timeouts"], small["waited_ns"]) == ("too small", 2, 2 * S)
    assert small["rate"] == 0.3
    assert small["held_ns"] == pytest.approx(4 / 0.3 * S)


def test_each_kind_of_pool_is_told_apart():
    readings = [
        _connections(START, "used", 1, family="http.client.connection", pool="x"),
        _connections(START, "used", 1, family="messaging.connection", pool="x"),
        _connections(START, "used", 1, pool="x"),
        *(
            counted(1, at_ns=START, name=name, kind=Kind.GAUGE, where={"pool": "x"})
            for name in ("thread_pool.used", "process_pool.used", "green_pool.used")
        ),
        counted(9, at_ns=START, name="other_pool.used", kind=Kind.GAUGE, where={"pool": "x"}),
    ]

    found = rows(QUESTION, [_batch(readings)])

    assert sorted(row["family"] for row in found) == [
        *("database connections", "greenlets", "http connections"),
        *("messaging connections", "processes", "threads"),
    ]


def test_readings_that_count_from_a_start_move_by_what_they_grew():
    """The process started again in between, and one reading came twice."""
    where = {"pool": "p"}
    heard = [
        (START - 60 * S, START - 10 * S, [S] * 4),
        (START - 60 * S, START + 10 * S, [S] * 7),
        (START - 60 * S, START + 10 * S, [S] * 7),
        (START + 15 * S, START + 20 * S, [3 * S] * 2),
    ]
    batches = [
        _batch(
            [_timed("thread_pool.run", values, at, where, started_ns=since, cumulative=True)]
        )
        for since, at, values in heard
    ]

    [found] = rows(QUESTION, batches, wanted=Wanted(since_ns=START))

    assert found["held_ns"] == (3 * S + 2 * 3 * S) / 5
    assert found["verdict"] == "not known"


def test_what_was_counted_before_the_time_asked_for_is_left_out():
    """The first reading of one that has counted since long ago tells no move."""
    where, long_ago = {f"{DB}.pool.name": "p"}, START - 3600 * S
    since = {"started_ns": long_ago, "cumulative": True}
    readings = [
        _timed(f"{DB}.wait_time", [S] * 9, START, where, **since),
        counted(5, at_ns=START, name=f"{DB}.timeouts", where=where, **since),
    ]

    [found] = rows(QUESTION, [_batch(readings)], wanted=Wanted(since_ns=START))

    assert (found["rate"], found["waited_ns"], found["timeouts"]) == (None, None, 0)


def test_times_are_told_in_any_unit():
    where = {f"{DB}.pool.name": "p"}
    batches = [
        _batch([_timed(f"{DB}.wait_time", [value], START + n, where, unit=unit)])
        for n, (value, unit) in enumerate([(0.5, "s"), (2, "s"), (500, "ms"), (S, "ns")])
    ]

    [found] = rows(QUESTION, batches)

    assert found["waited_ns"] == S


def test_numbers_that_no_pool_has_do_not_fail_the_question():
    where = {"pool": 'x"; --\0'}
    odd = [2**63 - 1, -(2**63), float("inf"), float("nan"), 1e300, -5.5]
    readings = [
        counted(value, at_ns=START + n, name="thread_pool.used", kind=Kind.GAUGE, where=where)
        for n, value in enumerate(odd)
    ]
    readings += [
        _timed("thread_pool.run", [value], START + n, where, unit="s")
        for n, value in enumerate(odd[:3])
    ]

    [found] = rows(QUESTION, [_batch(readings)])

    assert found["pool"] == where["pool"]


def test_no_readings_are_no_pools_and_one_moment_is_a_pool():
    [alone] = rows(QUESTION, [_batch(_threads(START, 0, 4, 0)[:3])])

    assert rows(QUESTION, []) == []
    assert rows(QUESTION, [_batch(_threads(START, 1, 1, 1))], wanted=Wanted(service="x")) == []
    assert (alone["size"], alone["load"], alone["size_wanted"]) == (4, 0.0, 1)
    assert alone["held_ns"] is None
