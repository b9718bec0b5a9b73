"""A connection that ends only when whoever was answered has had time to read the answer.

A socket that is closed with something unread in it is reset, and the reset overtakes the
answer: who is refused in the midst of a body, and asked for the connection to be closed after
it, would see it break and never learn why. HTTP/1.0 and Python's urllib always ask for that.
So the collector says that nothing follows, reads on for a while, and closes (RFC 9112, 9.6).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio

# A sender that was refused by its head still sends its body: 16 MiB at 4.5 Mbit/s.
REST_S_MAX: Final = 30.0
REST_BYTES_MAX: Final = 256 << 20  # sixteen of the largest bodies that are taken: 0.1 s of CPU

NO_REST: Final = "The rest of a request that was answered did not come in time."
ENDLESS_REST: Final = "The rest of a request that was answered is too large."

log = logging.getLogger("uvicorn.error")  # see http_log


class Lingering:
    """A transport whose `close` waits for the rest of a request that was answered already.

    Its protocol keeps `in_message` and hands over what it reads; what is neither of these, nor
    writing and closing, is the transport's own.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self.in_message = False  # whether more of a request is to come
        self.lingers = False  # it said that nothing follows, and reads on
        self.may_linger = True
        self._timer: asyncio.TimerHandle | None = None
        self._bytes_left = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send that; nothing any more after `close`."""
        if not self.lingers:
            self._transport.write(data)

    def is_closing(self) -> bool:
        """Whether nothing more will be answered."""
        return self.lingers or self._transport.is_closing()

    def close(self) -> None:
        """Send what was written, and that nothing follows; a second time: be gone."""
        if not self.in_message or not self.may_linger or self.is_closing():
            self._transport.close()
            return
        self.lingers = True
        self.await_rest()
        try:
            self._transport.write_eof()
        except OSError:  # the sender is gone
            self._transport.abort()
            return
        if not self._transport.is_reading():
            self._transport.resume_reading()

    @property
    def owes_rest(self) -> bool:
        """Whether it was answered, refused mostly, and its body is still to come."""
        return self._timer is not None

    def await_rest(self) -> None:
        """The answer is given: what is to come of the request has its time and its size."""
        if self._timer is None:
            self._bytes_left = REST_BYTES_MAX
            self._timer = self._loop.call_later(REST_S_MAX, self.hang_up, NO_REST)

    def count_rest(self, size: int) -> None:
        """So many bytes came."""
        self._bytes_left -= size
        if self.owes_rest and self._bytes_left < 0:
            self.hang_up(ENDLESS_REST)

    def end_rest(self) -> None:
        """Nothing is to come any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def hang_up(self, why: str) -> None:
        """Break the connection where there is nobody to answer."""
        log.warning(why)
        self._transport.abort()
