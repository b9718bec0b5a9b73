"""Bounds a request's head in bytes and in time, as uvicorn's fast parser bounds neither.

Whoever may connect, with a token or without, could else fill the memory with endless headers,
before the body or after it, or hold every connection there may be: by never finishing a head,
by never finishing the body of a request that was answered before its end, or by never reading
an answer. Where there are as many connections as are served, a new one takes the place of the
one that has asked nothing for the longest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from nilometer.collect.busy import busy
from nilometer.collect.lingering import Lingering

if TYPE_CHECKING:
    import asyncio

HEAD_BYTES_MAX: Final = 64 << 10  # four times what nginx and gunicorn take
HEAD_S_MAX: Final = 15.0  # three retransmissions of a lost packet: 1, 2 and 4 s, twice that
UNREAD_S_MAX: Final = 30.0  # 3 MB, the largest answer, in 30 s is 0.8 Mbit/s

TOO_LARGE: Final = "The request's head is too large."
TOO_SLOW: Final = "The request's head did not come in time."
UNREAD: Final = "The answer was not read in time."
MADE_ROOM: Final = "A connection that asked nothing made room for another."
TOO_MANY: Final = "Exceeded concurrency limit."  # as uvicorn says it


class BoundedHead(HttpToolsProtocol):
    """uvicorn's protocol, which answers 400 and hangs up where a head exceeds its bounds.

    Where a body or a reader exceeds its own there is nobody to answer: it just hangs up.
    """

    _head_bytes = 0  # since the request began, or since there was a piece of its body
    _line: Lingering  # the transport, too
    _had_body = False
    _idle_since = 0.0  # in the loop's time, the beginning of a head included
    _timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A connection that then says nothing is one whose head is slow."""
        self._line = line = Lingering(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", line))
        limit = self.limit_concurrency
        if limit is not None and len(self.connections) >= limit:
            self._make_room()
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._end_head()
        self._line.end_rest()
        self._end_unread()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a request, on a new connection or one kept alive."""
        self._line.in_message = True
        self._begin_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole; the body that follows is bounded by whoever reads it."""
        self._end_head()
        self._head_bytes = 0
        limit, app = self.limit_concurrency, self.app
        if limit is not None and max(len(self.connections), len(self.tasks)) >= limit:
            self.logger.warning(TOO_MANY)
            # uvicorn would say it in two bare words, to senders who read OTLP.
            self.limit_concurrency, self.app = None, busy
        super().on_headers_complete()
        self.limit_concurrency, self.app = limit, app

    def on_body(self, body: bytes) -> None:
        """What is neither body nor head is the frames of chunks, and trailers."""
        self._had_body = True
        super().on_body(body)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then see how much it has had to keep that is no body."""
        self._line.count_rest(len(data))
        if self.transport.is_closing():
            return
        self._had_body = False
        super().data_received(data)
        if self._had_body:
            self._head_bytes = 0
        elif self._timer is not None or self._line.in_message:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(TOO_LARGE)

    def on_message_complete(self) -> None:
        """The body is whole, wherever it went."""
        self._line.in_message = False
        self._line.end_rest()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """What is still to come of the request has its time, and so has the reader."""
        rest_is_coming = not self.pipeline and self.cycle.more_body
        self._idle_since = self.loop.time()
        super().on_response_complete()
        if self.transport.is_closing():
            self._begin_unread()
        elif rest_is_coming:
            self._line.await_rest()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing more is asked; what was answered may still be unread."""
        super().timeout_keep_alive_handler()
        self._begin_unread()

    def send_400_response(self, msg: str) -> None:
        """The last answer on this connection; whoever is slow is not waited for again."""
        self._line.in_message = msg != TOO_SLOW
        super().send_400_response(msg)
        self._end_head()
        self._begin_unread()
        if self.cycle is not None:  # nobody is to wait for what is not read any more
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def shutdown(self) -> None:
        """Whoever was answered is not waited for any more."""
        self._line.may_linger = False
        super().shutdown()

    def pause_writing(self) -> None:
        """More is unread than fits on the way."""
        super().pause_writing()
        self._begin_unread()

    def resume_writing(self) -> None:
        """It was read."""
        self._end_unread()
        super().resume_writing()

    @property
    def _is_idle(self) -> bool:
        """Whether nothing is asked: a head has not come whole, and all answers are read.

        Nor is anything where the answer was given before the body came: it is of no use.
        """
        line = self._line
        if line.get_write_buffer_size():
            return False
        return line.lingers or (
            (self._timer is not None or not line.in_message or line.owes_rest)
            and (self.cycle is None or self.cycle.response_complete)
            and not line.is_closing()
        )

    def _make_room(self) -> None:
        """Hang up where nothing was asked for the longest, if anywhere; who owes goes first.

        So there is one connection at most beyond those being answered, and it is told 503.
        """
        others = [each for each in self.connections if isinstance(each, BoundedHead)]
        idle = [each for each in others if each is not self and each._is_idle]
        if idle:
            longest = min(idle, key=lambda each: (not each._line.owes_rest, each._idle_since))
            longest._line.hang_up(MADE_ROOM)
            self.connections.discard(longest)  # the loop would say so only after this turn

    def _begin_unread(self) -> None:
        """A close waits until all was read, so it needs an end of its own."""
        if self._unread_timer is None and not self._line.lingers:
            hang_up = self._line.hang_up
            self._unread_timer = self.loop.call_later(UNREAD_S_MAX, hang_up, UNREAD)

    def _end_unread(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _begin_head(self) -> None:
        self._end_head()
        self._head_bytes = 0
        self._idle_since = self.loop.time()
        self._timer = self.loop.call_later(HEAD_S_MAX, self._refuse, TOO_SLOW)

    def _end_head(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, why: str) -> None:
        self._end_head()
        if self.transport.is_closing():
            return
        if self.cycle is not None and self._line.in_message and self.cycle.response_started:
            # Of two answers the second would be taken for the next one's.
            self._line.hang_up(why)
            return
        self.logger.warning(why)
        self.send_400_response(why)
