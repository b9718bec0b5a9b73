"""Any endpoint that shows its metrics to Prometheus, in its text format or in OpenMetrics.

Counters, gauges, and of histograms and summaries count and sum. A counter's total is the sum
over its labels, whose values are folded where they are random. When the process started tells
one incarnation from the next, where the endpoint shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.counters.exposition import Exposition, Family, counters_of, declared, parse
from nilometer.counters.figures import Fact, Figures
from nilometer.counters.http_get import Http
from nilometer.counters.link import TLS_OPTIONS, place, secure, tls_context, unreadable
from nilometer.counters.members import Summands
from nilometer.counters.parts import Kept, bounded
from nilometer.counters.scopes import rules, rules_file
from nilometer.counters.target import hidden
from nilometer.model.reading import Kind
from nilometer.model.scopes import NAME_CHARS_MAX, Scopes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.counters.backend import BackendError, Surroundings
    from nilometer.counters.figures import Number, Series
    from nilometer.counters.target import Target
    from nilometer.model.dimensions import Dimensions

MEANING: Final = "any endpoint for Prometheus or OpenMetrics, named by its URL"

PORT: Final = 9100  # of the exporter of what the kernel counts, which is the most common one
ACCEPT: Final = "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5"
STARTED: Final = "process_start_time_seconds"
CREATED: Final = "_created"
UNIX_S_MIN: Final = 1e9  # the year 2001: less is a number of things created
HIDDEN: Final = "*"
"""What stands for a random id in a label: `/orders/*/items`."""

UNITS: Final[Mapping[str, str]] = {
    "seconds": "s",
    "milliseconds": "ms",
    "bytes": "By",
    "ratio": "1",
    "celsius": "Cel",
    "volts": "V",
    "amperes": "A",
    "joules": "J",
    "watts": "W",
    "grams": "g",
    "meters": "m",
    "hertz": "Hz",
}

OPTIONS: Final = (*TLS_OPTIONS, "query", "scopes", "scopes_file")


def find(surroundings: Surroundings) -> Sequence[Target]:  # noqa: ARG001 - as all backends' is
    """Nothing: what shows metrics may listen anywhere, and only you know which you mean."""
    return []


def connect(target: Target) -> Prometheus:
    """An endpoint: ``http://user:password@host:port/metrics``, ``https://`` or
    ``prometheus://host:port``."""
    return Prometheus(target.accepting(OPTIONS))


class Prometheus:
    """Reads an endpoint over one connection that stays open."""

    name = "prometheus"
    settle_s = 0.0

    def __init__(self, target: Target) -> None:
        web = {"http": 80, "https": 443}
        where = place(target, web.get(target.scheme, 443 if secure(target) else PORT))
        path = target.path or "/metrics"
        query = target.option("query")
        self._path = f"{path}?{query}" if query else path
        if not all("!" <= char <= "~" for char in self._path):
            target.refuse("path and query of a request have no spaces and only ASCII: %20")
        shown = hidden(self._path)  # options of a request are where tokens stand
        self.instance = where.shown if shown == "/metrics" else where.shown + shown
        self.identity = self._path
        self._port = where.port
        self.servers: tuple[tuple[str, str], ...] = ()
        self._http = Http(
            where,
            self._failed,
            tls=tls_context(target),
            user=target.user,
            password=target.password,
            token="" if target.user else target.password,
        )
        own = rules(target.option("scopes"), origin=f"{target.origin}: {target.shown}: scopes")
        if file := target.option("scopes_file"):
            own += rules_file(file, origin=f"{target.origin}: {target.shown}")
        self._scopes = Scopes(own, hidden=HIDDEN)
        self._facts: dict[str, Fact] = {}
        self._kept = Kept()
        self._summands = Summands()

    def read(self) -> Figures:
        """All metrics now. Raises BackendError."""
        body = self._http.get(self._path, accept=ACCEPT)
        shown = parse(body.decode(errors="replace"))
        if not shown.samples:
            said = body[:60].decode(errors="replace")
            raise self._failed(f"GET {hidden(self._path)}: no metrics in its answer: {said!r}")
        started = began(shown)
        process = f"{self._path} at port {self._port} since {moment(shown)} {version(shown)}"
        # Options of a request may ask one process for the figures of others.
        known = moment(shown) is not None and "?" not in self._path
        self.servers = ((self.name, process),) if known else ()
        values, facts, summands = counted(shown, self._scopes, known_start=bool(started))
        self._facts |= facts
        self._summands.read(summands)
        gauges = frozenset(n for n, fact in facts.items() if fact.kind is Kind.GAUGE)
        kept, left = bounded(values, gauges=gauges, kept=self._kept)
        incarnations = self._summands.incarnations(kept, self._kept)
        return Figures(kept, started, version(shown), (*shown.faults, *left), incarnations)

    def _failed(self, reason: str) -> BackendError:
        return unreadable(self.name, self.instance, reason)

    def facts(self) -> Mapping[str, Fact]:
        """What the endpoint says of each of its metrics."""
        return self._facts

    def close(self) -> None:
        """Hang up."""
        self._http.close()


