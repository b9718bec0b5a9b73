"""The phases of a WSGI request, seen from its input, ``write`` and the steps of its body."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.http_words import CLOSED_EARLY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nilometer.integrations.exchange import WsgiExchange
    from nilometer.integrations.http_phases import Stopwatch


_NO_PART: Final = object()  # what no body has


class TimedInput:
    """``wsgi.input`` of a request that has a body: each reading is timed, as short ones told.

    `announced` is the body's length, 0 where that is not known.
    """

    __slots__ = ("_stream", "_watch", "_missing")

    def __init__(self, stream: Any, watch: Stopwatch, announced: int) -> None:
        self._stream = stream
        self._watch = watch
        self._missing = announced

    def _timed(self, call: Callable[..., Any], *args: Any) -> Any:
        watch = self._watch
        started = watch.now()
        try:
            return call(*args)
        except StopIteration:
            raise
        except BaseException as error:
            watch.receive_failed(error)
            raise
        finally:
            watch.received(started)

    def _came(self, size: int, is_all: bool) -> None:
        """So much has come. `is_all`: there was no more to be had of what was announced."""
        self._missing -= size
        if is_all and self._missing > 0:
            self._watch.receive_failed(CLOSED_EARLY)

    def read(self, *size: int) -> bytes:
        """As the server's."""
        data: bytes = self._timed(self._stream.read, *size)
        asked = size[0] if size and size[0] is not None else -1
        self._came(len(data), is_all=asked < 0 or len(data) < asked)
        return data

    def readline(self, *size: int) -> bytes:
        """As the server's."""
        line: bytes = self._timed(self._stream.readline, *size)
        self._came(len(line), is_all=not line and size[:1] != (0,))
        return line

    def readlines(self, *hint: int) -> list[bytes]:
        """As the server's."""
        lines: list[bytes] = self._timed(self._stream.readlines, *hint)
        self._came(sum(map(len, lines)), is_all=not hint)
        return lines

    def __iter__(self) -> Iterator[bytes]:
        parts = iter(self._stream)  # eventlet's input is no iterator itself
        while (part := self._timed(next, parts, None)) is not None:
            self._came(len(part), is_all=False)
            yield part
        self._came(0, is_all=True)

    def __next__(self) -> bytes:
        part: bytes = self._timed(next, self._stream)
        self._came(len(part), is_all=False)
        return part

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def timing_input(environ: dict[str, Any], watch: Stopwatch, announced: int) -> None:
    """Time the reading of a request's body, if it has one."""
    stream = environ.get("wsgi.input")
    if stream is not None and (announced or "HTTP_TRANSFER_ENCODING" in environ):
        environ["wsgi.input"] = TimedInput(stream, watch, announced)


def timing_write(watch: Stopwatch, start_response: Callable[..., Any]) -> Callable[..., Any]:
    """``start_response``, whose ``write`` is timed: by it old applications send at once."""

    def start(*args: Any, **kwargs: Any) -> Any:
        write = start_response(*args, **kwargs)
        return None if write is None else timed_write(write)

    def timed_write(write: Callable[..., Any]) -> Callable[[bytes], Any]:
        def send(data: bytes) -> Any:
            started = watch.part()
            try:
                return write(data)
            except BaseException as error:
                watch.send_failed(error)
                raise
            finally:
                watch.sent(started)

        return send

    return start


class Sending:
    """The body of a response on its way: between two steps of it, its server sends.

    A server must close what it was given when it is done with it. If it does so without having
    asked for the rest, it has failed; why, is the exception that it is handling then.
    """

    __slots__ = (
        *("_body", "_watch", "_exchange", "_given", "_began", "_is_exhausted", "_before"),
        "_parts",
    )

    def __init__(self, body: Any, watch: Stopwatch, exchange: WsgiExchange) -> None:
        self._body = self._parts = body
        self._watch = watch
        self._exchange = exchange
        self._given: int | None = None
        self._began = self._is_exhausted = False
        self._before = sys.exception()

    def __iter__(self) -> Sending:
        if self._is_exhausted:  # read before, to learn its length
            self._is_exhausted = False
            self._given = None
            self._watch.starts_over()
        self._parts = iter(self._body)
        self._began = True
        return self

    def __next__(self) -> bytes:
        self._took()
        try:
            part: bytes = next(self._parts)
        except StopIteration:
            self._is_exhausted = True
            self._given = self._watch.now()  # what it has put by it sends now
            raise
        except BaseException:
            self._is_exhausted = True  # there is no more, and that is not the server's fault
            raise
        self._began = True
        self._given = self._watch.part() if part else None
        return part

    def _took(self) -> None:
        if self._given is not None:
            self._watch.sent(self._given)
            self._given = None

    def close(self) -> None:
        """Close the body: the server is done with it."""
        self._took()
        error = sys.exception()
        exchange = self._exchange
        if error is not None and error is not self._before and exchange.error is None:
            self._watch.send_failed(error)
        elif self._began and not self._is_exhausted and exchange.method != "HEAD":
            self._watch.send_failed(CLOSED_EARLY)
        try:
            self._body.close()
        finally:
            self._watch.tell(exchange)

    def __del__(self) -> None:
        self._watch.tell(self._exchange)


class SizedSending(Sending):
    """What knows how many parts it has: it can be read within a reading, to add them up."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._body)

    def __iter__(self) -> Any:
        if self._given is not None and not self._is_exhausted:
            # It has a part to send, and more: who reads now only looks.
            return iter(self._body)
        return iter(super().__iter__().__next__, _NO_PART)


def sending(body: Any, watch: Stopwatch, exchange: WsgiExchange) -> Sending:
    """The body, watched; of as many parts, if it says how many it has."""
    return (SizedSending if hasattr(body, "__len__") else Sending)(body, watch, exchange)
