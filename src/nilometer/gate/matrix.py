"""All counters of a run and of those before it, side by side, and which of them go together."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.baseline import accepted_at, baseline
from nilometer.gate.bystanders import is_told, why_bystander
from nilometer.gate.history import all_series, is_known, read_of, why_unknown
from nilometer.gate.joint import Column, joint
from nilometer.gate.opened import BECAUSE, Opened
from nilometer.gate.stability import RUNS_MIN
from nilometer.model.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nilometer.gate.baseline import Baseline
    from nilometer.gate.history import Key, Past, Series
    from nilometer.gate.joint import Joint
    from nilometer.model.run import Accepted, Run

TOGETHER_SHARE_MIN: Final = 0.8
"""Backends are judged at once over the runs that have both, if that is so much of either's."""


class Cohort(NamedTuple):
    """Backends that the same earlier runs have figures of, and the places of those runs."""

    backends: frozenset[str]
    places: tuple[int, ...]


class Matrix:
    """The totals of a run, which is the last row, and of the runs that it is compared with.

    Places count the runs from the oldest; `last` is that of the run itself. Gauges are kept
    apart: they say where something stands, and not what a run cost. So are `bystanders`, which
    others than the run move, with the reason.
    """

    def __init__(
        self,
        run: Run,
        past: Past,
        accepted: Sequence[Accepted],
        known: Sequence[Run],
    ) -> None:
        self.runs = (*past.runs, run)
        self.last = len(past.runs)
        read = tuple(all_series(run, past))
        self._opened = Opened(read, self.runs)
        every = tuple(map(self._opened.without, read))
        told = {one.key for one in every if is_told(self._latest(one))}
        moved = [one for one in every if one.kind is not Kind.GAUGE]
        reasons = [(one, why_bystander(one.key, told)) for one in moved]
        self.bystanders = tuple((one, because) for one, because in reasons if because)
        self.series = tuple(one for one, because in reasons if not because)
        self._of_key = {one.key: one for one in self.series}
        self.gauges = tuple(one for one in every if one.kind is Kind.GAUGE)
        relevant = until(run, accepted, known)
        self._accepted = {
            one.key: accepted_at(one.key, self.runs, relevant, known) for one in every
        }
        self._baselines: dict[Key, Baseline] = {}
        self._judged: dict[tuple[Cohort, int, int], Joint] = {}

    def _latest(self, one: Series) -> Sequence[float | None]:
        """The series in the latest of the earlier runs that read its backend.

        Not in the run itself: what it could not read changes nothing in how the rest of it is
        judged.
        """
        backend = one.key.backend
        read = read_of(self.runs[-1], backend)
        version = read.version if read else ""
        places = [at for at in range(self.last) if is_known(self.runs[at], backend, version)]
        return [one.values[at] for at in places[-RUNS_MIN:] or [self.last]]

    def is_read(self, at: int) -> bool:
        """Whether the run at this place has figures of each backend that the run has."""
        read = [one for one in self.runs[-1].backends if not one.because]
        return all(is_known(self.runs[at], one.name, one.version) for one in read)

    def why_unknown(self, key: Key, before: int) -> str:
        """Why the run has no figure of a counter that it had at that place."""
        without = self.why_without(key, self.last)
        return without or why_unknown(self.runs[-1], key, self.runs[before])

    def why_without(self, key: Key, at: int) -> str:
        """Why what a run has of a counter is not taken; empty if it is."""
        return BECAUSE if self._opened.moved(key, at) else ""

    def lacks(self, key: Key, at: int) -> bool:
        """Whether the run at this place has no figure of a counter that takes part."""
        return self._of_key[key].values[at] is None

    def cohorts(self, until: int) -> list[Cohort]:
        """The backends that the run has figures of, by the runs before `until` that have."""
        found: list[Cohort] = []
        ranked = []
        for read in self.runs[-1].backends:
            if not read.because:
                places = [
                    at
                    for at in range(until)
                    if is_known(self.runs[at], read.name, read.version)
                ]
                ranked.append((-len(places), read.name, places))
        for _, name, places in sorted(ranked):
            for at, cohort in enumerate(found):
                both = sorted(set(places) & set(cohort.places))
                share = TOGETHER_SHARE_MIN * max(len(places), len(cohort.places))
                if len(both) >= max(share, min(RUNS_MIN, len(places))):
                    found[at] = Cohort(cohort.backends | {name}, tuple(both))
                    break
            else:
                found.append(Cohort(frozenset({name}), tuple(places)))
        return found

    def baseline(self, one: Series) -> Baseline:
        """The series of the earlier runs on its current level."""
        if one.key not in self._baselines:
            self._baselines[one.key] = baseline(one.values[:-1], self._accepted[one.key])
        return self._baselines[one.key]

    def whole(self, one: Series) -> Baseline:
        """The series on its current level, that of the run itself included."""
        return baseline(one.values, self._accepted[one.key])

    def values(self, one: Series, cohort: Cohort) -> list[float | None]:
        """The series over the runs of a cohort on its current level."""
        values = self.baseline(one).values
        return [values[at] for at in cohort.places]

    def is_young(self, one: Series) -> bool:
        """Whether the run itself is the first on a level that was accepted of this counter."""
        start = self.accepted_from(one.key)
        return start > 0 and all(value is None for value in one.values[start : self.last])

    def accepted_from(self, key: Key) -> int:
        """From which place on the latest level of a counter is that was accepted; 0 if none."""
        return max((cut for cut in self._accepted[key] if cut <= self.last), default=0)

    def accepted_places(self, key: Key) -> list[int]:
        """The places from which on a level of this counter was accepted, in order."""
        return list(self._accepted[key])

    def accepted_anywhere(self) -> set[int]:
        """The places from which on a level of any counter was accepted."""
        return {cut for cuts in self._accepted.values() for cut in cuts}

    def judge(self, cohort: Cohort, at: int, *, sign: int = 1) -> Joint:
        """The run at this place by the cohort's runs."""
        asked = cohort, at, sign
        if asked not in self._judged:
            columns = self.columns(cohort, at)
            self._judged[asked] = joint(columns, len(cohort.places), sign=sign)
        return self._judged[asked]

    def columns(self, cohort: Cohort, at: int) -> list[Column]:
        """The counters of the cohort that have a value there, and a level to judge it by."""
        found = []
        for one in self.series:
            base = self.baseline(one)
            now = one.values[at] if at == self.last else base.values[at]
            if one.key.backend not in cohort.backends or now is None:
                continue
            if at == self.last and self.is_young(one):
                continue
            if now > base.level and base.known.explains(now):
                now = base.level
            values = self.values(one, cohort)
            elsewhere = base.known.runs_at(now)
            found.append(Column(one.key, values, now, one.is_counted, base.doubt, elsewhere))
        return found


