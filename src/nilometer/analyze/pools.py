"""`pools`: their load, who waited, and how large they should be."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from nilometer.analyze.question import (
    NUMBER,
    TEXT,
    WHOLE,
    Chart,
    Column,
    Parameter,
    Question,
    ratio,
    rows_of,
    table_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from nilometer.analyze.question import Asked, Row

NS_PER_S: Final = 10**9
MILLION: Final = 10**6

SIZE_MAX: Final = 100_000
"""No larger pool is reckoned with: what asks for more asks for something else than a pool."""

AMPLE: Final = 2
"""A pool of known size that is so many times as large as it should be is called ample."""

COLUMNS: Final = (
    Column("service", TEXT, "", "whose pool it is"),
    Column("family", TEXT, "", "what is in it: database connections, threads, ..."),
    Column("pool", TEXT, "", "its name"),
    Column("verdict", TEXT, "", "too small, fits, ample, or not known"),
    Column("processes", WHOLE, "1", "how many processes have one; the rest is of one of them"),
    Column("size", WHOLE, "1", "the most that were used and free together"),
    Column("used_mean", NUMBER, "1", "how many were used, on average"),
    Column("used_maximum", WHOLE, "1", "how many at most"),
    Column("load", NUMBER, "1", "used and waited for in the busiest window, on average"),
    Column("waiting_maximum", WHOLE, "1", "how many waited at most"),
    Column("rate", NUMBER, "1/s", "how often one was asked for, or put to work"),
    Column("held_ns", NUMBER, "ns", "how long one was used each time"),
    Column("waited_ns", NUMBER, "ns", "how long who asked waited, on average"),
    Column("timeouts", WHOLE, "1", "how often somebody waited in vain, in all processes"),
    Column("wait_share", NUMBER, "1", "which share has to wait at that load, by Erlang's C"),
    Column("wait_ns", NUMBER, "ns", "how long the wait is then, on average over all"),
    Column("size_wanted", WHOLE, "1", "the least size of which the share is as asked for"),
    Column("because", TEXT, "", "what the verdict rests on"),
)

_KNOWN: Final = frozenset({"threads", "processes", "greenlets"})
"""Pools that tell what they could let work; of connections only the open ones are told."""

_ALL_TIMED: Final = {"database connections"}  # whose timer times all who ask, waiting or not
_FIRST: Final = {"too small": 0, "ample": 1, "not known": 2, "fits": 3}


def waiting_share(size: int, load: float) -> float:
    """Erlang's C: which share of those who ask have to wait, of so many that are always busy
    on average with `load` of them; 1 where the load is too much.

    >>> round(waiting_share(1, 0.5), 3), round(waiting_share(10, 7), 3), waiting_share(2, 2)
    (0.5, 0.222, 1.0)
    """
    if load >= size:
        return 1.0
    lost = 1.0  # Erlang's B, from a pool of none on
    for each in range(1, size + 1):
        lost = load * lost / (each + load * lost)
    return lost / (1 - load / size * (1 - lost))


def size_for(load: float, share: float) -> int | None:
    """The least size in which at most that share has to wait; None beyond all sizes.

    >>> size_for(7, 0.01), size_for(0, 0.01)
    (15, 1)
    """
    lost, size = 1.0, 0
    while size < SIZE_MAX:
        size += 1
        lost = load * lost / (size + load * lost)
        if size > load and lost / (1 - load / size * (1 - lost)) <= share:
            return size
    return None


def _fold(rows: pa.Table, asked: Asked) -> pa.Table:
    """Each pool by its busiest process; those that are too small first."""
    pools = groupby(rows_of(rows), itemgetter("service", "family", "pool"))
    told = [_row(list(each), asked["wait_share"]) for _, each in pools]
    name = ("service", "family", "pool")
    told.sort(
        key=lambda row: (
            _FIRST[row["verdict"]],
            -(row["load"] or 0),
            *(row[each] for each in name),
        )
    )
    return table_of(COLUMNS, told)


def _row(processes: Sequence[Row], share: float) -> Row:
    """What is told of a pool, by the process that has the most to do."""
    busiest = max(processes, key=lambda row: (row["load_millionths"] or 0, row["waits"] or 0))
    load = None if busiest["load_millionths"] is None else busiest["load_millionths"] / MILLION
    row = {name: busiest[name] for name in ("service", "family", "pool", "size")}
    row |= {name: busiest[name] for name in ("used_maximum", "waiting_maximum")}
    row["processes"] = len(processes)
    row["used_mean"] = ratio(busiest["used"], busiest["moments"])
    row["load"] = load
    row["timeouts"] = sum(each["timeouts"] or 0 for each in processes)
    row |= _little(busiest, row["used_mean"])
    row |= _erlang(row, share)
    row["verdict"], row["because"] = _verdict(row, share)
    return row


def _little(busiest: Row, used: float | None) -> Row:
    """Rate and times, by Little's law where they are not measured."""
    asked = busiest["runs"]
    if asked is None and busiest["family"] in _ALL_TIMED:
        asked = busiest["waits"]
    per_s = None if not asked else ratio(asked * NS_PER_S, busiest["time_ns"])
    held = ratio(busiest["runs_ns"], busiest["runs"])
    if held is None and used is not None and per_s:
        held = used * NS_PER_S / per_s
    waited = ratio(busiest["waits_ns"], busiest["waits"])
    return {"rate": per_s, "held_ns": held, "waited_ns": waited}


