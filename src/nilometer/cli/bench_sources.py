"""Where `nilometer bench persister` reads what a persister did: two sources with one answer.

DropWizard's admin API tells what was counted since a process began; Monasca's API what was
reported in a time. Of both, differences are what happened during the run. Processes may end and
begin meanwhile.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from nilometer.cli.bench_topic import METRICS, TOPIC, Of, topic_in
from nilometer.clock import elapsed_ns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TIMEOUT_S: Final = 60.0  # of statistics of a run; upstream's script waits as long
METRICS_S: Final = 10.0  # of `/metrics`, which is in memory: a process that hangs is not read
ASKED_AT_ONCE: Final = 32
NOT_FOUND: Final = 404
SHAPELESS: Final = (LookupError, TypeError, AttributeError, ValueError, OverflowError)
"""What reading an answer raises that has not the shape of one."""
ANSWER_BYTES_MAX: Final = 64 << 20
PORTS_MAX: Final = 1000
PERIOD_S: Final = 9_000_000_000
"""One period that holds all, for statistics of the whole run: 285 years from 1970 on. InfluxDB,
behind a real Monasca, has no durations above 2**63 ns, which are 292 years."""

QUANTILES: Final = ("p50", "p75", "p95", "p99")

COUNTS: Final = ("received", "persisted", "dropped", "duplicated")
METERS: Final = {
    "received": re.compile(
        r".*\[metric-.*\]\.events-processed-meter|"
        r"monasca\.persister\.received(\{.*\})?"
    ),
    "persisted": re.compile(
        r".*MetricHandler\[metric-.*\]\.flush-meter|"
        r"monasca\.persister\.completed(\{.*\})?"
    ),
    "dropped": re.compile(r"monasca\.persister\.dropped(\{.*\})?"),
    "duplicated": re.compile(r"monasca\.persister\.duplicated(\{.*\})?"),
}
"""Which meters count what: those of the Java persister, and ours where it has none."""

TIMERS: Final = {
    "flush": re.compile(r".*\[metric-.*\]\.flush-timer|monasca\.persister\.flush(\{.*\})?"),
    "write": re.compile(r"monasca\.persister\.write(\{.*\})?"),
    "commit": re.compile(r"(.*\.)?commit-timer|monasca\.persister\.commit(\{.*\})?"),
    "process": re.compile(r"monasca\.persister\.process(\{.*\})?"),
}


class SourceError(Exception):
    """A source cannot be read; it says why."""


class NobodyError(SourceError):
    """Nobody listens there."""


class StrangerError(SourceError):
    """Somebody else listens there, who knows nothing of what is asked."""


@dataclass(frozen=True)
class Times:
    """What a timer tells, in seconds; quantiles by name, those it does not tell left out."""

    count: int
    mean: float
    maximum: float
    quantiles: Mapping[str, float]


def together(ones: Sequence[Times]) -> Times:
    """Several of one timer: counts and means together, and of quantiles those of the worst.

    Quantiles cannot be merged from outside; the worst bounds them all.
    """
    count = sum(one.count for one in ones)
    known = [name for name in QUANTILES if any(name in one.quantiles for one in ones)]
    return Times(
        count,
        sum(one.mean * one.count for one in ones) / max(1, count),
        max(one.maximum for one in ones),
        {q: max(one.quantiles[q] for one in ones if q in one.quantiles) for q in known},
    )


class Told(NamedTuple):
    """What a source tells at a moment: counts and timers by process.

    `missing` are processes that were read before and now not, with the reason: their last
    counts are among these. `restarts` is how often counts began anew since the first reading.
    """

    at_ns: int
    counts: Mapping[str, Mapping[str, int]]
    times: Mapping[str, Mapping[str, Times]]
    missing: Mapping[str, str] = {}
    restarts: int = 0

    def sum(self, name: str) -> int:
        """A count over all processes."""
        return sum(counts.get(name, 0) for counts in self.counts.values())


class Source(Protocol):
    """Tells what a persister did so far."""

    def read(self) -> Told:
        """All there is, now. Raises SourceError."""


class Place:
    """One HTTP server that is asked for JSON; a token goes along if there is one."""

    def __init__(self, url: str, token: str = "", *, timeout_s: float = TIMEOUT_S) -> None:
        try:
            split = urlsplit(url if "://" in url else f"http://{url}")
            is_usable = split.scheme in ("http", "https") and split.port != 0 and split.hostname
        except ValueError:  # a port above 65535, or half an IPv6 address
            is_usable = False
        if not is_usable:
            raise SourceError(f"{url!r} is no URL; write http://host:port")
        if "@" in split.netloc:
            raise SourceError("a URL has no user in it; a token goes into --token-file")
        self._timeout_s = timeout_s
        self.url = split.geturl().rstrip("/")
        self.name = split.netloc
        self._headers = {"X-Auth-Token": token} if token else {}
        self._opener = build_opener(ProxyHandler({}))

    def get(self, path: str, **query: str) -> Any:
        """The JSON there. Raises SourceError."""
        url = self.url + path + (f"?{urlencode(query)}" if query else "")
        try:
            request = Request(url, headers=self._headers)  # noqa: S310 - http or https
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                return json.loads(answer.read(ANSWER_BYTES_MAX))
        except HTTPError as error:
            said = error.read(300).decode(errors="replace").strip()
            kind = StrangerError if error.code == NOT_FOUND else SourceError
            raise kind(f"{self.name}: {error.code} {error.reason}: {said}") from error
        except URLError as error:
            kind = (
                NobodyError if isinstance(error.reason, ConnectionRefusedError) else SourceError
            )
            raise kind(f"{self.name}: {error.reason}") from error
        except OSError as error:
            raise SourceError(f"{self.name}: {error}") from error
        except (HTTPException, ValueError, RecursionError) as error:
            raise StrangerError(f"{self.name}: this is no JSON over HTTP: {error}") from error


def each_port(url: str) -> Iterator[str]:
    """The URLs of a range of ports, or the one URL.

    >>> list(each_port("http://c1:8091-8093"))
    ['http://c1:8091', 'http://c1:8092', 'http://c1:8093']
    """
    match = re.fullmatch(r"(.*:)([0-9]{1,5})-([0-9]{1,5})/?", url)
    if match is None:
        yield url
        return
    first, last = int(match[2]), int(match[3])
    if not first <= last < first + PORTS_MAX:
        raise SourceError(f"{url!r} has no ports, the lower one first, {PORTS_MAX} at most")
    yield from (f"{match[1]}{port}" for port in range(first, last + 1))


Metrics = tuple[dict[str, int], dict[str, Times]]


@dataclass
class _Process:
    """What the process at one place told, and those that were there before it."""

    before: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    times: dict[str, Times] = field(default_factory=dict)
    restarts: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Of all of them together."""
        names = {**self.before, **self.last}
        return {name: self.before.get(name, 0) + self.last.get(name, 0) for name in names}

    def take(self, metrics: Metrics) -> None:
        """What it tells now: one that has counted less than it had is another one."""
        counts, times = metrics
        if any(counts.get(name, 0) < count for name, count in self.last.items()):
            self.before = self.counts
            self.restarts += 1
        self.last, self.times = counts, times


