"""Spans: the specification. ``_core.c`` is the fast twin: same names, same order, same errors.

A span is made only inside a traced request (`CURRENT` holds a span); otherwise `span` answers
with one shared object that does nothing. What a span is given is kept as it is; text is made of
it when the ring is drained, in another thread; on the flight recorder of some where the span
ends (`held.py`). Three rules:

1. Nothing here raises into the application, except for wrong calls (a missing name).
2. Leaving a span in another context than it was entered in (generators do that) restores
   nothing there; a span that ended is never restored as the current one. Where one stays
   current all the same, it counts for nothing once its request is over, too.
3. A span belongs to the process that started it: a fork's child does not record it again.
"""

from __future__ import annotations

import os
from _random import Random
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Self

from nilometer.model.event import Event
from nilometer.model.span import SpanKind, SpanRecord, Status
from nilometer.trace.budget import Budget, Nonces
from nilometer.trace.current import CURRENT, Untraced, current_trace_id
from nilometer.trace.held import delete_name, set_name
from nilometer.trace.identified_pure import identified
from nilometer.trace.info_pure import osprofiler_ids
from nilometer.trace.limits import (
    ATTRIBUTES_MAX,
    EVENTS_MAX,
    attributes_of,
    described,
    message_of,
    name_of,
)
from nilometer.trace.onward_pure import headers
from nilometer.trace.request_pure import Trace
from nilometer.trace.ring_pure import RING, Ring
from nilometer.trace.signed_pure import signed_parts
from nilometer.trace.wrap_pure import StepsWrapper, function_wrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from nilometer.trace.current import Joined

__all__ = [
    "RING",
    "UNTRACED",
    "Budget",
    "Nonces",
    "Ring",
    "Span",
    "Trace",
    "Untraced",
    "current_span",
    "current_trace_id",
    "headers",
    "identified",
    "new_id",
    "osprofiler_ids",
    "reseed",
    "signed_parts",
    "span",
    "stand_in",
    "start_root",
    "wrapped",
]

_RANDOM: Final = Random()
_64_bits: Final = _RANDOM.getrandbits
_INTERNAL: Final = SpanKind.INTERNAL
_UNSET: Final = Status.UNSET
_get: Final = CURRENT.get
_set: Final = CURRENT.set


def reseed() -> None:
    """Seed the generator of ids by the kernel; done at import and in every fork's child."""
    _RANDOM.seed(int.from_bytes(os.urandom(32), "big"))


def new_id() -> int:
    """A random number of 64 bits, never 0. Unique, not secret."""
    return _64_bits(64) or 1


class Span:
    """A timed piece of a traced request; made by `span`, `traced` or `start_root`.

    Use it in a ``with`` statement, or call `start` and `finish`. It starts and ends once;
    entering it again does nothing.
    """

    __slots__ = (
        "_name", "kind", "_trace", "_id", "_parent", "_previous", "_started", "_ended",
        "_attributes", "_events", "_status", "_message",
    )  # fmt: skip

    recording: Final = True

    # No __init__, which costs 140 ns: `span` and `start_root` store these.
    _name: str
    kind: SpanKind
    _trace: Trace
    _id: int
    _parent: int
    _previous: Any
    _started: int | None
    _ended: int | None
    _attributes: dict[str, object]
    _events: list[tuple[str, int, dict[str, object]]] | None
    _status: Status
    _message: str

    name = property(attrgetter("_name"), set_name, delete_name)

    @property
    def trace(self) -> Trace:
        """The request this span belongs to."""
        return self._trace

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self._trace.trace_id.hex()

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        return f"{self._id:016x}"

    @property
    def over(self) -> bool:
        """Whether it and its request have ended, so that nothing can be inside it any more."""
        if self._ended is None:
            return False
        trace = self._trace
        return trace._open < 1 and not trace.lasting

    def _is_root(self) -> bool:
        return self._parent == self._trace._parent

    def __enter__(self) -> Self:
        if self._started is None:
            self._previous = _get()
            _set(self)
            self._started = self._trace._now()
        return self

    start = __enter__

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        trace = self._trace
        now = trace._now()
        if (
            error is not None
            or self._ended is not None
            or self._started is None
            or self._parent == trace._parent
        ):
            self._end(now, error)
            return
        self._ended = now
        if _get() is self:
            previous = self._previous
            _set(previous if previous.__class__ is not Span else _lasting(previous))
        ring = trace.ring
        items = ring._items
        if len(items) < ring._short_way and self._started >= 0:  # taken by nearly all
            items.append(self)
        elif self._started >= 0:
            ring._receive(self)

    def finish(self, error: BaseException | None = None) -> None:
        """End the span: an ERROR if by an exception, other than closing a generator."""
        self._end(self._trace._now(), error)

    def _end(self, now: int, error: BaseException | None) -> None:
        if self._started is None or self._ended is not None:
            return
        if error is not None and not isinstance(error, GeneratorExit):
            kind, self._message = described(error)
            self._attributes["error.type"] = kind
            self._status = Status.ERROR
        self._ended = now
        if self._is_root():
            self._trace._open -= 1
        if _get() is self:
            _set(_lasting(self._previous))
        if self._started >= 0:
            self._trace.ring._receive(self)

    def set_attribute(self, key: str, value: object, /) -> None:
        """Keep a value under a name. The value is not looked at before the span has ended."""
        attributes = self._attributes
        if self._ended is not None:
            return  # it may be being read by another thread
        if not isinstance(key, str):
            self._trace.ring.lose("attributes", "key_not_text")
        elif len(attributes) < ATTRIBUTES_MAX or key in attributes:
            attributes[str.__str__(key)] = value
        else:
            self._trace.ring.lose("attributes", "limit")

    def set_attributes(self, attributes: Mapping[str, object], /) -> None:
        """Keep several values."""
        try:
            given = dict(attributes)
        except Exception:  # noqa: BLE001 -- somebody else's mapping may raise anything
            self._trace.ring.lose("attributes", "unreadable")
            return
        for key, value in given.items():
            self.set_attribute(key, value)

    def add_event(self, name: str, /, **attributes: object) -> None:
        """Keep that something happened now."""
        if self._ended is not None:
            return
        if self._events is None:
            self._events = []
        if len(self._events) < EVENTS_MAX:
            self._events.append((name, self._trace._now(), attributes))
        else:
            self._trace.ring.lose("span_events", "limit")

    def record_exception(self, error: BaseException, /) -> None:
        """Keep an exception that was dealt with; the span's status stays what it is."""
        kind, message = described(error)
        self.add_event("exception", **{"exception.type": kind, "exception.message": message})

    def set_status(self, status: Status, message: str = "") -> None:
        """Say how it ended. An exception that leaves the span has the last word."""
        if self._ended is not None:
            return
        try:
            self._status = Status(status)
        except Exception:  # noqa: BLE001 -- somebody's odd value must not cost the request
            self._trace.ring.lose("attributes", "status_unknown")
            return
        self._message = message

    def record(self) -> SpanRecord:
        """The finished span as a value; text is made here, not where the span ended."""
        trace = self._trace
        offset = trace._wall_minus_elapsed_ns
        started, ended = self._started or 0, self._ended or 0
        attributes, excess = attributes_of(self._attributes)
        events = []
        for name, at, given in self._events or ():
            kept, more = attributes_of(given)
            excess += more
            events.append(
                Event(name_of(name), offset + at, kept, trace.trace_id, self._id_bytes())
            )
        if excess:
            trace.ring.lose("attributes", "limit", excess)
        return SpanRecord(
            trace.trace_id,
            self._id_bytes(),
            self._parent.to_bytes(8, "big") if self._parent else b"",
            name_of(self.name),
            self.kind,
            offset + started,
            offset + ended,
            attributes,
            self._status,
            message_of(self._message),
            tuple(events),
        )

    def _id_bytes(self) -> bytes:
        return self._id.to_bytes(8, "big")

    def disown(self) -> None:
        """In a fork's child: the parent process records this span and what it lies in."""
        inner: Any = self
        while inner.__class__ is Span:
            if inner._ended is None and inner._started is not None:
                inner._started = -1
            inner = inner._previous if inner._started is not None else None


