"""What the tables answer: traces, and what instruments measured.

Times are whole nanoseconds since 1970; `since_ns` is in, `until_ns` is out, None leaves an end
open. A question whose answer would be too large is refused with StoreError, never cut in
silence, where a cut answer would be wrong; lists say with `limit` how much they give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.errors import StoreError
from nilometer.store.broken import Broken, Forgiving
from nilometer.store.places import Place
from nilometer.store.reading import MEMORY_MAX, Row, Wanted
from nilometer.store.rows import events_of, spans_of
from nilometer.store.series import Series, matching, parted, series_of
from nilometer.store.statistics import Asked, Merged, Statistics, statistics_of, with_extremes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nilometer.model import Event, Resource, SpanRecord

SPANS_MAX: Final = 100_000
"""Of one trace; ten times what a trace may record by default."""

SERIES_MAX: Final = 100_000
"""Of one instrument: 100 processes of 1,000 series each."""

ROWS_MAX: Final = 20_000
"""Of statistics: 20 groups by the minutes of half a day; 5 MB as JSON."""

BUCKETS_MAX: Final = 50 * ROWS_MAX
"""A timer's values lie within some 50 buckets (a factor of 3) per row of statistics."""

TIME_MIN: Final = -(2**63)
TIME_MAX: Final = 2**63 - 1

NS_PER_HOUR: Final = 3600 * 10**9
NS_PER_DAY: Final = 24 * NS_PER_HOUR

SIGHT_NS: Final = NS_PER_HOUR
"""So far before `since_ns` the reading is looked for that a cumulative series moved from."""

TRACES_MAX: Final = 100_000
"""So many traces are looked through for those that are as asked for: an hour of 30 a second."""


class TraceSummary(NamedTuple):
    """One trace: `root` is the name of its first span, if possible the one without a parent."""

    id: str
    root: str
    service: str
    started_ns: int
    duration_ns: int
    spans: int
    errors: int


class Instrument(NamedTuple):
    """One instrument that readings are kept of."""

    name: str
    kind: str
    unit: str
    description: str
    series: int
    ended_ns: int


