"""Bytes that redis-py sends and receives, counted while the level asks for it, and only then.

The functions that write and read are replaced when `db.client.sent.bytes` goes on and put back
when it goes off, so that at other levels a command costs nothing more.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.patches import Patches
from nilometer.measure.decorate import kind_of
from nilometer.model import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry


def _buffered(buffer: Any, since: int = 0) -> int:
    """Bytes in the buffer of the parser in Python."""
    size: int = buffer._buffer.getbuffer().nbytes
    return size - since


def _pieces(parser: Any, since: int | None = None) -> int:
    """asyncio's parser in Python keeps all pieces of an answer until it is complete."""
    pieces = parser._chunks
    return len(pieces) if since is None else sum(map(len, pieces[since:]))


def _unread(parser: Any, since: int = 0) -> int:
    """Bytes in the buffer of hiredis."""
    size: int = parser._reader.len()
    return size - since


READS: Final[tuple[tuple[str, str, str, Callable[..., int]], ...]] = (
    ("redis._parsers.socket", "SocketBuffer", "_read_from_socket", _buffered),
    ("redis._parsers.base", "_AsyncRESPBase", "_read", _pieces),
    ("redis._parsers.base", "_AsyncRESPBase", "_readline", _pieces),
    ("redis._parsers.hiredis", "_HiredisParser", "read_from_socket", _unread),
    ("redis._parsers.hiredis", "_AsyncHiredisParser", "read_from_socket", _unread),
)
"""What reads from a socket: its module, class and method; and what says where it is before it
reads and, given that, how many bytes it read."""


class Bytes:
    """The two counters, and the patches while they are on."""

    __slots__ = ("_registry", "_sent", "_received", "_patches")

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        sent = registry.counter(
            "db.client.sent.bytes",
            unit="By",
            level=Level.DETAIL,
            description="Sent to databases, before encryption.",
        )
        received = registry.counter(
            "db.client.received.bytes",
            unit="By",
            level=Level.DETAIL,
            description="Received from databases, after decryption.",
        )
        self._sent, self._received = (
            one.bind(**{"db.system.name": "redis"}) for one in (sent, received)
        )
        self._patches = Patches()
        registry.followers.append(self.follow)
        self.follow()

    def follow(self) -> None:
        """Take over what the levels say now."""
        wanted = self._sent.on or self._received.on
        if wanted and not self._patches.active:
            self._begin()
        elif not wanted:
            self._patches.undo()

    def end(self) -> None:
        """Put everything back, and follow no more."""
        self._patches.undo()
        if self.follow in self._registry.followers:
            self._registry.followers.remove(self.follow)

    def _begin(self) -> None:
        from redis.asyncio.connection import AbstractConnection as AsyncConnection
        from redis.connection import AbstractConnection

        for owner in (AbstractConnection, AsyncConnection):
            self._patches.swap(owner, "send_packed_command", self._sending)
        for module, owner_name, method, grown in READS:
            try:
                found = getattr(import_module(module), owner_name)
                self._patches.swap(found, method, partial(self._reading, grown))
            except (ImportError, AttributeError):  # another version reads otherwise
                self._registry.lost("integration", "redis_bytes_received")

    def _sending(self, original: Callable[..., Any]) -> Callable[..., Any]:
        add = self._sent.add

        def send(connection: Any, command: Any, *args: Any, **options: Any) -> Any:
            """Serves the coroutine function as well, whose coroutine it passes on."""
            if isinstance(command, (bytes, str)):
                add(len(command))
            elif isinstance(command, (list, tuple)):
                add(sum(map(len, command)))
            return original(connection, command, *args, **options)

        return send

    def _reading(
        self, grown: Callable[..., int], original: Callable[..., Any]
    ) -> Callable[..., Any]:
        def count(reader: Any, before: int) -> None:
            with suppress(AttributeError):  # its connection broke, and took its buffer along
                self._received.add(max(0, grown(reader, before)))

        def before_of(reader: Any) -> int:
            with suppress(AttributeError):
                return grown(reader)
            return 0

        def read(reader: Any, *args: Any, **options: Any) -> Any:
            before = before_of(reader)
            try:
                return original(reader, *args, **options)
            finally:
                count(reader, before)

        async def read_async(reader: Any, *args: Any, **options: Any) -> Any:
            before = before_of(reader)
            try:
                return await original(reader, *args, **options)
            finally:
                count(reader, before)

        return read_async if kind_of(original) == "coroutine" else read
