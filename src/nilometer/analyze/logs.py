"""Files that people keep, as batches: METRIC lines, batches and OTLP as JSON, OSProfiler's.

What a file is, its beginning tells; `.gz` or not, whatever it is called. Of a log, each line is
read where a metric line begins in it, so a prefix of time and level does no harm. A line that
begins one and does not end it was torn, and is counted; so is what is no such line at all. A
document that cannot be read, and a file of which nothing is known, is an error.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from typing import IO, TYPE_CHECKING, Any, Final, cast

from nilometer.errors import ConfigError, StoreError, WireError
from nilometer.model import Batch
from nilometer.wire import jsonlines, logline
from nilometer.wire.osprofiler_points import point_of, spans_of_points

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Add = Callable[[Batch, bytes], None]

LINE_BYTES_MAX: Final = 64 << 20
"""What is longer than any line of ours, and than a document of OTLP may be, is torn."""

DOCUMENT_BYTES_MAX: Final = 256 << 20  # a report of 100,000 points and their infos
PIECE_BYTES: Final = 16 << 20
"""A document of OTLP is read at once up to so much; a larger one by its resources."""

TOLD_EVERY: Final = 1000  # lines: 20 ms

TORN: Final = "torn"
OTHER: Final = "other"
REFUSED: Final = "refused"

_BEGINS: Final = re.compile(
    r"(?:^|(?<=[\s:\])>|-]))(?:counter|gauge|distribution|span|event) (?=\S)"
)
_IS_OURS: Final = re.compile(r'[a-z]+ (?:"(?:[^"\\]|\\.)*"|[!#-<>-\[\]-{}~]+) [a-z_]+=')
_POINT: Final = "meta.raw_payload."
_OTLP: Final = {
    "resourceSpans": "traces",
    "resource_spans": "traces",
    "resourceMetrics": "metrics",
    "resource_metrics": "metrics",
    "resourceLogs": "logs",
    "resource_logs": "logs",
}


def read_file(path: Path, add: Add, skipped: Counter[str], tell: Callable[[str], None]) -> None:
    """Hand every batch of a file to `add`, with the bytes that told it; count the rest.

    Raises ConfigError for a file that is none of these, StoreError for one that is damaged.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            size = path.stat().st_size or 1

            def progress() -> None:
                tell(f"reading {path}: {100 * raw.tell() // size} %")

            file = cast("IO[bytes]", gzip.GzipFile(fileobj=raw) if packed else raw)
            _read(path, file, add, skipped, progress)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        skipped[TORN] += 1  # its end was cut off; what came before it counts
    except OSError as error:
        message = f"--over: {path} cannot be read: {error.strerror or error}"
        raise ConfigError(message, slug="bad-source") from error


def _read(
    path: Path,
    file: IO[bytes],
    add: Add,
    skipped: Counter[str],
    progress: Callable[[], None],
) -> None:
    first = file.readline(LINE_BYTES_MAX)
    if b"\0" in first[:4096]:
        _foreign(path, "it is no text")
    if first.lstrip()[:1] not in (b"{", b"["):
        for line in _lines(first, file, progress):
            _read_line(line, add, skipped)
        return
    if _document(first) is None:  # it goes on in the next line
        content = first + file.read(DOCUMENT_BYTES_MAX + 1)
        if len(content) > DOCUMENT_BYTES_MAX:
            _foreign(path, f"one document of more than {DOCUMENT_BYTES_MAX >> 20} MiB")
        document = _document(content)
        if document is None:
            raise StoreError(
                f"{path} begins as JSON and is none, or is cut; nothing was answered",
                slug="store-unreadable",
            )
        if not _read_document(document, content, add, skipped):
            _foreign(path, "JSON that nobody here writes")
        return
    known = False
    for line in _lines(first, file, progress):
        document = _document(line)
        if document is None:
            skipped[TORN] += bool(line.strip())
        elif _read_document(document, line, add, skipped):
            known = True
        else:
            skipped[OTHER] += 1
    if not known:
        _foreign(path, "JSON that nobody here writes")


def _foreign(path: Path, because: str) -> None:
    raise ConfigError(
        f"--over: {path} is nothing that can be asked: {because}; name a store of tables, logs "
        "with METRIC lines, OTLP as JSON, or reports of OSProfiler",
        slug="bad-source",
    )


def _lines(first: bytes, file: IO[bytes], progress: Callable[[], None]) -> Iterator[bytes]:
    number, line = 0, first
    while line:
        yield line
        number += 1
        if number % TOLD_EVERY == 0:
            progress()
        line = file.readline(LINE_BYTES_MAX)


def _read_line(line: bytes, add: Add, skipped: Counter[str]) -> None:
    text = line.decode("utf-8", "replace").rstrip("\r\n")
    torn = False
    for begins in _BEGINS.finditer(text):
        told = text[begins.start() :]
        try:
            batch = logline.decode(told)
        except WireError:
            torn = torn or _IS_OURS.match(told) is not None
            continue
        skipped[TORN] += torn  # another line begins where this one was torn
        add(batch, told.encode())
        return
    skipped[TORN if torn else OTHER] += bool(text.strip())


def _document(text: bytes) -> Any:
    """The JSON document that this is, or None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _read_document(document: Any, told: bytes, add: Add, skipped: Counter[str]) -> bool:
    """Whether it is one of ours, of OTLP's or of OSProfiler's; then it is added."""
    if not isinstance(document, dict):
        return False
    try:
        if "nilometer" in document:
            add(jsonlines.decode(told), told)
        elif signals := [key for key in _OTLP if key in document]:
            for key in signals:
                _read_otlp(document, key, told, add, skipped)
        elif "children" in document and "info" in document:
            _read_report(document, add, skipped)
        else:
            return False
    except WireError:
        skipped[REFUSED] += 1
    return True


def _read_otlp(document: Any, key: str, told: bytes, add: Add, skipped: Counter[str]) -> None:
    from nilometer.wire import otlp_in  # its messages take 30 ms to import

    decode = getattr(otlp_in, f"decode_{_OTLP[key]}")
    pieces = [told]
    if len(told) > PIECE_BYTES and isinstance(document[key], list):
        pieces = [json.dumps({key: [each]}).encode() for each in document[key]]
    for piece in pieces:
        decoded = decode(piece, json=True)
        for number, batch in enumerate(decoded.batches):
            add(batch, b"%d %b %b" % (number, key.encode(), piece))
        skipped[REFUSED] += sum(decoded.rejected.values())


def _read_report(report: Any, add: Add, skipped: Counter[str]) -> None:
    """The spans of OSProfiler's report, out of the points that its nodes hold."""
    points = []
    waiting = [report]
    while waiting:
        node = waiting.pop()
        try:
            waiting.extend(node["children"])
            told = [value for key, value in node["info"].items() if key.startswith(_POINT)]
        except (KeyError, TypeError, AttributeError):
            skipped[REFUSED] += 1
            continue
        for payload in told:
            try:
                points.append(point_of(payload))
            except (WireError, RecursionError):
                skipped[REFUSED] += payload is not None
    for resource, span in spans_of_points(points):
        add(Batch(resource, spans=(span,)), span.trace_id + span.span_id)