class Counted(NamedTuple):
    """Figures by series, what is said of them, and of each series of a counter, as the endpoint
    shows it, its value and the sums that it is in."""

    values: dict[Series, Number]
    facts: dict[str, Fact]
    summands: dict[Series, tuple[Number, tuple[Dimensions, ...]]]


def counted(shown: Exposition, scopes: Scopes, *, known_start: bool) -> Counted:
    """The figures with their labels folded, counters' totals among them, and what is said of
    them. What begins to be shown counts from zero if it is known when all of it began, and if
    its counter was shown, or announced, before."""
    values: dict[Series, Number] = {}
    facts: dict[str, Fact] = {}
    summands: dict[Series, tuple[Number, tuple[Dimensions, ...]]] = {}
    created = _created(shown)
    for name, family in declared(shown):
        values[name, ()] = 0
        facts[name] = _fact(name, family, grows=True, from_zero=known_start)
    for sample, family, grows in counters_of(shown):
        labels = _folded(sample.labels, scopes)
        series = (sample.name, labels)
        values[series] = values.get(series, 0) + sample.value
        if grows and labels:
            total = (sample.name, ())
            values[total] = values.get(total, 0) + sample.value
        if grows:
            # One that was created again is another, whatever it has counted by now.
            own = (*sample.labels, *created.get((_stem(sample.name), sample.labels), ()))
            earlier, _ = summands.get((sample.name, own), (0, ()))
            sums = (labels, ()) if labels else ((),)
            summands[sample.name, own] = (earlier + sample.value, sums)
        facts[sample.name] = _fact(sample.name, family, grows=grows, from_zero=known_start)
    return Counted(values, facts, summands)


def _created(shown: Exposition) -> dict[Series, Dimensions]:
    """When each series of a counter began, where the endpoint shows it beside it: OpenMetrics
    as a part of the counter's family, the older format as a gauge of its own."""
    return {
        (stem, labels): ((CREATED, str(value)),)
        for name, labels, value in shown.samples
        if (stem := name.removesuffix(CREATED)) != name
        and (value > UNIX_S_MIN or (stem in shown.families and name not in shown.families))
    }


def _stem(name: str) -> str:
    return name.removesuffix("_total").removesuffix("_count").removesuffix("_sum")


def _folded(labels: Dimensions, scopes: Scopes) -> Dimensions:
    return tuple((name, scopes.of(value)) for name, value in labels if value)


def _fact(name: str, family: Family, *, grows: bool, from_zero: bool) -> Fact:
    meaning = family.help[:NAME_CHARS_MAX] or "not described by the endpoint"
    stem = name.removesuffix("_total").removesuffix("_sum")
    unit = UNITS.get(family.unit or stem.rpartition("_")[2], "1")
    if name.endswith("_count"):
        unit = "1"
    kind = Kind.COUNTER if grows else Kind.GAUGE
    return Fact(meaning, unit, kind, from_zero=grows and from_zero)


def began(shown: Exposition) -> str:
    """When the process behind an endpoint started, or all of them; empty if it is not shown."""
    found = [f"{value}" for name, _, value in shown.samples if name == STARTED]
    return f"started {' '.join(sorted(found))}" if found else ""


def moment(shown: Exposition) -> float | None:
    """When the one process behind an endpoint started, in seconds since 1970; None unless that
    is told more finely than to the second, within which many start on one machine."""
    found = [value for name, _, value in shown.samples if name == STARTED]
    alone = len(found) == 1 and isinstance(found[0], float) and not found[0].is_integer()
    return found[0] if alone else None


def version(shown: Exposition) -> str:
    """The versions in metrics called ``..._build_info``, which no run should mix."""
    found = [
        f"{name.removesuffix('_build_info')} {text}"
        for name, labels, _ in shown.samples
        if name.endswith("_build_info") and (text := dict(labels).get("version"))
    ]
    return ", ".join(sorted(found))