class Reader:
    """The tables at one place, to be asked. Any thread may ask, while any process writes."""

    def __init__(
        self,
        location: str | Path,
        *,
        storage_options: Mapping[str, str] | None = None,
        memory_max: str = MEMORY_MAX,
    ) -> None:
        self._questions = Forgiving(Place.of(location, storage_options), memory_max=memory_max)

    def close(self) -> None:
        """Give the memory back; nothing can be asked after."""
        self._questions.close()

    def broken(self) -> list[Broken]:
        """The files that cannot be read, as far as questions met them: they are passed over."""
        return self._questions.broken()

    # ---- traces ------------------------------------------------------------------------------

    def trace(self, trace_id: str) -> list[tuple[Resource, SpanRecord]]:
        """All spans of a trace (32 hex digits), oldest first; empty if there is none."""
        wanted = {"trace_id": (trace_id, trace_id)}
        values = {"trace_id": trace_id, "rows_max": SPANS_MAX}
        rows = self._questions.ask("trace", "spans", wanted, values)
        # Here and not in SQL: a window over whole rows took as long again as all the rest.
        first: dict[str, Row] = {}
        for row in rows:
            first.setdefault(row["span_id"], row)
        return spans_of(first.values())

    def find_traces(
        self,
        *,
        service: str | None = None,
        name: str | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        min_duration_ns: int | None = None,
        error: bool | None = None,
        request_id: str | None = None,
        limit: int = 100,
    ) -> list[TraceSummary]:
        """The traces with a span that started in that time, each summed up with all its spans;
        the latest first.

        The rest holds for a trace as a whole: that a span, whenever it started, is of that
        service, name and request id (one span all of these; `request_id` is the span attribute
        of that name), that it took at least so long, and has errors or none.
        """
        since, last = _ends(since_ns, until_ns)
        met: Row = {"since_ns": since, "last_ns": last, "rows_max": max(0, limit)}
        asked = {"service": service, "name": name, "request_id": request_id, "error": error}
        if min_duration_ns or any(value is not None for value in asked.values()):
            duration_ns = _within_64_bits(min_duration_ns or 0)
            met |= {**asked, "min_duration_ns": duration_ns, "looked_max": TRACES_MAX}
            rows = self._questions.ask("chosen_traces", "spans", self._around(since, last), met)
        else:
            rows = self._questions.ask(
                "latest_traces", "spans", {"started_ns": (since, last)}, met
            )
        if not rows:
            return []
        ids = [row["trace_id"] for row in rows]
        wanted = {"trace_id": (min(ids), max(ids)), **self._around(since, last)}
        summaries = self._questions.ask("traces", "spans", wanted, {"ids": ids})
        return [TraceSummary(**row) for row in summaries]

    def _around(self, since: int, last: int) -> Wanted:
        """Where the other spans of traces met in that time are looked for: everywhere, but of
        an object store, whose files are fetched whole, not in those of other days."""
        if self._questions.place.path is not None:
            return {}
        return {
            "started_ns": (
                max(TIME_MIN, since - NS_PER_DAY),
                min(TIME_MAX, last + NS_PER_DAY),
            )
        }

    def events(
        self,
        *,
        name: str | None = None,
        service: str | None = None,
        trace_id: str | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 1000,
    ) -> list[tuple[Resource, Event]]:
        """The events of that name, service, trace and time; the latest first."""
        since, last = _ends(since_ns, until_ns)
        values = {
            "name": name,
            "service": service,
            "trace_id": trace_id,
            "since_ns": since,
            "last_ns": last,
            "rows_max": max(0, limit),
        }
        wanted = {"at_ns": (since, last), "name": (name, name)}
        return events_of(self._questions.ask("events", "events", wanted, values))

    # ---- metrics -----------------------------------------------------------------------------

    def metric_names(
        self,
        prefix: str = "",
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 10_000,
    ) -> list[Instrument]:
        """The instruments whose names start with `prefix`, by name."""
        since, last = _ends(since_ns, until_ns)
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
        since, until = _ends(since_ns, until_ns)
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
        since, last = _ends(since_ns, until_ns)
        values = {
            "name": name,
            "since_ns": since,
            "last_ns": last,
            "rows_max": SERIES_MAX + 1,
        }
        wanted = {"name": (name, name), "ended_ns": (since, last)}
        rows = self._questions.ask("series", "readings", wanted, values)
        if len(rows) > SERIES_MAX:
            raise TooMuch(
                f"{name} has more than {SERIES_MAX} series in this time",
                "ask for less of it: neither where nor group_by makes them fewer",
                "since",
            )
        return matching([series_of(row) for row in rows], where or {})

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
        service, host, pid, region or zone (a dimension of that name goes before).
        """
        since, last = _ends(since_ns, until_ns)
        period_ns = min(period_ns, TIME_MAX) if period_ns and period_ns > 0 else None
        sight = max(TIME_MIN, since - SIGHT_NS)
        found = self.series(name, where, since_ns=sight, until_ns=until_ns)
        parts = parted(found, group_by)
        values = {
            "name": name,
            "since_ns": since,
            "last_ns": last,
            "sight_ns": sight,
            "period_ns": period_ns or 0,
            "series": parts.series,
            "parts": parts.parts,
        }
        wanted = {"name": (name, name), "ended_ns": (sight, last)}
        rows = self._moved("measured", wanted, values, ROWS_MAX)
        if any(row["running"] for row in rows):
            rows = with_extremes(rows, self._moved("extremes", wanted, values, ROWS_MAX))
        merged = self._merged(rows, wanted, values) if quantiles else Merged()
        asked = Asked(since_ns, until_ns, period_ns, tuple(quantiles))
        return statistics_of(rows, merged, parts.groups, asked)

    def _merged(
        self, rows: Sequence[Row], wanted: Wanted, values: Mapping[str, object]
    ) -> Merged:
        """The buckets that belong to rows of `measured`; asked for where there may be some."""
        merged = Merged()
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
        rows = self._questions.ask(name, "readings", wanted, limited, head="moved")
        if len(rows) > rows_max:
            raise TooMuch(
                f"the statistics need more than {rows_max} rows of {name!r}",
                "ask for longer periods, less time or fewer groups",
                "period" if values["period_ns"] else "group_by",
            )
        return rows


def _ends(since_ns: int | None, until_ns: int | None) -> tuple[int, int]:
    """The first and the last nanosecond asked for, within 64 bits; (1, 0) if there is none."""
    first = TIME_MIN if since_ns is None else max(TIME_MIN, since_ns)
    last = TIME_MAX if until_ns is None else min(TIME_MAX, until_ns - 1)
    return (first, last) if first <= last else (1, 0)


def _within_64_bits(value: int) -> int:
    return max(TIME_MIN, min(TIME_MAX, value))


class TooMuch(StoreError):  # noqa: N818 - it is the question that is too large
    """An answer would be too large; `parameter` is the one that makes it smaller."""

    def __init__(self, what: str, remedy: str, parameter: str) -> None:
        super().__init__(f"{what}; {remedy}", slug="store-too-much")
        self.parameter = parameter
