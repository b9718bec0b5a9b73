"""Two snapshots around a run, and what the run itself moved.

    idle       read, wait, read: how far the counters drift while nothing of ours runs, until
               figures that lag hold all of before
    footprint  read and read again at once: how far reading them moves them
    run        between the last of these reads and the next
    quiesce    figures that lag are read until they hold all of the run: where the backend shows
               it, until it does, elsewhere until two reads agree

What a run cost is the difference without the footprint of the reads in it and without the drift
of its time. That is the bracket of docs/counters.md, which shows what each part is worth.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.counters.delta import delta
from nilometer.counters.snapshot import Snapshot
from nilometer.model.reading import Kind
from nilometer.model.run import BackendRead, Count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nilometer.clock import Clock
    from nilometer.counters.backend import Backend
    from nilometer.counters.figures import Number, Series
    from nilometer.counters.gather import Gatherer, Unread

IDLE_SHARE_MAX: Final = 0.05
"""A counter that drifted by more than this share of its move says nothing about the run."""

QUIESCE_S_MAX: Final = 60.0
"""RabbitMQ has collected twice within 10 s; six times that is given up, and told."""

LOOKS: Final = 8
"""A backend that shows what has come is asked so often within the time that it may take."""

LACKED: Final = "what was counted before the run had not all come when it began"

FOOTPRINT_READS: Final = 3
"""Two differences; the lesser is the footprint, since whatever else happens only adds."""


class Baseline(NamedTuple):
    """Where a backend stood when the run began, and what moves it without the run.

    `footprint` is how far one read moves a counter, `drift_per_s` how far it moves by itself.
    """

    before: Snapshot
    footprint: dict[Series, Number]
    drift_per_s: dict[Series, float]


def baseline(
    early: Snapshot, reads: list[Snapshot], *, has_idled: bool = True
) -> Baseline | str:
    """Learn from a read before an idle time and several at once after it, or say why not.

    Unless it `has_idled` as it was asked to, nothing is taken for drift: over the milliseconds
    between two reads one count more is hundreds a second.
    """
    steps = [delta(one, two) for one, two in pairwise(reads)]
    idle = delta(early, reads[0])
    because = next((step.because for step in (idle, *steps) if step.because), "")
    if because:
        return because
    common = set.intersection(*(set(step.moved) for step in steps))
    least = {series: min(step.moved[series] for step in steps) for series in common}
    footprint = {series: moved for series, moved in least.items() if moved > 0}
    seconds = (reads[0].elapsed_ns - early.elapsed_ns) / 1e9
    drift = {
        series: (moved - footprint.get(series, 0)) / seconds
        for series, moved in idle.moved.items()
        if has_idled and seconds > 0 and moved > footprint.get(series, 0)
    }
    return Baseline(reads[-1], footprint, drift)


def counts(
    base: Baseline, after: Snapshot, reads: int = 1, late: str = ""
) -> tuple[Count, ...] | str:
    """What the run moved, or why nobody can say; `reads` were made since, the last included.

    Counters that did not move at all are left out: there are hundreds. `late` says why those
    that lag are not known, if they are not.
    """
    moves = delta(base.before, after)
    if moves.because:
        return moves.because
    seconds = (after.elapsed_ns - base.before.elapsed_ns) / 1e9
    found = [
        _corrected(base, after, series, raw, reads, seconds)
        for series, raw in moves.moved.items()
        if raw and not (late and after.fact(series[0]).lags)
    ]
    if late:
        lagging = (series for series in moves.moved if after.fact(series[0]).lags)
        found += [_count(after, series, None, because=late) for series in lagging]
    found += [_count(after, series, None, because=why) for series, why in moves.unknown.items()]
    return tuple(sorted(found, key=lambda count: (count.counter, count.dimensions)))


def _corrected(
    base: Baseline, after: Snapshot, series: Series, raw: Number, reads: int, seconds: float
) -> Count:
    """One counter's move without footprint and drift; a gauge's has neither."""
    if after.fact(series[0]).kind is Kind.GAUGE:
        return _count(after, series, raw, raw=raw)
    footprint = min(raw, base.footprint.get(series, 0) * reads)
    own = raw - footprint
    drift_per_s = base.drift_per_s.get(series)
    idle = 0 if drift_per_s is None else min(own, drift_per_s * seconds)
    count = _count(after, series, own - idle, raw=raw, footprint=footprint, idle=idle)
    if idle > own * IDLE_SHARE_MAX:
        share = f"{idle / own:.0%} of its move is drift, which it has without the run"
        return count._replace(delta=None, because=f"{share}; {IDLE_SHARE_MAX:.0%} is the most")
    return count


def _count(
    after: Snapshot,
    series: Series,
    moved: Number | None,
    *,
    raw: Number | None = None,
    footprint: Number = 0,
    idle: Number = 0,
    because: str = "",
) -> Count:
    name, dimensions = series
    fact = after.fact(name)
    return Count(
        after.backend,
        name,
        moved,
        dimensions,
        fact.kind,
        fact.unit,
        raw,
        footprint,
        idle,
        because,
    )


class Bracket:
    """Brackets a run: `open`, the run, `close`. `told` hears what is waited for, and how long.

    A backend that fails at either end is told in its `BackendRead`; the others are counted.
    """

    def __init__(
        self,
        gatherer: Gatherer,
        clock: Clock,
        *,
        idle_s: float,
        quiesce_s_max: float = QUIESCE_S_MAX,
        told: Callable[[str, float], None] = lambda _what, _seconds: None,
    ) -> None:
        self._gatherer = gatherer
        self._clock = clock
        self._idle_s = idle_s
        self._quiesce_s_max = quiesce_s_max
        self._told = told
        self._opened_ns = 0
        self._bases: list[Baseline | str] = []
        self._last: Sequence[Snapshot | Unread] = ()

    def open(self) -> None:
        """Learn drift and footprint; the run may begin when this returns."""
        self._opened_ns = self._clock.elapsed_ns()
        early = self._gatherer.gather()
        settled = list(early)
        shows = {i for i, one in enumerate(early) if _shows(one)}
        self._look(shows, settled, [0] * len(early), self._opened_ns)
        idled_ns = self._clock.elapsed_ns() - self._opened_ns
        if any(_lagged(early[i], settled[i]) for i in shows):  # what came in was no drift
            early, idled_ns = settled, 0
        self._wait("idle", self._idle_s - idled_ns / 1e9)
        looks = [early]
        for _ in range(FOOTPRINT_READS):
            looks.append(self._again(looks[-1]))
        has_idled = self._idle_s > 0
        self._bases = [_learned(of_one, has_idled) for of_one in zip(*looks, strict=True)]
        self._last = looks[-1]

    def settled(self, lag_s_max: float) -> list[Snapshot | Unread]:
        """One look at all backends; at those that lag, by so much at most, until what was
        before it is there."""
        now_ns = self._clock.elapsed_ns()
        found = self._gatherer.gather()
        lag = {
            i
            for i, backend in enumerate(self._gatherer.backends)
            if 0 < backend.settle_s <= lag_s_max and isinstance(found[i], Snapshot)
        }
        for i in self._look(lag, found, [0] * len(found), now_ns):
            self._given_up(found, i)
            found[i] = _without_what_lags(found[i])
        return found

    def _again(self, last: Sequence[Snapshot | Unread]) -> list[Snapshot | Unread]:
        """Another look at what could be read at the last one: each vain one may take 20 s."""
        backends = self._gatherer.backends
        chosen = [b for b, one in zip(backends, last, strict=True) if isinstance(one, Snapshot)]
        now = iter(self._gatherer.gather(chosen))
        return [next(now) if isinstance(one, Snapshot) else one for one in last]

    def unread(self) -> list[str]:
        """Why nothing or not all will be known of some backends, as far as `open` can tell."""
        parts = (one.unread for one in self._last if isinstance(one, Snapshot))
        return [*(base for base in self._bases if isinstance(base, str)), *filter(None, parts)]

    def close(self) -> tuple[tuple[BackendRead, ...], tuple[Count, ...]]:
        """What each backend moved by since `open`. Reads what lags until it is there."""
        ended_ns = self._clock.elapsed_ns()
        ends = self._again(self._last)
        reads = [1] * len(ends)
        late = self._quiesce(ends, reads, ended_ns)
        backends: list[BackendRead] = []
        found: list[Count] = []
        for i, (base, end, number) in enumerate(zip(self._bases, ends, reads, strict=True)):
            backend, moved = _judged(base, end, number, late.get(i, ""))
            backends.append(backend)
            found += moved
        return tuple(backends), tuple(found)

    def _quiesce(
        self, ends: list[Snapshot | Unread], reads: list[int], ended_ns: int
    ) -> dict[int, str]:
        """Read those that lag again until all is there; what of which is not, in the end."""
        lag = {
            i
            for i, backend in enumerate(self._gatherer.backends)
            if backend.settle_s > 0 and isinstance(self._last[i], Snapshot)
        }
        left = {i: self._given_up(ends, i) for i in self._look(lag, ends, reads, ended_ns)}
        early = (i for i in lag if self._lacked_what_was_before(self._last[i]))
        return {**dict.fromkeys(early, LACKED), **left}

    def _lacked_what_was_before(self, last: Snapshot | Unread) -> bool:
        complete_ns = last.complete_ns if isinstance(last, Snapshot) else None
        return complete_ns is not None and complete_ns < self._opened_ns

    def _look(
        self,
        lag: set[int],
        ends: list[Snapshot | Unread],
        reads: list[int],
        until_then_ns: int,
    ) -> set[int]:
        """Read these again until all that was before then is in their figures; those where it
        is not when that has taken too long."""
        give_up_ns = self._clock.elapsed_ns() + int(self._quiesce_s_max * 1e9)
        backends = self._gatherer.backends
        due = {i: self._next_look_ns(backends[i], ends[i]) for i in lag}
        while due and self._clock.elapsed_ns() < give_up_ns:
            self._wait("quiesce", (min(due.values()) - self._clock.elapsed_ns()) / 1e9)
            now_ns = self._clock.elapsed_ns()
            chosen = sorted(i for i, at_ns in due.items() if at_ns <= now_ns)
            read = self._gatherer.gather([backends[i] for i in chosen])
            for i, now in zip(chosen, read, strict=True):
                earlier, ends[i] = ends[i], now
                reads[i] += 1
                if self._is_settled(i, earlier, now, until_then_ns):
                    del due[i]
                else:
                    due[i] = self._next_look_ns(backends[i], now)
        return set(due)

    def _is_settled(
        self, i: int, earlier: Snapshot | Unread, now: Snapshot | Unread, until_then_ns: int
    ) -> bool:
        """Whether all that was before then is in the figures, as far as anybody can tell."""
        if isinstance(now, Snapshot) and now.complete_ns is not None:
            return now.complete_ns >= until_then_ns
        return not (self._bases and _moves(self._bases[i], earlier, now))

    def _next_look_ns(self, backend: Backend, end: Snapshot | Unread) -> int:
        """When to look again: soon, if that shows what has come."""
        seconds = backend.settle_s / LOOKS if _shows(end) else backend.settle_s
        return self._clock.elapsed_ns() + int(seconds * 1e9)

    def _given_up(self, ends: list[Snapshot | Unread], i: int) -> str:
        """Why counters that lag are not known; a note where one knows only that they moved."""
        end = ends[i]
        if not isinstance(end, Snapshot):
            return ""
        if end.complete_ns is not None:
            note = f"it had not collected its figures {self._quiesce_s_max:g} s after the run"
        else:
            note = f"it still moved {self._quiesce_s_max:g} s after the run"
        ends[i] = end._replace(notes=(*end.notes, note))
        return note

    def _wait(self, what: str, seconds: float) -> None:
        if seconds > 0:
            self._told(what, seconds)
            self._clock.sleep_s(seconds)


def _learned(of_one: tuple[Snapshot | Unread, ...], has_idled: bool) -> Baseline | str:
    taken = [one for one in of_one if isinstance(one, Snapshot)]
    if len(taken) == len(of_one):
        return baseline(taken[0], taken[1:], has_idled=has_idled)
    return next(one.because for one in of_one if not isinstance(one, Snapshot))


def _lagged(earlier: Snapshot | Unread, now: Snapshot | Unread) -> bool:
    """Whether counters that lag show something else by now."""
    if not (isinstance(earlier, Snapshot) and isinstance(now, Snapshot)):
        return False
    return any(
        earlier.values.get(series) != value
        for series, value in now.values.items()
        if now.fact(series[0]).lags
    )


def _without_what_lags(one: Snapshot | Unread) -> Snapshot | Unread:
    if not isinstance(one, Snapshot):
        return one
    kept = {series: v for series, v in one.values.items() if not one.fact(series[0]).lags}
    return one._replace(values=kept, whole=False)


def _shows(one: Snapshot | Unread) -> bool:
    """Whether a backend shows up to when its figures are complete."""
    return isinstance(one, Snapshot) and one.complete_ns is not None


def _moves(base: Baseline | str, earlier: Snapshot | Unread, now: Snapshot | Unread) -> bool:
    """Whether figures still come in, beyond what a read and the drift explain."""
    if isinstance(base, str):
        return False
    if not (isinstance(earlier, Snapshot) and isinstance(now, Snapshot)):
        return False
    moves = delta(earlier, now)
    seconds = (now.elapsed_ns - earlier.elapsed_ns) / 1e9
    return any(
        moved > base.footprint.get(series, 0) + base.drift_per_s.get(series, 0) * seconds * 2
        for series, moved in moves.moved.items()
        if now.fact(series[0]).kind is not Kind.GAUGE and now.fact(series[0]).exact is not False
    )


def _judged(
    base: Baseline | str, end: Snapshot | Unread, reads: int, late: str
) -> tuple[BackendRead, tuple[Count, ...]]:
    """A backend's part of the run."""
    if not isinstance(end, Snapshot):
        because = base if isinstance(base, str) else end.because
        return BackendRead(end.backend, end.instance, because=because), ()
    notes = (*end.notes, end.unread) if end.unread else end.notes
    read = BackendRead(end.backend, end.instance, end.version, end.incarnation, notes=notes)
    if end.unread and not end.values:
        return read._replace(because=end.unread, notes=end.notes), ()
    found = base if isinstance(base, str) else counts(base, end, reads, late)
    if isinstance(base, str) or isinstance(found, str):
        return read._replace(because=str(found)), ()
    return read._replace(counters=_read_at_both(base.before, end)), found


def _read_at_both(before: Snapshot, after: Snapshot) -> tuple[str, ...] | None:
    """The counters that both show; None where each shows all there are."""
    if before.whole and after.whole and before.unseen == after.unseen:
        return None
    names = {name for name, _ in after.values}
    if not before.whole:  # else what it does not show was there, and 0
        names &= {name for name, _ in before.values}
    return tuple(sorted(names))
