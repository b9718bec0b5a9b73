"""Two versions measured by turns on one machine: what differs, whatever the machine did.

Both runs of a pair see nearly the same machine, so their difference is free of what changes
slowly (Bulej and others, "Duet Benchmarking", arXiv 2001.05811). If the versions cost the same,
each difference could as well have the other sign. All signs are tried, and of each the largest
statistic of any counter: a difference counts if that seldom is as large (the sign-flip form of
Westfall and Young's maxT), so the rate holds however many counters there are. With all signs
turned, a counter that costs less everywhere looks as one that costs more everywhere does: where
one went up and another down, that is as large twice.
"""

from __future__ import annotations

from itertools import product
from math import sqrt
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.attribution import parts_of
from nilometer.gate.bystanders import is_told, why_bystander
from nilometer.gate.finding import Finding, change
from nilometer.gate.history import Past, all_series, read_of, unusable, why_unknown
from nilometer.gate.robust import FLOOR_COUNT, FLOOR_SHARE, median
from nilometer.gate.stability import standing
from nilometer.gate.verdict import Outcome, Verdict
from nilometer.model.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nilometer.gate.history import Key, Series
    from nilometer.model.run import Run

PAIRS_MIN: Final = 6
"""All signs equal, or all turned: 2 of 2^6 are 3.1 %; of 2^5 they are more than `RATE_MAX`."""

NAMED_MAX: Final = 5  # of a kind, in a sentence
RATE_MAX: Final = 0.05
FLIPS_MAX: Final = 1024  # all signs of ten pairs; of more pairs so many are drawn, always alike
TIE: Final = 1e-9  # sums of floats in another order are equal


class Difference(NamedTuple):
    """A counter that differs, and how often chance would show as much in any counter."""

    series: Series
    base: float
    head: float
    statistic: float
    chance: float


def duet(pairs: Sequence[tuple[Run, Run]]) -> Verdict:
    """Compare pairs of a run of the base and one of the head. ValueError without any."""
    if not pairs:
        msg = "no pairs to compare"
        raise ValueError(msg)
    head = pairs[-1][1]
    because = _not_comparable(pairs)
    if because:
        return Verdict(head, Outcome.UNKNOWN, because, previous=pairs[-1][0])
    bases, heads = [base for base, _ in pairs], [head for _, head in pairs]
    past = Past((*bases, *heads[:-1]))
    counted = [one for one in all_series(head, past) if one.kind is not Kind.GAUGE]
    told = {one.key for one in counted if is_told(one.values)}
    every = [one for one in counted if not why_bystander(one.key, told)]
    steady = [one for one in every if _is_steady(one, len(pairs))]
    known = [one for one in every if _is_known(one, pairs)]
    judged = {one.key for one in steady} & {one.key for one in known}
    lacking = [one for one in steady if one.key not in judged]
    unknown = [*_unread(pairs), *_unknown(pairs, lacking)]
    if not (judged or unknown):
        unknown = ["no counter of a backend, or of the tests, is steady enough to be compared"]
    found = differences(known, len(pairs))
    found = [one for one in found if one.chance <= RATE_MAX]
    news = [one for one in found if one.series.key in judged or _never_moved(one, len(pairs))]
    parts = tuple(all_series(head, Past(tuple(bases)), parts=True))
    findings = tuple(_finding(one, parts, len(pairs)) for one in news)
    noisy = [change(_finding(one, (), len(pairs))) for one in found if one not in news]
    advice = [f"differs, but is too noisy to alarm: {_some(noisy)}"] * bool(noisy)
    rate = min((one.chance for one in news), default=1.0)
    because = _because(findings, rate, len(judged), len(pairs))
    return Verdict(
        head,
        Outcome.WARN if findings else Outcome.UNKNOWN if unknown else Outcome.PASS,
        unknown[0] if unknown and not findings else because,
        findings,
        runs=len(pairs),
        counters=len(judged),
        rate=rate,
        confirmed=f"{len(pairs)} pairs, measured by turns" if findings else "",
        notes=(*unknown, *advice),
        previous=bases[-1],
    )


