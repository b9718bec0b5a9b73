"""Classes of counters with their evidence, their bounds, and levels that are anchored anew."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.gate.baseline import Held, baseline
from nilometer.gate.bound import Bound, bound
from nilometer.gate.stability import Stability, standing
from nilometer.model.reading import Kind


def normal(share: float, runs: int = 30, seed: int = 1) -> list[float]:
    random = Random(seed)
    return [float(round(random.gauss(1e6, share * 1e6))) for _ in range(runs)]


@pytest.mark.parametrize(
    ("values", "kind", "stability", "because"),
    [
        (
            [800.0] * 30,
            Kind.COUNTER,
            Stability.EXACT,
            "30 runs, median 800, MAD 0: the same in every run (at most 9.5% of runs differ)",
        ),
        (
            [800.0] * 19,
            Kind.COUNTER,
            Stability.EXACT,
            (
                "19 runs, median 800, MAD 0: the same in every run (at most 14.6% of runs "
                "differ; exact for good from 20 runs)"
            ),
        ),
        (
            [800.0] * 4,
            Kind.COUNTER,
            Stability.EXCLUDED,
            "4 runs; 5 are the least",
        ),
        (
            [0.0] * 30,
            Kind.COUNTER,
            Stability.EXCLUDED,
            "30 runs, median 0, MAD 0: it never moved",
        ),
        (
            [0.0] * 28 + [3.0, 9.0],
            Kind.COUNTER,
            Stability.EXCLUDED,
            "30 runs, median 0, MAD 0: it is mostly 0, and moves at times",
        ),
        (
            [800.0] * 29 + [900.0],
            Kind.COUNTER,
            Stability.STABLE,
            (
                "30 runs, median 800, MAD 0: it varies by 0.00%; it was wild in 1, and is "
                "demoted if it is in 3 more"
            ),
        ),
        (
            [900.0, 990.0] + [800.0] * 26 + [900.0, 910.0],
            Kind.COUNTER,
            Stability.NOISY,
            "30 runs, median 800, MAD 0: it varies by 0.00%, but was wild in 4 runs: demoted",
        ),
        (
            [14.0] * 24 + [16.0],
            Kind.COUNTER,
            Stability.STABLE,
            (
                "25 runs, median 14, MAD 0: the same in all but 1; it is demoted if it differs "
                "in 1 more"
            ),
        ),
        (
            [14.0] * 23 + [16.0, 15.0],
            Kind.COUNTER,
            Stability.NOISY,
            "25 runs, median 14, MAD 0: it varies by 3.26%; 1% is the most for the gate",
        ),
        (
            [14.0] * 18 + [16.0],
            Kind.COUNTER,
            Stability.NOISY,
            "19 runs, median 14, MAD 0: it varies by 3.37%; 1% is the most for the gate",
        ),
        (
            [800.0] * 30,
            Kind.GAUGE,
            Stability.NOISY,
            (
                "30 runs, median 800, MAD 0: it varies by 0.00%; a gauge says where it stands, "
                "not what was done"
            ),
        ),
    ],
)
def test_each_class_has_its_evidence(values, kind, stability, because) -> None:
    found = standing(values, kind)

    assert (found.stability, found.because) == (stability, because)


@pytest.mark.parametrize(
    ("share", "stability"),
    [
        (0.005, Stability.STABLE),
        (0.03, Stability.NOISY),
        (0.2, Stability.EXCLUDED),
    ],
)
def test_what_varies_is_stable_noisy_or_excluded_by_how_much(share, stability) -> None:
    found = standing(normal(share))

    assert (found.stability, found.is_admitted) == (stability, share == 0.005)


def test_fewer_than_20_identical_runs_are_exact_for_the_time_being() -> None:
    assert [standing([5.0] * n).is_provisional for n in (5, 19, 20)] == [True, True, False]


@given(st.lists(st.integers(0, 10**9).map(float), min_size=5, max_size=60), st.integers(1, 99))
def test_the_class_does_not_see_the_unit(values, factor) -> None:
    """Of what is not counted: of counts half a one is no news in any unit."""
    scaled = [v * factor for v in values]
    found = [standing(v, is_counted=False) for v in (values, scaled)]

    assert found[0].stability is found[1].stability
    assert found[1].scale == pytest.approx(found[0].scale * factor)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([800.0] * 20, Bound(800.0, "the same in 20 runs: 86.1% of runs are")),
        ([*range(100_000, 100_059)], Bound(100_058, "the largest of 59 runs: 95% of runs")),
        (
            [*range(100_000, 100_093)],
            Bound(100_091, "the second largest of 93 runs: 95% of runs"),
        ),
        ([*range(100_000, 100_299)], Bound(100_298, "the largest of 299 runs: 99% of runs")),
        ([1.0, 900.0] * 20, None),
    ],
)
def test_each_bound_has_its_reason(values, expected) -> None:
    assert bound(standing(values), values) == expected


def test_few_runs_have_a_normal_tolerance_limit() -> None:
    values = [99_900.0, 100_000.0, 100_000.0, 100_100.0, 100_000.0] * 2

    found = bound(standing(values), values)

    assert found == Bound(
        pytest.approx(100_796.5, abs=1),
        "median 100000 + 3.98 deviations of 200: 99% of runs, if the noise is normal",
    )


# --- Levels ----------------------------------------------------------------------------------


def test_an_accepted_step_moves_what_was_before_onto_the_new_level() -> None:
    found = baseline([800.0, 801.0, 800.0, 800.0, 840.0, 840.0], [4])

    assert found.values == (840.0, 841.0, 840.0, 840.0, 840.0, 840.0)
    assert (found.runs, found.steps, found.held) == (2, (), None)


def test_a_step_down_that_lasted_is_found_and_followed() -> None:
    found = baseline([840.0] * 20 + [800.0] * 10)

    assert (set(found.values), found.runs, found.held) == ({800.0}, 10, None)
    assert [step.index for step in found.steps] == [20]


def test_a_step_up_that_lasted_is_found_and_held() -> None:
    found = baseline([800.0] * 20 + [840.0] * 10)

    assert (set(found.values), found.runs, found.held) == ({800.0}, 20, Held(20, 840.0))
    assert [step.index for step in found.steps] == [20]


def test_a_held_step_ends_where_it_is_gone_or_accepted() -> None:
    held = [800.0] * 20 + [840.0] * 20

    gone, accepted = baseline(held + [800.0] * 20), baseline([*held, 840.0], [40])

    assert (sorted(gone.values)[-2:], gone.held) == ([800.0, 840.0], None)
    assert (set(accepted.values), accepted.held, accepted.steps) == ({840.0}, None, ())


@given(
    st.lists(st.none() | st.integers(0, 10**6).map(float), max_size=40),
    st.sets(st.integers(0, 50), max_size=3),
)
def test_what_is_known_stays_known_and_counts_stay_counts(values, accepted) -> None:
    found = baseline(values, sorted(accepted))

    assert [v is None for v in found.values] == [v is None for v in values]
    assert all(v is None or v.is_integer() for v in found.values)


def test_a_level_of_a_few_runs_is_doubted() -> None:
    doubts = [baseline([5.0] * 9 + [8.0] * runs, [9]).doubt for runs in (1, 4, 5)]

    assert doubts == [2**0.5, 1.25**0.5, 1.0]
