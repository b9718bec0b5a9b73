"""Bounds a request's head in bytes and in time, as uvicorn's fast parser bounds neither.

Whoever may connect, with a token or without, could else fill the memory with one endless
header, or hold every connection there may be by never finishing a head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

HEAD_BYTES_MAX: Final = 64 << 10  # four times what nginx and gunicorn take
HEAD_S_MAX: Final = 15.0  # three retransmissions of a lost packet: 1, 2 and 4 s, twice that

TOO_LARGE: Final = "The request's head is too large."
TOO_SLOW: Final = "The request's head did not come in time."


class BoundedHead(HttpToolsProtocol):
    """uvicorn's protocol, which answers 400 and hangs up where a head exceeds its bounds."""

    _head_bytes = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A connection that then says nothing is one whose head is slow."""
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._end_head()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a request, on a new connection or one kept alive."""
        self._begin_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole; what follows is bounded by whoever reads it."""
        self._end_head()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then see how long the head has become that it still waits for."""
        super().data_received(data)
        if self._timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(TOO_LARGE)

    def _begin_head(self) -> None:
        self._end_head()
        self._head_bytes = 0
        self._timer = self.loop.call_later(HEAD_S_MAX, self._refuse, TOO_SLOW)

    def _end_head(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, why: str) -> None:
        self._end_head()
        if not self.transport.is_closing():
            self.logger.warning(why)
            self.send_400_response(why)
