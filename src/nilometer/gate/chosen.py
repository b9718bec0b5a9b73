"""Which runs of a history take part, and what is said of them: for commands and pages alike.

What judges is loaded with the first question: commands that only need to know the flags do not
wait for it.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.history import past_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from nilometer.gate.verdict import Verdict
    from nilometer.model.run import Accepted, Run

RUNS_MAX: Final = 500
"""The latest that take part: four times what the joint statistic looks at."""

READ_MAX: Final = 4 * RUNS_MAX
"""The latest of a suite, where those of other branches and test sets are among them."""

ENOUGH: Final = RUNS_MAX * 4 // 5
"""So many of them take part, and the others are few: those that failed, and the run itself."""

LAST: Final = "last"
NAMED_MAX: Final = 10


class Chosen(NamedTuple):
    """A run, and what its suite's history has around it; `accepted` is of this suite."""

    run: Run
    earlier: list[Run]
    later: list[Run]
    accepted: list[Accepted]


class NoSuchRunError(LookupError):
    """No run of that id, or `is_ambiguous`: more than one."""

    def __init__(self, message: str, *, is_ambiguous: bool = False) -> None:
        super().__init__(message)
        self.is_ambiguous = is_ambiguous


def enough_of(
    read: Callable[[int], list[Run]], *, branches: Collection[str] = (), run_id: str = LAST
) -> list[Run]:
    """As many of a suite's latest runs as it takes: `read` gives so many, oldest first.

    That is until there are enough that this run is compared with, or no more.
    """
    found = read(RUNS_MAX)
    if len(found) < RUNS_MAX or _take_part(found, run_id, branches):
        return found
    return read(READ_MAX)


def _take_part(runs: Sequence[Run], run_id: str, branches: Collection[str]) -> bool:
    """Whether enough of the runs before this one are compared with it."""
    named = [at for at, run in enumerate(runs) if run.id and run_id in {LAST, run.id}]
    if not named:
        return False
    at = named[-1]
    return len(past_of(runs[at], runs[:at], branches=branches).runs) >= ENOUGH


def choose(
    runs: Sequence[Run], accepted: Sequence[Accepted], run_id: str, suite: str
) -> Chosen:
    """The run of this id, or whose id begins so, or the last, with those around it.

    Raises NoSuchRunError if it is nowhere, or in two places.
    """
    at = _place(runs, run_id, suite)
    return Chosen(runs[at], list(runs[:at]), list(runs[at + 1 :]), list(accepted))


def _place(runs: Sequence[Run], run_id: str, suite: str) -> int:
    named = [at for at, run in enumerate(runs) if run.id]
    if not named:
        _raise_if_lost(f"no run of {suite!r} in what can be read of the history", runs)
        raise NoSuchRunError(f"the history has no run of {suite!r}")
    if run_id == LAST:
        return named[-1]
    exact = [at for at in named if runs[at].id == run_id]
    found = exact or [at for at in named if runs[at].id.startswith(run_id)]
    if len(found) > 1:
        ids = ", ".join(runs[at].id for at in found[-NAMED_MAX:])
        told = f"{len(found)} runs of {suite!r} begin with {run_id!r}: {ids}"
        raise NoSuchRunError(told, is_ambiguous=True)
    if not found:
        latest = ", ".join(runs[at].id for at in named[-3:])
        missing = f"no run {run_id!r} of {suite!r} in what can be read of the history"
        _raise_if_lost(missing, runs, f"; the latest are {latest}")
        raise NoSuchRunError(f"no run {run_id!r} of {suite!r}; the latest are {latest}")
    return found[0]


def _raise_if_lost(missing: str, runs: Sequence[Run], after: str = "") -> None:
    """Say it where the run may be in what cannot be read of the history."""
    if lost := lost_of(runs):
        raise NoSuchRunError(f"{missing}; it may be in what cannot: {lost}{after}")


def lost_of(runs: Sequence[Run]) -> str:
    """What of these runs cannot be read, and why; empty if all can."""
    lost = [run.because for run in runs if not run.id]
    more = f", and {len(lost) - 1} parts more" if len(lost) > 1 else ""
    return lost[0] + more if lost else ""


def verdict_on(
    choice: Callable[[bool], Chosen],
    *,
    branches: Collection[str] = (),
    may_fail: bool = False,
    only_confirmed: bool = False,
    now_ns: int | None = None,
) -> tuple[Chosen, Verdict]:
    """A run and the verdict on it; `choice` gives it with those around it, asked whether with
    the parts of counters: these are read, which takes ten times as long, for an alarm only."""
    from nilometer.gate.verdict import judge

    chosen = choice(False)
    verdict = None
    for has_parts in (False, True):
        seen = choice(True) if has_parts else chosen
        verdict = judge(
            seen.run,
            seen.earlier,
            seen.accepted,
            later=seen.later,
            branches=branches,
            may_fail=may_fail,
            only_confirmed=only_confirmed,
            now_ns=now_ns,
        )
        if not verdict.findings:
            break
    assert verdict is not None
    return chosen, verdict


def not_the_last(verdict: Verdict, because: str) -> Verdict:
    """Where later runs are not known: that this one is well says nothing of them."""
    from nilometer.gate.verdict import Outcome

    because += "; this is the latest that can be judged"
    if verdict.findings:
        return replace(verdict, notes=(because, *verdict.notes))
    return replace(verdict, outcome=Outcome.UNKNOWN, because=because)


def verdicts_on(
    found: Sequence[Run],
    accepted: Sequence[Accepted],
    latest: int,
    *,
    branches: Collection[str] = (),
    known: Mapping[str, Verdict] = MappingProxyType({}),
) -> Iterator[Verdict]:
    """Those on the latest of the runs, each by those before it; some are `known` by run."""
    from nilometer.gate.verdict import judge

    for at in range(max(0, len(found) - latest), len(found)):
        run = found[at]
        verdict = known.get(run.id) if run.id else None
        yield (
            verdict
            or judge(run, found[:at], accepted, later=found[at + 1 :], branches=branches)
        )
