"""What is said of a run: what alarms, what does not, and what nobody can say."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.gate.verdict import Outcome, judge
from nilometer.model.run import Accepted, BackendRead, Count
from tests.gate.histories import SECOND, measured, noisy, run, runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.gate.verdict import Verdict
    from nilometer.model.run import Run

BASE = {"Com_select": 800, "Com_insert": 400, "Bytes": 90_000}
MORE = {**BASE, "Com_select": 840}
BASE_LESS = {"Com_select": 800, "Com_insert": 400}


def names(verdict: Verdict) -> list[str]:
    return [str(one.key) for one in verdict.findings]


def without(history: Sequence[Run], at: int) -> list[Run]:
    """The others, so that the one at `at` can be judged as if it were the latest."""
    return [one for one in history if one is not history[at]]


# --- What it must reach ----------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["mariadb", "postgres"])
@pytest.mark.parametrize("variant", ["n1_4", "wide4"])
def test_more_selects_and_wider_rows_are_caught_in_every_run(backend, variant) -> None:
    base = measured(backend, "base4")

    said = [judge(one, base) for one in measured(backend, variant, start=100)]

    assert {one.outcome for one in said} == {Outcome.WARN}


@pytest.mark.parametrize(
    ("backend", "variant", "false"),
    [("mariadb", "base4", 1), ("postgres", "base4", 0), ("mariadb", "base1", 1)],
)
def test_of_30_unchanged_runs_of_a_real_server_at_most_one_alarms(
    backend, variant, false
) -> None:
    base = measured(backend, variant)

    said = [judge(one, without(base, at)) for at, one in enumerate(base)]

    assert sum(bool(one.findings) for one in said) <= false


def test_the_counter_that_was_changed_is_named_with_its_size() -> None:
    (one, *_) = measured("mariadb", "n1_4", start=100)

    verdict = judge(one, measured("mariadb", "base4"))

    selects = next(f for f in verdict.findings if f.key.counter == "Com_select")
    assert (selects.delta, selects.share, selects.expected) == (40, 0.05, 800)
    assert selects.bound is not None
    assert (selects.bound.upper, selects.standing.stability.value) == (800, "exact")


# --- How many runs it takes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("earlier", "outcome", "advisory"),
    [
        (0, Outcome.UNKNOWN, False),
        (4, Outcome.UNKNOWN, False),
        (5, Outcome.PASS, True),
        (19, Outcome.PASS, True),
        (20, Outcome.WARN, False),
        (58, Outcome.WARN, False),
        (59, Outcome.FAIL, False),
        (200, Outcome.FAIL, False),
    ],
)
def test_it_advises_from_5_runs_warns_from_20_and_fails_from_59(
    earlier, outcome, advisory
) -> None:
    verdict = judge(run(earlier, MORE), runs(earlier, BASE), may_fail=True)

    assert (verdict.outcome, verdict.is_advisory) == (outcome, advisory)
    assert names(verdict) == ([] if earlier < 5 else ["mysql:Com_select"])


def test_it_fails_only_if_asked_to() -> None:
    assert judge(run(60, MORE), runs(60, BASE)).outcome is Outcome.WARN


def test_too_few_runs_are_told() -> None:
    verdict = judge(run(3, MORE), runs(3, BASE))

    assert verdict.because == "3 earlier runs to compare with; 5 are the least"


def test_an_unchanged_run_is_quiet() -> None:
    verdict = judge(run(30, BASE), runs(30, BASE))

    assert (verdict.outcome, verdict.findings, verdict.notes) == (Outcome.PASS, (), ())
    assert verdict.is_quiet


def test_what_costs_less_is_told_and_alarms_nobody() -> None:
    verdict = judge(run(30, {**BASE, "Com_select": 700}), runs(30, BASE), may_fail=True)

    assert (verdict.outcome, verdict.findings) == (Outcome.PASS, ())
    assert [(str(one.key), one.delta) for one in verdict.improved] == [
        ("mysql:Com_select", -100)
    ]


# --- The laws --------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.randoms())
def test_the_order_of_the_counters_does_not_matter(seed: int, random) -> None:
    history = noisy(12, seed, counted=6)
    shuffled = []
    for one in history:
        counts = list(one.counts)
        random.shuffle(counts)
        shuffled.append(one._replace(counts=tuple(counts)))

    said = [judge(all_[-1], all_[:-1]) for all_ in (history, shuffled)]

    assert said[0].because == said[1].because
    assert said[0].findings == said[1].findings


@given(st.integers(0, 2**32), st.sampled_from([2, 1000, 2**20]), st.booleans())
def test_a_unit_does_not_matter(seed: int, factor: int, changed: bool) -> None:
    """Bytes or mebibytes: the same counters are named, if a count is small in either."""
    history = noisy(12, seed, counted=6)
    if changed:
        first, *rest = history[-1].counts
        history[-1] = history[-1]._replace(
            counts=(first._replace(delta=(first.delta or 0) * 1.2), *rest)
        )
    scaled = [
        one._replace(
            counts=tuple(c._replace(delta=(c.delta or 0) * factor) for c in one.counts)
        )
        for one in history
    ]

    said = [judge(all_[-1], all_[:-1]) for all_ in (history, scaled)]

    assert names(said[0]) == names(said[1])


@given(st.integers(2, 50))
def test_the_same_work_twice_is_twice_the_count_and_no_change(times: int) -> None:
    twice = {name: value * times for name, value in BASE.items()}

    verdict = judge(run(30, twice, work=10 * times), runs(30, BASE))

    assert (verdict.outcome, verdict.findings) == (Outcome.PASS, ())


def test_a_change_per_unit_of_work_is_told_in_the_work_of_this_run() -> None:
    (finding,) = judge(run(30, {"Com_select": 1680}, work=20), runs(30, BASE)).findings

    assert (finding.expected, finding.now, finding.share) == (1600, 1680, 0.05)


# --- What is accepted, what stays, what goes away ---------------------------------------------


def accept(at: int, *counters: str) -> Accepted:
    return Accepted("shop", f"r{at}", at * 60 * SECOND, "the new index", "ada", counters)


def test_an_accepted_change_is_the_level_from_its_run_on() -> None:
    history = [*runs(30, BASE), run(30, MORE)]
    accepted = [accept(30, "mysql:Com_select")]

    said = [
        judge(history[-1], history[:-1], accepted),
        judge(run(31, MORE), history, accepted),
        judge(run(31, {**MORE, "Com_select": 880}), history, accepted),
    ]

    assert [one.outcome for one in said] == [Outcome.PASS, Outcome.PASS, Outcome.WARN]
    (finding,) = said[2].findings
    assert (finding.expected, finding.now) == (840, 880)


def test_accepting_one_counter_accepts_no_other() -> None:
    both = {**MORE, "Com_insert": 440}
    history = [*runs(30, BASE), run(30, both)]

    verdict = judge(history[-1], history[:-1], [accept(30, "mysql:Com_select")])

    assert names(verdict) == ["mysql:Com_insert"]


def test_accepting_all_counters_accepts_each() -> None:
    both = {**MORE, "Com_insert": 440}
    history = [*runs(30, BASE), run(30, both)]

    assert judge(history[-1], history[:-1], [accept(30)]).findings == ()


def test_the_first_run_of_an_accepted_level_says_that_nothing_judges_it() -> None:
    history = [*runs(30, BASE), run(30, MORE)]

    one = judge(history[-1], history[:-1], [accept(30, "mysql:Com_select")])
    every = judge(history[-1], history[:-1], [accept(30)])

    why = "no earlier run shows the level that was accepted, so nothing judges this one"
    assert f"mysql:Com_select: {why}" in one.notes
    assert one.outcome is Outcome.PASS
    assert every.outcome is Outcome.UNKNOWN
    assert every.because.endswith(why)


@pytest.mark.parametrize("insert", [400, 440])
def test_an_accepted_counter_is_judged_while_another_one_alarms(insert: int) -> None:
    """Runs that alarm by one counter judge nobody; the accepted level is known all the same."""
    both = {**MORE, "Com_insert": 440}
    history = [*runs(30, BASE), *(run(at, both) for at in range(30, 34))]
    accepted = [accept(32, "mysql:Com_select")]

    same = judge(run(34, {**both, "Com_insert": insert}), history, accepted)
    more = judge(run(34, {**both, "Com_insert": insert, "Com_select": 880}), history, accepted)

    select = [one for one in more.findings if one.key.counter == "Com_select"]
    assert "mysql:Com_select" not in names(same)
    assert [(one.expected, one.now) for one in select] == [(840, 880)]
    assert insert == 440 or "unconfirmed" in more.because


@pytest.mark.parametrize("retries", [1, 2, 5, 20])
def test_what_comes_after_an_accepted_run_is_not_accepted_by_retrying(retries: int) -> None:
    again = {**MORE, "Com_select": 880}
    history = [*runs(30, BASE), run(30, MORE), *(run(31 + at, again) for at in range(retries))]

    verdict = judge(run(60, again), history, [accept(30, "mysql:Com_select")])

    (finding,) = verdict.findings
    assert (verdict.outcome, finding.expected, finding.now) == (Outcome.WARN, 840, 880)


@pytest.mark.parametrize("passed", range(13))
@pytest.mark.parametrize("further", [41, 80])
def test_a_change_soon_after_an_accepted_one_alarms_however_often_it_is_retried(
    passed: int, further: int
) -> None:
    history = [*runs(21, BASE), *(run(21 + at, MORE) for at in range(1 + passed))]
    first = len(history)
    guilty = {**MORE, "Com_select": MORE["Com_select"] + further}

    for at in range(first, first + 20):
        verdict = judge(run(at, guilty), history, [accept(21)])
        history.append(run(at, guilty))

        assert names(verdict) == ["mysql:Com_select"]
        assert verdict.confirmed in {"", *(f"run r{there}" for there in range(first, at))}
        (finding,) = verdict.findings
        assert finding.since in (
            "",
            f"since run r{first}, {at - first} runs, nobody accepted it",
        )
    assert finding.since


@pytest.mark.parametrize("changed", [2, 3, 4, 5, 7, 12])
@pytest.mark.parametrize("base", [20, 25, 59])
def test_a_change_soon_after_one_that_was_accepted_late_alarms_and_nothing_else_does(
    base: int, changed: int
) -> None:
    """People accept the latest of several alarms, as `nilometer gate accept` does."""
    said = []
    for passed in (0, 1, 3, 8):
        history = [*runs(base, BASE), *(run(base + at, MORE) for at in range(changed))]
        accepted = [accept(base + changed - 1)]
        for figures in [MORE] * passed + [{**MORE, "Com_select": 900}] * 9:
            said.append(names(judge(run(len(history), figures), history, accepted)))
            history.append(run(len(history), figures))
        assert said == [[]] * passed + [["mysql:Com_select"]] * 9
        said.clear()


def said_of(
    levels: Sequence[tuple[int, int]], accepted: Sequence[int], now: int, times: int = 9
) -> list[list[str]]:
    """What alarms in further runs at `now`, after runs of these (level, how many)."""
    history = [
        run(at, {**BASE, "Com_select": level})
        for at, level in enumerate(level for level, number in levels for _ in range(number))
    ]
    said = []
    for at in range(len(history), len(history) + times):
        one = run(at, {**BASE, "Com_select": now})
        said.append(names(judge(one, history, [accept(there) for there in accepted])))
        history.append(one)
    return said


@pytest.mark.parametrize("now", [735, 790, 840, 1600])
@pytest.mark.parametrize(("base", "improved"), [(25, 5), (25, 8), (33, 11), (60, 9), (60, 30)])
def test_what_costs_more_than_an_improved_level_alarms_however_often_it_is_retried(
    base: int, improved: int, now: int
) -> None:
    said = said_of([(800, base), (700, improved)], [], now, times=26)

    assert said == [["mysql:Com_select"]] * 26


@pytest.mark.parametrize(("base", "improved"), [(25, 3), (25, 4), (33, 4), (60, 7), (60, 8)])
@pytest.mark.parametrize("now", [840, 1600])
def test_a_few_improved_runs_hide_no_run_that_costs_more_than_ever(
    base: int, improved: int, now: int
) -> None:
    said = said_of([(800, base), (700, improved)], [], now, times=22)

    assert said == [["mysql:Com_select"]] * 22


@pytest.mark.parametrize("base", [5, 6, 7, 8, 9, 12])
def test_a_change_in_a_short_history_alarms_however_often_it_is_retried(base: int) -> None:
    assert said_of([(800, base)], [], 840, times=15) == [["mysql:Com_select"]] * 15


@pytest.mark.parametrize(("base", "improved"), [(25, 3), (25, 4), (60, 4), (60, 6)])
@pytest.mark.parametrize("now", [720, 790])
def test_an_alarm_after_a_few_improved_runs_does_not_end_by_itself(
    base: int, improved: int, now: int
) -> None:
    said = said_of([(800, base), (700, improved)], [], now, times=22)

    assert said == sorted(said)  # silent until it alarms, and not after that


def test_what_costs_more_than_an_improved_level_is_silent_once_it_is_back_or_accepted() -> None:
    levels = [(800, 25), (700, 8), (790, 16)]

    assert said_of([*levels, (700, 1)], [], 700) == [[]] * 9
    assert said_of([*levels, (700, 6)], [], 790) == [["mysql:Com_select"]] * 9
    assert said_of(levels, [48], 790) == [[]] * 9


@pytest.mark.parametrize("at", ["first", "last"])
def test_what_is_accepted_after_an_improvement_is_accepted_and_a_further_change_is_not(
    at: str,
) -> None:
    levels, accepted = [(1000, 25), (800, 15), (850, 4)], [40 if at == "first" else 43]

    assert said_of(levels, accepted, 850) == [[]] * 9
    assert said_of(levels, accepted, 893) == [["mysql:Com_select"]] * 9


def test_an_accepted_change_that_was_taken_back_blinds_nobody() -> None:
    levels = [(800, 25), (880, 6), (800, 15)]

    assert said_of(levels, [25], 800) == [[]] * 9
    assert said_of(levels, [25], 840) == [["mysql:Com_select"]] * 9


def test_a_change_that_comes_and_goes_soon_after_an_accepted_one_moves_no_level() -> None:
    guilty = {**MORE, "Com_select": 930}
    history = [*runs(25, BASE), *(run(25 + at, MORE) for at in range(4)), run(29, guilty)]
    history += [run(30 + at, MORE) for at in range(6)]

    same, again = judge(run(36, MORE), history, [accept(25)]), []
    for at in range(36, 42):
        again += names(judge(run(at, guilty), history, [accept(25)]))
        history.append(run(at, guilty))

    assert same.outcome is Outcome.PASS
    assert again == ["mysql:Com_select"] * 6


def test_what_is_accepted_later_does_not_excuse_an_earlier_run() -> None:
    history = [*runs(30, BASE), run(30, MORE), run(31, MORE), run(32, MORE)]

    verdict = judge(history[30], history[:30], [accept(32)], later=history[31:])

    assert names(verdict) == ["mysql:Com_select"]


def test_what_was_accepted_and_cannot_be_read_makes_every_verdict_unknown() -> None:
    lost = Accepted("shop", "", 0, "lost: a file")
    failed = run(30, BASE, exit_status=1)

    said = [
        judge(run(30, BASE), runs(30, BASE), [lost]),
        judge(run(30, MORE), runs(30, BASE), [lost, accept(20)], may_fail=True),
        judge(run(3, BASE), runs(3, BASE), [lost]),
        judge(failed, runs(30, BASE), [lost]),
    ]

    assert {one.outcome for one in said} == {Outcome.UNKNOWN}
    doubt = "what was accepted is not known; lost: a file; without it: "
    assert [one.because.startswith(doubt) for one in said] == [True] * 4
    assert names(said[1]) == ["mysql:Com_select"]


def test_a_change_of_another_suite_is_not_accepted() -> None:
    other = accept(30)._replace(suite="other")

    assert judge(run(30, MORE), runs(30, BASE), [other]).outcome is Outcome.WARN


def test_an_alarm_is_unconfirmed_until_a_second_run_shows_the_same() -> None:
    history = [*runs(30, BASE), run(30, MORE)]

    first, second = judge(history[30], history[:30]), judge(run(31, MORE), history)

    assert (first.confirmed, second.confirmed) == ("", "run r30")
    assert "unconfirmed" in first.because
    assert "confirmed by run r30" in second.because
    assert judge(history[30], history[:30], later=[run(31, MORE)]).confirmed == "run r31"


def test_it_can_wait_with_failing_until_the_alarm_is_confirmed() -> None:
    history = [*runs(60, BASE), run(60, MORE)]
    asked: dict[str, Any] = {"may_fail": True, "only_confirmed": True}

    first, second = (
        judge(history[60], history[:60], **asked),
        judge(run(61, MORE), history, **asked),
    )

    assert [first.outcome, second.outcome] == [Outcome.WARN, Outcome.FAIL]
    assert "it takes a second measurement to fail" in first.because


def test_an_alarm_that_went_away_is_marked() -> None:
    verdict = judge(run(30, MORE), runs(30, BASE), later=[run(31, BASE)])

    assert [one.went_away for one in verdict.findings] == ["back at 800 in run r31"]
    assert "it went away" in verdict.because


def retried(history: list[Run], figures: dict[str, int], times: int) -> list[Verdict]:
    """What is said of as many further runs that all did this; they become history."""
    said = []
    for at in range(len(history), len(history) + times):
        said.append(judge(run(at, figures), history, may_fail=True, only_confirmed=True))
        history.append(run(at, figures))
    return said


def test_a_change_that_nobody_accepted_alarms_however_often_it_is_retried() -> None:
    history = runs(60, BASE)

    first, *further = retried(history, MORE, 40)

    assert [names(one) for one in further] == [["mysql:Com_select"]] * 39
    assert {one.outcome for one in further} == {Outcome.FAIL}
    assert (first.outcome, further[-1].confirmed) == (Outcome.WARN, "run r60")
    (finding,) = further[-1].findings
    assert (finding.expected, finding.now) == (800, 840)
    assert finding.since == "since run r60, 39 runs, nobody accepted it"
    assert finding.since in further[-1].because
    assert further[-1].previous == history[59]


def test_a_change_in_a_counter_that_varies_alarms_however_often_it_is_retried() -> None:
    random = Random(3)

    def varying(at: int, factor: float) -> Run:
        return run(at, {"Bytes": round(90_000 * factor * random.gauss(1, 0.004)), **BASE_LESS})

    history = [varying(at, 1.0) for at in range(40)]
    said = []
    for at in range(40, 60):
        said.append(judge(varying(at, 1.06), history))
        history.append(varying(at, 1.06))

    assert [names(one) for one in said] == [["mysql:Bytes"]] * 20


def test_a_lasting_change_is_silent_once_it_is_gone_or_accepted() -> None:
    history = runs(60, BASE)
    retried(history, MORE, 12)

    accepted = [accept(71, "mysql:Com_select")]
    stays = judge(run(72, MORE), history, accepted)
    second = judge(run(72, {**BASE, "Com_select": 880}), history, accepted)
    back = [bool(one.findings) for one in retried(history, BASE, 8)]

    assert (stays.outcome, stays.findings, len(stays.notes)) == (Outcome.PASS, (), 1)
    assert [(one.expected, one.now) for one in second.findings] == [(840, 880)]
    assert back == [False] * 8


def test_what_comes_on_top_of_a_lasting_change_is_told_from_the_level_before() -> None:
    history = runs(60, BASE)
    retried(history, MORE, 10)

    (little,) = judge(run(70, {**BASE, "Com_select": 850}), history).findings
    (much,) = judge(run(70, {**BASE, "Com_select": 1000}), history).findings

    assert (little.expected, little.since != "") == (800, True)
    assert (much.expected, much.since) == (800, "")


def test_a_lasting_change_to_less_is_the_level_from_then_on() -> None:
    history = runs(60, BASE)

    less = retried(history, {**BASE, "Com_select": 700}, 10)
    (more,) = retried(history, {**BASE, "Com_select": 790}, 1)

    assert [one.findings for one in less] == [()] * 10
    assert [(one.expected, one.now) for one in more.findings] == [(700, 790)]


def test_a_change_that_was_taken_back_does_not_blind_the_gate() -> None:
    history = [*runs(30, BASE), run(30, MORE), *[run(at, BASE) for at in range(31, 34)]]

    quiet, alarm = judge(run(34, BASE), history), judge(run(34, MORE), history)

    assert (quiet.findings, names(alarm)) == ((), ["mysql:Com_select"])
    assert alarm.rate == pytest.approx(2 / 35)


def test_two_changes_are_named_one_after_the_other_and_unchanged_runs_stay_silent() -> None:
    random = Random(1)

    def shop(at: int, selects: int = 0, messages: int = 0) -> Run:
        figures = {
            "Com_select": 69 + selects,
            "Bytes_sent": round(50_000 * random.gauss(1, 0.003)) + 90 * selects,
            "published": 12 + messages,
            "fsyncs": random.randint(40, 60),
            "switches": random.randint(0, 3),
        }
        return run(at, figures)

    history = [shop(at) for at in range(25)]
    changes = [(29, 0), (0, 6), *[(0, 0)] * 10, (29, 0), (0, 6)]
    said = []
    for at, (selects, messages) in enumerate(changes, 25):
        history.append(shop(at, selects, messages))
        said.append(judge(history[-1], history[:-1]))

    first, second, *unchanged, third, fourth = [names(one) for one in said]
    assert first == third == ["mysql:Com_select", "mysql:Bytes_sent"]
    assert second == fourth == ["mysql:published"]
    assert unchanged == [[]] * 10
    assert {one.is_quiet for one in said[2:12]} == {True}


# --- What nobody can say ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "because"),
    [
        ({"because": "corrupt in the history: a row"}, "corrupt in the history: a row"),
        ({"exit_status": 3}, "it failed with exit status 3"),
        ({"exit_status": None}, "it was never seen to end"),
        ({"exit_status": -9}, "signal 9 ended it: what it did by then is not what it does"),
    ],
)
def test_a_run_that_cannot_be_used_is_unknown_and_no_baseline(told, because) -> None:
    broken = run(30, MORE, **told)

    itself = judge(broken, runs(30, BASE))
    next_one = judge(run(31, BASE), [*runs(30, BASE), broken])

    assert (itself.outcome, itself.because) == (Outcome.UNKNOWN, because)
    assert (next_one.outcome, next_one.runs) == (Outcome.PASS, 30)
    assert next_one.notes == (f"1 earlier runs are left out (r30): {because}",)


@pytest.mark.parametrize(
    ("told", "because"),
    [
        ({"test_set": "t2"}, "another test set: t2"),
        ({"work": 0}, "how much work was done is known of one of the two only"),
    ],
)
def test_runs_of_other_tests_are_not_compared(told, because) -> None:
    verdict = judge(run(40, MORE), [*runs(3, BASE), *runs(30, BASE, **told)[3:]])

    assert (verdict.outcome, verdict.runs) == (Outcome.UNKNOWN, 0)
    assert [one.because for one in verdict.left_out] == [because] * 27


def test_runs_of_other_suites_and_branches_are_not_compared() -> None:
    history = runs(30, MORE, branch="feature") + [
        one._replace(id=f"m{one.id}", branch="main") for one in runs(30, BASE)
    ]

    assert judge(run(70, MORE, suite="other"), history).runs == 0
    assert names(judge(run(70, MORE), history, branches={"main"})) == ["mysql:Com_select"]


def test_an_upgraded_backend_is_unknown_until_there_are_runs_of_its_version() -> None:
    history = runs(30, BASE)

    first = judge(run(30, MORE, version="11.4.2"), history)
    history += [run(at, MORE, version="11.4.2") for at in range(30, 36)]
    later = judge(run(36, MORE, version="11.4.2"), history)

    assert (first.outcome, first.findings) == (Outcome.UNKNOWN, ())
    assert first.notes == (
        (
            "mysql: version 11.4.2 has 0 earlier runs, 5 are the least; those of other "
            "versions are not compared (30 of 10.11.6)"
        ),
    )
    assert (later.outcome, later.runs) == (Outcome.PASS, 6)
    assert later.notes == (
        (
            "mysql: runs of other versions than 11.4.2 are not compared (30 of 10.11.6): what "
            "came with it is not known"
        ),
    )


def with_redis(number: int, commands: int, because: str = "", version: str = "7.0") -> Run:
    plain = run(number, BASE)
    count = Count("redis", "commands", commands)
    return plain._replace(
        counts=plain.counts if because else (*plain.counts, count),
        backends=(*plain.backends, BackendRead("redis", "", version, because=because)),
    )


def test_a_backend_that_was_not_read_is_unknown_and_the_others_are_judged() -> None:
    history = [with_redis(at, 50) for at in range(30)]
    why = "another run (r9, suite shop) was measured on it meanwhile"

    quiet = judge(with_redis(30, 0, why), history)
    gone = judge(run(30, BASE), history)
    alarm = judge(with_redis(30, 0, why)._replace(counts=run(30, MORE).counts), history)

    assert (quiet.outcome, quiet.because) == (Outcome.UNKNOWN, f"redis: {why}")
    assert (gone.outcome, gone.because) == (
        Outcome.UNKNOWN,
        "redis: this run did not read it; 30 earlier ones did",
    )
    assert (alarm.outcome, names(alarm)) == (Outcome.WARN, ["mysql:Com_select"])
    assert f"redis: {why}" in alarm.notes


def test_an_upgraded_backend_does_not_stop_the_others() -> None:
    history = [with_redis(at, 50) for at in range(30)]

    verdict = judge(
        with_redis(30, 90, version="7.2")._replace(
            counts=(*run(30, MORE).counts, Count("redis", "commands", 90))
        ),
        history,
    )

    assert (names(verdict), verdict.outcome) == (["mysql:Com_select"], Outcome.WARN)
    assert verdict.runs == 30
    assert any(
        note.startswith("redis: version 7.2 has 0 earlier runs") for note in verdict.notes
    )


def test_a_counter_that_wrapped_or_vanished_is_unknown_not_less() -> None:
    verdict = judge(run(30, {**BASE, "Com_select": None}), runs(30, BASE))

    assert (verdict.outcome, verdict.improved) == (Outcome.UNKNOWN, ())
    assert verdict.because == ("mysql:Com_select: vanished: it was there in the first snapshot")


def test_a_counter_that_did_not_move_is_nought() -> None:
    verdict = judge(run(30, {**BASE, "Com_select": 0}), runs(30, BASE))

    assert [(str(one.key), one.now) for one in verdict.improved] == [("mysql:Com_select", 0)]


def test_a_counter_that_never_moved_before_and_now_by_a_few_is_told_in_a_note() -> None:
    """A page read from the disk, a lock that was waited for: machines do such things."""
    verdict = judge(run(30, {**BASE, "Select_full_join": 4}), runs(30, BASE))

    assert (verdict.outcome, verdict.findings) == (Outcome.PASS, ())
    assert verdict.notes == ("moved for the first time: mysql:Select_full_join +4",)


def test_a_counter_that_never_moved_before_is_advice_until_it_is_accepted_or_gone() -> None:
    more = {**BASE, "Com_delete": 5000}
    history = runs(60, BASE)

    said = retried(history, more, 15)
    accepted = judge(run(75, more), history, [accept(74)])
    gone = judge(run(75, BASE), history)

    assert {(one.outcome, one.is_advisory, one.is_quiet) for one in said} == {
        (Outcome.PASS, True, False)
    }
    assert [names(one) for one in said] == [["mysql:Com_delete"]] * 15
    assert "mysql:Com_delete +5000 (from 0): it never moved" in said[0].because
    assert "since run r60, 14 runs, nobody accepted it" in said[-1].because
    assert (accepted.findings, gone.findings) == ((), ())


def test_what_is_not_known_of_the_comparison_is_told() -> None:
    history = runs(30, BASE, test_set="")
    history[7] = run(7, {**BASE, "Bytes": None}, test_set="")

    verdict = judge(run(30, BASE, test_set=""), history, [accept(20, "mysql:Com_select")])

    assert verdict.notes == (
        "which tests ran is not known: runs of other tests are compared, too",
        "accepted by ada from run r20 on: mysql:Com_select: the new index",
        "run r7 is passed over for what it has no figure of: mysql:Bytes",
    )


def test_a_clock_that_went_back_is_told_and_the_counts_are_judged() -> None:
    back = run(30, MORE)._replace(ended_ns=30 * 60 * SECOND - 5 * SECOND)

    verdict = judge(back, runs(30, BASE))

    assert names(verdict) == ["mysql:Com_select"]
    assert verdict.notes == (
        "the clock went back by 5.0 s during the run: its times say nothing",
    )


def test_a_clock_that_was_wrong_changes_no_order_and_is_told() -> None:
    ahead = run(900, MORE)  # recorded before the one that is judged
    early = run(-1000, MORE)

    verdict = judge(run(31, BASE), [*runs(30, BASE), ahead])
    first = judge(early, runs(30, BASE))
    accepted = judge(early, [*runs(30, BASE), ahead], [accept(900)])

    assert verdict.notes == (
        (
            "a clock is wrong: 1 runs that were recorded before this one began after it ended "
            "(r900); the order is that of recording"
        ),
    )
    assert (names(first), "30 runs that were recorded" in first.notes[0]) == (
        ["mysql:Com_select"],
        True,
    )
    assert accepted.findings == ()


def test_a_run_that_has_not_begun_yet_is_told() -> None:
    verdict = judge(run(30, BASE), runs(30, BASE), now_ns=29 * 60 * SECOND)

    assert verdict.notes == ("the run ends 61 s from now: a clock is wrong",)


def test_a_clock_that_was_set_during_a_run_is_told_as_measure_noted_it() -> None:
    jumped = run(30, BASE, attributes={"clock.jumped_ns": 7_200 * SECOND})

    verdict = judge(jumped, runs(30, BASE))

    assert verdict.outcome is Outcome.PASS
    assert verdict.notes == (
        "the clock jumped by 7200.0 s during the run: its times say nothing",
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "7", 10**400])
def test_a_figure_that_is_no_number_is_unknown(value) -> None:
    odd = run(30, BASE)
    odd = odd._replace(counts=(odd.counts[0]._replace(delta=value), *odd.counts[1:]))

    itself, as_history = (
        judge(odd, runs(30, BASE)),
        judge(run(31, BASE), [*runs(30, BASE), odd]),
    )

    assert itself.outcome is Outcome.UNKNOWN
    assert as_history.outcome is Outcome.PASS


def test_a_run_does_not_judge_itself() -> None:
    history = runs(30, BASE)

    assert judge(history[-1], history).runs == 29


def test_a_counter_that_vanished_is_unknown_also_where_one_earlier_run_lacked_it_too() -> None:
    history = [
        run(n, {"queue_created": 40.0, "shop_publish": None if n == 3 else 41.0})
        for n in range(24)
    ]

    verdict = judge(run(24, {"queue_created": 40.0, "shop_publish": None}), history)

    assert verdict.outcome is Outcome.UNKNOWN
    assert "shop_publish" in verdict.because


def test_where_no_counter_can_be_judged_nothing_is_passed() -> None:
    history = [run(n, {"wild": float(n * n % 97 + 1)}) for n in range(24)]

    verdict = judge(run(24, {"wild": 5.0}), history)

    assert (verdict.outcome, verdict.counters) == (Outcome.UNKNOWN, 0)
