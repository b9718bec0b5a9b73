"""What the commands that read backends have in common: which ones, and earlier documents.

It loads neither click nor rich: reading four backends should take no longer than it must.
"""

from __future__ import annotations

import json
import os
import sys
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nilometer.cli.memory import KIB, peak_kib
from nilometer.clock import Clock
from nilometer.counters.backend import Surroundings
from nilometer.counters.choice import chosen
from nilometer.counters.document import Document, DocumentError, difference, document, parse
from nilometer.counters.gather import Gatherer, Unread
from nilometer.setting_sources import load_for_commands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.counters.backend import Backend
    from nilometer.counters.snapshot import Snapshot

LAG_S_MAX: Final = 11.0
"""What lags longer is not waited for: a file that telegraf may write again, or not."""

DOCUMENT_BYTES_MAX: Final = 64 << 20  # a hundred thousand counters with parts are 20 MB


def backends(named: Sequence[str], without: Sequence[str] = ()) -> list[Backend]:
    """The backends of the flags, else those of the settings, else all that are found here.

    Raises ConfigError.
    """
    given = [(text, f"--backend {text.partition('://')[0]}") for text in named]
    if not given:
        settings = load_for_commands()
        given = [(text, settings.origin("backends")) for text in settings.backends]
    surroundings = Surroundings(os.environ, Path.home())
    return chosen(given, surroundings, without=without)


def collected(
    chosen_ones: Sequence[Backend], *, prefix: str = "", since: Document | None = None
) -> Document:
    """One read of these backends as a document; how far they moved `since` an earlier one.

    Then figures that lag, as RabbitMQ's do by seconds, are waited for. A backend whose place
    was only `guessed`, and which is not there, is ``passed_over``.
    """
    clock = Clock()
    began_ns = clock.elapsed_ns()
    gatherer = Gatherer(chosen_ones, clock)
    try:
        read = gatherer.gather() if since is None else _settled(gatherer, clock)
        passed = [
            one
            for backend, one in zip(chosen_ones, read, strict=True)
            if isinstance(one, Unread) and getattr(backend, "guessed", False)
        ]
        kept = [one for one in read if one not in passed]
        found = document(kept, wall_ns=clock.wall_ns(), prefix=prefix)
        told: dict[str, Any] = {"cost": _cost(clock.elapsed_ns() - began_ns)}
        if passed:
            told["passed_over"] = {one.backend: one.because for one in passed}
        found = found._replace(told={**found.told, **told})
    finally:
        for because in gatherer.close():
            print(f"nilometer: {because}", file=sys.stderr)
    return found if since is None else difference(since, found)


def _settled(gatherer: Gatherer, clock: Clock) -> list[Snapshot | Unread]:
    """One read in which all is that was before it; tells people what it waits for."""
    from nilometer.counters.bracket import Bracket  # whoever compares nothing waits for nothing

    told: list[str] = []

    def tell(_what: str, _seconds: float) -> None:
        if not told and sys.stderr.isatty():
            told.append("nilometer: waiting for figures that lag")
            print(told[0], file=sys.stderr)

    return Bracket(gatherer, clock, idle_s=0.0, told=tell).settled(LAG_S_MAX)


def _cost(wall_ns: int) -> dict[str, float]:
    """What reading took of this machine: the time of the reads, and of the whole process so far
    its CPU time and the most memory that it held."""
    from resource import RUSAGE_SELF, getrusage

    usage = getrusage(RUSAGE_SELF)
    return {
        "read_ms": round(wall_ns / 1e6, 3),
        "cpu_ms": round((usage.ru_utime + usage.ru_stime) * 1e3, 3),
        "max_rss_bytes": peak_kib() * KIB,
    }


def read_document(file: str, *, origin: str) -> Document:
    """A document from a file, or from standard input if it is ``-``. Raises DocumentError."""
    value, _ = read_json(file, origin=origin)
    return parse(value, origin=f"{origin} {file}")


def read_earlier(file: str) -> Document:
    """The document that ``--delta`` names. Raises DocumentError, also if it is no snapshot."""
    found = read_document(file, origin="--delta")
    if found.is_move:
        raise DocumentError(
            f"--delta {file}: it says how far counters moved, as it was collected with --delta "
            "itself; give the document of the moment from which to count"
        )
    return found


def read_json(file: str, *, origin: str) -> tuple[Any, bytes]:
    """What a file says in JSON, or standard input, and its bytes. Raises DocumentError."""
    try:
        if file == "-":
            text = sys.stdin.buffer.read(DOCUMENT_BYTES_MAX + 1)
        else:
            with Path(file).open("rb") as stream:
                text = stream.read(DOCUMENT_BYTES_MAX + 1)
    except OSError as error:
        raise DocumentError(f"{origin} {file}: {error.strerror or error}") from None
    if len(text) > DOCUMENT_BYTES_MAX:
        raise DocumentError(f"{origin} {file}: larger than {DOCUMENT_BYTES_MAX >> 20} MiB")
    try:
        return loads(text), text
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested without end
        raise DocumentError(f"{origin} {file}: not JSON: {error}") from None


def loads(text: bytes) -> Any:
    """The value of a JSON text, with nothing where Python would read what JSON cannot say:
    NaN, infinity, and numbers that are too large. Raises ValueError, RecursionError."""
    return json.loads(text, parse_constant=lambda _: None, parse_float=_finite)


def _finite(text: str) -> float | None:
    value = float(text)
    return value if isfinite(value) else None
