"""Reads one request's body within bounds: its size, what it unpacks to, and its time."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING, Final, Self

from nilometer.errors import NilometerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

BODY_BYTES_MAX: Final = (
    16 << 20
)  # OTLP exporters send 512 spans, some 256 kB; this is 64 times that
# Bodies being read, decoded or waiting for their commit. An ordinary body's rows take some ten
# times its bytes, those of a hostile one sixty times: the rows that may wait are bounded in
# `group`, and one large body is decoded at a time.
IN_FLIGHT_BYTES_MAX: Final = 96 << 20
BODY_S_MAX: Final = (
    30.0  # 16 MiB in 30 s is 4.5 Mbit/s; slower senders should send less at a time
)
# Each member costs some 2 us to begin: a body of nothing but empty ones would keep us busy.
GZIP_MEMBERS_MAX: Final = 1000
RETRY_AFTER_S: Final = 1  # the next commit is at most a window away


class Refused(NilometerError):  # noqa: N818 - it is what happened to a request, not a fault of ours
    """A request that is not taken: HTTP status, the word it is counted by, and what to do."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message, slug=f"wire-{reason}")
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def may_retry(self) -> bool:
        """Whether the same request can succeed later."""
        return self.status == 503


class Room:
    """Bounds the bytes that all requests together may hold."""

    def __init__(self, bytes_max: int = IN_FLIGHT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self.bytes_taken = 0

    def take(self, size: int) -> None:
        """Raise Refused (503) where there is no room for so many more bytes."""
        if self.bytes_taken + size > self._bytes_max:
            raise Refused(503, "overloaded", "the collector is busy; send it again later")
        self.bytes_taken += size

    def give_back(self, size: int) -> None:
        """So many bytes are held no more."""
        self.bytes_taken -= size


class Hold:
    """What one request holds of the room; a context manager that gives all of it back."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._room.give_back(self._bytes)

    def take(self, size: int) -> None:
        """Raise Refused where the room is full."""
        self._room.take(size)
        self._bytes += size


async def read_body(
    headers: Mapping[str, str],
    stream: AsyncIterator[bytes],
    hold: Hold,
    *,
    bytes_max: int = BODY_BYTES_MAX,
    seconds_max: float = BODY_S_MAX,
) -> bytes:
    """The unpacked body, or Refused: 408 too slow, 413 too large, 415 packed in another way.

    Nothing beyond `bytes_max` is ever held, whatever Content-Length says or gzip unpacks to.
    """
    unpack = _unpacker(headers.get("content-encoding", ""), bytes_max)
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > bytes_max:
        raise _too_large(bytes_max)
    parts: list[bytes] = []
    size = size_packed = 0
    try:
        async with asyncio.timeout(seconds_max):
            async for chunk in stream:
                size_packed += len(chunk)
                part = unpack.feed(chunk, bytes_max - size)
                size += len(part)
                if max(size, size_packed) > bytes_max:
                    raise _too_large(bytes_max)
                hold.take(len(part))
                parts.append(part)
    except TimeoutError:
        raise Refused(
            408, "slow-body", f"the body took longer than {seconds_max:g} s"
        ) from None
    unpack.finish()
    return b"".join(parts)


def _too_large(bytes_max: int) -> Refused:
    return Refused(
        413, "too-large", f"the body is larger than {bytes_max} bytes; send smaller batches"
    )


# zlib's numbers for the two formats: 15 bits of window, and 16 for gzip's header.
_WBITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def _unpacker(encoding: str, bytes_max: int) -> _Plain | _Packed:
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return _Plain()
    if encoding not in _WBITS:
        raise Refused(415, "content-encoding", "Content-Encoding must be gzip, deflate or none")
    return _Packed(bytes_max, _WBITS[encoding])


class _Plain:
    def feed(self, chunk: bytes, _room: int) -> bytes:
        return chunk

    def finish(self) -> None:
        """There is nothing that could be missing."""


class _Packed:
    """Unpacks gzip or deflate, member after member, never more than it is allowed."""

    def __init__(self, bytes_max: int, wbits: int) -> None:
        self._bytes_max = bytes_max
        self._wbits = wbits
        self._member = zlib.decompressobj(wbits)
        self._members = 0

    def feed(self, chunk: bytes, room: int) -> bytes:
        unpacked: list[bytes] = []
        while chunk:
            if self._member.eof or not self._members:
                self._member = zlib.decompressobj(self._wbits)
                self._members += 1
            if self._members > GZIP_MEMBERS_MAX:
                raise Refused(400, "bad-compression", "the body has too many gzip members")
            try:
                # One byte more than there is room for shows a bomb; 0 would mean no limit.
                part = self._member.decompress(chunk, room + 1)
            except zlib.error:
                raise Refused(
                    400, "bad-compression", "the body is not what Content-Encoding says"
                ) from None
            room -= len(part)
            if room < 0:
                raise _too_large(self._bytes_max)
            unpacked.append(part)
            chunk = (
                self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            )
        return b"".join(unpacked)

    def finish(self) -> None:
        """Raise Refused where the last member was cut off."""
        if not self._member.eof:
            raise Refused(400, "bad-compression", "the packed body was cut off")
