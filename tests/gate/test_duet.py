"""Two versions by turns: what differs is found, whatever the machine does meanwhile."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.gate.duet import PAIRS_MIN, RATE_MAX, duet
from nilometer.gate.verdict import Outcome, Verdict
from nilometer.model.run import BackendRead, Run
from tests.gate.histories import measured, run
from tests.gate.test_attribution import shop_run

BASE = {"Com_select": 800, "Bytes": 90_000}
MORE = {**BASE, "Com_select": 840}


def by_turns(base: dict, head: dict, pairs: int = 7, **told) -> Verdict:
    return duet([(run(2 * at, base), run(2 * at + 1, head, **told)) for at in range(pairs)])


def names(verdict: Verdict) -> list[str]:
    return [str(one.key) for one in verdict.findings]


def drifting(seed: int, *, more: float = 0.0, pairs: int = 7) -> Verdict:
    """Twenty counters that drift by more than they differ, each pair being alike."""
    random = Random(seed)
    found = []
    for at in range(pairs):
        level = 1e6 * (1 + 0.2 * at) * random.uniform(0.8, 1.2)
        base = {f"c{i}": round(level * random.gauss(1, 0.002)) for i in range(20)}
        head = {f"c{i}": round(level * random.gauss(1, 0.002)) for i in range(20)}
        head["c0"] = round(base["c0"] * (1 + more))
        found.append((run(2 * at, base), run(2 * at + 1, head)))
    return duet(found)


def test_what_costs_more_is_named_with_size_and_part() -> None:
    verdict = duet([(shop_run(2 * at, 40), shop_run(2 * at + 1, 80)) for at in range(7)])

    assert "mysql:Com_select" in names(verdict)
    finding = next(one for one in verdict.findings if one.key.counter == "Com_select")
    assert (finding.delta, finding.expected) == (40, 800)
    assert str(finding.parts[-1].place) == "shop/orders.py:17"
    assert verdict.rate in {1 / 128, 2 / 128}  # twice, if another counter went down as often
    assert verdict.confirmed == "7 pairs, measured by turns"


def test_versions_that_cost_the_same_pass() -> None:
    assert (by_turns(BASE, BASE).outcome, by_turns(MORE, BASE).outcome) == (Outcome.PASS,) * 2


def test_a_change_is_seen_through_a_drift_that_is_larger() -> None:
    assert "mysql:c0" in names(drifting(1, more=0.05))


def test_versions_that_cost_the_same_differ_no_more_often_than_is_stated() -> None:
    trials = 300

    false = sum(bool(drifting(seed).findings) for seed in range(trials))

    assert false / trials <= RATE_MAX + 3 * (RATE_MAX * (1 - RATE_MAX) / trials) ** 0.5


@pytest.mark.parametrize("variant", ["n1_4", "wide4"])
@pytest.mark.parametrize("backend", ["mariadb", "postgres"])
def test_eight_pairs_on_a_real_server_confirm_both_changes(backend, variant) -> None:
    heads = measured(backend, variant, start=100)[:8]

    assert duet(list(zip(measured(backend, "base4"), heads, strict=False))).findings


@pytest.mark.parametrize("backend", ["mariadb", "postgres"])
def test_eight_pairs_of_one_version_on_a_real_server_do_not_differ(backend) -> None:
    base = measured(backend, "base4")

    assert duet(list(zip(base[:16:2], base[1:16:2], strict=True))).findings == ()


@given(st.integers(0, 1000))
def test_swapping_base_and_head_confirms_nothing_more(seed) -> None:
    """What costs more one way costs less the other."""
    random = Random(seed)
    pairs = [
        (run(2 * at, {"a": random.randint(90, 110)}), run(2 * at + 1, {"a": 130}))
        for at in range(7)
    ]

    assert names(duet(pairs)) == ["mysql:a"]
    assert names(duet([(head, base) for base, head in pairs])) == []


def test_less_than_half_a_count_or_two_in_a_thousand_is_no_news() -> None:
    assert by_turns({"a": 10_000}, {"a": 10_019}).findings == ()
    assert names(by_turns({"a": 10_000}, {"a": 10_020})) == ["mysql:a"]


@pytest.mark.parametrize(
    ("pairs", "told", "because"),
    [
        (5, {}, f"5 pairs; {PAIRS_MIN} are the least"),
        (7, {"test_set": "t2"}, "pair 1, head: another test set: nothing can be compared"),
        (7, {"exit_status": 2}, "pair 1, head: it failed with exit status 2"),
        (7, {"work": 0}, "pair 1, head: how much work was done is not known of all runs"),
    ],
)
def test_what_cannot_be_compared_is_unknown(pairs, told, because) -> None:
    verdict = by_turns(BASE, MORE, pairs, **told)

    assert (verdict.outcome, verdict.because, verdict.findings) == (
        Outcome.UNKNOWN,
        because,
        (),
    )


def shared(number: int) -> Run:
    """A run with a backend that another run used meanwhile."""
    unread = BackendRead(
        "mysql", "127.0.0.1:3306", "10.11.6", because="another run (r1) used it"
    )
    return run(number, BASE)._replace(counts=(), backends=(unread,))


@pytest.mark.parametrize(
    ("other", "because"),
    [
        (shared(4), "mysql cannot be compared: pair 3, base: another run (r1) used it"),
        (
            run(4, BASE)._replace(backends=()),
            "mysql cannot be compared: pair 3, base: it was not read",
        ),
        (
            run(4, {**BASE, "Com_select": None}),
            (
                "cannot be compared: mysql:Com_select, pair 3, base: "
                "vanished: it was there in the first snapshot"
            ),
        ),
    ],
)
def test_what_one_run_of_all_pairs_did_not_read_is_unknown_and_named(other, because) -> None:
    pairs = [(run(2 * at, BASE), run(2 * at + 1, MORE)) for at in range(7)]
    pairs[2] = (other, pairs[2][1])

    verdict = duet(pairs)

    assert (verdict.outcome, verdict.because) == (Outcome.UNKNOWN, because)
    assert verdict.notes == (because,)


def test_a_counter_that_could_tell_nothing_makes_nothing_unknown() -> None:
    """What a server does by itself: some runs have no figure of it, the others noisy ones."""
    noise = [3, None, 9, 1, None, 5, 2, None, None, 4, 8, None, 2, 7]
    pairs = [
        (
            run(2 * at, {**BASE, "log_sync": noise[2 * at], "never": None}),
            run(2 * at + 1, {**BASE, "log_sync": noise[2 * at + 1], "never": None}),
        )
        for at in range(7)
    ]

    verdict = duet(pairs)

    assert (verdict.outcome, verdict.notes, verdict.counters) == (Outcome.PASS, (), 2)
    assert verdict.because == "none of 2 counters costs more in 7 pairs, measured by turns"


@pytest.mark.parametrize("lacking", [{0}, {0, 2, 4}, {1, 3, 5, 7, 9, 11, 13}, {0, 1, 2, 3, 4}])
def test_an_exact_counter_that_runs_have_no_figure_of_is_unknown(lacking) -> None:
    every = [
        run(at, {**BASE, "Com_select": None if at in lacking else 800}) for at in range(14)
    ]

    verdict = duet(list(zip(every[::2], every[1::2], strict=True)))

    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.because.startswith("cannot be compared: mysql:Com_select, pair 1, ")


def drifted(number: int, figures: dict[str, float]) -> Run:
    """A run in which `Com_select` was mostly moved by somebody else."""
    of_run = run(number, {**figures, "Com_select": None})
    return of_run._replace(
        counts=tuple(
            one._replace(raw=900, idle=100.0, because="11% of its move is drift")
            if one.counter == "Com_select"
            else one
            for one in of_run.counts
        )
    )


@pytest.mark.parametrize(
    ("figures", "found"),
    [(BASE, (Outcome.PASS, [])), (MORE, (Outcome.WARN, ["mysql:Com_select"]))],
)
def test_a_pair_in_which_a_counter_drifted_is_passed_over_where_enough_are_left(
    figures, found
) -> None:
    pairs = [(run(2 * at, BASE), run(2 * at + 1, figures)) for at in range(8)]
    pairs[0] = (pairs[0][0], drifted(1, figures))
    pairs[1] = (drifted(2, BASE), pairs[1][1])

    verdict = duet(pairs)
    too_few = duet(pairs[:7])

    assert (verdict.outcome, names(verdict)) == found
    assert too_few.because == (
        "cannot be compared: mysql:Com_select, pair 2, base: 11% of its move is drift"
    )


NOISE = [205, 190, 233, 201, 219, 188, 214]


def test_a_noisy_counter_that_differs_is_advice_and_no_alarm() -> None:
    up = [6, 11, 5, 8, 17, 9, 6]
    pairs = [
        (
            run(2 * at, {**BASE, "log_writes": NOISE[at]}),
            run(2 * at + 1, {**BASE, "log_writes": NOISE[at] + up[at]}),
        )
        for at in range(7)
    ]

    verdict = duet(pairs)

    assert (verdict.outcome, verdict.findings) == (Outcome.PASS, ())
    assert verdict.notes == (
        "differs, but is too noisy to alarm: mysql:log_writes +6 (+2.9 %)",
    )


def test_a_noisy_counter_that_the_base_never_moved_is_a_finding() -> None:
    pairs = [
        (run(2 * at, BASE), run(2 * at + 1, {**BASE, "log_writes": NOISE[at]}))
        for at in range(7)
    ]

    assert names(duet(pairs)) == ["mysql:log_writes"]


def test_no_steady_counter_is_no_comparison() -> None:
    pairs = [
        (run(2 * at, {"a": NOISE[at]}), run(2 * at + 1, {"a": NOISE[at - 3]}))
        for at in range(7)
    ]

    verdict = duet(pairs)

    assert (verdict.outcome, verdict.because) == (
        Outcome.UNKNOWN,
        "no counter of a backend, or of the tests, is steady enough to be compared",
    )


def test_a_backend_upgraded_in_between_is_unknown_and_each_run_named() -> None:
    pairs = [
        (run(2 * at, BASE, version="10.11.5" if at < 3 else "10.11.6"), run(2 * at + 1, MORE))
        for at in range(7)
    ]

    verdict = duet(pairs)

    assert verdict.outcome is Outcome.UNKNOWN
    assert "mysql cannot be compared: pair 1, base: version 10.11.5" in verdict.because


@pytest.mark.parametrize("pairs", [6, 7, 14])
def test_a_change_up_is_found_where_another_counter_goes_down(pairs) -> None:
    verdict = by_turns({"a": 100, "b": 200}, {"a": 140, "b": 160}, pairs)

    assert names(verdict) == ["mysql:a"]
    assert verdict.rate <= RATE_MAX


def test_nothing_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        duet([])


def test_many_pairs_get_the_same_answer_each_time() -> None:
    first, second = (by_turns(BASE, MORE, 14) for _ in range(2))

    assert (
        (first.rate, names(first))
        == (second.rate, names(second))
        == (1 / 1024, ["mysql:Com_select"])
    )
