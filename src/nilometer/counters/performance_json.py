"""devstack's performance.json as a run: what its job recorded after the tests, bounded.

It has rows of services (memory), of database statements, of processes (memory) and of API calls
by who called. Each kind becomes a backend of the run, so that one which is missing is not taken
for one that did not move. Anybody can make up a service's name by a URL that he asks for: names
that no service has, and those beyond a limit, are counted together.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from nilometer.counters.document import DocumentError
from nilometer.model.reading import Kind
from nilometer.model.run import BackendRead, Count, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    _Key = tuple[str, Kind, str]  # name, kind, unit

VERSIONS: Final = (1, 2)  # what `report` says; the first ones did not say it
COUNTERS_MAX: Final = 1_000  # of a kind: 40 services with 25 pairs of caller and method
NAME_CHARS_MAX: Final = 200
NOT_SET: Final = 2**64 - 1  # systemd's word for it, as a number
OTHER: Final = "other"
API_FACTS: Final = ("service", "log", "largest")
NS_PER_S: Final = 10**9

_SERVICE: Final = re.compile(r"[a-z][a-z-]*")  # of those that devstack deploys
_CALL: Final = re.compile(
    r"(?:[A-Za-z][\w.-]*-)?([A-Z]{3,10})"
)  # tempest-GET; GET in version 1
_OPERATION: Final = re.compile(r"[A-Za-z]{2,20}")


class _Rows:
    """The figures of one kind while they are gathered, and what is said of them.

    Several logs may have seen the same calls, as the proxy before a server and the server: what
    is added up is added up within a log, and of all logs the largest counts.
    """

    def __init__(self) -> None:
        self.sums: dict[_Key, Counter[str]] = {}
        self.notes: Counter[str] = Counter()

    def add(
        self, name: str, value: int, kind: Kind = Kind.COUNTER, unit: str = "1", log: str = ""
    ) -> None:
        key = name[:NAME_CHARS_MAX], kind, unit
        self.sums.setdefault(key, Counter())[log] += value

    def largest(self) -> list[tuple[_Key, int]]:
        """Each figure, the largest first."""
        found = [(key, max(by_log.values())) for key, by_log in self.sums.items()]
        return sorted(found, key=lambda item: (-item[1], item[0][0]))


def run_of(
    value: object,
    content: bytes,
    *,
    origin: str,
    suite: str,
    wall_ns: int,
    revision: str = "",
    branch: str = "",
    work: int = 0,
) -> Run:
    """The run that a performance.json tells; `content` is its text, of which the id is made.

    So a file that is imported twice is one run. `wall_ns` stands in where the file has no time.
    Raises DocumentError if it is no such file.
    """
    if not isinstance(value, dict) or not any(isinstance(value.get(k), list) for k in _KINDS):
        raise DocumentError(
            f"{origin}: not devstack's performance.json: no {', '.join(_KINDS)}"
        )
    report = value.get("report")
    report = report if isinstance(report, dict) else {}
    version = report.get("version", 1)
    if version not in VERSIONS:
        raise DocumentError(f"{origin}: version {version!r} of performance.json is not known")
    at_ns = _moment_ns(report.get("timestamp"))
    counts: list[Count] = []
    reads: list[BackendRead] = []
    for kind, take in _KINDS.items():
        name = f"devstack.{kind}"
        found, read = _kind_of(value.get(kind), name, take, str(version))
        counts += found
        reads.append(read)
    host = report.get("hostname")
    return Run(
        sha256(suite.encode("utf-8", "surrogatepass") + b"\0" + content).hexdigest()[:32],
        suite,
        at_ns or wall_ns,
        at_ns or wall_ns,
        counts=tuple(counts),
        backends=tuple(reads),
        work=work,
        revision=revision,
        branch=branch,
        host=host[:NAME_CHARS_MAX] if isinstance(host, str) else "",
        attributes={"imported.from": "performance.json", "imported.version": str(version)},
    )


def _kind_of(
    rows: object, name: str, take: Callable[[Mapping[str, Any], _Rows], None], version: str
) -> tuple[list[Count], BackendRead]:
    if not isinstance(rows, list) or not rows:
        return [], BackendRead(name, version=version, because="the file has no rows of it")
    gathered = _Rows()
    for row in rows:
        if isinstance(row, dict):
            take(row, gathered)
        else:
            gathered.notes["rows that are no objects"] += 1
    counts = [
        Count(name, counter, number, kind=kind, unit=unit, raw=number)
        for (counter, kind, unit), number in sorted(
            _bounded(gathered).items(), key=lambda item: item[0][0]
        )
    ]
    notes = tuple(f"left out: {what} ({n})" for what, n in sorted(gathered.notes.items()))
    because = "" if counts else "no row of it can be read"
    return counts, BackendRead(name, version=version, because=because, notes=notes)


def _bounded(gathered: _Rows) -> dict[_Key, int]:
    """The largest so many; the other counters together, the other gauges not at all."""
    ordered = gathered.largest()
    kept = dict(ordered[:COUNTERS_MAX])
    for (_, kind, unit), number in ordered[COUNTERS_MAX:]:
        gathered.notes[f"names beyond the first {COUNTERS_MAX}"] += 1
        if kind is Kind.COUNTER:
            kept[OTHER, kind, unit] = kept.get((OTHER, kind, unit), 0) + number
    return kept


def _service(row: Mapping[str, Any], to: _Rows) -> None:
    memory = _number(row.get("MemoryCurrent"))
    service = row.get("service")
    if not isinstance(service, str):
        to.notes["services without a name"] += 1
    elif not memory:  # newer files have 0 where systemd says that it does not know
        to.notes[f"MemoryCurrent that is not set: {service[:NAME_CHARS_MAX]}"] += 1
    else:
        to.add(f"{service.removesuffix('.service')}.MemoryCurrent", memory, Kind.GAUGE, "By")


def _statements(row: Mapping[str, Any], to: _Rows) -> None:
    """``{"db", "op", "count"}``, and in the first files ``{"db", "queries"}``."""
    database, operation = row.get("db"), row.get("op", "queries")
    number = _number(row.get("count", row.get("queries")))
    if number is None:
        to.notes["statements without a number"] += 1
        return
    is_known = isinstance(operation, str) and _OPERATION.fullmatch(operation)
    name = database if isinstance(database, str) and database else "none"
    to.add(f"{name}.{operation if is_known else OTHER}", number)


def _process(row: Mapping[str, Any], to: _Rows) -> None:
    """Processes of one program together: pids and arguments are others in each run."""
    memory, command = _number(row.get("rss")), row.get("cmd")
    if memory is None or not isinstance(command, str):
        to.notes["processes without memory"] += 1
        return
    program = command.strip().rpartition("/")[2] or OTHER
    to.add(f"{program}.rss", memory, Kind.GAUGE, "By")
    to.add(f"{program}.processes", 1, Kind.GAUGE)


def _calls(row: Mapping[str, Any], to: _Rows) -> None:
    service = row.get("service")
    known = isinstance(service, str) and _SERVICE.fullmatch(service)
    if not known:
        to.notes["services with a name that none has, counted as other"] += 1
    log = str(row.get("log", ""))
    for key, value in row.items():
        if key in API_FACTS:
            continue
        call, number = _CALL.fullmatch(key), _number(value)
        if number is None:
            to.notes["calls without a number"] += 1
        elif known and call:
            to.add(f"{service}.{key}", number, log=log)
        else:
            to.add(f"{OTHER}.{call[1] if call else OTHER}", number, log=log)
    largest = _number(row.get("largest"))
    if known and largest is not None:
        to.add(f"{service}.largest", largest, Kind.GAUGE, "By", log=log)


_KINDS: Final[Mapping[str, Callable[[Mapping[str, Any], _Rows], None]]] = {
    "services": _service,
    "db": _statements,
    "processes": _process,
    "api": _calls,
}


def _number(value: object) -> int | None:
    """A count, also one that is written as text; None for what systemd calls not set."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        value = int(value)
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and 0 <= value < NOT_SET >> 1 else None  # type: ignore[operator, return-value]


def _moment_ns(text: object) -> int | None:
    """An ISO time; one without a zone is that of a machine of CI, which is UTC."""
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return int(seconds * NS_PER_S) if 0 < seconds < 2**33 else None
