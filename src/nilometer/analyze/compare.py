"""`compare`: whether operations take another time than before, and how sure that is."""

from __future__ import annotations

from math import comb, exp, log, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, NamedTuple

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

SPANS_MIN: Final = 10
"""Of fewer on a side nothing is said: intervals are for larger numbers."""

NEGLIGIBLE: Final = 0.147
"""A delta below this is no change that anybody notices (Romano and others, 2006)."""

EXACT_MAX: Final = 1000
"""Of more spans the binomial distribution is taken for the normal one, to three figures."""

COLUMNS: Final = (
    Column("service", TEXT, "", "whose operation it is"),
    Column("operation", TEXT, "", "the name of its spans"),
    Column("kind", TEXT, "", "their kind: server, client, ..."),
    Column("verdict", TEXT, "", "slower, faster, alike, or too few"),
    Column("spans_before", WHOLE, "1", "how many there were before"),
    Column("spans_after", WHOLE, "1", "how many there are after"),
    Column("p50_before_ns", WHOLE, "ns", "the median before"),
    Column("p50_after_ns", WHOLE, "ns", "the median after"),
    Column("p50_ratio", NUMBER, "1", "the median after / before"),
    Column("p50_ratio_low", NUMBER, "1", "that ratio is at least so much"),
    Column("p50_ratio_high", NUMBER, "1", "and at most so much, by the confidence asked for"),
    Column("mean_before_ns", NUMBER, "ns", "the mean before"),
    Column("mean_after_ns", NUMBER, "ns", "the mean after"),
    Column("mean_ratio", NUMBER, "1", "the mean after / before"),
    Column("delta", NUMBER, "1", "Cliff's delta: 1 if all are slower after, -1 if all faster"),
    Column("delta_low", NUMBER, "1", "delta is at least so much"),
    Column("delta_high", NUMBER, "1", "and at most so much, by the confidence asked for"),
    Column("errors_before_share", NUMBER, "1", "which share ended in an error before"),
    Column("errors_after_share", NUMBER, "1", "and after"),
)

_NORMAL: Final = NormalDist()
_FIRST: Final = {"slower": 0, "faster": 1, "alike": 2, "too few": 3}


class Interval(NamedTuple):
    """Between which values something is."""

    low: float
    high: float


class Delta(NamedTuple):
    """Cliff's delta: how much likelier a duration after is the longer one; -1 to 1.

    `error` is its standard error.
    """

    value: float
    error: float

    def interval(self, z: float, least: int) -> Interval:
        """Where delta is (Feng and Cliff, 2004); `least` spans are on the smaller side."""
        d, s = self.value, self.error
        if abs(d) == 1:  # no variance is seen where the sides do not overlap
            bound = (least - z * z) / (least + z * z)
            return Interval(bound, 1.0) if d > 0 else Interval(-1.0, -bound)
        half = z * s * sqrt((1 - d * d) ** 2 + z * z * s * s)
        below = 1 - d * d + z * z * s * s
        return Interval(
            max(-1.0, (d - d**3 - half) / below), min(1.0, (d - d**3 + half) / below)
        )

    def chance(self, least: int) -> float:
        """How likely it were to be so far from 0 if there were no difference."""
        s = self.error or sqrt(1 / (3 * least))  # of ranks alone, without any difference
        return 2 * (1 - _NORMAL.cdf(abs(self.value) / s))


def delta_of(row: Row) -> Delta:
    """Delta and its error by the placements of each side in the other (DeLong, 1988)."""
    old, new = row["spans_before"], row["spans_after"]
    value = (row["below_after_twice"] - old * new) / (old * new)
    variance = 0.0
    for side, count, other in (("before", old, new), ("after", new, old)):
        twice, squares = row[f"below_{side}_twice"], row[f"squares_{side}"]
        spread = (count * squares - twice * twice) / (count * (count - 1) * other * other)
        variance += spread / count
    return Delta(value, sqrt(variance))


def median_error(low_ns: int, high_ns: int, place: int, count: int) -> float:
    """The standard error of a median's logarithm (Price and Bonett, 2002).

    `low_ns` and `high_ns` are in that place from the least and from the greatest on.
    """
    if count <= EXACT_MAX:
        outside = sum(comb(count, below) for below in range(place)) / 2**count
    else:
        outside = _NORMAL.cdf((place - 0.5 - count / 2) / (sqrt(count) / 2))
    z = -_NORMAL.inv_cdf(outside)
    return (log(max(1, high_ns)) - log(max(1, low_ns))) / (2 * z)


