"""What the page of one metric asks of the tables: statistics by period and group, an earlier
time beside them, and a timer's values as cells.

Periods begin before the time that is asked for, so that the first is whole; the one that still
runs has the rate of what of it is over.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.api.metrics import refuse_unknown_metric
from nilometer.api.problems import not_a_choice, unusable
from nilometer.model.cells import Spread, spread
from nilometer.model.moments import NS, duration_ns, moment_ns
from nilometer.store.limits import NS_PER_HOUR
from nilometer.store.series import RESOURCE_COLUMNS, Parts, matching, parted
from nilometer.web.paint import has_quantiles

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from nilometer.model import Distribution
    from nilometer.store.query import Reader
    from nilometer.store.series import Series
    from nilometer.store.statistics import Statistics
    from nilometer.web.moments import Window

PERIODS: Final = (
    *("10s", "30s", "1m", "5m", "10m", "30m", "1h", "3h", "6h", "12h", "1d", "7d", "4w"),
)
"""What one chooses from; the first that makes no more than so many points is taken unasked."""

POINTS: Final = 120
POINTS_MAX: Final = 2000  # of a line; a screen has hardly more dots in a row

GROUPS_DRAWN: Final = 12  # colours that can be told apart, twice: drawn through and dashed

CELL_ROWS: Final = 48
"""Of the heat map, at most: each then is some five dots high."""

OF_KIND: Final[Mapping[str, tuple[str, ...]]] = {
    "counter": ("rate", "sum"),
    "gauge": ("last", "avg", "min", "max"),
    "distribution": ("count", "rate", "sum", "avg", "min", "max", "p50", "p90", "p99"),
}
"""What a kind of metric has. Of a distribution any other `p` and a number, too, as in p99.9."""

UNASKED: Final = {
    "counter": ("rate",),
    "gauge": ("avg", "max"),
    "distribution": ("p50", "p99", "rate"),
}
_SHARE: Final = re.compile(r"p([0-9]{1,2}(?:\.[0-9]{1,6})?|100)")


class Asked(NamedTuple):
    """One metric, the time, and what of it; `period_ns` 0 is what suits the time.

    `periods` and `cells` are what takes longest: what there was in each period, and how large
    a timer's values were. `every` is whether groups that are not drawn have periods, too.
    `quantiles` is whether the whole time has them; None: if they are soon read.
    """

    name: str
    window: Window
    where: Mapping[str, str]
    group_by: tuple[str, ...]
    statistics: tuple[str, ...]
    period_ns: int
    compare: str
    periods: bool = True
    cells: bool = True
    every: bool = False
    quantiles: bool | None = None


class Side(NamedTuple):
    """What was measured in one time: by period and group, and all of it by group.

    `shift_ns` is how much later it is drawn than it was.
    """

    shift_ns: int
    since_ns: int
    until_ns: int
    rows: list[Statistics]
    sums: list[Statistics]


class Explored(NamedTuple):
    """The answer. `late` is whether the whole time lacks its quantiles. `drawn` are the groups
    that charts show, those with most first; `services` and `dimensions` are of the series that
    were chosen and of all. `interval_ns` is the longest that a reading of a timer tells of."""

    kind: str
    unit: str
    description: str
    statistics: tuple[str, ...]
    late: bool
    period_ns: int
    dimensions: Mapping[str, list[str]]
    services: list[str]
    drawn: list[tuple[str | None, ...]]
    groups: int
    now: Side
    earlier: Side | None
    spread: list[tuple[int, Distribution]]
    interval_ns: int

    @property
    def cells(self) -> Spread:
        """The values of a timer, as the heat map has them."""
        return spread(self.spread, rows_max=CELL_ROWS)


def share_of(statistic: str) -> float | None:
    """The share that a quantile is of; None if it is none.

    >>> share_of("p99.9"), share_of("avg")
    (0.999, None)
    """
    told = _SHARE.fullmatch(statistic)
    return round(float(told[1]) / 100, 9) if told else None


def period_for(window: Window) -> int:
    """A period that suits the time, in nanoseconds: a round one, and not too many of them."""
    for each in PERIODS:
        if window.lasts_ns <= POINTS * duration_ns(each):
            return duration_ns(each)
    weeks = -(-window.lasts_ns // (POINTS * NS["w"]))
    return weeks * NS["w"]


def shift_of(compare: str, window: Window) -> int:
    """How much earlier the other time is: so long, or till it begins at that moment."""
    try:
        told = duration_ns(compare)
    except ValueError:
        try:
            told = window.since_ns - moment_ns(compare)
        except ValueError as error:
            raise unusable("compare", compare, f"{error}") from None
    if told <= 0:
        remedy = "it must be earlier than what is shown: so long before, as in 1d, or a moment"
        raise unusable("compare", compare, remedy)
    return told


# --- Asked in a thread ------------------------------------------------------------------------


def explored(reader: Reader, asked: Asked) -> Explored:
    """All that the page shows of a metric; Refusal 404 if there never was one of that name."""
    window = asked.window
    found = reader.series(
        asked.name, since_ns=window.since_ns - NS_PER_HOUR, until_ns=window.until_ns
    )
    if not found:
        refuse_unknown_metric(reader, asked.name)
    dimensions = _dimensions(found)
    _check_keys(asked, dimensions)
    chosen = matching(found, asked.where)
    kinds = sorted({one.kind for one in found})
    statistics = _statistics(asked.statistics, kinds)
    period_ns = asked.period_ns or period_for(window)
    if window.lasts_ns > POINTS_MAX * period_ns:
        remedy = f"at most {POINTS_MAX} periods are shown; take a longer one, or less time"
        raise unusable("period", f"{period_ns}ns", remedy)
    shares = _shares(statistics)
    times = 2 if asked.compare else 1
    late = bool(shares) and not has_quantiles(asked.quantiles, len(chosen), window, times)
    question = _Question(reader, asked, shares, period_ns, late=late)
    now = question.side(chosen, 0)
    earlier = None
    if asked.compare:
        earlier = question.side(None, shift_of(asked.compare, window))
    return Explored(
        kind=kinds[0] if kinds else "",
        unit=found[0].unit if found else "",
        description=_description(reader, asked),
        statistics=statistics,
        late=late,
        period_ns=period_ns,
        dimensions=dimensions,
        services=sorted({one.service for one in chosen}),
        # By name: a renewed chart has the same colours, whoever had most meanwhile.
        drawn=sorted(question.drawn[:GROUPS_DRAWN], key=_by_name),
        groups=len(question.drawn),
        now=now,
        earlier=earlier,
        spread=question.spread(chosen),
        interval_ns=question.interval_ns(chosen),
    )


class _Question:
    """What is asked of each side. The first one says which groups are drawn: those that tell
    of most; so of a thousand others no periods are asked for, unless all are wanted."""

    def __init__(
        self,
        reader: Reader,
        asked: Asked,
        shares: Sequence[float],
        period_ns: int,
        *,
        late: bool,
    ) -> None:
        self._reader = reader
        self._asked = asked
        self._shares = shares
        self._late = late
        self._period_ns = period_ns
        self.drawn: list[tuple[str | None, ...]] = []
        self._held: list[tuple[int, Distribution]] | None = None

    def side(self, found: Sequence[Series] | None, shift_ns: int) -> Side:
        """The statistics of these series, or of those that there were at that time."""
        name, window = self._asked.name, self._asked.window
        since_ns, until_ns = window.since_ns - shift_ns, window.ended_ns - shift_ns
        if found is None:
            every = self._reader.series(
                name, since_ns=max(0, since_ns - NS_PER_HOUR), until_ns=until_ns
            )
            found = matching(every, self._asked.where)
        if not found:
            return Side(shift_ns, since_ns, until_ns, [], [])
        parts = parted(found, self._asked.group_by)
        sums = self._reader.measured(
            name,
            parts,
            since_ns=since_ns,
            until_ns=until_ns,
            quantiles=() if self._late else self._shares,
        )
        self.drawn = self.drawn or _largest(sums)
        rows: list[Statistics] = []
        if self._asked.periods:
            rows = self._rows(parts, since_ns, until_ns, has_cells=shift_ns == 0)
        over = [_of_what_is_over(row, self._period_ns, until_ns) for row in rows]
        return Side(shift_ns, since_ns, until_ns, over, sums)

    def _rows(
        self, parts: Parts, since_ns: int, until_ns: int, *, has_cells: bool
    ) -> list[Statistics]:
        """By period; where all groups are asked for, their values are told with the same
        question: merged, they are those of all series."""
        is_all = self._asked.every or len(self.drawn) <= GROUPS_DRAWN
        if not self._asked.every:
            parts = _of_groups(parts, set(self.drawn[:GROUPS_DRAWN]))
        ask = self._reader.measured
        times = self._times(since_ns, until_ns)
        if not (self._asked.cells and has_cells and is_all):
            return ask(self._asked.name, parts, **times, quantiles=self._shares)
        told = self._reader.spread(self._asked.name, parts, **times, quantiles=self._shares)
        self._held = [(one.started_ns, held) for one, held in told if _is_timer(one)]
        return [one for one, _ in told]

    def _times(self, since_ns: int, until_ns: int) -> dict[str, int]:
        begun_ns = since_ns - since_ns % self._period_ns
        return {"since_ns": begun_ns, "until_ns": until_ns, "period_ns": self._period_ns}

    def spread(self, chosen: Sequence[Series]) -> list[tuple[int, Distribution]]:
        """The values of all timers among the series, by period."""
        if self._held is not None or not self._asked.cells:
            return self._held or []
        timers = _timers(chosen)
        if not timers:
            return []
        times = self._times(self._asked.window.since_ns, self._asked.window.ended_ns)
        found = self._reader.spread(self._asked.name, parted(timers, ()), **times, quantiles=())
        return [(one.started_ns, held) for one, held in found]

    def interval_ns(self, chosen: Sequence[Series]) -> int:
        """How long before a reading's end what it tells of may have ended."""
        until_ns = self._asked.window.ended_ns
        ask = self._reader.longest_interval
        return ask(self._asked.name, _timers(chosen), until_ns=until_ns)