def _is_steady(one: Series, pairs: int) -> bool:
    """Whether a counter could tell something: on either side, on both, or within the pairs.

    Within the pairs, as what drifts from pair to pair may be alike in both runs of each.
    """
    bases, heads = one.values[:pairs], one.values[pairs:]
    known = [(a, b) for a, b in _by_pair(one, pairs) if a and b is not None]
    level = median([a for a, _ in known]) if known else 0.0
    within = [level * b / a for a, b in known]
    return any(
        standing(values, one.kind, is_counted=one.is_counted).is_admitted
        for values in (bases, heads, one.values, within)
    )


def _is_known(one: Series, pairs: Sequence[tuple[Run, Run]]) -> bool:
    """Whether all runs have a figure of a counter, or all but those of a pair too many.

    A server that has just begun moves counters by itself for a while, and so does a neighbour.
    A pair in which that was most of the move is passed over where enough are left.
    """
    known = 0
    for pair, values in zip(pairs, _by_pair(one, len(pairs)), strict=True):
        lacking = [run for run, value in zip(pair, values, strict=True) if value is None]
        if not all(_drifted(run, one.key) for run in lacking):
            return False
        known += not lacking
    return known >= PAIRS_MIN


def _by_pair(one: Series, pairs: int) -> list[tuple[float | None, float | None]]:
    return list(zip(one.values[:pairs], one.values[pairs:], strict=True))


def _drifted(run: Run, key: Key) -> bool:
    """Whether a run has no figure of a counter as it was moved without the run."""
    return any(
        count.idle > 0 and (count.backend, count.counter, count.dimensions) == tuple(key)
        for count in run.counts
    )


def _never_moved(one: Difference, pairs: int) -> bool:
    """Whether the base never moved it, and so moves it exactly."""
    return not any(one.series.values[:pairs])


def _because(findings: Sequence[Finding], rate: float, counters: int, pairs: int) -> str:
    if not findings:
        return f"none of {counters} counters costs more in {pairs} pairs, measured by turns"
    more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
    return (
        f"{change(findings[0])}{more} in {pairs} pairs, measured by turns; versions that cost "
        f"the same differ so much in one of {1 / rate:.0f} cases"
    )


def _not_comparable(pairs: Sequence[tuple[Run, Run]]) -> str:
    for number, pair in enumerate(pairs, 1):
        for side, run in zip(("base", "head"), pair, strict=True):
            if why := unusable(run):
                return f"pair {number}, {side}: {why}"
    first = pairs[0][0]
    for number, pair in enumerate(pairs, 1):
        for side, run in zip(("base", "head"), pair, strict=True):
            if run.test_set != first.test_set:
                return f"pair {number}, {side}: another test set: nothing can be compared"
            if (run.work > 0) != (first.work > 0):
                return f"pair {number}, {side}: how much work was done is not known of all runs"
    if len(pairs) < PAIRS_MIN:
        return f"{len(pairs)} pairs; {PAIRS_MIN} are the least"
    return ""


def _sides(pairs: Sequence[tuple[Run, Run]]) -> Iterator[tuple[str, Run]]:
    for number, pair in enumerate(pairs, 1):
        for side, run in zip(("base", "head"), pair, strict=True):
            yield f"pair {number}, {side}", run


def _unread(pairs: Sequence[tuple[Run, Run]]) -> list[str]:
    """The backends that not all runs have figures of in one version, and why."""
    told = []
    last = pairs[-1][1]
    for name in dict.fromkeys(read.name for _, run in _sides(pairs) for read in run.backends):
        versions = {
            read.version
            for _, run in _sides(pairs)
            if (read := read_of(run, name)) is not None and not read.because
        }
        if not versions:  # of this backend nobody has anything to compare
            read = read_of(last, name)
            why = read.because if read is not None else ""
            told.append(f"{name}: no run read it{': ' * bool(why)}{why}")
            continue
        found = []
        for place, run in _sides(pairs):
            read = read_of(run, name)
            if read is None:
                found.append(f"{place}: it was not read")
            elif read.because:
                found.append(f"{place}: {read.because}")
            elif len(versions) > 1:
                found.append(f"{place}: version {read.version or 'not known'}")
        if found:
            told.append(f"{name} cannot be compared: {_some(found)}")
    return told