def ratio_interval(row: Row, z: float) -> Interval:
    """Where the ratio of the medians is; one of 0 ns counts as 1 ns."""
    errors = [
        median_error(
            row[f"low_{side}_ns"],
            row[f"high_{side}_ns"],
            row[f"place_{side}"],
            row[f"spans_{side}"],
        )
        for side in ("before", "after")
    ]
    centre = log(max(1, row["p50_after_ns"]) / max(1, row["p50_before_ns"]))
    half = z * sqrt(errors[0] ** 2 + errors[1] ** 2)
    return Interval(exp(centre - half), exp(centre + half))


def holm(chances: Sequence[float], level: float) -> list[bool]:
    """Which of several differences are real, so that none is by chance but with that level.

    >>> holm([0.04, 0.01, 0.5], 0.05)
    [False, True, False]
    """
    real = [False] * len(chances)
    order = sorted(range(len(chances)), key=chances.__getitem__)
    for left, at in zip(range(len(chances), 0, -1), order, strict=True):
        if chances[at] > level / left:
            break
        real[at] = True
    return real


def _fold(rows: pa.Table, asked: Asked) -> pa.Table:
    """Ratios, effect sizes and verdicts; what changed most comes first."""
    listed = rows_of(rows)
    level = 1 - asked["confidence"]
    z = _NORMAL.inv_cdf(1 - level / 2)
    judged = [row for row in listed if _least(row) >= SPANS_MIN]
    deltas = [delta_of(row) for row in judged]
    chances = [delta.chance(_least(row)) for row, delta in zip(judged, deltas, strict=True)]
    for row in listed:
        _ratios(row)
    for row, delta, real in zip(judged, deltas, holm(chances, level), strict=True):
        row["delta"] = delta.value
        row["delta_low"], row["delta_high"] = delta.interval(z, _least(row))
        row["p50_ratio_low"], row["p50_ratio_high"] = ratio_interval(row, z)
        row["verdict"] = _verdict(delta.value) if real else "alike"
    listed.sort(key=_order)
    return table_of(COLUMNS, listed)


def _least(row: Row) -> int:
    """How many spans are on the smaller side."""
    return int(min(row["spans_before"], row["spans_after"]))


def _verdict(delta: float) -> str:
    if abs(delta) < NEGLIGIBLE:
        return "alike"
    return "slower" if delta > 0 else "faster"


def _ratios(row: Row) -> None:
    """What can be said of any two numbers of spans."""
    for side in ("before", "after"):
        spans = row[f"spans_{side}"]
        row[f"mean_{side}_ns"] = ratio(row[f"total_{side}_ns"], spans)
        row[f"errors_{side}_share"] = ratio(row[f"errors_{side}"], spans)
    row["mean_ratio"] = ratio(row["mean_after_ns"], row["mean_before_ns"])
    row["p50_ratio"] = ratio(row["p50_after_ns"], row["p50_before_ns"])
    row["verdict"] = "too few"
    row |= dict.fromkeys(
        ("delta", "delta_low", "delta_high", "p50_ratio_low", "p50_ratio_high")
    )


def _order(row: Row) -> tuple[int, float, int, str, str, str]:
    spans = row["spans_before"] + row["spans_after"]
    name = row["service"], row["operation"], row["kind"]
    return _FIRST[row["verdict"]], -abs(row["delta"] or 0), -spans, *name


QUESTION: Final = Question(
    name="compare",
    summary="What is slower or faster than before: two periods or two versions.",
    tables=("spans",),
    heads=("once",),
    columns=COLUMNS,
    parameters=(
        Parameter(
            "split", "moment", None, "After is from here on; else the middle of the time."
        ),
        Parameter(
            "before", "text", None, "The version before, whenever it ran; else all others."
        ),
        Parameter(
            "after", "text", None, "The version after, whenever it ran; else all others."
        ),
        Parameter(
            "confidence",
            "number",
            "0.95",
            "So often the intervals hold the truth.",
            least=0.5,
            greatest=0.9999,
        ),
    ),
    fold=_fold,
    chart=Chart("bars", ("service", "operation"), ("p50_ratio",), ("verdict",)),
    because=(
        "Cliff's delta is P(after > before) - P(after < before) over all pairs of a span "
        "after and one before, which no outlier can move (Cliff, Dominance statistics, 1993). "
        "Its standard error is that of the placements of each side in the other (DeLong and "
        "others, 1988), its interval that of Feng and Cliff (Monte Carlo evaluation of "
        "ordinal d with improved confidence interval, 2004). The interval of the ratio of "
        "medians is distribution-free (Price and Bonett, Distribution-free confidence "
        "intervals for difference and ratio of medians, 2002). A verdict is slower or faster "
        "where delta / error is beyond chance by Holm's procedure over all operations of the "
        "answer together, and delta at least 0.147 either way, below which it is called "
        "negligible (Romano and others, 2006). Fewer than 10 spans on a side are too few. All "
        "this takes the spans of a side for independent of each other: what slowed a whole "
        "minute down counts as often as it has spans."
    ),
)
