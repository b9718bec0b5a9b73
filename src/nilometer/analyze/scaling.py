"""`scaling`: throughput against concurrency, and with how many requests it peaks."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

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
from nilometer.analyze.usl import Law, Points, fit, resampled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from nilometer.analyze.question import Asked, Row

NS_PER_S: Final = 10**9
MS_NS: Final = 10**6

WINDOWS_MIN: Final = 20
"""Three numbers are sought: with fewer windows a few of them decide."""

SPREAD_MIN: Final = 2.0
"""The law's three terms are told apart only where concurrency was several times as high at
times as at others: the busiest twentieth of the windows against the least busy one."""

DRAWS: Final = 200
"""Of so many the ends of an interval of 95 % are the fifth from below and from above."""

BEYOND: Final = 2.0
"""A peak at more than twice the concurrency that was seen is called a guess."""

COLUMNS: Final = (
    Column("service", TEXT, "", "whose requests they are"),
    Column("windows", WHOLE, "1", "how many windows with requests in flight were looked at"),
    Column("concurrency_maximum", NUMBER, "1", "the most in flight, as a window's mean"),
    Column("throughput_maximum", NUMBER, "1/s", "the most that were done in a window"),
    Column("latency_ns", NUMBER, "ns", "the mean latency: time in flight by requests done"),
    Column("single_rate", NUMBER, "1/s", "how many are done where one is in flight alone"),
    Column("single_rate_low", NUMBER, "1/s", "that is at least so much"),
    Column("single_rate_high", NUMBER, "1/s", "and at most so much, 95 times in a hundred"),
    Column("contention", NUMBER, "1", "sigma: what is lost by waiting for each other"),
    Column("contention_low", NUMBER, "1", "that is at least so much"),
    Column("contention_high", NUMBER, "1", "and at most so much"),
    Column("coherency", NUMBER, "1", "kappa: what is lost by agreeing with each other"),
    Column("coherency_low", NUMBER, "1", "that is at least so much"),
    Column("coherency_high", NUMBER, "1", "and at most so much"),
    Column("peak_concurrency", NUMBER, "1", "with how many in flight most is done"),
    Column("peak_concurrency_low", NUMBER, "1", "that is at least so much"),
    Column("peak_concurrency_high", NUMBER, "1", "and at most so much; empty: no end is seen"),
    Column("peak_throughput", NUMBER, "1/s", "how many are done then"),
    Column("peak_latency_ns", NUMBER, "ns", "how long each of them takes then"),
    Column("because", TEXT, "", "what the figures rest on, or why there are none"),
)

_FITTED: Final = tuple(c.name for c in COLUMNS[5:-1])


class _Seen(NamedTuple):
    """The windows of a service that tell of its law, and what stands in them."""

    points: Points
    windows: int
    busy_s: float
    done: int


def _fold(rows: pa.Table, asked: Asked) -> pa.Table:
    """Each service's law; the one that lost most to waiting and agreeing first."""
    services = groupby(rows_of(rows), itemgetter("service"))
    told = [_row(name, _seen(list(each), asked["window_ns"])) for name, each in services]
    told.sort(key=lambda row: (row["contention"] is None, -_loss(row), row["service"]))
    return table_of(COLUMNS, told)


def _loss(row: Row) -> float:
    return (row["contention"] or 0.0) + (row["coherency"] or 0.0)


def _seen(rows: Sequence[Row], window_ns: int) -> _Seen:
    """Windows in which something was in flight, the quiet ones too, each lot as one point."""
    busy = [
        (row["busy_ns"] / window_ns, row["ended"], 1)
        for row in rows
        if row["is_whole"] and row["busy_ns"] > 0
    ]
    quiet = [
        (float(row["running_after"]), 0, row["quiet"])
        for row in rows
        if row["quiet"] > 0 and row["running_after"] > 0
    ]
    concurrency, done, weight = np.array([*busy, *quiet], float).reshape(-1, 3).T
    seconds = window_ns / NS_PER_S
    busy_s = float((concurrency * weight).sum()) * seconds
    points = Points(concurrency, done / seconds, weight)
    return _Seen(points, int(weight.sum()), busy_s, int(done.sum()))


