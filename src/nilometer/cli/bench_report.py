"""What a run of `nilometer bench persister` comes to: figures, and two runs side by side."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.cli.bench_sources import COUNTS, together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.cli.bench_sources import Times, Told

VERSION: Final = 1
SHARES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class Sample(NamedTuple):
    """One reading of the source, beside what was produced until then.

    `lag` is what Kafka says that the group has not committed; None where it is not asked.
    """

    at_ns: int
    produced: int
    received: int
    persisted: int
    dropped: int
    duplicated: int
    lag: int | None

    @property
    def counts(self) -> tuple[int, ...]:
        """All that is counted."""
        return self.produced, self.received, self.persisted, self.dropped, self.duplicated

    @property
    def done(self) -> int:
        """How many messages the persister is through with, those that came again once."""
        return self.persisted + self.dropped - self.duplicated


def sampled(told: Told, before: Told, produced: int, lag: int | None) -> Sample:
    """What happened since the first reading."""
    moved = {name: told.sum(name) - before.sum(name) for name in COUNTS}
    return Sample(told.at_ns, produced, **moved, lag=lag)


def report(
    samples: Sequence[Sample],
    before: Told,
    after: Told,
    *,
    curve: Sequence[tuple[int, int]],
    missed: int,
    failed: int = 0,
    backlog: int = 0,
    others: int = 0,
    is_whole: bool = True,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole report, as JSON has it; times are in seconds.

    `curve` is when how many messages were produced: empty where somebody else produces, and
    then neither delay nor loss is known. `missed` readings failed, or were not of all
    processes; `failed` messages Kafka did not take; a `backlog` of so many was there before,
    and is in no other figure; so many `others` put on the topic meanwhile, and they are in all.
    One that is not `is_whole` was interrupted: what it did not see persisted is no loss.
    """
    first, last = samples[0], samples[-1]
    done_ns = next(one.at_ns for one in samples if one.persisted == last.persisted)
    seconds = max(1e-9, (done_ns - first.at_ns) / 1e9)
    lags = [one.lag for one in samples if one.lag is not None]
    return {
        "version": VERSION,
        "settings": dict(settings),
        "seconds": seconds,
        "produced": last.produced if curve else None,
        "received": last.received,
        "persisted": last.persisted,
        "dropped": last.dropped,
        "duplicated": last.duplicated,
        "lost": max(0, last.produced + others - last.done) if curve and is_whole else None,
        "received_per_s": last.received / seconds,
        "persisted_per_s": last.persisted / seconds,
        "persisted_per_s_max": max(rates(samples, "persisted"), default=0.0),
        "delay_s": None if others else delays(samples, curve),
        "lag_max": max(lags, default=None),
        "lag_end": lags[-1] if lags else None,
        "failed": failed if curve else None,
        "backlog": backlog,
        "others": others,
        "missed": missed,
        "restarts": after.restarts,
        "processes": processes(before, after),
        "timers": timers(after),
        "samples": [{"s": (one.at_ns - first.at_ns) / 1e9, **one._asdict()} for one in samples],
    }


def rates(samples: Sequence[Sample], name: str) -> list[float]:
    """A count's rate in each interval between two samples."""
    return [
        (getattr(new, name) - getattr(old, name)) * 1e9 / max(1, new.at_ns - old.at_ns)
        for old, new in pairwise(samples)
    ]


def delays(
    samples: Sequence[Sample], curve: Sequence[tuple[int, int]]
) -> dict[str, float] | None:
    """How long from a message's being produced to its being told of as persisted.

    By the curves of both counts: when as many were produced as are persisted now. So it has in
    it how often the source is read, and how often the source itself is told.
    """
    found: list[tuple[float, int]] = []
    at = 0
    for old, new in pairwise(samples):
        moved = new.done - old.done
        if moved <= 0:
            continue
        while at < len(curve) and curve[at][1] < new.done:
            at += 1
        if at == len(curve):
            break
        found.append((max(0.0, (new.at_ns - _reached_ns(curve, at, new)) / 1e9), moved))
    if not found:
        return None
    found.sort()
    told = {name: _quantile(found, share) for name, share in SHARES.items()}
    return {**told, "max": found[-1][0]}


def _reached_ns(curve: Sequence[tuple[int, int]], at: int, sample: Sample) -> float:
    """When the curve reached what this sample has, between its two nearest points."""
    later_ns, later = curve[at]
    if at == 0:
        return later_ns
    earlier_ns, earlier = curve[at - 1]
    share = (sample.done - earlier) / max(1, later - earlier)
    return earlier_ns + (later_ns - earlier_ns) * share


def _quantile(weighted: Sequence[tuple[float, int]], share: float) -> float:
    left = share * sum(weight for _, weight in weighted)
    for value, weight in weighted:
        left -= weight
        if left <= 0:
            return value
    return weighted[-1][0]


def processes(before: Told, after: Told) -> dict[str, dict[str, int]]:
    """What each process counted during the run."""
    return {
        process: {
            name: count - before.counts.get(process, {}).get(name, 0)
            for name, count in counts.items()
        }
        for process, counts in sorted(after.counts.items())
    }


def timers(after: Told) -> dict[str, dict[str, Any]]:
    """Each timer of all processes."""
    found: dict[str, list[Times]] = {}
    for times in after.times.values():
        for name, one in times.items():
            found.setdefault(name, []).append(one)
    told = {name: together(ones) for name, ones in sorted(found.items())}
    return {
        name: {"count": one.count, "mean": one.mean, **one.quantiles, "max": one.maximum}
        for name, one in told.items()
    }


class Change(NamedTuple):
    """One figure of two runs; `share` is how much more the newer has, None of nothing."""

    name: str
    old: float
    new: float

    @property
    def share(self) -> float | None:
        """The change as a share of the older."""
        return (self.new - self.old) / self.old if self.old else None


def unlike(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The settings in which two runs differ, but where they were."""
    mine, theirs = new["settings"], old["settings"]
    names = {**theirs, **mine}.keys() - {"at", "brokers"}
    return sorted(name for name in names if mine.get(name) != theirs.get(name))


def compared(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """What both runs tell, figure by figure."""
    mine, theirs = figures(new), figures(old)
    return [Change(name, theirs[name], mine[name]) for name in mine if name in theirs]


def figures(told: Mapping[str, Any]) -> dict[str, float]:
    """Every figure of a report by its name."""
    flat = {
        name: told.get(name)
        for name in (
            *("seconds", "produced", "received", "persisted", "dropped", "duplicated", "lost"),
            *("received_per_s", "persisted_per_s", "persisted_per_s_max", "lag_max"),
        )
    }
    flat |= {f"delay_s.{name}": one for name, one in (told.get("delay_s") or {}).items()}
    for timer, values in told.get("timers", {}).items():
        flat |= {f"{timer}.{name}": one for name, one in values.items()}
    return {name: one for name, one in flat.items() if isinstance(one, int | float)}
