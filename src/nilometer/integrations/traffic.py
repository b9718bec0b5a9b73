"""Bytes that clients of data stores send and receive, counted while the level asks for it.

What writes and reads is replaced when one of the counters goes on, and put back when both are
off, so that at other levels a command costs nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.switched import Switched
from nilometer.measure.decorate import kind_of
from nilometer.model import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

    Measured = Callable[[Callable[..., Any]], Callable[..., Any]]


class Traffic:
    """The two counters of one integration, and its patches while they are on.

    ``begin(traffic)`` replaces, by `patches`, what writes and reads.
    """

    __slots__ = ("patches", "_registry", "_switched", "_sent", "_received")

    def __init__(
        self,
        integration: str,
        system: str,
        begin: Callable[[Traffic], None],
        registry: Registry,
    ) -> None:
        self._registry = registry
        self._switched = Switched(
            integration,
            "what it sends",
            lambda: self._sent.on or self._received.on,
            lambda _: begin(self),
            registry,
        )
        self.patches = self._switched.patches
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
            one.bind(**{"db.system.name": system}) for one in (sent, received)
        )
        self._switched.begin()

    def end(self) -> None:
        """Put everything back, and follow no more."""
        self._switched.end()

    def sent(self, count: int) -> None:
        """Count bytes that went out."""
        self._sent.add(count)

    def received(self, count: int) -> None:
        """Count bytes that came in."""
        self._received.add(count)

    def writing(self, size: Callable[[Any], int]) -> Measured:
        """To replace a method that is given what to send; ``size`` says how much that is.

        It serves coroutine functions as well, whose coroutine it passes on.
        """
        add = self._sent.add

        def measured(original: Callable[..., Any]) -> Callable[..., Any]:
            def send(owner: Any, data: Any, *args: Any, **options: Any) -> Any:
                add(size(data))
                return original(owner, data, *args, **options)

            return send

        return measured

    def reading(self, mark: Callable[[Any], Any], grown: Callable[..., int]) -> Measured:
        """To replace a method that reads.

        ``mark(owner)`` says where it is before, ``grown(owner, mark, result)`` how much it
        read; the result of one that raised is None.
        """

        def measured(original: Callable[..., Any]) -> Callable[..., Any]:
            def read(owner: Any, *args: Any, **options: Any) -> Any:
                before, result = self._mark(mark, owner), None
                try:
                    result = original(owner, *args, **options)
                finally:
                    self._count(grown, owner, before, result)
                return result

            async def read_async(owner: Any, *args: Any, **options: Any) -> Any:
                before, result = self._mark(mark, owner), None
                try:
                    result = await original(owner, *args, **options)
                finally:
                    self._count(grown, owner, before, result)
                return result

            return read_async if kind_of(original) == "coroutine" else read

        return measured

    def _mark(self, mark: Callable[[Any], Any], owner: Any) -> Any:
        try:
            return mark(owner)
        except AttributeError:  # it is not connected yet, or not any more
            return _NOWHERE

    def _count(self, grown: Callable[..., int], owner: Any, before: Any, result: Any) -> None:
        if before is _NOWHERE:
            return
        try:
            self._received.add(max(0, grown(owner, before, result)))
        except AttributeError:  # its connection broke, and took its buffer along
            self._registry.lost("bytes", "connection_broken")


_NOWHERE: Final = object()


def size_of(data: Any) -> int:
    """Bytes of what is sent: text or pieces; none of what would have to be read for that."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return len(data)
    if isinstance(data, str):
        return len(data.encode())
    return sum(map(size_of, data)) if isinstance(data, (list, tuple)) else 0