class DropWizard:
    """The admin API of each process, or of a collector, or of the persister in Java.

    Of a range of ports those are read that have one. Where nobody listens at first a process
    may begin later: all that it counts is of the run.
    """

    def __init__(self, urls: Sequence[str], token: str = "", *, topic: str = METRICS) -> None:
        self._topic = topic
        self._given = [
            [Place(port, token, timeout_s=METRICS_S) for port in each_port(url)] for url in urls
        ]
        self._known: dict[str, _Process] = {}

    def read(self) -> Told:
        """All there is, now."""
        places = [place for one in self._given for place in one]
        with ThreadPoolExecutor(min(ASKED_AT_ONCE, len(places))) as pool:
            heard = dict(zip(places, pool.map(_asked, places), strict=True))
        at_ns = elapsed_ns()
        # Whether topics are told is asked of all: one may have nothing but names of Java's.
        of = Of.these(self._topic, {topic for one in heard.values() for topic in _topics(one)})
        answers = {place: _understood(place, one, of) for place, one in heard.items()}
        errors = {at: one for at, one in answers.items() if isinstance(one, SourceError)}
        if not self._known:
            self._choose(errors)
        elif len(errors) == len(answers):
            raise next(iter(errors.values()))
        for place, answer in answers.items():
            if not isinstance(answer, SourceError):
                self._known.setdefault(place.name, _Process()).take(answer)
        missing = {at.name: str(one) for at, one in errors.items() if at.name in self._known}
        return self._told(at_ns, missing)

    def _choose(self, errors: Mapping[Place, SourceError]) -> None:
        """Leave out the ports that others have; raise SourceError if there is none to read."""
        for places in self._given:
            readable = [place for place in places if place not in errors]
            unclear = [errors[place] for place in places if place in errors]
            if readable:  # then a port may be free, or somebody else's
                kinds = (NobodyError, StrangerError)
                unclear = [error for error in unclear if not isinstance(error, kinds)]
            if unclear:
                raise unclear[-1]
        self._given = [
            [place for place in places if not isinstance(errors.get(place), StrangerError)]
            for places in self._given
        ]

    def _told(self, at_ns: int, missing: Mapping[str, str]) -> Told:
        counts = {name: one.counts for name, one in self._known.items()}
        times = {name: one.times for name, one in self._known.items()}
        silent = [name for name in counts if not counts[name] and not times[name]]
        if len(counts) > len(silent):  # the persister's parent, which only waits, has none
            counts = {name: one for name, one in counts.items() if name not in silent}
        restarts = sum(one.restarts for one in self._known.values())
        return Told(at_ns, counts, times, missing, restarts)


