"""Where we are: the one context variable, and the request that is joined but not recorded.

Threads, asyncio tasks and greenlets each have their own value of a context variable, so each
sees its own span. `CURRENT` holds a span of either twin, a `Joined`, or None: not traced.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.model import Status

CURRENT: Final[ContextVar[Any]] = ContextVar("nilometer.current", default=None)


def is_left_over(current: Any) -> bool:
    """Whether this belongs to a request that was answered already.

    Servers start a request inside of the context of the one before it: uvicorn does so with
    every request that was pipelined. Whoever serves the next one is not in that trace.
    """
    return current is not None and getattr(current, "trace", current).served is True


def current_trace_id() -> str | None:
    """The id of the request we are in, 32 hexadecimal digits; None outside any."""
    current = CURRENT.get()
    return None if current is None or current.over else current.trace_id


class Untraced:
    """What `span` answers outside a traced request: one shared object that does nothing."""

    __slots__ = ()

    recording: Final = False
    over: Final = False

    @property
    def trace_id(self) -> str:
        """Empty: there is none."""
        return ""

    @property
    def span_id(self) -> str:
        """Empty: there is none."""
        return ""

    def __enter__(self) -> Self:
        return self

    start = __enter__

    def __exit__(self, *left_by: object) -> None:
        pass

    def finish(self, error: BaseException | None = None) -> None:
        """Nothing is recorded."""

    def set_attribute(self, key: str, value: object, /) -> None:
        """Nothing is recorded."""

    def set_attributes(self, attributes: Mapping[str, object], /) -> None:
        """Nothing is recorded."""

    def add_event(self, name: str, /, **attributes: object) -> None:
        """Nothing is recorded."""

    def record_exception(self, error: BaseException, /) -> None:
        """Nothing is recorded."""

    def set_status(self, status: Status, message: str = "") -> None:
        """Nothing is recorded."""


class Joined(Untraced):
    """Ids that somebody sent without the right to be traced: logs correlate, nothing is kept.

    Has the manners of a span, so that middleware need not ask which it holds. `trace_bytes` is
    16 bytes; `onward` are the headers to pass on, as they came; `served` says that it ended.
    """

    __slots__ = ("trace_bytes", "span_bytes", "onward", "served", "_previous")

    def __init__(
        self, trace_bytes: bytes, span_bytes: bytes, onward: Mapping[str, str] | None = None
    ) -> None:
        self.trace_bytes = trace_bytes
        self.span_bytes = span_bytes
        self.onward = dict(onward or {})
        self.served = False
        self._previous: Any = None

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.trace_bytes.hex()

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits: the sender's span, for we have none."""
        return self.span_bytes.hex()

    def start(self) -> Self:
        """Become what `current_trace_id` tells."""
        self._previous = CURRENT.get()
        CURRENT.set(self)
        return self

    def finish(self, error: BaseException | None = None) -> None:  # noqa: ARG002
        """Step back to what was current before; does nothing in another context."""
        if CURRENT.get() is self:
            CURRENT.set(self._previous)
        self.served = True
        self._previous = None

    __enter__ = start

    def __exit__(self, *left_by: object) -> None:
        self.finish()
