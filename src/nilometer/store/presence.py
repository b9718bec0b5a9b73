"""Who told anything: processes, when each was last heard of, and how often it speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.store.limits import NS_PER_HOUR, ends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.store.broken import Forgiving
    from nilometer.store.reading import Row, Wanted
    from nilometer.store.series import Series

PROCESSES_MAX: Final = 10_000
"""Of one question: 100 services of 100 processes."""

PULSE_NS: Final = 600 * 10**9
"""From so much of the latest time it is reckoned how often a process speaks, where it spoke
twice in it."""

INTERVAL_NS_MAX: Final = NS_PER_HOUR
"""No service is set to report more seldom."""

HALTED_NS: Final = INTERVAL_NS_MAX * 3 // 2
"""What lay longer between two of its readings, as where it was halted, is no interval."""

SELDOM_NS: Final = 3 * INTERVAL_NS_MAX
"""From so much it is reckoned of processes that speak more seldom; who is silent for longer is
gone, however seldom it spoke."""


Who = tuple[str, str, int]
"""A process: its service, host and number."""


class Presence(NamedTuple):
    """A process that told something; `interval_ns` is how often it told readings of late, None
    where it did not twice."""

    service: str
    host: str
    pid: int
    version: str
    ended_ns: int
    interval_ns: int | None


class Presences:
    """What a reader answers about processes."""

    _questions: Forgiving

    def processes(
        self, *, since_ns: int | None = None, until_ns: int | None = None
    ) -> list[Presence]:
        """The processes that told readings or spans in that time; at most PROCESSES_MAX of
        each, by service, host and process."""
        since, last = ends(since_ns, until_ns)
        found = self._who("processes", "readings", "ended_ns", since, last)
        reporting = list(found)
        for key, row in self._who(
            "tracing_processes", "spans", "started_ns", since, last
        ).items():
            if key not in found or found[key]["ended_ns"] < row["ended_ns"]:
                found[key] = row
        newest = max((row["ended_ns"] for row in found.values()), default=since)
        newest = min(last, newest)
        late = [who for who in reporting if found[who]["ended_ns"] >= newest - SELDOM_NS]
        intervals = self._intervals(late, newest, last)
        return [
            Presence(*who, row["version"], row["ended_ns"], intervals.get(who))
            for who, row in sorted(found.items())
        ]

    def _intervals(self, of: Sequence[Who], newest: int, last: int) -> dict[Who, int]:
        """How often each of these speaks, where it did twice."""
        found: dict[Who, int] = {}
        for time_ns in (PULSE_NS, SELDOM_NS + INTERVAL_NS_MAX):
            pids = sorted({who[2] for who in of if who not in found})
            if not pids:
                break
            begun = newest - time_ns
            pulses = self._who("pulses", "readings", "ended_ns", begun, last, pids=pids)
            told = {who: _interval(row) for who, row in pulses.items() if row["beats"] > 1}
            found = {who: ns for who, ns in told.items() if ns < HALTED_NS} | found
        return found

    def longest_interval(
        self, name: str, series: Sequence[Series], *, until_ns: int | None = None
    ) -> int:
        """The longest time in nanoseconds of which one reading of these series tells, of the
        latest two hours of each; at most INTERVAL_NS_MAX, 0 if none tells of any."""
        last = ends(None, until_ns)[1]
        first = [max(0, each.ended_ns - 2 * INTERVAL_NS_MAX) for each in series]
        if not first:
            return 0
        values = {"name": name, "series": [each.series for each in series], "first": first}
        wanted: Wanted = {"name": (name, name), "ended_ns": (min(first), last)}
        rows = self._questions.ask("intervals", "readings", wanted, values | {"last_ns": last})
        longest = max((row["interval_ns"] or 0 for row in rows), default=0)
        return min(max(0, longest), INTERVAL_NS_MAX)

    def _who(
        self, question: str, table: str, column: str, since: int, last: int, **more: object
    ) -> dict[Who, Row]:
        values = {"since_ns": since, "last_ns": last, "rows_max": PROCESSES_MAX, **more}
        wanted: Wanted = {column: (since, last)}
        rows = self._questions.ask(question, table, wanted, values)
        return {(row["service"], row["host"], row["pid"]): row for row in rows}


def _interval(pulse: Row) -> int:
    return int((pulse["ended_ns"] - pulse["first_ns"]) // (pulse["beats"] - 1))
