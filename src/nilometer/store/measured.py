"""What instruments measured, out of the readings: which there are, their series, their figures.

How far a reading moved is said in store/sql/plain.sql and moved.sql; here is which readings are
asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.store.limits import (
    BUCKETS_MAX,
    ROWS_MAX,
    SERIES_MAX,
    SIGHT_NS,
    TIME_MAX,
    TIME_MIN,
    TooMuch,
    ends,
    refuse_many,
)
from nilometer.store.series import Parts, Series, matching, parted, series_of
from nilometer.store.statistics import (
    Asked,
    Merged,
    Point,
    Statistics,
    point_of,
    statistics_of,
    whole,
    with_extremes,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from nilometer.model import Distribution
    from nilometer.store.broken import Forgiving
    from nilometer.store.reading import Row, Wanted

MOVED: Final = ("plain", "moved")
"""The heads of questions about how far readings moved."""


class Instrument(NamedTuple):
    """One instrument that readings are kept of."""

    name: str
    kind: str
    unit: str
    description: str
    series: int
    ended_ns: int


class Measured:
    """What a reader answers about readings."""

    _questions: Forgiving

    def metric_names(
        self,
        prefix: str = "",
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 10_000,
    ) -> list[Instrument]:
        """The instruments whose names start with `prefix`, by name."""
        since, last = ends(since_ns, until_ns)
        values = {
            "prefix": prefix,
            "since_ns": since,
            "last_ns": last,
            "rows_max": max(0, limit),
        }
        wanted: Wanted = {"ended_ns": (since, last)}
        if prefix:
            wanted["name"] = (prefix, prefix + "\U0010ffff")
        return [
            Instrument(**row)
            for row in self._questions.ask("names", "readings", wanted, values)
        ]

    def keys(
        self,
        prefix: str = "",
        *,
        last: str,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> dict[str, list[str]]:
        """The dimensions, sorted, of each instrument from `prefix` to the name `last`, in one
        question; instruments without any are left out."""
        since, until = ends(since_ns, until_ns)
        values = {"prefix": prefix, "last": last, "since_ns": since, "until_ns": until}
        wanted: Wanted = {"ended_ns": (since, until), "name": (prefix or None, last)}
        found: dict[str, list[str]] = {}
        for row in self._questions.ask("keys", "readings", wanted, values):
            found.setdefault(row["name"], []).append(row["key"])
        return found

    def series(
        self,
        name: str,
        where: Mapping[str, str] | None = None,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> list[Series]:
        """The series of an instrument whose dimensions and resource are as `where` says."""
        found = self._of_names([name], *ends(since_ns, until_ns)).get(name, [])
        return matching(found, where or {})

    def several(
        self,
        names: Collection[str],
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> dict[str, list[Series]]:
        """The series of these instruments, by name, in one question; of those that statistics
        of that time know. Names without any are left out."""
        since, last = ends(since_ns, until_ns)
        return self._of_names(names, max(TIME_MIN, since - SIGHT_NS), last)

    def _of_names(
        self, names: Collection[str], since: int, last: int
    ) -> dict[str, list[Series]]:
        """The series of these instruments, by name, that were heard of in that time."""
        first, final = min(names), max(names)
        values: Row = {"names": sorted(names), "first": first, "last": final}
        values |= {"since_ns": since, "last_ns": last, "rows_max": SERIES_MAX + 1}
        wanted: Wanted = {"name": (first, final), "ended_ns": (since, last)}
        rows = self._questions.ask("several", "readings", wanted, values)
        refuse_many(first if first == final else f"{first} to {final}", rows, SERIES_MAX)
        found: dict[str, list[Series]] = {}
        for row in rows:
            found.setdefault(row.pop("name"), []).append(series_of(row))
        return found

    def catalogue(
        self, *, since_ns: int | None = None, until_ns: int | None = None
    ) -> list[tuple[str, Series]]:
        """Every series of every instrument, with the instrument's name."""
        since, last = ends(since_ns, until_ns)
        values = {"since_ns": since, "last_ns": last, "rows_max": SERIES_MAX + 1}
        rows = self._questions.ask("catalogue", "readings", {"ended_ns": (since, last)}, values)
        refuse_many("the store", rows, SERIES_MAX)
        return [(row.pop("name"), series_of(row)) for row in rows]

    def dimensions(
        self, name: str, *, since_ns: int | None = None, until_ns: int | None = None
    ) -> dict[str, list[str]]:
        """The values of each dimension and resource column that tell an instrument's series."""
        found: dict[str, set[str]] = {}
        for each in self.series(name, since_ns=since_ns, until_ns=until_ns):
            for key, value in each.told().items():
                found.setdefault(key, set()).add(value)
        return {key: sorted(values) for key, values in sorted(found.items())}

    def statistics(
        self,
        name: str,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        period_ns: int | None = None,
        group_by: Sequence[str] = (),
        where: Mapping[str, str] | None = None,
        quantiles: Sequence[float] = (),
    ) -> list[Statistics]:
        """What an instrument measured, by period and by the values of `group_by`.

        Periods are whole multiples of `period_ns` since 1970; None makes one of all. A reading
        belongs to the period in which it ended. `group_by` and `where` name dimensions, or
        service, host, pid, region, zone or version (a dimension of that name goes before).
        """
        sight = max(TIME_MIN, ends(since_ns, until_ns)[0] - SIGHT_NS)
        found = self.series(name, where, since_ns=sight, until_ns=until_ns)
        parts = parted(found, group_by)
        return self.measured(
            name,
            parts,
            since_ns=since_ns,
            until_ns=until_ns,
            period_ns=period_ns,
            quantiles=quantiles,
        )

    def measured(
        self,
        name: str,
        parts: Parts,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        period_ns: int | None = None,
        quantiles: Sequence[float] = (),
    ) -> list[Statistics]:
        """The same of these parts, each of series of one kind and unit."""
        period_ns = min(period_ns, TIME_MAX) if period_ns and period_ns > 0 else None
        wanted, values = _chosen(name, parts, since_ns, until_ns)
        values["period_ns"] = period_ns or 0
        rows = self._moved("measured", wanted, values, ROWS_MAX)
        if any(row["running"] for row in rows):
            rows = with_extremes(rows, self._moved("extremes", wanted, values, ROWS_MAX))
        merged = self._merged(rows, wanted, values) if quantiles else Merged()
        asked = Asked(since_ns, until_ns, period_ns, tuple(quantiles))
        return statistics_of(rows, merged, parts.groups, asked)

    def spread(
        self,
        name: str,
        parts: Parts,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        period_ns: int,
        quantiles: Sequence[float] = (),
    ) -> list[tuple[Statistics, Distribution]]:
        """The same by period, each with the values that it kept, if it is a timer."""
        wanted, values = _chosen(name, parts, since_ns, until_ns)
        values["period_ns"] = min(period_ns, TIME_MAX)
        rows = self._moved("measured", wanted, values, ROWS_MAX)
        if any(row["running"] for row in rows):
            rows = with_extremes(rows, self._moved("extremes", wanted, values, ROWS_MAX))
        merged = self._merged(rows, wanted, values)
        asked = Asked(since_ns, until_ns, values["period_ns"], tuple(quantiles))
        told = statistics_of(rows, merged, parts.groups, asked)
        return [(one, whole(one, merged.of(row))) for one, row in zip(told, rows, strict=True)]

    def points(
        self,
        name: str,
        parts: Parts,
        places: Sequence[int],
        *,
        since_ns: int | None,
        until_ns: int | None,
        after: tuple[int, int, int] = (-1, 0, 0),
        limit: int,
    ) -> list[Point]:
        """Single points, in the order of their part's place, of time and of part.

        `places` has one for each part; `after` is where to go on: place, time and part.
        """
        wanted, values = _chosen(name, parts, since_ns, until_ns)
        values |= {"places": list(places), "numbers": list(range(len(places)))}
        values["rows_max"] = max(0, limit)
        values |= dict(zip(("after_place", "after_ns", "after_part"), after, strict=True))
        rows = self._questions.ask("points", "readings", wanted, values, heads=MOVED)
        return [point_of(row) for row in rows]

    def _merged(
        self, rows: Sequence[Row], wanted: Wanted, values: Mapping[str, object]
    ) -> Merged:
        """The buckets that belong to rows of `measured`; asked for where there may be some.

        Series that belong to the same parts are asked as one: of one that is in two parts, no
        bucket is read twice. Where some count from their start, what is taken back of one may
        be more than it has, and a part is asked as a whole.
        """
        merged = Merged()
        if not any(row["running"] for row in rows):
            alike, series, places = _alike(values)
            merged = Merged(alike)
            values = {**values, "series": series, "parts": places}
        for negative, needed in ((False, "samples"), (True, "negative")):
            if any(row[needed] for row in rows):
                sided = {**values, "negative": negative}
                buckets = self._moved("buckets", wanted, sided, BUCKETS_MAX)
                merged.add_buckets(buckets, negative=negative)
        if any(row["bounded"] for row in rows):
            merged.add_bounds(self._moved("bounds", wanted, values, BUCKETS_MAX))
        return merged

    def _moved(
        self, name: str, wanted: Wanted, values: Mapping[str, object], rows_max: int
    ) -> list[Row]:
        limited = {**values, "rows_max": rows_max + 1}
        rows = self._questions.ask(name, "readings", wanted, limited, heads=MOVED)
        if sum(row.get("buckets", 1) for row in rows) > rows_max:
            raise TooMuch(
                f"the statistics need more than {rows_max} rows of {name!r}",
                "ask for longer periods, less time or fewer groups",
                "period" if values["period_ns"] else "group_by",
            )
        return rows


def _alike(
    values: Mapping[str, Any],
) -> tuple[list[tuple[int, ...]], list[int], list[int]]:
    """Which parts some series belong to, these series, and for each the place of its parts."""
    parts: dict[int, tuple[int, ...]] = {}
    for series, part in zip(values["series"], values["parts"], strict=True):
        parts[series] = *parts.get(series, ()), part
    places = {each: place for place, each in enumerate(dict.fromkeys(parts.values()))}
    return list(places), list(parts), [places[each] for each in parts.values()]


def _chosen(
    name: str, parts: Parts, since_ns: int | None, until_ns: int | None
) -> tuple[Wanted, Row]:
    """What `moved` needs to know, and the files that may hold it."""
    since, last = ends(since_ns, until_ns)
    sight = max(TIME_MIN, since - SIGHT_NS)
    values: Row = {
        "name": name,
        "since_ns": since,
        "last_ns": last,
        "sight_ns": sight,
        "series": parts.series,
        "parts": parts.parts,
    }
    return {"name": (name, name), "ended_ns": (sight, last)}, values
