"""Which counters are the best predictors: what each is worth, and what it can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.bound import bound
from nilometer.gate.creeping import crept
from nilometer.gate.history import past_of, unusable
from nilometer.gate.joint import SCALES_MIN
from nilometer.gate.judged import Judged, pending_of
from nilometer.gate.matrix import Matrix, until
from nilometer.gate.robust import median
from nilometer.gate.stability import Stability, standing
from nilometer.model.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from nilometer.gate.bound import Bound
    from nilometer.gate.history import Key, LeftOut, Series
    from nilometer.gate.stability import Standing
    from nilometer.model.run import Accepted, Run

POWER_SCALES: Final = 1.645
"""Noise pulls one run in twenty further down: a change that much larger is seen in 95 %."""

AROUND_RUNS: Final = 5
"""On either side of an accepted change: a level, and not what became of it."""

ORDER: Final = {one: at for at, one in enumerate(Stability)}


@dataclass(frozen=True, slots=True)
class Predictor:
    """A counter, what is known of it, and what it is worth.

    `smallest` is the smallest change for the worse that 95 % of single runs show, in counts;
    None of those that take no part. `moved` is with how many of `accepted` accepted changes it
    moved, upwards or downwards: a counter that moves with what people decide about is worth
    more than one that only could. `is_creeping`: it went far though no run was far out.
    """

    key: Key
    kind: Kind
    unit: str
    standing: Standing
    bound: Bound | None
    smallest: float | None
    moved: int
    accepted: int
    is_creeping: bool = False

    @property
    def share(self) -> float | None:
        """The smallest change it shows as a share of its level; None from zero."""
        if self.smallest is None or not self.standing.median:
            return None
        return self.smallest / abs(self.standing.median)


@dataclass(frozen=True, slots=True)
class Learned:
    """What a history says of the counters of its latest usable run, the best first."""

    run: Run
    runs: int
    predictors: tuple[Predictor, ...]
    left_out: tuple[LeftOut, ...] = ()


class Seen(NamedTuple):
    """All counters of the runs that can be compared with the latest usable one, side by side.

    `places` of the runs say what is usual: the others alarm now. `changes` are what was
    accepted of these runs, and at which place.
    """

    matrix: Matrix
    places: int
    changes: tuple[tuple[int, Accepted], ...]
    left_out: tuple[LeftOut, ...] = ()

    def every(self) -> Iterator[tuple[Series, str]]:
        """Each counter, with why it takes no part whatever its figures are; mostly empty."""
        yield from ((one, "") for one in (*self.matrix.series, *self.matrix.gauges))
        yield from self.matrix.bystanders

    def predictor(self, one: Series, because: str) -> Predictor:
        """What a counter is worth."""
        return _predictor(self.matrix, one, self.places, self.changes, because)


def see(
    history: Sequence[Run],
    accepted: Sequence[Accepted] = (),
    *,
    branches: Collection[str] = (),
) -> Seen | None:
    """The runs that can be compared with the latest usable one; None if no run can be used.

    What is usual is learned from that latest run, too, unless it alarms.
    """
    usable = [run for run in history if not unusable(run)]
    if not usable:
        return None
    latest = usable[-1]
    ids = {one.run_id for one in until(latest, accepted, history)}
    past = past_of(latest, history, branches=branches, accepted=ids)
    matrix = Matrix(latest, past, accepted, history)
    return Seen(matrix, _quiet(matrix), tuple(_changes(matrix, accepted)), past.left_out)


def learn(
    history: Sequence[Run],
    accepted: Sequence[Accepted] = (),
    *,
    branches: Collection[str] = (),
) -> Learned | None:
    """What the runs that can be compared with the latest usable one say of each counter.

    None if no run can be used.
    """
    seen = see(history, accepted, branches=branches)
    return None if seen is None else learned_of(seen)


def learned_of(seen: Seen) -> Learned:
    """What these runs say of each counter, the best predictors first."""
    found = sorted((seen.predictor(*one) for one in seen.every()), key=_worth)
    return Learned(seen.matrix.runs[-1], seen.places, tuple(found), seen.left_out)


def _quiet(matrix: Matrix) -> int:
    """How many of the runs do not alarm now: those that do say nothing of what is usual."""
    pending = pending_of(matrix)
    return matrix.last - pending if Judged(matrix, pending).alarms else matrix.last + 1


def _predictor(
    matrix: Matrix,
    one: Series,
    places: int,
    changes: Sequence[tuple[int, Accepted]],
    because: str,
) -> Predictor:
    values = matrix.whole(one).values[:places]
    known = standing(values, one.kind, is_counted=one.is_counted)
    trend = None
    if because:
        known = known._replace(stability=Stability.EXCLUDED, because=because)
    elif one.kind is not Kind.GAUGE:
        start = matrix.accepted_from(one.key)
        trend = crept(one.values[start:places], is_counted=one.is_counted)
    if trend is not None:
        why = trend.told(is_admitted=known.is_admitted)
        known = known._replace(because=f"{known.because}; it {why}")
    concerned = [at for at, which in changes if _concerns(which, one.key)]
    moved = sum(_moved_at(one.values, at, known) for at in concerned)
    return Predictor(
        one.key,
        one.kind,
        one.unit,
        known,
        bound(known, values),
        smallest_change(known),
        moved,
        len(concerned),
        trend is not None,
    )


def smallest_change(known: Standing) -> float | None:
    """The smallest change that 95 % of single runs show; None of a counter that never gates."""
    if not known.is_admitted:
        return None
    noise = 0.0 if known.stability is Stability.EXACT else POWER_SCALES
    return (SCALES_MIN + noise) * known.scale


def _concerns(which: Accepted, key: Key) -> bool:
    return not which.counters or str(key) in which.counters


def _changes(matrix: Matrix, accepted: Sequence[Accepted]) -> list[tuple[int, Accepted]]:
    """What was accepted of these runs, and at which place."""
    places = {run.id: at for at, run in enumerate(matrix.runs)}
    return [(places[one.run_id], one) for one in accepted if places.get(one.run_id)]


def _moved_at(values: Sequence[float | None], at: int, known: Standing) -> bool:
    """Whether a series was on another level after this place than before."""
    before = [value for value in values[max(0, at - AROUND_RUNS) : at] if value is not None]
    after = [value for value in values[at : at + AROUND_RUNS] if value is not None]
    if not before or not after or not known.scale:
        return False
    return abs(median(after) - median(before)) >= SCALES_MIN * known.scale


def _worth(one: Predictor) -> tuple[int, int, float, Key]:
    """By stability, by how often it moved with accepted changes, by what it can show."""
    smallest = one.share if one.share is not None else float("inf")
    return ORDER[one.standing.stability], -one.moved, smallest, one.key
