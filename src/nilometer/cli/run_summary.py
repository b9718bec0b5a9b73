"""A measured run in a few lines: how it ended, what moved, what is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.cli.child import BACKEND
from nilometer.counters import mysql_facts, postgresql_facts
from nilometer.model.reading import Kind
from nilometer.model.units import counted, duration, quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.model.run import Count, Run

ROWS_MAX: Final = 12  # half a screen
FOOTPRINTS_MAX: Final = 3  # what a line has room for
ROWS_EACH: Final = 4  # of each backend, while there are that many lines

PLAIN_UNITS: Final = {"ns", "By", "s", "ms"}
"""Sizes and times are large numbers by nature; what happens so often says more of a run."""

EXACT: Final = {"mysql": mysql_facts.fact_of, "postgresql": postgresql_facts.fact_of}
"""Of these it is known which counters a fixed workload moves exactly."""


def summary(run: Run) -> list[str]:
    """The lines to be shown when a run has ended."""
    how = f"exit {run.exit_status}"
    if run.exit_status is not None and run.exit_status < 0:
        how = f"ended by signal {-run.exit_status}"
    work = f", {counted(run.work, 'unit')} of work" if run.work else ""
    lines = [f"run {run.id} of {run.suite}: {how} after {duration(run.wall_ns)}{work}"]
    lines += [f"  not usable: {run.because}"] * bool(run.because)
    lines += _table(run)
    lines += _footprints(run.counts)
    lines += [
        f"  nothing is known of {read.name}: {read.because}"
        for read in run.backends
        if read.because and read.because != run.because
    ]
    lines += [f"  {read.name}: {note}" for read in run.backends for note in read.notes]
    jumped = run.attributes.get("clock.jumped_ns")
    if isinstance(jumped, int):
        lines.append(
            f"  the wall clock was set meanwhile, or the machine slept: {duration(jumped)}"
        )
    unseen = run.attributes.get("overlap.unknown")
    if unseen is not None:
        lines.append(f"  whether other runs went on at the same time is not known: {unseen}")
    return lines


def _table(run: Run) -> list[str]:
    """What moved most: of each backend the counters that moved by most."""
    chosen = most(run.counts)
    if not chosen:
        return []
    rows = [("", "counter", "moved", "per unit of work" if run.work else "")]
    for one in chosen:
        each = quantity((one.delta or 0) / run.work, one.unit) if run.work else ""
        rows.append((one.backend, one.counter, quantity(one.delta, one.unit), each))
    widths = [max(len(row[at]) for row in rows) for at in range(4)]
    return [
        f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip()
        for a, b, c, d in rows
    ]


def _footprints(counts: Sequence[Count]) -> list[str]:
    """What reading each backend moved in it, a line each: that was subtracted."""
    lines = []
    for name in dict.fromkeys(one.backend for one in counts):
        own = [c for c in counts if c.backend == name and not c.dimensions and c.footprint]
        own.sort(key=lambda c: (c.unit in PLAIN_UNITS, -c.footprint, c.counter))
        if own:
            shown = [
                f"{c.counter} {quantity(c.footprint, c.unit)}" for c in own[:FOOTPRINTS_MAX]
            ]
            more = len(own) - len(shown)
            rest = f" and {more} more" if more else ""
            lines.append(f"  reading {name} itself moved, subtracted: {', '.join(shown)}{rest}")
    return lines


def most(counts: Sequence[Count]) -> list[Count]:
    """The totals that moved by most, those of every backend beside each other.

    Of each backend first what a workload moves exactly, such as statements, gauges last.
    What the command itself took of the machine comes last, where there is room.
    """
    backends = sorted({one.backend for one in counts}, key=lambda name: (name == BACKEND, name))
    found: list[Count] = []
    for name in backends:
        mine = [c for c in counts if c.backend == name and not c.dimensions and c.delta]
        mine.sort(key=_telling)
        found += mine[:ROWS_EACH]
    return found[:ROWS_MAX]


def _telling(count: Count) -> tuple[bool, bool, bool, float, str]:
    """The order of one backend's counters, those first that say most of what a run did."""
    fact_of = EXACT.get(count.backend.partition("@")[0])  # mysql@db1:3306, if there are several
    is_exact = fact_of is not None and fact_of(count.counter).exact is True
    is_gauge, is_plain = count.kind is Kind.GAUGE, count.unit in PLAIN_UNITS
    return is_gauge, is_plain, not is_exact, -abs(count.delta or 0), count.counter
