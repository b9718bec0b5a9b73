"""The joint statistics of a run, and what they say of each backend and counter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nilometer.gate.bound import bound
from nilometer.gate.creeping import crept
from nilometer.gate.finding import Finding
from nilometer.gate.robust import FLOOR_COUNT, median
from nilometer.gate.stability import EXACT_RUNS_MIN, RUNS_MIN, Standing, standing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nilometer.gate.history import Key, Series
    from nilometer.gate.joint import Joint, Moved
    from nilometer.gate.matrix import Cohort, Matrix
    from nilometer.model.run import Run

NAMED_MAX: Final = 5  # in a sentence; the run itself has all

USUAL_SHARE: Final = 0.9  # a counter that is missing in more of the runs is missed in none

FIRST_RUNS_MIN: Final = 20  # as many as an exact counter takes to be so for good
FIRST_COUNTS_MIN: Final = 5.0  # a page read, a lock waited for, a few of them: machines do that

STEPS_NAMED_MAX: Final = 3  # of a counter; more are told as their sum, and the latest

PENDING_MAX: Final = 12
"""Runs that alarm one after the other, but for those that did not read what alarms. A lasting
step is found from five to ten on, and held; a counter whose neighbours are alike takes more."""


def pending_of(matrix: Matrix) -> int:
    """How many of the latest runs alarm, each after the other, by those before the first.

    They do not judge the next one: they wait for somebody to accept them, or for a run that
    shows that they went away. One that has no figure of what alarms shows neither. Once there
    are enough of them to be a level of their own, the step to it is found, and held (see
    `baseline`).
    """
    read = [at for at in range(RUNS_MIN, matrix.last) if matrix.is_read(at)]
    starts = read[-PENDING_MAX:]
    return next((matrix.last - at for at in starts if _alarms_from(matrix, at)), 0)


def _alarms_from(matrix: Matrix, start: int) -> bool:
    """Whether this run alarms, and each after it does or has no figure of what did."""
    cohorts = [one for one in matrix.cohorts(start) if len(one.places) >= RUNS_MIN]
    moved: set[Key] = set()
    for at in range(start, matrix.last):
        alarms = [found for one in cohorts if (found := matrix.judge(one, at)).is_alarm]
        moved |= {one.key for found in alarms for one in found.moved}
        if not alarms and not any(matrix.lacks(key, at) for key in moved):
            return False
    return True


class Judged:
    """A run by those before it, but for the `pending` last of them."""

    def __init__(self, matrix: Matrix, pending: int) -> None:
        self._matrix = matrix
        self._start = matrix.last - pending
        self._of_key = {one.key: one for one in matrix.series}
        self._standings: dict[tuple[Cohort, Key], Standing] = {}
        self.base = matrix.runs[: self._start]
        cohorts = [c for c in matrix.cohorts(self._start) if len(c.places) >= RUNS_MIN]
        self.pairs: list[tuple[Cohort, Joint]] = [
            (cohort, matrix.judge(cohort, matrix.last)) for cohort in cohorts
        ]

    @property
    def alarms(self) -> list[tuple[Cohort, Joint]]:
        """The cohorts in which something costs more."""
        return [(cohort, found) for cohort, found in self.pairs if found.is_alarm]

    @property
    def rate(self) -> float:
        """How often any of the cohorts alarms, or is as far out as here, without a change."""
        rates = [one.rate if one.is_alarm else 1 / (one.runs + 1) for _, one in self.pairs]
        return min(1.0, sum(rates))

    def findings(self) -> tuple[Finding, ...]:
        """What costs more, and since when, if it lasts and nobody accepted it."""
        return tuple(
            self._since(self._finding(cohort, one))
            for cohort, found in self.alarms
            for one in found.moved
        )

    def _since(self, finding: Finding) -> Finding:
        start = self.held_at(finding)
        if start is None:
            return finding
        values = self._of_key[finding.key].values[start : self._matrix.last]
        runs = sum(value is not None for value in values)
        since = f"since run {self._matrix.runs[start].id}, {runs} runs, nobody accepted it"
        return replace(finding, since=since)

    def held_at(self, finding: Finding) -> int | None:
        """The place of the lasting step that a finding is, or is mostly; None if it is none."""
        held = self._matrix.baseline(self._of_key[finding.key]).held
        if held is None or held.level < finding.expected + finding.delta / 2:
            return None
        return held.start

    def before(self, findings: Sequence[Finding]) -> tuple[Run, ...]:
        """The earlier runs in which none of these had moved yet."""
        held = [at for one in findings if (at := self.held_at(one)) is not None]
        return self.base[: min(held)] if held else self.base

    def levels(self, finding: Finding) -> list[int]:
        """The places at which a level began that is no news of this counter's parts.

        What was accepted of any counter, as its statement moved others with it; and what lasted
        of this one, and was followed.
        """
        steps = self._matrix.baseline(self._of_key[finding.key]).steps
        return sorted(self._matrix.accepted_anywhere() | {step.index for step in steps})

    def improved(self) -> tuple[Finding, ...]:
        """What costs less: judged the same way, and no alarm."""
        found = [
            (cohort, self._matrix.judge(cohort, self._matrix.last, sign=-1))
            for cohort, _ in self.pairs
        ]
        return tuple(self._finding(cohort, one) for cohort, f in found for one in f.moved)

    def _finding(self, cohort: Cohort, moved: Moved) -> Finding:
        return self._beside(cohort, self._of_key[moved.key], moved.scales)

    def _beside(self, cohort: Cohort, one: Series, scales: float) -> Finding:
        """A counter beside its bound."""
        values, known = self._matrix.values(one, cohort), self._standing(cohort, one)
        now = one.values[self._matrix.last] or 0.0
        limit = bound(known, values)
        return Finding(one.key, one.unit, now, known.median, scales, known, limit)

    def every(self) -> tuple[Finding, ...]:
        """Each counter that the run has a figure of beside its bound, the worst first: of those
        that take part the furthest above its level, then the others likewise."""
        found = []
        for cohort, one in self._with_cohort():
            now, known = one.values[self._matrix.last], self._standing(cohort, one)
            if now is not None:
                scales = (now - known.median) / known.scale if known.scale else 0.0
                found.append(self._beside(cohort, one, scales))
        return tuple(
            sorted(found, key=lambda o: (not o.standing.is_admitted, -o.scales, o.key))
        )

    def unknown(self) -> list[str]:
        """The counters that gate, but that the run has no figure of, and why."""
        found: dict[str, list[str]] = {}
        for cohort, one in self._with_cohort():
            if one.values[self._matrix.last] is not None:
                continue
            values = self._matrix.values(one, cohort)
            seen = [value for value in values if value is not None]
            is_usual = len(seen) >= RUNS_MIN and (
                len(seen) >= len(values) * USUAL_SHARE
                or bool(self._matrix.why_without(one.key, self._matrix.last))
            )
            is_usual = is_usual or self._matrix.baseline(one).held is not None
            if is_usual and standing(seen, one.kind).is_admitted:
                had = [at for at in cohort.places if one.values[at] is not None]
                why = self._matrix.why_unknown(one.key, had[-1])
                found.setdefault(why, []).append(str(one.key))
        return [f"{_named(keys)}: {why}" for why, keys in found.items()]

    def first_found(self) -> tuple[Finding, ...]:
        """The counters that never moved in many runs, and did now by more than a few counts."""
        found = []
        for cohort, one in self._with_cohort():
            now = one.values[self._matrix.last]
            if now is None or now < FIRST_COUNTS_MIN:
                continue
            if self._matrix.is_young(one):
                continue
            values = [v for v in self._matrix.values(one, cohort) if v is not None]
            while values and values[-1] >= FIRST_COUNTS_MIN:  # nobody accepted those either
                values.pop()
            if len(values) >= FIRST_RUNS_MIN and set(values) == {0.0}:
                known = standing(values, one.kind, is_counted=one.is_counted)
                finding = Finding(one.key, one.unit, now, 0.0, now / FLOOR_COUNT, known)
                found.append(self._since(replace(finding, is_first=True)))
        return tuple(sorted(found, key=lambda one: -one.now))

    def young(self) -> list[str]:
        """The counters of which no earlier run shows the level that was accepted."""
        found = [
            str(one.key)
            for _, one in self._with_cohort()
            if one.values[self._matrix.last] is not None and self._matrix.is_young(one)
        ]
        why = "no earlier run shows the level that was accepted, so nothing judges this one"
        return [f"{_named(found)}: {why}"] * bool(found)

    def lacking(self) -> list[str]:
        """The earlier runs that have no figure of a counter that gates, which others have."""
        found: dict[str, list[str]] = {}
        for cohort, one in self._with_cohort():
            if not self._standing(cohort, one).is_admitted:
                continue
            missing = [self._matrix.runs[at] for at in cohort.places if one.values[at] is None]
            for run in missing:
                found.setdefault(f"{run.id}", []).append(str(one.key))
        told = []
        for run_id, keys in [*found.items()][-NAMED_MAX:]:
            told.append(
                f"run {run_id} is passed over for what it has no figure of: {_named(keys)}"
            )
        return told

    def demoted(self) -> list[str]:
        """The counters that were exact and take no part any more, since when, and why."""
        told = []
        for cohort, one in self._with_cohort():
            if since := self._demoted_at(cohort, one):
                run = self._matrix.runs[cohort.places[since]].id
                values = [one.values[at] for at in cohort.places]
                why = self._standing(cohort, one).because + _trend(values)
                told.append(f"{one.key} was exact and takes no part since run {run}: {why}")
        return told

    def _demoted_at(self, cohort: Cohort, one: Series) -> int:
        """At which of the cohort's places a counter was exact no more; 0 if it takes part."""
        if self._standing(cohort, one).is_admitted:
            return 0
        series = self._matrix.values(one, cohort), [one.values[at] for at in cohort.places]
        until = next((at for values in series if (at := _exact_until(values))), 0)
        read = (at for at, value in enumerate(series[0]) if value is not None and at >= until)
        return next(read, 0) if until else 0

    def creeping(self) -> list[str]:
        """The counters that went far with no run far out, and of which no other note tells."""
        told = []
        for cohort, one in self._with_cohort():
            start = self._matrix.accepted_from(one.key)
            found = crept(one.values[start:], is_counted=one.is_counted)
            if found is None or self._demoted_at(cohort, one):
                continue
            base, went = self._matrix.baseline(one), abs(found.last - found.first)
            moved = base.steps[-1].after - base.steps[0].before if base.steps else 0.0
            if base.held is None and abs(moved) < went / 2:
                is_admitted = self._standing(cohort, one).is_admitted
                because = found.told(is_admitted=is_admitted)
                told.append((-went / abs(found.first or 1), f"{one.key} {because}"))
        notes = [note for _, note in sorted(told)[:NAMED_MAX]]
        more = len(told) - NAMED_MAX
        crowd = f"{more} more counters crept; `nilometer gate learn` tells of each"
        return notes + [crowd] * (more > 0)

    def _standing(self, cohort: Cohort, one: Series) -> Standing:
        if (cohort, one.key) not in self._standings:
            values = self._matrix.values(one, cohort)
            found = standing(values, one.kind, is_counted=one.is_counted)
            self._standings[cohort, one.key] = found
        return self._standings[cohort, one.key]

    def first_moves(self) -> list[str]:
        """The counters that never moved before: news, but often of the machine's own doing."""
        found = []
        shown = {one.key for one in self.first_found()}
        for cohort, one in self._with_cohort():
            if one.key in shown:
                continue
            now = one.values[self._matrix.last]
            before = {one.values[at] for at in cohort.places}
            if now and before == {0.0}:
                found.append(f"{one.key} {now:+.6g}")
        return [f"moved for the first time: {_named(found)}"] * bool(found)

    def steps(self) -> list[str]:
        """The lasting changes that nobody accepted; what came before them still tells noise."""
        found = []
        for _, one in self._with_cohort():
            steps = self._matrix.baseline(one).steps
            if len(steps) > STEPS_NAMED_MAX:
                first, last, since = steps[0].before, steps[-1].after, steps[0].index
                found.append(
                    f"{one.key}: since run {self._matrix.runs[since].id} the level moved "
                    f"{len(steps)} times, from {first:.6g} to {last:.6g} in all"
                    f"{_share(first, last)}; nobody accepted it"
                )
            for step in steps[-1:] if len(steps) > STEPS_NAMED_MAX else steps:
                at = self._matrix.runs[step.index]
                found.append(
                    f"{one.key}: from run {at.id} on {step.because}; nobody accepted it"
                )
        return found

    def returned(self) -> list[str]:
        """The counters that are back where they were before, and had left by themselves."""
        found = []
        for _, one in self._with_cohort():
            now, base = one.values[self._matrix.last], self._matrix.baseline(one)
            if now is None or now - base.level < base.known.far:
                continue
            if base.known.explains(now) and not self._matrix.is_young(one):
                found.append(f"{one.key} {now:.6g} instead of {base.level:.6g}")
        why = "no news, as it was there lately, and left that by itself"
        return [f"{_named(found)}: {why}"] * bool(found)

    def _with_cohort(self) -> Iterator[tuple[Cohort, Series]]:
        for cohort, _ in self.pairs:
            for one in self._matrix.series:
                if one.key.backend in cohort.backends:
                    yield cohort, one

    def confirmed_by(self, findings: Sequence[Finding]) -> str:
        """An earlier run in which one of these moved as well; empty if there is none."""
        held = [at for one in findings if (at := self.held_at(one)) is not None]
        if held:
            return f"run {self._matrix.runs[min(held)].id}"
        since = {one.key: self._matrix.accepted_from(one.key) for one in findings}
        for at in range(self._matrix.last - 1, self._start - 1, -1):
            keys = {key for key, start in since.items() if at >= start}
            for cohort, _ in self.pairs:
                if keys & {one.key for one in self._matrix.judge(cohort, at).moved}:
                    return f"run {self._matrix.runs[at].id}"
        return ""


def _exact_until(values: Sequence[float | None]) -> int:
    """Where a series, other than of 0, was last exact; 0 if it never was."""
    until, runs, last = 0, 0, None
    for at, value in enumerate(values):
        if value is None:
            continue
        runs, last = (runs + 1 if value == last else 1), value
        until = at + 1 if value and runs >= EXACT_RUNS_MIN else until
    return until


def _trend(values: Sequence[float | None]) -> str:
    """What a series that crept did in all; empty if it ends where it began."""
    known = [value for value in values if value is not None]
    first, last = float(median(known[:RUNS_MIN])), float(median(known[-RUNS_MIN:]))
    if first == last:
        return ""
    return f"; it went from {first:.6g} to {last:.6g} in all{_share(first, last)}"


def _share(before: float, after: float) -> str:
    return f" ({(after - before) / abs(before):+.1%})" if before else ""


def _named(found: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
    return ", ".join(found[:NAMED_MAX]) + more