def _row(service: str, seen: _Seen) -> Row:
    points = seen.points
    row: Row = {
        "service": service,
        "windows": seen.windows,
        "concurrency_maximum": float(points.concurrency.max(initial=0)),
        "throughput_maximum": float(points.throughput.max(initial=0)),
        "latency_ns": ratio(seen.busy_s * NS_PER_S, seen.done),
        "because": _too_little(seen),
    }
    row |= dict.fromkeys(_FITTED)
    if not row["because"]:
        row |= _fitted(points)
        row["because"] = _because(row)
    return row


def _too_little(seen: _Seen) -> str:
    """Why nothing can be learned from these windows; empty if something can."""
    if seen.windows < WINDOWS_MIN:
        told = f"{seen.windows} windows with requests, {WINDOWS_MIN} are needed"
        return f"{told}: take a longer time, or a shorter --window"
    if not seen.done:
        return "no request ended: take a longer --window"
    low, high = _twentieths(seen.points)
    if high < SPREAD_MIN * low:
        return f"concurrency stayed between {low:.3g} and {high:.3g}: load must vary to tell"
    if high <= 1:
        return f"never more than {high:.3g} in flight: nothing waited for anything else"
    return ""


def _twentieths(points: Points) -> tuple[float, float]:
    """The concurrency below which one window in twenty was, and above which one was."""
    order = np.argsort(points.concurrency, kind="stable")
    shares = np.cumsum(points.weight[order]) / points.weight.sum()
    low, high = np.searchsorted(shares, (0.05, 0.95))
    return float(points.concurrency[order[low]]), float(points.concurrency[order[high]])


def _fitted(points: Points) -> Row:
    """The law, and between which values each of its figures is."""
    law, drawn = fit(points), resampled(points, DRAWS)
    row: Row = {}
    figures: dict[str, Callable[[Law], float | None]] = {
        "single_rate": lambda one: one.single,
        "contention": lambda one: one.contention,
        "coherency": lambda one: one.coherency,
        "peak_concurrency": lambda one: one.peak,
    }
    for name, figure in figures.items():
        row[name] = figure(law)
        ordered = sorted((float("inf") if v is None else v) for v in map(figure, drawn))
        for end, at in (("low", len(ordered) // 40), ("high", -1 - len(ordered) // 40)):
            row[f"{name}_{end}"] = None if ordered[at] == float("inf") else ordered[at]
    peak = law.peak
    done = law.throughput(peak) if peak else None
    row["peak_throughput"] = done
    row["peak_latency_ns"] = ratio(peak * NS_PER_S, done) if peak else None
    return row


def _because(row: Row) -> str:
    seen, peak = row["concurrency_maximum"], row["peak_concurrency"]
    told = f"{row['windows']} windows with up to {seen:.3g} in flight"
    if peak is None:
        most = row["single_rate"] / row["contention"] if row["contention"] else None
        end = "it grows with the load" if most is None else f"it nears {most:.4g}/s"
        return f"{told}; no peak is seen, {end}"
    if peak > BEYOND * seen:
        return f"{told}: a peak so far beyond is a guess"
    return told


QUESTION: Final = Question(
    name="scaling",
    summary="How throughput grows with concurrency, what it loses, and where it peaks.",
    tables=("spans",),
    heads=("once",),
    columns=COLUMNS,
    parameters=(
        Parameter("window", "duration", "1s", "Look at windows of that length.", least=MS_NS),
        Parameter("operation", "text", None, "Only requests of that name."),
    ),
    fold=_fold,
    chart=Chart("bars", ("service",), ("concurrency_maximum", "peak_concurrency")),
    because=(
        "Requests are spans of servers and consumers, and those at the top. By Little's law "
        "the concurrency N of a window is the time that requests were in flight in it / the "
        "window; throughput X is how many ended in it / the window. Fitted to that is the "
        "Universal Scalability Law X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1)) "
        "(Gunther, Guerrilla Capacity Planning, 2007), by least squares of X with no term "
        "below 0; it peaks at sqrt((1 - sigma) / kappa). Intervals hold 95 of a hundred fits "
        "to windows drawn anew from the same ones (bootstrap, 200 draws, the same each time). "
        "Windows that follow each other are alike, so true intervals are rather wider. "
        "Nothing is fitted to fewer than 20 windows, or where concurrency hardly varied."
    ),
)
