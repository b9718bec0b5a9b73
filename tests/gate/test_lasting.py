"""The level that runs are judged by: laws of it, and of the alarms that follow from it."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nilometer.gate.baseline import baseline
from nilometer.gate.lasting import Held
from nilometer.gate.verdict import Outcome, judge
from nilometer.model.run import Accepted, BackendRead
from tests.gate.histories import SECOND, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.gate.verdict import Verdict

LASTS = 5  # runs in a row are a level


class Story(NamedTuple):
    """What a counter that never varies showed, run by run, and which of it was accepted."""

    values: list[int]
    accepted: list[int]


def of(*levels: tuple[int, int]) -> list[int]:
    return [level for level, runs in levels for _ in range(runs)]


def told(values: Sequence[int], accepted: Sequence[int], now: Sequence[int]) -> list[Verdict]:
    """What is said of further runs, each of which is history for the next one."""
    history = [run(at, {"n": value, "other": 400}) for at, value in enumerate(values)]
    every = [Accepted("shop", f"r{at}", at * 60 * SECOND, "meant", "ada") for at in accepted]
    said = []
    for value in now:
        one = run(len(history), {"n": value, "other": 400})
        said.append(judge(one, history, every))
        history.append(one)
    return said


def alarms(values: Sequence[int], accepted: Sequence[int], now: Sequence[int]) -> str:
    """A letter for each further run: A if it alarms."""
    return "".join("A" if one.findings else "." for one in told(values, accepted, now))


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Twenty runs or more of a level, then levels of any lengths, few of them short ones."""
    values, accepted, short = [800] * draw(st.integers(20, 40)), [], 0
    for _ in range(draw(st.integers(0, 6))):
        level = draw(st.sampled_from([400, 680, 700, 760, 800, 820, 840, 880, 1000, 1600]))
        runs = draw(st.integers(1 if short < 2 else LASTS, 20))
        short += runs < LASTS
        values += [level] * runs
        if draw(st.integers(0, 3)) == 0:
            accepted.append(len(values) - 1)
    return Story(values, accepted)


def present(story: Story) -> tuple[int, int]:
    """The level, and the most that any run cost since one was accepted.

    Five runs in a row that cost less are a level; what costs more is none until accepted.
    """
    level, since, row = story.values[0], 0, 0
    for at, value in enumerate(story.values):
        row = row + 1 if at and value == story.values[at - 1] else 1
        if at in story.accepted:
            level, since = value, at - row + 1
        elif value < level and row >= LASTS:
            level = value
    return level, max(level, *story.values[since:])


@settings(max_examples=60, deadline=None)
@given(stories(), st.sampled_from([1.011, 1.05, 2]), st.integers(1, 15))
def test_what_costs_more_than_all_of_its_level_alarms_whatever_lay_before(
    story: Story, factor: float, times: int
) -> None:
    _, most = present(story)

    said = alarms(*story, [round(most * factor) + 1] * times)

    assert said == "A" * times


@settings(max_examples=40, deadline=None)
@given(stories(), st.integers(1, 15))
def test_what_costs_as_much_as_its_level_or_less_never_alarms(story: Story, times: int) -> None:
    level, _ = present(story)

    assert alarms(*story, [level] * times) == "." * times
    assert alarms(*story, [level - 100] * times) == "." * times


