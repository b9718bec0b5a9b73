"""Nilometer's own instruments, of the services under test.

    nilometer:///var/log/shop.jsonl         what services wrote by ``--export file:///...``
    nilometer://127.0.0.1:4318/shop         what a collector has of a service, since the first
                                            read; without a path, of all services

A counter counts what it moved, ``NAME.samples`` and ``NAME.total`` the samples of a timer and
their sum; from a file also by dimensions. Services report at intervals, so a run's last
readings come late: ``interval_s`` says how late, 10 if left out. A collector's token is the
URL's password, or in the file that ``password_file`` names.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from nilometer import clock
from nilometer.counters.figures import Fact, Figures
from nilometer.counters.http_get import Http
from nilometer.counters.link import TLS_OPTIONS, place, tls_context, unreadable
from nilometer.counters.parts import Kept, bounded
from nilometer.errors import WireError
from nilometer.model import Distribution, Kind
from nilometer.wire import jsonlines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.counters.backend import BackendError, Surroundings
    from nilometer.counters.figures import Number, Series
    from nilometer.counters.target import Target
    from nilometer.model import Reading

MEANING: Final = "instruments of the services under test, from their files or a collector"

PORT: Final = 4318
INTERVAL_S: Final = 10.0
INTERVAL_S_MAX: Final = 3600.0
METRICS_MAX: Final = 1000  # a collector lists no more
STEP_NS_MIN: Final = 100 * 10**6  # daemons step a clock that is off by 128 ms, and slew others
SLEWED: Final = 1000  # by 0.05 % at most, half of one in so many
AWAITED: Final = "no file at first"
OURS: Final = "nilometer."  # what Nilometer measures of itself is no cost of the run


def find(surroundings: Surroundings) -> Sequence[Target]:  # noqa: ARG001 - as all backends do
    """Nowhere by itself: which service is under test, only you know."""
    return []


def connect(target: Target) -> File | Collector:
    """A file of JSON lines if the target names one without a host, else a collector."""
    target.accepting(("interval_s", *TLS_OPTIONS))
    if target.path and not target.host:
        return File(target, _interval_s(target))
    return Collector(target, _interval_s(target))


def _interval_s(target: Target) -> float:
    said = target.option("interval_s", str(INTERVAL_S))
    try:
        interval_s = float(said)
    except ValueError:
        target.refuse(f"interval_s={said!r} is not a number")
    if not 0 < interval_s <= INTERVAL_S_MAX:
        target.refuse(f"interval_s={said}; from above 0 to {INTERVAL_S_MAX:g}")
    return interval_s


class Instruments:
    """What a file and a collector have in common: figures that are added up here."""

    name = "nilometer"

    def __init__(self, instance: str, interval_s: float) -> None:
        self.instance = instance
        self.settle_s = interval_s
        self._kept = Kept()
        self._facts: dict[str, Fact] = {}

    def facts(self) -> Mapping[str, Fact]:
        """What is known of each counter that was read so far."""
        return self._facts

    def _known(self, name: str, unit: str, meaning: str, kind: Kind = Kind.COUNTER) -> None:
        self._facts[name] = Fact(meaning or name, unit or "1", kind, from_zero=True)

    def _bounded(
        self, values: Mapping[Series, Number], incarnation: str, *notes: str
    ) -> Figures:
        gauges = frozenset(n for n, fact in self._facts.items() if fact.kind is Kind.GAUGE)
        kept, more = bounded(values, gauges=gauges, kept=self._kept)
        return Figures(kept, incarnation, notes=(*notes, *more), whole=True)


class File(Instruments):
    """Follows a file to which services append their batches."""

    def __init__(self, target: Target, interval_s: float) -> None:
        super().__init__(target.path, interval_s)
        self._path = Path(target.path)
        self._began = self._shown = ""
        self._forget()

    def _forget(self) -> None:
        self._at = 0
        self._refused = 0
        self._values: dict[Series, Number] = {}

    def read(self) -> Figures:
        """All that was written so far; nothing where nobody has begun. Raises BackendError."""
        try:
            with self._path.open("rb") as stream:
                found = os.fstat(stream.fileno())
                began = f"file {found.st_dev}:{found.st_ino}"
                if began != self._began or found.st_size < self._at:
                    self._forget()
                    # What was waited for counts from zero: it is what the wait began with.
                    self._shown = self._shown if self._is_awaited() else began
                self._began = began
                stream.seek(self._at)
                for line in stream:
                    if not line.endswith(b"\n"):
                        break  # it is being written
                    self._at += len(line)
                    self._take(line)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not self._began:
                return self._awaited(error)
            why = error.strerror or str(error)
            raise unreadable(self.name, self.instance, why) from error
        note = f"{self._refused} lines are no batches, and are not counted"
        return self._bounded(self._values, self._shown, *([note] if self._refused else []))

    def _is_awaited(self) -> bool:
        """Whether there was no file at the first read, and this one is the first since."""
        return self._shown == AWAITED and not self._began

    def _awaited(self, error: FileNotFoundError) -> Figures:
        """What is read where the service has not begun to write: nothing, which is told."""
        if not self._path.parent.is_dir():
            because = f"no folder {str(self._path.parent)!r}"
            raise unreadable(self.name, self.instance, because) from error
        self._shown = AWAITED
        return self._bounded({}, AWAITED)._replace(
            unread=f"{self.name} at {self.instance}: nothing is there yet; all is counted that "
            f"a service writes there (nilometer run --export file://{self.instance} -- ...)"
        )

    def _take(self, line: bytes) -> None:
        try:
            batch = jsonlines.decode(line)
        except WireError:
            self._refused += bool(line.strip())
            return
        for reading in batch.readings:
            if not reading.name.startswith(OURS) and not reading.cumulative:
                self._count(reading)

    def _count(self, reading: Reading) -> None:
        value = reading.value
        if isinstance(value, Distribution):
            self._add(f"{reading.name}.samples", "{sample}", reading, value.samples)
            self._add(f"{reading.name}.total", reading.unit, reading, value.total)
        elif reading.kind is Kind.GAUGE:
            self._known(reading.name, reading.unit, reading.description, Kind.GAUGE)
            self._values[reading.name, reading.dimensions] = value
        else:
            self._add(reading.name, reading.unit, reading, value)

    def _add(self, name: str, unit: str, reading: Reading, moved: Number) -> None:
        self._known(name, unit, reading.description)
        for dimensions in {(), reading.dimensions}:
            key = name, dimensions
            self._values[key] = self._values.get(key, 0) + moved

    def close(self) -> None:
        """Nothing is open."""


class Collector(Instruments):
    """Asks a collector what a service has reported since the first read."""

    def __init__(self, target: Target, interval_s: float) -> None:
        where = place(target, PORT)
        self._service = target.path.strip("/")
        super().__init__(f"{where.shown}/{self._service}", interval_s)
        self._http = Http(
            where,
            self._failed,
            tls=tls_context(target),
            token=target.password,
        )
        self._since = ""
        self._began = 0, 0

    def read(self) -> Figures:
        """All that was reported since the first read. Raises BackendError."""
        self._refuse_if_set_back()
        listed = self._rows("metrics", "metrics", limit=METRICS_MAX)
        if len(listed) >= METRICS_MAX:
            raise self._failed(f"{METRICS_MAX} metrics or more were reported, and no more told")
        values: dict[Series, Number] = {}
        for metric in listed:
            name = metric.get("name")
            if isinstance(name, str) and not name.startswith(OURS):
                values |= self._metric(name, metric)
        return self._bounded(values, f"since {self._since}")

    def _refuse_if_set_back(self) -> None:
        """What is reported after a clock was set back looks as if it had been before."""
        now_ns, elapsed_ns = clock.wall_ns(), clock.elapsed_ns()
        if not self._since:
            now = datetime.fromtimestamp(now_ns / 1e9, UTC)
            self._since = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
            self._began = now_ns, elapsed_ns
        went_ns = elapsed_ns - self._began[1]
        if now_ns < self._began[0] + went_ns - STEP_NS_MIN - went_ns // SLEWED:
            raise self._failed("the clock was set back since the first read; it asks by that")

    def _metric(self, name: str, metric: Mapping[str, Any]) -> dict[Series, Number]:
        path = f"metrics/{quote(name, safe='')}/statistics"
        where = {"where": f"service={self._service}"} if self._service else {}
        unit, meaning = str(metric.get("unit", "")), str(metric.get("description", ""))
        values: dict[Series, Number] = {}
        for row in self._rows(path, "statistics", **where):
            kind = row.get("kind")
            if kind == Kind.GAUGE.value:
                self._known(name, unit, meaning, Kind.GAUGE)
                values[name, ()] = _number(row.get("last"))
            elif kind == Kind.DISTRIBUTION.value:
                self._known(f"{name}.samples", "{sample}", meaning)
                self._known(f"{name}.total", unit, meaning)
                values[f"{name}.samples", ()] = _number(row.get("count"))
                values[f"{name}.total", ()] = _number(row.get("sum"))
            else:
                self._known(name, unit, meaning)
                values[name, ()] = _number(row.get("sum"))
        return values

    def _rows(self, path: str, key: str, **parameters: object) -> list[dict[str, Any]]:
        """The objects in the list that an answer has under this key. Raises BackendError."""
        query = urlencode({"since": self._since, **parameters})
        body = self._http.get(f"/api/v1/{path}?{query}", accept="application/json")
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise self._failed(f"{path}: not JSON") from error
        found = answer.get(key) if isinstance(answer, dict) else None
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise self._failed(f"{path}: no list of {key}: it is no collector of Nilometer's")
        return found

    def _failed(self, reason: str) -> BackendError:
        return unreadable(self.name, self.instance, reason)

    def close(self) -> None:
        """Hang up."""
        self._http.close()


def _number(value: object) -> Number:
    return value if isinstance(value, int | float) else 0
