"""Where redis-py writes to its sockets and reads from them, for `Traffic`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.traffic import size_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.traffic import Traffic


def _buffered(buffer: Any) -> int:
    """Bytes in the buffer of the parser in Python."""
    size: int = buffer._buffer.getbuffer().nbytes
    return size


def _pieces(parser: Any) -> int:
    """asyncio's parser in Python keeps all pieces of an answer until it is complete."""
    return len(parser._chunks)


def _unread(parser: Any) -> int:
    """Bytes in the buffer of hiredis."""
    size: int = parser._reader.len()
    return size


def _more(size: Callable[[Any], int]) -> Callable[[Any, int, object], int]:
    return lambda reader, before, _: size(reader) - before


def _new_pieces(parser: Any, before: int, _: object) -> int:
    return sum(map(len, parser._chunks[before:]))


_READS: Final[tuple[tuple[str, str, str, Callable[[Any], int], Callable[..., int]], ...]] = (
    ("socket", "SocketBuffer", "_read_from_socket", _buffered, _more(_buffered)),
    ("base", "_AsyncRESPBase", "_read", _pieces, _new_pieces),
    ("base", "_AsyncRESPBase", "_readline", _pieces, _new_pieces),
    ("hiredis", "_HiredisParser", "read_from_socket", _unread, _more(_unread)),
    ("hiredis", "_AsyncHiredisParser", "read_from_socket", _unread, _more(_unread)),
)
"""What reads from a socket: its module, class and method; and by what it is known how much."""


def begin(traffic: Traffic) -> None:
    """Replace what writes and reads, of both kinds of clients and of all parsers."""
    from redis.asyncio.connection import AbstractConnection as AsyncConnection
    from redis.connection import AbstractConnection

    for connection in (AbstractConnection, AsyncConnection):
        traffic.patches.swap(connection, "send_packed_command", traffic.writing(size_of))
    for module, owner, method, mark, grown in _READS:
        found = getattr(import_module(f"redis._parsers.{module}"), owner)
        traffic.patches.swap(found, method, traffic.reading(mark, grown))