def _lasting(previous: Any) -> Any:
    """The innermost of these that has not ended, or that lasts: what becomes current again."""
    while previous.__class__ is Span and previous._ended is not None:
        if previous._trace.lasting and previous._is_root():
            break
        previous = previous._previous
    return previous


UNTRACED: Final = Untraced()


def span(name: str, /, **attributes: object) -> Span | Untraced:
    """A span for a ``with`` statement; outside a traced request one that does nothing."""
    current = _get()
    if current.__class__ is not Span:
        return UNTRACED
    if current._ended is not None and current.over:
        return UNTRACED
    trace = current._trace
    if next(trace._spans) >= trace.spans_max and not trace.may_have_another():
        return UNTRACED
    made = Span()
    made._trace = trace
    made._id = _64_bits(64)  # 0 once in 10**19; then its children pass for roots
    made._parent = current._id
    made._name = name
    made.kind = _INTERNAL
    made._attributes = attributes
    made._previous = made._started = made._ended = made._events = None
    made._status = _UNSET
    made._message = ""
    return made


def start_root(
    name: str,
    /,
    *,
    kind: SpanKind = SpanKind.SERVER,
    request: Trace | Joined,
    attributes: dict[str, object] | None = None,
) -> Span | Joined | Untraced:
    """The first span of a request in this process, not yet started; a `Joined` comes back.

    The dict of `attributes` becomes the span's own.
    """
    if not isinstance(request, Trace):
        return request
    if next(request._spans) >= request.spans_max and not request.may_have_another():
        return UNTRACED
    request._open += 1
    root = Span()
    root._trace = request
    root._id = new_id()
    root._parent = request._parent
    root._name = name
    root.kind = kind
    root._attributes = {} if attributes is None else attributes
    root._attributes.update(request.attributes or ())
    root._previous = root._started = root._ended = root._events = None
    root._status = _UNSET
    root._message = ""
    return root


def stand_in(request: Trace) -> Span:
    """The sender's span, current from now on: what lies in it is recorded here, it is not.

    Its request is over when it is finished, and lasts for what was left behind.
    """
    if not isinstance(request, Trace):
        raise TypeError("stand_in() takes a Trace")
    made = Span()
    made._trace = request
    made._id = made._parent = request._parent
    made._name = ""
    made.kind = _INTERNAL
    made._attributes = {}
    made._started = made._ended = made._events = None
    made._status = _UNSET
    made._message = ""
    request._open += 1
    request.lasting = True  # spans inside have a root's parent, and end like one
    made.start()
    made._started = -1
    return made


def current_span() -> Span | Joined | Untraced:
    """The span we are in, or one that does nothing."""
    current = CURRENT.get()
    return UNTRACED if current is None or current.over else current


def wrapped(
    function: Callable[..., Any],
    name: str,
    attributes: dict[str, Any],
    driver: Any = None,
    kind: SpanKind = SpanKind.INTERNAL,
) -> Callable[..., Any]:
    """The function with a span around each run of its body; `driver` if it runs in steps."""
    if driver is None:
        return function_wrapper(span, Span, function, name, attributes, kind)
    return StepsWrapper(span, Span, function, name, attributes, kind, driver)


reseed()
