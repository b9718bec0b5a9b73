"""Counters that creep are told, whichever way they went; noise that goes nowhere is not."""

from __future__ import annotations

from math import exp
from random import Random
from typing import TYPE_CHECKING

import pytest

from nilometer.gate.creeping import Crept, crept
from nilometer.gate.rank import learn
from nilometer.gate.verdict import Outcome, Verdict, judge
from nilometer.model.reading import Kind
from nilometer.model.run import Accepted
from tests.gate.histories import SECOND, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HISTORIES = 100
COUNTERS = 10
ROUGH = [one.gauss(0, 50) for one in [Random(2)] for _ in range(60)]


def latest(values: Sequence[float], accepted: Sequence[Accepted] = ()) -> Verdict:
    history = [run(at, {"n": value, "other": 400}) for at, value in enumerate(values)]
    return judge(history[-1], history[:-1], accepted)


def noted(verdict: Verdict) -> list[str]:
    return [note for note in verdict.notes if "crept" in note]


def test_a_counter_that_crept_from_the_first_run_is_told_and_the_run_passes() -> None:
    said = latest([1000 + 10 * at for at in range(40)])

    assert said.outcome is Outcome.PASS
    assert said.findings == ()
    assert noted(said) == [
        "mysql:n crept from 1020 to 1370, +34.3 %, over 40 runs; it takes no part"
    ]


def test_a_counter_whose_level_followed_what_crept_is_told_and_takes_part() -> None:
    said = latest([10_000 + 4 * at for at in range(50)])

    assert noted(said) == [
        "mysql:n crept from 10008 to 10188, +1.8 %, over 50 runs; its level followed"
    ]


def test_what_crept_is_learned_in_the_same_words() -> None:
    values = [1000 + 10 * at for at in range(40)]

    learned = learn([run(at, {"n": value, "other": 400}) for at, value in enumerate(values)])

    assert learned is not None
    (found,) = (one for one in learned.predictors if one.is_creeping)
    assert found.standing.because.endswith(
        "; it crept from 1020 to 1370, +34.3 %, over 40 runs; it takes no part"
    )


def test_what_crept_until_somebody_accepted_a_level_is_told_no_more() -> None:
    values = [1000 + 10 * at for at in range(40)] + [1400] * 10
    accepted = [Accepted("shop", "r40", 40 * 60 * SECOND, "it is meant to grow", "ada")]

    assert noted(latest(values))
    assert not noted(latest(values, accepted))


def test_of_many_counters_those_that_crept_furthest_are_named() -> None:
    history = [
        run(at, {f"c{each}": 1000 + at * (each + 3) for each in range(8)}) for at in range(40)
    ]

    told = noted(judge(history[-1], history[:-1]))

    assert [one.split()[0] for one in told] == [f"mysql:c{n}" for n in (7, 6, 5, 4, 3)] + ["3"]
    assert told[-1] == "3 more counters crept; `nilometer gate learn` tells of each"


@pytest.mark.parametrize(
    "value",
    [
        lambda at: 1000 + 10 * at,
        lambda at: 5000 - 10 * at,
        lambda at: 1000 + at * at / 2,
        lambda at: 1000 * 1.01**at,
        lambda at: 1000 + 10 * max(0, at - 30),
        lambda at: 1000 + 10 * at + ROUGH[at],
    ],
    ids=["a ramp", "downwards", "a curve", "compound", "flat at first", "through noise"],
)
def test_trends_of_many_shapes_are_seen(value: Callable[[int], float]) -> None:
    found = crept([value(at) for at in range(60)])

    assert found is not None
    assert abs(found.last - found.first) > 100


def test_runs_that_lack_a_figure_hide_no_trend() -> None:
    values = [None if at % 5 == 2 else 1000 + 10 * at for at in range(40)]

    assert crept(values) == Crept(1030, 1360, 32)


def test_one_step_did_not_creep() -> None:
    random = Random(1)

    assert crept([random.gauss(1000 if at < 30 else 1300, 20) for at in range(60)]) is None


def alike(random: Random, by: float) -> list[float]:
    """Each run like the one before, and around one level all the same."""
    off, found = random.gauss(0, 1), []
    for _ in range(40):
        found.append(10_000 * (1 + 0.05 * off))
        off = by * off + (1 - by * by) ** 0.5 * random.gauss(0, 1)
    return found


NOISE: dict[str, Callable[[Random], list[float]]] = {
    "normal": lambda random: [random.gauss(10_000, 300) for _ in range(40)],
    "one side": lambda random: [1000 * exp(random.gauss(0, 0.5)) for _ in range(40)],
    "two levels": lambda random: [random.choice([1000, 1300]) for _ in range(40)],
    "small counts": lambda random: [random.choice([20, 21, 22, 25]) for _ in range(40)],
    "spikes": lambda random: [1000 * random.choice([1] * 9 + [5]) for _ in range(40)],
    "blocks": lambda random: [
        level for _ in range(8) for level in [random.choice([900, 1000, 1200])] * 5
    ],
    "alike by 0.5": lambda random: alike(random, 0.5),
    "alike by 0.8": lambda random: alike(random, 0.8),
}


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE.keys())
def test_in_99_of_100_unchanged_histories_of_ten_counters_nothing_is_told_to_creep(
    noise: Callable[[Random], list[float]],
) -> None:
    random = Random(11)

    told = sum(
        any(crept(noise(random)) is not None for _ in range(COUNTERS)) for _ in range(HISTORIES)
    )

    assert told <= 1


def test_gauges_grow_without_a_word() -> None:
    history = []
    for at in range(40):
        one = run(at, {"n": 1000 + 10 * at, "other": 400})
        counts = tuple(
            each._replace(kind=Kind.GAUGE) if each.counter == "n" else each
            for each in one.counts
        )
        history.append(one._replace(counts=counts))

    assert not noted(judge(history[-1], history[:-1]))
