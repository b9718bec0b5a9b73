"""Series out of runs: what can be compared, per unit of work, and why the rest is left out.

Two runs are compared if they are of one suite and one test set and if both ended well; two
figures, if the backend was of the same version, too. Figures are scaled to the work of the run
that is judged, so that they stay counts: 40 selects more are 40 selects more.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.model.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from nilometer.model.dimensions import Dimensions
    from nilometer.model.run import BackendRead, Count, Run

_LINE: Final = re.compile(r"^([^:\n]+):[0-9]{1,7} in ")
DIGITS: Final = 12  # 416 in 26 tests and 400 in 25 are the same; a float has 15


class Key(NamedTuple):
    """Which counter; with dimensions a part of it."""

    backend: str
    counter: str
    dimensions: Dimensions = ()

    def __str__(self) -> str:
        """``mysql:Com_select``, as `accept` takes it."""
        return f"{self.backend}:{self.counter}"


class LeftOut(NamedTuple):
    """A run that is not compared, and why."""

    run_id: str
    because: str


class Series(NamedTuple):
    """One counter over the runs of a `Past`; None where it is not known.

    `is_counted` says that it was read in whole numbers, so that no difference below one is real
    even where the values are not whole: after dividing by work, or without drift.
    """

    key: Key
    values: tuple[float | None, ...]
    kind: Kind = Kind.COUNTER
    unit: str = "1"
    is_counted: bool = True


class Past(NamedTuple):
    """The earlier runs that can be compared with one run, oldest first."""

    runs: tuple[Run, ...]
    left_out: tuple[LeftOut, ...] = ()


def unusable(run: Run) -> str:
    """Why a run says nothing of what its command costs; empty if it does."""
    if run.because:
        return run.because
    if run.work < 0:
        return f"corrupt in the history: its work is {run.work}"
    if run.exit_status is None:
        return "it was never seen to end"
    if run.exit_status < 0:
        return f"signal {-run.exit_status} ended it: what it did by then is not what it does"
    if run.exit_status:
        return f"it failed with exit status {run.exit_status}"
    return ""


def past_of(
    run: Run,
    earlier: Sequence[Run],
    *,
    branches: Collection[str] = (),
    accepted: Collection[str] = (),
) -> Past:
    """The runs that `run` can be compared with, and why the others of its suite cannot.

    With `branches`, only those of one of these branches (or of none that is known), and those
    that were `accepted`, by their ids: a level is what somebody accepted, wherever it was seen.
    """
    kept, left_out = [], []
    seen = {run.id}
    for other in earlier:
        if other.suite != run.suite or (other.id and other.id in seen):
            continue
        seen.add(other.id)
        where = () if other.id in accepted else branches
        because = unusable(other) or _not_comparable(run, other, where)
        if because:
            left_out.append(LeftOut(other.id, because))
        else:
            kept.append(other)
    return Past(tuple(kept), tuple(left_out))


def _not_comparable(run: Run, other: Run, branches: Collection[str]) -> str:
    if other.test_set != run.test_set:
        return f"another test set: {other.test_set or 'not known'}"
    if (other.work > 0) != (run.work > 0):
        return "how much work was done is known of one of the two only"
    if branches and other.branch and other.branch not in branches:
        return f"of the branch {other.branch}"
    return ""


def of_its_branch(run: Run, others: Sequence[Run], branches: Collection[str]) -> list[Run]:
    """Those that can show the same change again, or that it is gone.

    With `branches` the runs of its own branch, which need not be one of these: what another
    branch costs says nothing of this change. Without, all runs are one sequence.
    """
    return [other for other in others if not branches or other.branch == run.branch]


def read_of(run: Run, backend: str) -> BackendRead | None:
    """How a run saw a backend; None if it did not read it."""
    return next((read for read in run.backends if read.name == backend), None)


def is_known(run: Run, backend: str, version: str) -> bool:
    """Whether the run has figures of the backend in that version."""
    read = read_of(run, backend)
    return read is not None and not read.because and read.version == version


def all_series(run: Run, past: Past, *, parts: bool = False) -> Iterator[Series]:
    """The series of every counter that moved in any of these runs, or of every part.

    They have one value more than `past` has runs: the last is that of `run`. A backend's
    figures are those of the version that `run` saw; it has none if `run` did not read it.
    A part that tells a line of code is the same on whatever line its function has it; it is
    shown with the last line known.
    """
    runs = (*past.runs, run)
    factors = [run.work / one.work if one.work > 0 else 1.0 for one in runs]
    for read in run.backends:
        if read.because:
            continue
        known = [is_known(one, read.name, read.version) for one in runs]
        told = [_told(one, read.name) for one in runs]
        found: dict[Key, list[float | None]] = {}
        sample: dict[Key, Count] = {}
        last: dict[Key, int] = {}
        uncounted: set[Key] = set()
        for at, one in enumerate(runs):
            for count in one.counts if known[at] else ():
                if count.backend != read.name or bool(count.dimensions) is not parts:
                    continue
                key = Key(count.backend, count.counter, _on_any_line(count.dimensions))
                values = found.get(key)
                if values is None:
                    values = found[key] = _unmoved(key.counter, known, told)
                again = parts and last.get(key) == at
                values[at] = _sum(values[at], count, factors[at], again=again)
                if not again or (_value(count, 1.0) or 0) > (_value(sample[key], 1.0) or 0):
                    sample[key] = count
                last[key] = at
                if not _is_whole(count):
                    uncounted.add(key)
        for key, values in found.items():
            one_of = sample[key]
            shown = key._replace(dimensions=one_of.dimensions)
            yield Series(shown, tuple(values), one_of.kind, one_of.unit, key not in uncounted)


def _told(run: Run, backend: str) -> frozenset[str] | None:
    """The counters of a backend that a run read; None for all there are."""
    read = read_of(run, backend)
    return None if read is None or read.counters is None else frozenset(read.counters)


def _unmoved(
    counter: str, known: Sequence[bool], told: Sequence[Collection[str] | None]
) -> list[float | None]:
    """What a counter is in runs that have no figure of it: 0 where it was read."""
    return [
        0.0 if is_there and (names is None or counter in names) else None
        for is_there, names in zip(known, told, strict=True)
    ]


def _on_any_line(dimensions: Dimensions) -> Dimensions:
    """A part's dimensions without the line its caller stands on: edits above it move that.

    >>> _on_any_line((("caller", "shop/orders.py:17 in lines"), ("statement", "select ?")))
    (('caller', 'shop/orders.py in lines'), ('statement', 'select ?'))
    """
    if not any(name == "caller" for name, _ in dimensions):
        return dimensions
    return tuple(
        (name, _LINE.sub(r"\1 in ", text, count=1) if name == "caller" else text)
        for name, text in dimensions
    )


def _sum(before: float | None, count: Count, factor: float, *, again: bool) -> float | None:
    """What a part moved, with what it moved by from other lines of the same function."""
    value = _value(count, factor)
    if not again:
        return value
    return None if before is None or value is None else before + value


def _is_whole(count: Count) -> bool:
    read = count.delta if count.raw is None else count.raw
    return read is None or isinstance(read, int) or float(read).is_integer()


def _value(count: Count, factor: float) -> float | None:
    """Per unit of work, in the work of the judged run; None where it is not known."""
    delta = count.delta
    if delta is None or isinstance(delta, bool) or not isinstance(delta, int | float):
        return None
    if count.kind is Kind.COUNTER and (delta < 0 or _is_beyond(count)):
        return None
    try:
        value = float(delta) if factor == 1.0 else float(f"{delta * factor:.{DIGITS}g}")
    except OverflowError:
        return None
    return value if isfinite(value) else None


def _is_beyond(count: Count) -> bool:
    """Whether a run is said to have moved a counter by more than the snapshots differ."""
    delta, raw = count.delta, count.raw
    return isinstance(delta, int | float) and isinstance(raw, int | float) and delta > raw


def _no_move(count: Count) -> str:
    """What is wrong with a delta that is given, and that nobody can take for one."""
    if isinstance(count.delta, int | float) and count.delta < 0:
        return "less than nothing, and a counter only grows"
    if _is_beyond(count):
        return f"more than what was read, {count.raw!r}"
    return "no number"


def why_unknown(run: Run, key: Key, latest: Run | None = None) -> str:
    """Why a run has no value of this counter, which `latest` had.

    Of what was not read nobody knows why; what is told of the backend now, and was not then, is
    the likely reason.
    """
    for count in run.counts:
        if (count.backend, count.counter, count.dimensions) == tuple(key):
            return count.because or f"{count.delta!r} is {_no_move(count)}"
    now, then = read_of(run, key.backend), latest and read_of(latest, key.backend)
    news = [note for note in now.notes if not then or note not in then.notes] if now else []
    return f"it was not read: {'; '.join(news)}" if news else "it was not read"