def _erlang(row: Row, share: float) -> Row:
    """Who has to wait at the load of the busiest window, and which size would do."""
    load, size = row["load"], row["size"]
    if load is None or not size:
        return {"wait_share": None, "wait_ns": None, "size_wanted": None}
    if size > SIZE_MAX:  # as of a pool without an end
        return {"wait_share": 0.0, "wait_ns": 0.0, "size_wanted": size_for(load, share)}
    waiting = waiting_share(size, load)
    free = size - load
    wait = waiting * row["held_ns"] / free if row["held_ns"] is not None and free > 0 else None
    return {"wait_share": waiting, "wait_ns": wait, "size_wanted": size_for(load, share)}


def _verdict(row: Row, share: float) -> tuple[str, str]:
    wanted, size = row["size_wanted"], row["size"]
    if wanted is None:
        return "not known", "how many are used is not told"
    told = f"{row['load']:.3g} of {size} in the busiest window; {wanted} let {share:.3g} wait"
    queued = (row["waiting_maximum"] or 0) > 0 or row["timeouts"] > 0
    if wanted > size and row["family"] in _KNOWN:
        return "too small", told
    if wanted > size and queued:
        return "too small", f"{told}; somebody waited"
    if wanted > size:
        return "fits", f"{told}; nobody waited, so more can be opened"
    if row["family"] in _KNOWN and size >= AMPLE * wanted and not queued:
        return "ample", told
    return "fits", told


QUESTION: Final = Question(
    name="pools",
    summary="Whether pools of connections, threads, processes and greenlets are large enough.",
    tables=("readings",),
    columns=COLUMNS,
    parameters=(
        Parameter(
            "window",
            "duration",
            "5m",
            "The busiest window of that length counts.",
            least=NS_PER_S,
        ),
        Parameter(
            "wait-share",
            "number",
            "0.01",
            "So many may have to wait: 0.01 is one in a hundred.",
            least=1e-6,
            greatest=0.5,
        ),
    ),
    fold=_fold,
    chart=Chart("bars", ("service", "pool"), ("size", "size_wanted", "load")),
    because=(
        "The load of a pool is how many are used and waited for, on average over the busiest "
        "window: by Little's law L = lambda W (Little, A proof for the queuing formula, 1961) "
        "that is rate times time held, whatever the distributions are. Where the time held is "
        "not measured, it is reckoned from that law. Of a pool of c with load a the share "
        "that has to wait is Erlang's C(c, a) = B / (1 - a / c (1 - B)), where B is Erlang's "
        "loss by B(0) = 1, B(n) = a B(n - 1) / (n + a B(n - 1)); their mean wait over all is "
        "C W / (c - a) (Erlang, 1917; Cooper, Introduction to Queueing Theory, 1981). It is "
        "for arrivals at random: callers that wait for each other wait less, bursts more. "
        "Each process has a pool of its own: figures are of the one with the highest load. Of "
        "connections the size is how many were open; a pool that may open more is too small "
        "only where somebody waited."
    ),
)
