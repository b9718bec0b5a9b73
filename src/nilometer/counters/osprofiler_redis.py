"""What OSProfiler's driver for Redis wrote: points in a list for each trace, or each by itself.

    osprofiler_opt:<base id>     a list, the newest point first
    osprofiler:<base id>...      one point, as versions before 1.15 wrote it
    osprofiler_error:<base id>   that a trace has an error; the trace itself says so, too

Nothing is changed there. Replies are read in pieces, so a trace may have any number of points.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from nilometer.counters.link import TLS_OPTIONS, Link, ReplyError, place, tls_context
from nilometer.counters.redis import PORT, SCHEMES, command
from nilometer.counters.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTS: Final = "osprofiler_opt:"
TEXTS: Final = "osprofiler:"
SCANNED: Final = 1000  # keys looked at by one SCAN: a millisecond of the server's
PIECE: Final = 500  # points of a list at once: some 250 kB
TEXT_BYTES_MAX: Final = 1 << 20  # of one point, as of a notification
LINE_BYTES_MAX: Final = 1024
ITEMS_MAX: Final = 100_000  # of one reply; SCAN may give more than it was asked for
DEPTH_MAX: Final = 2  # SCAN's reply is a list with a list in it


class Points:
    """The points in one Redis, ``redis://:password@host:port/db``; ConfigError, OSError."""

    def __init__(self, url: str, *, origin: str) -> None:
        target = Target.parse(url, origin=origin, schemes=SCHEMES)
        target = target.accepting((*TLS_OPTIONS, "socket"))
        self._link = Link(place(target, PORT), tls=tls_context(target))
        self._file = self._link.makefile()
        if target.password:
            who = (target.user,) if target.user else ()
            self._asked("AUTH", *who, target.password)
        database = target.path.strip("/")
        if database not in ("", "0"):
            self._asked("SELECT", database)

    def close(self) -> None:
        """Hang up."""
        self._link.close()

    def traces(self, base_id: str = "") -> Iterator[list[bytes]]:
        """The points of each trace, or of one, in pieces, oldest first. ReplyError, OSError."""
        wanted = _escaped(base_id) if base_id else "*"
        for key in self._keys(LISTS + wanted):
            with _of_its_kind():
                yield from self._list(key)
        for key in self._keys(f"{TEXTS}{wanted}{'*' if base_id else ''}"):
            with _of_its_kind():
                found = self._asked("GET", key)
                if isinstance(found, bytes):
                    yield [found]

    def _list(self, key: bytes) -> Iterator[list[bytes]]:
        """From its end, where the oldest are; what is added meanwhile comes at the other."""
        last = -1
        while True:
            found = self._asked("LRANGE", key, str(last - PIECE + 1), str(last))
            if not isinstance(found, list) or not found:
                return
            yield [one for one in reversed(found) if isinstance(one, bytes)]
            if len(found) < PIECE:
                return
            last -= PIECE

    def _keys(self, pattern: str) -> Iterator[bytes]:
        """Each key once, though SCAN may give it twice."""
        cursor, seen = b"0", set()
        while True:
            found = self._asked("SCAN", cursor, "MATCH", pattern, "COUNT", str(SCANNED))
            if not (isinstance(found, list) and len(found) == 2 and isinstance(found[1], list)):
                raise ReplyError("SCAN gave no cursor")
            for key in found[1]:
                if isinstance(key, bytes) and key not in seen:
                    seen.add(key)
                    yield key
            cursor = found[0]
            if cursor == b"0":
                return

    def _asked(self, *words: str | bytes) -> Any:
        self._link.begin()
        told = [word.decode("utf-8", "surrogateescape") if isinstance(word, bytes) else word
                for word in words]  # fmt: skip
        self._link.sendall(command(*told))
        try:
            return self._reply(0)
        except ReplyError as error:
            raise ReplyError(f"{told[0]}: {error}") from None

    def _reply(self, depth: int) -> Any:
        line = self._file.readline(LINE_BYTES_MAX)
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("it hung up in the midst of a reply")
        kind, text = line[:1], line[1:-2]
        if kind == b"-":
            raise ReplyError(text.decode(errors="replace"))
        if kind in b"+:":
            return text
        size = int(text) if text.lstrip(b"-").isdigit() else None
        if kind == b"$" and size is not None:
            return None if size < 0 else self._text(size)
        if kind == b"*" and size is not None and size <= ITEMS_MAX and depth < DEPTH_MAX:
            return [self._reply(depth + 1) for _ in range(size)]
        raise ReplyError(f"not a reply that was expected: {line[:60]!r}")

    def _text(self, size: int) -> bytes:
        """A text of that size; cut, and so no point any more, where it is too large for one."""
        body = self._read(min(size, TEXT_BYTES_MAX))
        for left in range(size - len(body), 0, -TEXT_BYTES_MAX):
            self._read(min(left, TEXT_BYTES_MAX))
        self._read(2)
        return body

    def _read(self, size: int) -> bytes:
        found = self._file.read(size)
        if len(found) < size:
            raise ConnectionResetError("it hung up in the midst of a reply")
        return found


@contextmanager
def _of_its_kind() -> Iterator[None]:
    """Go on where a key by the name of points holds something else: it is not OSProfiler's."""
    try:
        yield
    except ReplyError as error:
        if "WRONGTYPE" not in str(error):
            raise


def _escaped(text: str) -> str:
    """The text as a pattern that matches it alone."""
    return "".join(f"\\{each}" if each in "*?[]^\\" else each for each in text)