def _asked(place: Place) -> Any:
    """What a place answers, or why it does not; for a thread."""
    try:
        return place.get("/metrics")
    except SourceError as error:
        return error


def _topics(told: Any) -> set[str]:
    """The topics that are told by names; none of what is not understood."""
    try:
        return {topic_in(name) for name in (*told["meters"], *told["timers"])}
    except SHAPELESS:
        return set()


def _understood(place: Place, told: Any, of: Of) -> Metrics | SourceError:
    """What there is of the topic, or why it is not."""
    if isinstance(told, SourceError):
        return told
    try:
        return _counts(_meant(told["meters"], of)), _times(_meant(told["timers"], of))
    except SHAPELESS as error:
        return StrangerError(f"{place.name}: these are no metrics of DropWizard's: {error!r}")


def _meant(metrics: Mapping[str, Any], of: Of) -> dict[str, Any]:
    return {name: one for name, one in metrics.items() if of.fits(topic_in(name))}


def _counts(meters: Mapping[str, Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, meter in meters.items():
        for what, pattern in METERS.items():
            if pattern.fullmatch(name):
                found[what] = found.get(what, 0) + int(meter["count"])
    return found


def _times(timers: Mapping[str, Any]) -> dict[str, Times]:
    """By timer, of which one process may have several."""
    found: dict[str, list[Times]] = {}
    for name, timer in timers.items():
        for what, pattern in TIMERS.items():
            if pattern.fullmatch(name):
                quantiles = {q: float(timer[q]) for q in QUANTILES}
                told = Times(
                    int(timer["count"]), float(timer["mean"]), float(timer["max"]), quantiles
                )
                found.setdefault(what, []).append(told)
    return {what: together(ones) for what, ones in found.items()}


class Monasca:
    """Monasca's API, ours or a real one: what was reported since this was made.

    A real one has no percentiles, and is asked without them once it has said so.
    """

    def __init__(self, url: str, token: str = "", *, topic: str = METRICS) -> None:
        self._topic = topic
        self._place = Place(url.rstrip("/").removesuffix("/v2.0"), token)
        self._since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._quantiles: tuple[str, ...] = QUANTILES

    def read(self) -> Told:
        """All there is, now."""
        try:
            return self._read()
        except SHAPELESS as error:
            why = f"{self._place.name}: these are no statistics of Monasca's: {error!r}"
            raise SourceError(why) from error

    def _read(self) -> Told:
        times: dict[str, dict[str, Times]] = {}
        for what in TIMERS:
            for process, values in self._timed(what):
                quantiles = {q: values[q] for q in self._quantiles if q in values}
                told = Times(int(values["count"]), values["avg"], values["max"], quantiles)
                times.setdefault(process, {})[what] = told
        counts: dict[str, dict[str, int]] = {}
        for what in COUNTS:  # last, as they are what the reading's moment is of
            name = "completed" if what == "persisted" else what
            for process, values in self._asked(name, ["sum"], ["hostname", "pid"]):
                counts.setdefault(process, {})[what] = int(values["sum"])
        return Told(elapsed_ns(), counts, times)

    def _timed(self, what: str) -> list[tuple[str, dict[str, float]]]:
        wanted = ["count", "avg", "max"]
        try:
            return self._asked(what, [*wanted, *self._quantiles])
        except SourceError as error:
            if not (self._quantiles and re.search(": 4[0-9][0-9] ", str(error))):
                raise
            self._quantiles = ()
        return self._asked(what, wanted)

    def _asked(
        self, name: str, statistics: Sequence[str], group_by: Sequence[str] = ()
    ) -> list[tuple[str, dict[str, float]]]:
        answer = self._place.get(
            "/v2.0/metrics/statistics",
            name=f"monasca.persister.{name}",
            statistics=",".join(statistics),
            period=str(PERIOD_S),
            start_time=self._since,
            group_by=",".join([*group_by, TOPIC]),
        )
        elements = [one for one in answer["elements"] if one["statistics"]]
        of = Of.these(self._topic, {one["dimensions"].get(TOPIC, "") for one in elements})
        return [
            (_process(one["dimensions"]), _row(one["columns"], one["statistics"][-1]))
            for one in elements
            if of.fits(one["dimensions"].get(TOPIC, ""))
        ]


def _process(dimensions: Mapping[str, str]) -> str:
    told = [dimensions[key] for key in ("hostname", "pid") if key in dimensions]
    return ":".join(told) or "all"


def _row(columns: Sequence[str], row: Sequence[Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in zip(columns, row, strict=True)
        if name != "timestamp" and value is not None
    }