def until(run: Run, accepted: Sequence[Accepted], known: Sequence[Run]) -> list[Accepted]:
    """What was accepted of this suite up to the run, and not of later ones."""
    order = {one.id: at for at, one in enumerate(known)}
    own = order.get(run.id, len(order))
    return [
        one
        for one in accepted
        if one.run_id
        and one.suite == run.suite
        and (order[one.run_id] <= own if one.run_id in order else one.at_ns <= run.started_ns)
    ]


def unread(run: Run, past: Past) -> list[str]:
    """What is not known of backends: those unread, those gone, those of another version."""
    told = [f"{read.name}: {read.because}" for read in run.backends if read.because]
    present = {read.name for read in run.backends}
    gone: dict[str, int] = {}
    for one in past.runs:
        for read in one.backends:
            if read.name not in present and not read.because:
                gone[read.name] = gone.get(read.name, 0) + 1
    told += [
        f"{name}: this run did not read it; {runs} earlier ones did"
        for name, runs in sorted(gone.items())
    ]
    for read in run.backends:
        others = _other_versions(read.name, read.version, past)
        same = sum(is_known(one, read.name, read.version) for one in past.runs)
        if read.because or same >= RUNS_MIN:
            continue
        if others:
            versions = ", ".join(f"{runs} of {version}" for version, runs in others.items())
            told.append(
                f"{read.name}: version {read.version or 'not known'} has {same} earlier runs, "
                f"{RUNS_MIN} are the least; those of other versions are not compared "
                f"({versions})"
            )
        elif len(past.runs) >= RUNS_MIN:
            told.append(f"{read.name}: {same} earlier runs read it; {RUNS_MIN} are the least")
    return told


def upgraded(run: Run, past: Past) -> list[str]:
    """The earlier runs that read another version of a backend, where enough read this one."""
    told = []
    for read in run.backends:
        others = _other_versions(read.name, read.version, past)
        same = sum(is_known(one, read.name, read.version) for one in past.runs)
        if others and not read.because and same >= RUNS_MIN:
            versions = ", ".join(f"{runs} of {version}" for version, runs in others.items())
            told.append(
                f"{read.name}: runs of other versions than {read.version or 'not known'} are "
                f"not compared ({versions}): what came with it is not known"
            )
    return told


def elsewhere(run: Run, past: Past) -> list[str]:
    """Where most of the runs that it is compared with had another host or server, if they did.

    Names that change with each run, as containers have, say nothing.
    """
    told = []
    if (usual := _usual(one.host for one in past.runs)) and run.host not in ("", usual):
        told.append(f"this run was on the host {run.host}; most earlier ones were on {usual}")
    for read in run.backends:
        if read.because or not read.instance:
            continue
        known = [one for one in past.runs if is_known(one, read.name, read.version)]
        usual = _usual(there.instance for one in known if (there := read_of(one, read.name)))
        if usual and usual != read.instance:
            told.append(
                f"{read.name}: this run read {read.instance}; most earlier ones read {usual}"
            )
    return told


def _usual(names: Iterable[str]) -> str:
    """The name that more than half of all have; empty if none has."""
    every = list(names)
    if not every:
        return ""
    name, number = Counter(every).most_common(1)[0]
    return name if 2 * number > len(every) else ""


def _other_versions(backend: str, version: str, past: Past) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in past.runs:
        read = read_of(one, backend)
        if read and not read.because and read.version != version:
            name = read.version or "not known"
            found[name] = found.get(name, 0) + 1
    return found
