"""The verdict on a run: pass, warn, fail or unknown, and what it is put down to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from nilometer.gate.attribution import parts_of
from nilometer.gate.finding import change
from nilometer.gate.history import Past, all_series, of_its_branch, past_of, unusable
from nilometer.gate.judged import Judged, pending_of
from nilometer.gate.matrix import Matrix, elsewhere, unread, until, upgraded
from nilometer.gate.opened import without_openings
from nilometer.gate.stability import RUNS_MIN

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from nilometer.gate.finding import Finding
    from nilometer.gate.history import Key, LeftOut
    from nilometer.model.run import Accepted, Run

WARN_RUNS_MIN: Final = 20  # below, what is found is told as advice
FAIL_RUNS_MIN: Final = 59  # the largest of so many bounds 95 % of runs with 95 % confidence
JUMPED: Final = "clock.jumped_ns"  # the attribute in which `measure` tells it
CLOCK_NS_MAX: Final = 60_000_000_000  # by so much the clocks of two hosts may differ unnoticed
NAMED_MAX: Final = 5  # of a kind, in a sentence; the JSON report has all


class Outcome(Enum):
    """What is said of a run."""

    PASS = "pass"  # noqa: S105 - a verdict, not a secret
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of a run, and why.

    `findings` cost more than before; `improved` less, which alarms nobody. `runs` earlier ones
    and `counters` made the decision; `rate` is how often it would be made without a change.
    `confirmed` names the second measurement that saw the same; empty, an alarm is not final.
    `previous` is the latest run that did not alarm. `is_advisory`: there are too few runs to
    warn. `notes` say what is not known or was not compared; `left_out` the earlier runs that
    were not.
    """

    run: Run
    outcome: Outcome
    because: str
    findings: tuple[Finding, ...] = ()
    improved: tuple[Finding, ...] = ()
    runs: int = 0
    counters: int = 0
    rate: float = 1.0
    confirmed: str = ""
    is_advisory: bool = False
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    previous: Run | None = None

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing that anybody needs to look at."""
        return self.outcome is Outcome.PASS and not self.findings


def judge(
    run: Run,
    earlier: Sequence[Run],
    accepted: Sequence[Accepted] = (),
    *,
    later: Sequence[Run] = (),
    branches: Collection[str] = (),
    may_fail: bool = False,
    only_confirmed: bool = False,
    now_ns: int | None = None,
) -> Verdict:
    """Judge a run by those before it, oldest first, in the order in which they were recorded.

    `later` runs, if there are any, say whether what is found went away or stayed. With
    `branches` only runs of these are compared with, and only runs of its own branch, which may
    be another one, confirm what is found or say that it went away. It fails only if it
    `may_fail`, and with `only_confirmed` only once a second run has shown the same. `now_ns` is
    the wall clock, by which a run that has not begun yet is told.
    """
    because = unusable(run)
    lost = [one.reason for one in accepted if not one.run_id]
    if because:
        return _doubted(Verdict(run, Outcome.UNKNOWN, because), lost)
    known = [*earlier, run]
    ids = {one.run_id for one in until(run, accepted, known)}
    past = past_of(run, earlier, branches=branches, accepted=ids)
    clock = _of_the_clock(run) + _of_the_order(run, earlier, now_ns)
    notes = tuple(clock + unread(run, past) + upgraded(run, past) + elsewhere(run, past))
    notes += tuple(_left_out(past))
    if len(past.runs) < RUNS_MIN:
        because = f"{len(past.runs)} earlier runs to compare with; {RUNS_MIN} are the least"
        because += next((f"; {one.because}" for one in past.left_out if not one.run_id), "")
        few = Verdict(run, Outcome.UNKNOWN, because, notes=notes, left_out=past.left_out)
        return _doubted(few, lost)
    matrix = Matrix(run, past, accepted, known)
    judged = Judged(matrix, pending_of(matrix))
    notes += tuple(_of_the_accepted(run, accepted, known))
    verdict = _with_first(_bare(judged, run, past, notes), judged)
    if verdict.findings:
        verdict = _explained(verdict, judged, past)
        confirmed = judged.confirmed_by(verdict.findings)
        if branches:
            own = past_of(run, of_its_branch(run, earlier, branches))
            confirmed = _shown_before(verdict, own, past)
        after = past_of(run, of_its_branch(run, later, branches))
        verdict = _after(replace(verdict, confirmed=confirmed), after, past)
    verdict = _final(verdict, may_fail=may_fail, only_confirmed=only_confirmed)
    return _doubted(verdict, lost)


def _bare(judged: Judged, run: Run, past: Past, notes: tuple[str, ...]) -> Verdict:
    """Without what it is put down to, and without what follows from it."""
    missing, young, lacking = judged.unknown(), judged.young(), judged.lacking()
    told = judged.returned() + judged.demoted() + judged.first_moves()
    every = Verdict(
        run,
        Outcome.UNKNOWN,
        "no backend has enough runs to compare with",
        judged.findings(),
        judged.improved(),
        min((found.runs for _, found in judged.alarms or judged.pairs), default=0),
        sum(found.counters for _, found in judged.pairs),
        judged.rate,
        notes=(*notes, *missing, *young, *judged.steps(), *judged.creeping(), *told, *lacking),
        left_out=past.left_out,
        previous=judged.base[-1] if judged.base else None,
    )
    if every.findings:
        because = "; ".join(found.because for _, found in judged.alarms)
        return replace(every, outcome=Outcome.WARN, because=because)
    if unknown := [*unread(run, past), *missing]:
        more = f"; and {len(unknown) - 1} more that is not known" * (len(unknown) > 1)
        return replace(every, because=unknown[0] + more)
    if not judged.pairs:
        return every
    if not every.counters:
        because = young[0] if young else "no counter is steady enough to be judged"
        return replace(every, because=because)
    because = "; ".join(found.because for _, found in judged.pairs)
    return replace(every, outcome=Outcome.PASS, because=because)


def _explained(verdict: Verdict, judged: Judged, past: Past) -> Verdict:
    """With what each finding is put down to, and the latest run that did not alarm."""
    before = judged.before(verdict.findings)
    parts = tuple(all_series(verdict.run, past._replace(runs=before), parts=True))
    findings = tuple(
        replace(one, parts=parts_of(one.key, one.delta, parts, levels=judged.levels(one)))
        for one in verdict.findings
    )
    findings = tuple(sorted(findings, key=_weight))
    return replace(verdict, findings=findings, previous=before[-1] if before else None)


def _weight(one: Finding) -> tuple[bool, bool, float]:
    return one.is_first, not one.parts, -one.scales


def _with_first(verdict: Verdict, judged: Judged) -> Verdict:
    """With the counters that moved for the first time, unless nobody can say of the run."""
    if verdict.outcome is Outcome.UNKNOWN:
        return verdict
    return replace(verdict, findings=(*verdict.findings, *judged.first_found()))


def _of_the_accepted(run: Run, accepted: Sequence[Accepted], known: Sequence[Run]) -> list[str]:
    """What was accepted up to the run, and why; whether runs of other tests may be there."""
    told = []
    if not run.test_set:
        told.append("which tests ran is not known: runs of other tests are compared, too")
    for one in until(run, accepted, known)[-NAMED_MAX:]:
        counters = ", ".join(one.counters[:NAMED_MAX]) or "all counters"
        more = len(one.counters) - NAMED_MAX
        which = counters + (f" and {more} more" if more > 0 else "")
        who = f" by {one.by}" if one.by else ""
        told.append(f"accepted{who} from run {one.run_id} on: {which}: {one.reason}")
    return told


def _final(verdict: Verdict, *, may_fail: bool, only_confirmed: bool) -> Verdict:
    """With what follows for who asked: advice, a warning or a failure."""
    if not verdict.findings:
        return verdict
    first = verdict.findings[0]
    head = change(first)
    if len(verdict.findings) > 1:
        head += f" and {len(verdict.findings) - 1} more"
    if first.is_first:  # and so are the others
        because = f"{head}: it never moved in earlier runs; advice only: {verdict.because}"
        because += f"; {first.since}" if first.since else ""
        return replace(verdict, is_advisory=True, because=because)
    because = f"{head}: {verdict.because}"
    if since := next((one.since for one in verdict.findings if one.since), ""):
        because += f"; {since}"
    if all(one.went_away for one in verdict.findings):
        because += "; it went away"
    if verdict.runs < WARN_RUNS_MIN:
        because += f"; advice only, as {verdict.runs} runs of {WARN_RUNS_MIN} are there to warn"
        return replace(verdict, outcome=Outcome.PASS, is_advisory=True, because=because)
    because += f"; confirmed by {verdict.confirmed}" if verdict.confirmed else "; unconfirmed"
    fails = may_fail and verdict.runs >= FAIL_RUNS_MIN
    fails = fails and bool(verdict.confirmed or not only_confirmed)
    if may_fail and not fails:
        missing = "a second measurement" if verdict.runs >= FAIL_RUNS_MIN else ""
        missing = missing or f"{FAIL_RUNS_MIN - verdict.runs} further runs"
        because += f"; it takes {missing} to fail"
    outcome = Outcome.FAIL if fails else Outcome.WARN
    return replace(verdict, outcome=outcome, because=because)


def _doubted(verdict: Verdict, lost: Sequence[str]) -> Verdict:
    """With what was accepted and cannot be read: it may be what the run is judged by."""
    if not lost:
        return verdict
    more = f", and {len(lost) - 1} files more" if len(lost) > 1 else ""
    because = f"what was accepted is not known; {lost[0]}{more}; without it: {verdict.because}"
    return replace(verdict, outcome=Outcome.UNKNOWN, because=because)


def _of_the_clock(run: Run) -> list[str]:
    """A clock that was set meanwhile: counts do not care, times do."""
    jumped = run.attributes.get(JUMPED)
    told = jumped if isinstance(jumped, int) and not isinstance(jumped, bool) else 0
    back_ns = run.started_ns - run.ended_ns
    if back_ns > 0:
        told = told or -back_ns
    if not told:
        return []
    how = "went back" if told < 0 else "jumped"
    return [f"the clock {how} by {abs(told) / 1e9:.1f} s during the run: its times say nothing"]


def _of_the_order(run: Run, earlier: Sequence[Run], now_ns: int | None) -> list[str]:
    """Clocks that contradict the order in which the runs were recorded."""
    told = []
    if now_ns is not None and run.ended_ns > now_ns + CLOCK_NS_MAX:
        ahead = (run.ended_ns - now_ns) / 1e9
        told.append(f"the run ends {ahead:.0f} s from now: a clock is wrong")
    late = [
        one.id
        for one in earlier
        if one.id and one.suite == run.suite and one.started_ns > run.ended_ns + CLOCK_NS_MAX
    ]
    if late:
        named = ", ".join(late[-NAMED_MAX:]) + (", ..." if len(late) > NAMED_MAX else "")
        told.append(
            f"a clock is wrong: {len(late)} runs that were recorded before this one began "
            f"after it ended ({named}); the order is that of recording"
        )
    return told


def _left_out(past: Past) -> list[str]:
    """The earlier runs that are not compared, by why."""
    by_reason = Counter(one.because for one in past.left_out)
    told = []
    for because, number in by_reason.most_common(NAMED_MAX):
        names = [one.run_id or "?" for one in past.left_out if one.because == because]
        named = ", ".join(names[-NAMED_MAX:]) + (", ..." if number > NAMED_MAX else "")
        told.append(f"{number} earlier runs are left out ({named}): {because}")
    rest = sum(by_reason.values()) - sum(n for _, n in by_reason.most_common(NAMED_MAX))
    return told + ([f"{rest} more are left out for other reasons"] if rest else [])


def _series_of(runs: Sequence[Run], run: Run, past: Past) -> dict[Key, Sequence[float | None]]:
    """The counters in these runs, as they are known beside the run and those before it."""
    whole = Past((*past.runs, *runs))
    every = without_openings(all_series(run, whole), (*whole.runs, run))
    return {one.key: one.values[len(past.runs) : -1] for one in every}


def _shown_before(verdict: Verdict, own: Past, past: Past) -> str:
    """The latest run of its branch that has a figure, if it shows one of the findings."""
    series = _series_of(own.runs, verdict.run, past)
    for one in verdict.findings:
        told = zip(own.runs, series.get(one.key, ()), strict=False)
        known = [(other, value) for other, value in told if value is not None]
        if known and known[-1][1] >= one.expected + one.delta / 2:
            return f"run {known[-1][0].id}"
    return ""


def _after(verdict: Verdict, after: Past, past: Past) -> Verdict:
    """With what later runs say: that a counter went back, or that it stayed."""
    findings, confirmed = [], ""
    series = _series_of(after.runs, verdict.run, past)
    for one in verdict.findings:
        told = zip(after.runs, series.get(one.key, ()), strict=False)
        values = [(other, value) for other, value in told if value is not None]
        halfway = one.expected + one.delta / 2
        stayed = [other for other, value in values if value >= halfway]
        if values and values[-1][1] < halfway:
            back, value = values[-1]
            since = f"back at {value:.6g} in run {back.id}"
            findings.append(replace(one, went_away=since))
            continue
        if stayed and stayed[0] is values[0][0]:
            confirmed = confirmed or f"run {stayed[0].id}"
        findings.append(one)
    return replace(verdict, findings=tuple(findings), confirmed=verdict.confirmed or confirmed)