def _unknown(pairs: Sequence[tuple[Run, Run]], every: Sequence[Series]) -> list[str]:
    """The counters that a run, which read their backend, has no figure of, and why."""
    runs = [*((f"pair {n}, base", b) for n, (b, _) in enumerate(pairs, 1))]
    runs += [(f"pair {n}, head", h) for n, (_, h) in enumerate(pairs, 1)]
    found = []
    for one in every:
        for (place, run), value in zip(runs, one.values, strict=True):
            read = read_of(run, one.key.backend)
            known = read_of(pairs[-1][1], one.key.backend)
            if value is not None or read is None or known is None or read.because:
                continue
            if read.version == known.version:
                found.append(f"{one.key}, {place}: {why_unknown(run, one.key)}")
                break
    return [f"cannot be compared: {_some(found)}"] if found else []


def _some(told: Sequence[str]) -> str:
    more = f"; and {len(told) - NAMED_MAX} more" if len(told) > NAMED_MAX else ""
    return "; ".join(told[:NAMED_MAX]) + more


def differences(known: Sequence[Series], pairs: int) -> list[Difference]:
    """The counters in which the head is higher, by how unlikely that is.

    Each series has the values of all base runs, then those of all head runs. A pair that lacks
    one says nothing.
    """
    rows = []
    for one in known:
        own = [0.0 if a is None or b is None else b - a for a, b in _by_pair(one, pairs)]
        both = [(a, b) for a, b in _by_pair(one, pairs) if a is not None and b is not None]
        base, head = [a for a, _ in both], [b for _, b in both]
        size = sqrt(sum(d * d for d in own))
        if size:
            rows.append((one, base, head, [d / size for d in own]))
    if not rows:
        return []
    largest = [
        max(sum(s * d for s, d in zip(signs, row[3], strict=True)) for row in rows)
        for signs in _signs(pairs)
    ]
    found = []
    for one, base, head, own in rows:
        statistic = sum(own)
        middle = float(median(base)), float(median(head))
        if statistic <= 0 or not _is_news(one, *middle):
            continue
        chance = sum(most >= statistic - TIE for most in largest) / len(largest)
        found.append(Difference(one, *middle, statistic, chance))
    found.sort(key=lambda d: (d.chance, -d.statistic, d.series.key))
    return found


def _is_news(one: Series, base: float, head: float) -> bool:
    least = max(FLOOR_COUNT if one.is_counted else 0.0, FLOOR_SHARE * abs(base))
    return head - base >= least


def _signs(pairs: int) -> Iterator[tuple[int, ...]]:
    """All signs, or as many as are enough; as they are is always one of them."""
    if 2**pairs <= FLIPS_MAX:
        yield from product((1, -1), repeat=pairs)
        return
    random = Random(pairs)  # noqa: S311 - no secret: the same pairs must get the same answer
    yield (1,) * pairs
    for _ in range(FLIPS_MAX - 1):
        yield tuple(random.choice((1, -1)) for _ in range(pairs))


def _finding(one: Difference, parts: Sequence[Series], pairs: int) -> Finding:
    series = one.series
    known = standing(series.values[:pairs], series.kind, is_counted=series.is_counted)
    delta = one.head - one.base
    scales = delta / known.scale if known.scale else 0.0
    put_down_to = parts_of(series.key, delta, parts)
    return Finding(
        series.key, series.unit, one.head, one.base, scales, known, None, put_down_to
    )
