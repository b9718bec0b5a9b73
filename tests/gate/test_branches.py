"""Comparisons with runs of one branch: who confirms, who takes back, and what was accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nilometer.gate.rank import learn
from nilometer.gate.verdict import Outcome, judge
from nilometer.model.run import Accepted
from tests.gate.histories import SECOND, run

if TYPE_CHECKING:
    from nilometer.gate.verdict import Verdict
    from nilometer.model.run import Run

MAIN: dict[str, Any] = {"branches": ["main"], "may_fail": True, "only_confirmed": True}
"""As the workflow of CI asks."""


def shop(at: int, selects: int, branch: str = "main") -> Run:
    return run(at, {"n": selects, "other": 400}, branch=branch)


def main(number: int = 70) -> list[Run]:
    return [shop(at, 800) for at in range(number)]


def accept(at: int) -> Accepted:
    return Accepted("shop", f"r{at}", at * 60 * SECOND + SECOND, "meant", "ada", ("mysql:n",))


def told(history: list[Run], now: list[tuple[int, str]], *accepted: Accepted) -> list[Verdict]:
    """What is said of further runs, each of which is history for the next one."""
    said = []
    for value, branch in now:
        one = shop(len(history), value, branch)
        said.append(judge(one, history, accepted, **MAIN))
        history.append(one)
    return said


def test_an_alarm_is_confirmed_by_the_run_of_its_branch_before_it() -> None:
    one, again, back, later = told(main(), [(840, "pr"), (840, "pr"), (800, "pr"), (840, "pr")])
    failing, *_ = told([*main(), shop(70, 840)], [(840, "main")])

    assert (one.outcome, one.confirmed) == (Outcome.WARN, "")
    assert (again.outcome, again.confirmed) == (Outcome.FAIL, "run r70")
    assert (back.outcome, later.confirmed) == (Outcome.PASS, "")
    assert (failing.outcome, failing.confirmed) == (Outcome.FAIL, "run r70")


def test_a_run_of_its_branch_without_the_figure_does_not_stop_the_confirmation() -> None:
    history = [*main(), shop(70, 840, "pr")]
    history.append(run(71, {"n": None, "other": 400}, branch="pr"))

    (said,) = told(history, [(840, "pr")])

    assert said.confirmed == "run r70"


def test_runs_of_other_branches_neither_confirm_nor_take_back() -> None:
    before = [*main(), shop(70, 840, "other")]
    guilty = shop(71, 840, "pr")

    alone = judge(guilty, before, **MAIN)
    taken = judge(guilty, main(), later=[shop(72, 800), shop(73, 800, "other")], **MAIN)
    followed = judge(guilty, main(), later=[shop(72, 840, "other")], **MAIN)
    own = judge(guilty, main(), later=[shop(72, 840, "pr")], **MAIN)
    gone = judge(guilty, main(), later=[shop(72, 800, "pr")], **MAIN)

    assert [one.confirmed for one in (alone, taken, followed, own)] == ["", "", "", "run r72"]
    assert [one.findings[0].went_away for one in (taken, gone)] == [
        "",
        "back at 800 in run r72",
    ]


def test_what_a_main_that_costs_more_shows_confirms_no_change_of_another_branch() -> None:
    history = [*main(), *(shop(70 + at, 840) for at in range(6))]

    first, second = told(history, [(840, "pr"), (840, "pr")])

    assert (first.confirmed, second.confirmed) == ("", "run r76")
    assert "since run r70, 6 runs, nobody accepted it" in first.because


def test_what_is_accepted_on_another_branch_is_the_level_there_and_after_the_merge() -> None:
    history = [*main(), shop(70, 840, "pr")]
    then = [
        (840, "pr"),
        (1600, "pr"),
        (800, "main"),
        (840, "main"),
        (840, "main"),
        (881, "main"),
    ]

    said = told(history, then, accept(70))

    outcomes = [one.outcome.value for one in said]
    assert outcomes == ["pass", "warn", "pass", "pass", "pass", "warn"]
    assert [one.findings[0].expected for one in said if one.findings] == [840, 840]
    assert not [note for one in said for note in one.notes if "no earlier run" in note]


def test_what_was_accepted_is_still_known_where_the_merge_comes_late() -> None:
    history = [*main(), shop(70, 840, "pr"), *(shop(71 + at, 800) for at in range(20))]

    merged = told(list(history), [(840, "main")] * 8, accept(70))
    other = told(history, [(820, "main")], accept(70))

    assert {one.outcome for one in merged} == {Outcome.PASS}
    assert [one.outcome for one in other] == [Outcome.WARN]


def test_what_was_accepted_is_known_for_120_runs_after_it_was_left() -> None:
    history = [*main(), shop(70, 840, "pr")]
    history += [shop(71 + at, 800) for at in range(130)]

    early, late = (told(history[:end], [(840, "main")], accept(70))[0] for end in (190, 201))

    assert [early.outcome, late.outcome] == [Outcome.PASS, Outcome.WARN]


def test_what_is_learned_of_one_branch_has_what_was_accepted_on_another() -> None:
    history = [*main(), shop(70, 840, "pr"), shop(71, 840, "pr")]

    learned = learn(history, [accept(70)], branches=["main"])

    assert learned is not None
    standings = {str(one.key): one.standing for one in learned.predictors}
    assert (learned.runs, standings["mysql:n"].median) == (72, 840)
