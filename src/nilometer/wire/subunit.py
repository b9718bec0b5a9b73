"""A file as an attachment in a stream of subunit (version 2), and out of it again.

An attachment of no test is lost when stestr keeps a stream, since it keeps version 1; so ours
belongs to a pseudo test, ``perf.counters``, that begins, has the file and succeeds. Needs
python-subunit, which is in the extra ``nilometer[subunit]``.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

TEST_ID: Final = "perf.counters"
FILE_NAME: Final = "counters.json"
CHUNK_BYTES: Final = 1 << 20
"""A packet holds 4,194,303 bytes with its head; a quarter of that leaves room for any name."""

ATTACHMENT_BYTES_MAX: Final = 64 << 20  # as of a document of counters from a file
PARSER: Final = "subunit.parser"  # under this name python-subunit tells what it could not read


class Attachment(NamedTuple):
    """One file of a stream, whole, and the test it belongs to, if any."""

    test_id: str
    file_name: str
    content: bytes


class Stream(NamedTuple):
    """What a stream held: attachments as they ended, and why there may be more."""

    attachments: tuple[Attachment, ...]
    because: str


def attached(content: bytes, *, wall_ns: int, file_name: str = FILE_NAME) -> bytes:
    """A stream with one pseudo test that has the file."""
    from subunit.v2 import StreamResultToBytes

    at = datetime.fromtimestamp(wall_ns / 1e9, UTC)
    told = io.BytesIO()
    stream = StreamResultToBytes(told)
    stream.startTestRun()
    stream.status(test_id=TEST_ID, test_status="inprogress", timestamp=at)
    for begin in range(0, max(1, len(content)), CHUNK_BYTES):
        stream.status(
            test_id=TEST_ID,
            file_name=file_name,
            file_bytes=content[begin : begin + CHUNK_BYTES],
            mime_type="application/json",
            eof=begin + CHUNK_BYTES >= len(content),
            timestamp=at,
        )
    stream.status(test_id=TEST_ID, test_status="success", timestamp=at)
    stream.stopTestRun()
    return told.getvalue()


def attachments(stream: bytes, *, file_name: str = FILE_NAME) -> Stream:
    """The files of that name in a stream of version 2; a damaged stream gives what it has."""
    from subunit.v2 import ByteStreamToStreamResult

    reader = Reader(file_name)
    try:
        ByteStreamToStreamResult(io.BytesIO(stream), non_subunit_name="stdout").run(reader)
    except Exception as error:  # noqa: BLE001 - of a hostile stream its parser may raise anything
        reader.because = reader.because or f"{type(error).__name__}: {error}"
    return Stream(tuple(reader.whole()), reader.because)


class Reader:
    """Gathers the chunks of the files of one name, of whatever test or of none.

    It is the part of a testtools.StreamResult that parsers call. `because` says why there may
    be more than was gathered.
    """

    def __init__(self, file_name: str = FILE_NAME) -> None:
        self.because = ""
        self._file_name = file_name
        self._open: dict[tuple[str, str], io.BytesIO] = {}
        self._ended: list[Attachment] = []

    def startTestRun(self) -> None:  # noqa: N802 - testtools' name
        """The stream begins."""

    def stopTestRun(self) -> None:  # noqa: N802 - testtools' name
        """The stream is over."""

    def status(
        self,
        test_id: str | None = None,
        file_name: str | None = None,
        file_bytes: Any = None,
        eof: bool = False,
        route_code: str | None = None,
        **_: object,
    ) -> None:
        """One packet."""
        if test_id == PARSER:
            if file_name == "Parser Error":
                self.because = bytes(file_bytes or b"").decode(errors="replace")
            return
        if file_name != self._file_name or file_bytes is None:
            return
        key = test_id or "", route_code or ""
        gathered = self._open.setdefault(key, io.BytesIO())
        gathered.write(file_bytes)
        if gathered.tell() > ATTACHMENT_BYTES_MAX:
            self.because = f"{file_name} is larger than {ATTACHMENT_BYTES_MAX >> 20} MiB"
            del self._open[key]
        elif eof:
            self._ended.append(Attachment(key[0], file_name, gathered.getvalue()))
            del self._open[key]

    def whole(self) -> Iterator[Attachment]:
        """The files that ended, then those whose end was never said, as in older streams."""
        yield from self._ended
        for (test_id, _), gathered in self._open.items():
            yield Attachment(test_id, self._file_name, gathered.getvalue())