def _timers(found: Sequence[Series]) -> list[Series]:
    return [one for one in found if one.kind == "distribution"]


def _is_timer(one: Statistics) -> bool:
    return one.kind == "distribution"


def _shares(statistics: Sequence[str]) -> list[float]:
    return [share for each in statistics if (share := share_of(each)) is not None]


def _of_groups(parts: Parts, groups: Collection[tuple[str | None, ...]]) -> Parts:
    """Only the series of these groups."""
    kept = [
        (series, part)
        for series, part in zip(parts.series, parts.parts, strict=True)
        if parts.groups[part] in groups
    ]
    return Parts(parts.groups, [one for one, _ in kept], [part for _, part in kept])


def _of_what_is_over(row: Statistics, period_ns: int, until_ns: int) -> Statistics:
    """The rate of a period that still runs: by what of it is over."""
    over_ns = until_ns - row.started_ns
    if row.rate is None or not 0 < over_ns < period_ns:
        return row
    return row._replace(rate=row.rate * period_ns / over_ns)


def _description(reader: Reader, asked: Asked) -> str:
    window = asked.window
    named = reader.metric_names(
        asked.name, since_ns=window.since_ns, until_ns=window.until_ns, limit=20
    )
    return next((one.description for one in named if one.name == asked.name), "")


