"""Which counters are the best predictors."""

from __future__ import annotations

import pytest

from nilometer.gate.rank import learn
from nilometer.model.reading import Kind
from nilometer.model.run import Accepted, Count
from tests.gate.histories import SECOND, measured, noisy, run, runs


def order(history, accepted=()) -> list[str]:
    learned = learn(history, accepted)
    assert learned is not None
    return [one.key.counter for one in learned.predictors]


def test_exact_counters_come_before_stable_ones_and_those_before_noisy_ones() -> None:
    history = []
    for at, one in enumerate(noisy(30, 1, counted=1)):
        rough = Count("mysql", "rough", 1000 + at % 3 * 30)
        exact = Count("mysql", "exact", 800)
        wild = Count("mysql", "wild", at * at)
        history.append(one._replace(counts=(wild, rough, *one.counts, exact)))

    assert order(history) == ["exact", "c0", "rough", "wild"]


def test_of_exact_counters_the_larger_ones_show_smaller_changes() -> None:
    learned = learn(runs(30, {"few": 4, "many": 4000}))

    assert learned is not None
    assert [(one.key.counter, one.smallest, one.share) for one in learned.predictors] == [
        ("many", 32.0, 0.008),
        ("few", 2.0, 0.5),
    ]


def test_a_counter_that_moved_with_accepted_changes_comes_first() -> None:
    history = runs(30, {"a": 4000, "b": 4000})
    history += [run(at, {"a": 4000, "b": 4400}) for at in range(30, 40)]
    accepted = [Accepted("shop", "r30", 30 * 60 * SECOND, "the new index")]

    learned = learn(history, accepted)

    assert learned is not None
    assert [(one.key.counter, one.moved, one.accepted) for one in learned.predictors] == [
        ("b", 1, 1),
        ("a", 0, 1),
    ]


def test_gauges_are_told_and_take_no_part() -> None:
    gauge = Count("mysql", "Threads", 5, kind=Kind.GAUGE)
    history = [one._replace(counts=(*one.counts, gauge)) for one in runs(30, {"a": 40})]

    learned = learn(history)

    assert learned is not None
    assert [(one.key.counter, one.bound is None) for one in learned.predictors] == [
        ("a", False),
        ("Threads", True),
    ]


def test_a_run_that_alarms_says_nothing_of_what_is_usual() -> None:
    learned = learn([*runs(30, {"a": 800}), run(30, {"a": 900})])

    assert learned is not None
    assert (learned.runs, learned.predictors[0].standing.stability.value) == (30, "exact")


def test_of_runs_that_cannot_be_used_nothing_is_learned() -> None:
    assert learn([]) is None
    assert learn(runs(30, exit_status=1)) is None


@pytest.mark.parametrize(
    ("backend", "exact", "admitted"), [("mariadb", 28, 30), ("postgres", 8, 15)]
)
def test_on_real_servers_there_are_counters_to_gate_by(backend, exact, admitted) -> None:
    learned = learn(measured(backend, "base4"))

    assert learned is not None
    classes = [one.standing.stability.value for one in learned.predictors]
    assert classes.count("exact") >= exact
    assert classes.count("exact") + classes.count("stable") >= admitted