@settings(max_examples=40, deadline=None)
@given(stories(), st.sampled_from([700, 820, 840, 1600]), st.integers(LASTS, 15))
def test_an_alarm_that_nobody_accepts_ends_only_when_the_cost_goes_away(
    story: Story, now: int, times: int
) -> None:
    """Runs that are as wild as one before may pass by the rate; once they last they do not."""
    level, most = present(story)
    now = max(now, most + most // 50)

    assert alarms(*story, [*[now] * times, *[level] * 3, *[now] * LASTS])[times:] == "...AAAAA"


@pytest.mark.parametrize("short", [2, 5, 8, 11, 12])
def test_a_change_after_several_short_levels_alarms_at_once(short: int) -> None:
    for levels in ([700, 680], [700, 600, 500], [840, 880], [700, 820]):
        values = of((800, 25), *((level, short) for level in levels))

        assert alarms(values, [], [1800] * 12) == "A" * 12


@pytest.mark.parametrize("times", range(1, 13))
def test_a_change_that_was_retried_and_taken_back_hides_no_other(times: int) -> None:
    assert alarms(of((800, 25), (840, times), (800, 3)), [], [1600] * 12) == "A" * 12
    assert baseline(of((800, 25), (840, times), (800, 3))).values.count(840) <= 1


@pytest.mark.parametrize("runs", range(1, LASTS))
@pytest.mark.parametrize("base", [8, 25, 60, 100])
def test_a_dip_of_fewer_than_five_runs_is_none(base: int, runs: int) -> None:
    assert alarms(of((800, base), (776, runs)), [], [800] * 12) == "." * 12


@pytest.mark.parametrize("base", [8, 25, 60, 100])
def test_the_loss_of_an_improvement_is_news_once_it_lasted_as_long_or_was_accepted(
    base: int,
) -> None:
    longest = max(LASTS, min(base, 60))

    assert alarms(of((800, base), (776, LASTS)), [], [800] * 12) == "." * 12
    assert alarms(of((800, base), (776, longest)), [], [800] * 12) == "A" * 12
    assert alarms(of((800, base), (776, LASTS)), [base], [800] * 12) == "A" * 12


@pytest.mark.parametrize("base", [8, 25, 60, 100])
@pytest.mark.parametrize("now", [788, 812, 840])
def test_what_is_neither_level_is_news_however_short_an_improvement_was(
    base: int, now: int
) -> None:
    assert alarms(of((800, base), (776, LASTS)), [], [now] * 12) == "A" * 12


def test_a_counter_back_where_it_was_is_told_in_a_note_and_then_as_its_level() -> None:
    one, *_, last = told(of((800, 60), (760, LASTS)), [], [800] * 12)

    assert one.notes[-1] == (
        "mysql:n 800 instead of 760: no news, as it was there lately, and left that by itself"
    )
    assert [one.outcome, last.outcome] == [Outcome.PASS] * 2
    assert len([note for note in last.notes if "the level moved" in note]) == 2


def test_a_return_is_wild_at_no_time_and_the_level_once_it_lasts() -> None:
    four, six = (baseline(of((800, 60), (760, LASTS), (800, runs))) for runs in (4, 6))

    assert (set(four.values), four.held) == ({760.0}, None)
    assert (set(six.values), six.held) == ({800.0}, None)


def test_what_is_held_is_over_where_the_counter_is_back_on_any_level_it_was_on() -> None:
    values = of((800, 60), (760, LASTS), (850, 8))

    assert baseline(values).held == Held(65, 850.0)
    assert baseline([*values, 800]).held is None


@pytest.mark.parametrize("block", [5, 8, 15, 30, 50])
@pytest.mark.parametrize("levels", [(970, 1000), (1000, 970)])
def test_a_counter_of_two_levels_in_blocks_alarms_in_two_blocks_at_most(
    block: int, levels: tuple[int, int]
) -> None:
    values = [levels[at // block % 2] for at in range(7 * block)]

    said = alarms(values[:block], [], values[block:])

    assert said.count("A") <= 2 * block
    assert "A" not in said[4 * block :]


def test_two_levels_hide_no_run_that_costs_more_than_both() -> None:
    values = [(970, 1000)[at // 8 % 2] for at in range(100)]

    assert alarms(values, [], [1020] * 12) == "A" * 12
    assert alarms([*values, *[970] * 20], [], [1020] * 12) == "A" * 12


def test_an_alarm_between_levels_says_how_many_runs_were_as_high() -> None:
    (said,) = told(of((800, 60), (760, LASTS)), [], [780])

    assert "and 60 on other levels, left by itself, were as high" in said.because


def test_a_held_change_that_went_away_counts_as_one_wild_run() -> None:
    (said,) = told(of((800, 25), (840, 10), (800, 3)), [], [840])

    assert said.rate == pytest.approx(2 / 39)
    assert "but for 1 wild ones" in said.because


def test_many_moves_are_told_as_their_sum_and_the_latest() -> None:
    values = [800] * 25 + [int(800 * 1.007**k) for k in range(1, 14) for _ in range(6)]

    (said,) = told(values, [], [values[-1]])

    assert [note for note in said.notes if "the level moved" in note] == [
        (
            "mysql:n: since run r25 the level moved 13 times, from 800 to 875 in all (+9.4%); "
            "nobody accepted it"
        ),
        (
            "mysql:n: from run r97 on the level moved from 869 to 875 (+0.7%) and stayed for 6 "
            "runs; nobody accepted it"
        ),
    ]


def test_a_counter_that_crept_out_of_the_gate_says_how_far_in_all() -> None:
    values = [800] * 25 + [800 + k for k in range(1, 60) for _ in range(5)]

    (said,) = told(values, [], [859])

    (note,) = [note for note in said.notes if "was exact" in note]
    assert note.endswith("; it went from 800 to 859 in all (+7.4%)")


UNREAD = {"backends": (BackendRead("mysql", "127.0.0.1:3306", "10.11.6", because="refused"),)}


@pytest.mark.parametrize("gap", [{}, {"n": None, "other": 400}], ids=["unread", "wrapped"])
@pytest.mark.parametrize("base", [20, 25, 38])
def test_a_run_that_nobody_can_judge_ends_no_alarm_and_resets_none(
    base: int, gap: dict[str, None]
) -> None:
    told = {} if gap else UNREAD
    for before in range(1, 7):
        history = [run(at, {"n": 800, "other": 400}) for at in range(base)]
        said = []
        for at in range(before + 15):
            is_gap = at >= before and (at - before) % 3 == 0
            one = run(
                base + at,
                gap if is_gap else {"n": 840, "other": 400},
                **(told if is_gap else {}),
            )
            said.append(judge(one, history))
            history.append(one)
        back = judge(run(base + before + 15, {"n": 800, "other": 400}), history)

        letters = "".join("A" if one.findings else one.outcome.value[0] for one in said)
        assert letters == "A" * before + "uAA" * 5
        assert (back.outcome, back.findings) == (Outcome.PASS, ())
        assert not [note for note in back.notes if "demoted" in note]


def test_what_was_not_read_for_long_ends_no_alarm() -> None:
    history = [run(at, {"n": 800, "other": 400}) for at in range(25)]
    history += [run(25 + at, {"n": 840, "other": 400}) for at in range(3)]
    history += [run(28 + at, {}, **UNREAD) for at in range(20)]

    said = judge(run(48, {"n": 840, "other": 400}), history)

    assert (said.outcome, said.confirmed) == (Outcome.WARN, "run r27")


def test_wild_runs_of_a_level_say_nothing_of_the_next_one() -> None:
    values = of((800, 25), (1600, 1), (800, 9))

    followed, accepted = baseline(values + [700] * 5), baseline([*values, 840], [35])

    assert (set(followed.values), set(accepted.values)) == ({700.0}, {840.0})


def test_an_alarm_that_others_came_before_is_accepted_without_them() -> None:
    found = baseline(of((800, 25), (850, 3), (861, 1)), [28])

    assert (set(found.values), found.runs) == ({861.0}, 1)


def test_an_alarm_and_its_retries_are_accepted_by_the_latest_of_them() -> None:
    found = baseline(of((800, 25), (850, 4)), [28])

    assert (set(found.values), found.runs) == ({850.0}, 4)


def test_who_accepts_everything_makes_no_noise_exact() -> None:
    """Seconds, which no run has twice: the latest accepted is near none of those before."""
    random = Random(7)
    values = [random.uniform(0.04, 0.44) for _ in range(25)]

    found = baseline(values, [24])

    assert len(set(found.values)) > 20
    assert max(v for v in found.values if v is not None) > 0.4


def test_what_is_accepted_of_a_noisy_counter_is_the_level_and_not_what_came_before() -> None:
    random = Random(3)
    values = [round(random.gauss(2000, 12)) for _ in range(34)] + [2020, 2024, 2086]

    assert baseline(values, [36]).level == 2086


def test_the_noise_of_a_level_is_that_of_the_ones_before() -> None:
    random = Random(4)
    values = [round(random.gauss(1000, 5)) for _ in range(40)] + of((900, 5), (912, 6))

    assert baseline(values).held is None
    assert baseline(values[40:]).held == Held(5, 912.0)


def test_what_is_held_says_how_it_varies_around_its_own_level() -> None:
    values = [*of((1000, 25)), 1020, 1024, 1016, 1020, 1024, 1016]

    assert baseline(values).values[25:] == (1000, 1004, 996, 1000, 1004, 996)


def test_of_a_change_on_top_of_another_the_latest_is_told() -> None:
    found = baseline(of((800, 25), (820, 6), (1600, 7)))

    assert (found.held, set(found.values)) == (Held(31, 1600.0), {800.0})


def test_a_counter_that_varies_is_held_until_it_is_back_where_it_does_not_alarm() -> None:
    random = Random(2)
    values = [random.gauss(level, 2) for level in of((1000, 40), (1011, 30), (1000, 1))]

    assert baseline(values[:-1]).held is not None
    assert baseline(values).held is None


def test_a_move_of_less_than_alarms_is_followed_where_nothing_varies_and_nowhere_else() -> None:
    random = Random(1)
    exact = baseline(of((1000, 20), (1005, 6)))
    varying = baseline([random.gauss(level, 2) for level in of((1000, 20), (1005, 6))])

    assert (set(exact.values), [one.index for one in exact.steps]) == ({1005.0}, [20])
    assert varying.steps == ()


def test_a_counter_that_was_exact_does_not_leave_the_gate_in_silence() -> None:
    values = of((800, 25), *[(840, 1), (800, 1)] * 5)

    (said,) = told(values, [], [800])

    assert [note for note in said.notes if "was exact" in note] == [
        (
            "mysql:n was exact and takes no part since run r25: 35 runs, median 800, MAD 0: "
            "it varies by 0.00%, but was wild in 5 runs: demoted"
        )
    ]


def test_a_run_that_has_no_figure_is_not_where_a_counter_left_the_gate() -> None:
    """Its first runs varied; those of the level it is on never did."""
    history = [run(at, {"n": value}) for at, value in enumerate([10, 8, 10, 8, *[8] * 23])]

    without = [*history, run(27, {"n": None})]
    moved = [*without, run(28, {"n": 9})]

    still = judge(run(29, {"n": 8}), without)
    (note,) = (one for one in judge(run(29, {"n": 8}), moved).notes if "was exact" in one)

    assert [one for one in still.notes if "was exact" in one] == []
    assert note.startswith("mysql:n was exact and takes no part since run r28: ")


def test_a_count_that_is_one_more_at_times_has_one_level() -> None:
    random = Random(3)

    found = baseline([10 + (random.random() < 0.4) for _ in range(200)])

    assert (found.steps, found.held) == ((), None)


def test_five_that_agree_are_no_level_where_the_others_vary_as_much() -> None:
    values = [1000.0, 1002.0, 999.0, 998.0, 1001.0] * 4 + [1006.0] * 5

    assert baseline(values).steps == ()


def test_the_first_runs_are_no_level_unless_five_agree() -> None:
    odd, even = baseline(of((700, 3), (800, 12))), baseline(of((700, 5), (800, 12)))

    assert (odd.held, odd.values[-1]) == (None, 800.0)
    assert even.held == Held(5, 800.0)


def test_noise_ends_no_alarm_of_a_counter_that_moved_by_five_scales() -> None:
    """One run in six of such a change is less than four scales off."""
    values = [1000.0, 1002.0, 998.0] * 14 + [1014.0] * 6 + [1008.0, 1015.0]

    assert baseline(values).held == Held(42, 1014.0)


@pytest.mark.parametrize("by", [2, -2, 3])
@pytest.mark.parametrize("before", [7, 14, 40])
@pytest.mark.parametrize("since", [1, 6, 60])
def test_the_least_step_that_alarms_is_a_level_once_it_was_accepted(before, by, since) -> None:
    """One statement more in two tests; what is twice as much is told of it afterwards."""
    values = [before] * 22 + [before + by]
    same, twice = before + by, 2 * (before + by) + 2

    assert set(baseline([*values, *[same] * since], [22]).values) == {same}
    assert alarms([*values, *[same] * since], [22], [same, twice]) == ".A"