def _dimensions(found: Sequence[Series]) -> dict[str, list[str]]:
    """Key -> its values, of keys by which the series differ or that are dimensions."""
    values: dict[str, set[str]] = {}
    for one in found:
        for key, value in one.told().items():
            values.setdefault(key, set()).add(value)
    return {key: sorted(held) for key, held in sorted(values.items()) if held != {""}}


def _check_keys(asked: Asked, dimensions: Mapping[str, list[str]]) -> None:
    """A key that no series has is a slip of the pen; an empty page would not say so."""
    for parameter, keys in (("group_by", asked.group_by), ("where", tuple(asked.where))):
        for key in keys:
            if dimensions and key not in {*dimensions, *RESOURCE_COLUMNS}:
                raise not_a_choice("dimension", key, list(dimensions), parameter=parameter)


def _statistics(told: Sequence[str], kinds: Sequence[str]) -> tuple[str, ...]:
    """Those that were asked for, or that suit the kind; refused if it has none such."""
    if not told:
        return tuple(dict.fromkeys(one for kind in kinds for one in UNASKED[kind]))
    has = list(dict.fromkeys(one for kind in kinds for one in OF_KIND[kind]))
    for one in told:
        is_share = "distribution" in kinds and share_of(one) is not None
        if has and one not in has and not is_share:
            raise not_a_choice("statistic", one, has)
    return tuple(dict.fromkeys(told))


def _largest(sums: Sequence[Statistics]) -> list[tuple[str | None, ...]]:
    """The groups, those that tell of most first."""
    weight: dict[tuple[str | None, ...], float] = {}
    for one in sums:
        told = one.total if one.kind == "counter" else one.samples
        weight[one.group] = weight.get(one.group, 0) + abs(told or 0)
    return sorted(weight, key=lambda group: (-weight[group], _by_name(group)))


def _by_name(group: tuple[str | None, ...]) -> list[str]:
    return [value or "" for value in group]
