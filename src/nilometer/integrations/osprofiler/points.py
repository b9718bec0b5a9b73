"""OSProfiler's ``profiler`` module on our spans: init, get, clean, start, stop.

What is current is the context's (a thread's, a task's, a greenlet's), so nothing here is shared
between requests. `init` makes the sender's span stand in: decorated functions are its children.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.integrations import faults
from nilometer.integrations.osprofiler.told import attributes_of, values_of
from nilometer.measure import REGISTRY
from nilometer.model import SpanKind, Status
from nilometer.model.identity import uuid_text
from nilometer.trace import CURRENT, Trace
from nilometer.trace.limits import without_queries
from nilometer.trace.twin import span, stand_in, start_root

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.trace.trigger import Triggers

MESSAGE_CHARS_MAX: Final = 1_024  # as of a span's status message


class Point(NamedTuple):
    """A span that `start` began, whose it is, and the point that it lies in."""

    span: Any
    profiler: Any
    outer: Point | None


_POINT: Final[ContextVar[Point | None]] = ContextVar("nilometer.osprofiler.point", default=None)
_PROFILER: Final[ContextVar[Any]] = ContextVar("nilometer.osprofiler.profiler", default=None)


class Verified(str):
    """A key whose signature on a request was checked; it passes for the text that it is."""

    __slots__ = ()


class Points:
    """What takes the place of the functions of ``osprofiler.profiler``, but the decorators.

    `module` is that module, `triggers` says who may ask for a trace; `values` whether the
    operator wants arguments and results recorded; `off` says of a point's name whether it is
    switched off.
    """

    def __init__(
        self,
        module: Any,
        triggers: Triggers,
        *,
        values: bool,
        off: Callable[[str], bool],
    ) -> None:
        self.triggers = triggers
        self.values = values
        self.off = off
        self.profiler: Any = type("_Profiler", (Tracing, module._Profiler), {"points": self})

    def get(self) -> Any:
        """The profiler of the traced request we are in, else None."""
        current = CURRENT.get()
        if current is None or not current.recording or current.over:
            return None  # spelt out: this is asked by every point
        there = _PROFILER.get()
        if there is None or there.request is not current.trace:
            base_id = current.trace.base_id or uuid_text(current.trace_id)
            there = self.profiler(None, base_id, request=current.trace)
            _PROFILER.set(there)
        return there

    def init(
        self, hmac_key: str | None, base_id: str | None = None, parent_id: str | None = None
    ) -> Any:
        """The profiler of this context; another request's that was left here is ended first.

        Not traced, and not `get`, if the key is none of ours.
        """
        there = self.get()
        if there is not None and there.is_of(base_id, parent_id):
            return there
        if there is not None and there.stand is not None:
            self.clean()
        made = self.profiler(hmac_key, base_id, parent_id)
        request = made.asked(parent_id)
        if isinstance(request, Trace):
            made.before = _PROFILER.get()
            made.stand = stand_in(request)
            _PROFILER.set(made)
        return made

    def clean(self) -> None:
        """End what `init` began in this context, with all points that are still open."""
        there = _PROFILER.get()
        if there is None or there.stand is None:
            return  # a request that a server began, which will end it
        _PROFILER.set(there.before)
        while (point := _POINT.get()) is not None and point.profiler is there:
            point.span.finish()
            _POINT.set(point.outer)
        there.stand.finish()

    def start(self, name: str, info: dict[str, Any] | None = None) -> None:
        """Begin a point, if we are in a traced request."""
        there = self.get()
        if there is not None:
            there.start(name, info=info)

    def stop(self, info: dict[str, Any] | None = None) -> None:
        """End the point that was begun last, if it is this request's."""
        there = self.get()
        if there is not None:
            there.stop(info=info)

    def begin(self, profiler: Any, name: str, info: Any) -> None:
        """A span for a point."""
        if self.off(name):
            return
        attributes = attributes_of(info)
        if self.values:
            attributes |= values_of(info)
        current = CURRENT.get()
        if current is not None and current.recording and current.trace is profiler.request:
            made = span(name, **attributes)
        else:
            request = profiler.asked(profiler.sender)
            if not isinstance(request, Trace):
                return
            made = start_root(
                name, kind=SpanKind.INTERNAL, request=request, attributes=attributes
            )
        _POINT.set(Point(made.start(), profiler, _POINT.get()))

    def end(self, profiler: Any, info: Any) -> None:
        """End the last point of that profiler; one of another, or none, is left alone."""
        point = _POINT.get()
        if point is None or point.profiler is not profiler:
            return
        _POINT.set(point.outer)
        made = point.span
        if not isinstance(info, dict):
            made.finish()
            return
        if self.values:
            made.set_attributes(values_of(info))
        if "etype" in info:
            _fail(made, info)
        else:
            made.finish()


class Tracing:
    """One traced request, in this process, as services know it.

    Mixed into OSProfiler's own class, so that `isinstance` takes it for one of its; `points` is
    set there.
    """

    points: Points
    _trace_stack: Any

    def __init__(
        self,
        hmac_key: str | None,
        base_id: str | None = None,
        parent_id: str | None = None,
        *,
        request: Trace | None = None,
    ) -> None:
        super().__init__(hmac_key, base_id=base_id, parent_id=parent_id)  # type: ignore[call-arg]
        self.request: Any = request
        self._was_asked = False
        self._is_own = base_id is None  # which OSProfiler's class has made by now
        self.sender = parent_id
        self.stand: Any = None
        self.before: Any = None

    def asked(self, parent_id: str | None) -> Any:
        """The request that it is, if its key may ask for one; it is asked once."""
        if self.request is None and not self._was_asked:
            self._was_asked = True
            key = self._key
            self.request = self.points.triggers.handed(
                key or "",
                self.get_base_id(),
                parent_id or "",
                verified=isinstance(key, Verified),
                own=self._is_own and not parent_id,
            )
        return self.request

    def is_of(self, base_id: str | None, parent_id: str | None) -> bool:
        """Whether `init` with these asks for what there is."""
        if base_id is None:
            return True
        if base_id != self.get_base_id():
            return False
        return self.stand is None or parent_id in (None, self.sender)

    @property
    def hmac_key(self) -> str | None:
        """What vouches for this request elsewhere: a signature of ours, not the key.

        The key itself in a client that was told it, and where the operator asked for it.
        """
        if self._key is not None and not self.points.triggers.has_keys:
            return str(self._key)
        if not isinstance(self.request, Trace):
            return None
        return self.points.triggers.to_hand_on(self.request, _span_id(self)) or None

    @hmac_key.setter
    def hmac_key(self, key: str | None) -> None:
        """What a service was told; OSProfiler's own class sets it."""
        self._key = key

    def get_base_id(self) -> str:
        """What all that belongs to the request has in common."""
        return str(self._trace_stack[0])

    def get_id(self) -> str:
        """The id of the span we are in, as it is sent."""
        current = CURRENT.get()
        if current is None or current is self.stand or not current.recording:
            return str(self._trace_stack[-1])
        if current.trace is not self.request:
            return str(self._trace_stack[-1])
        return uuid_text(current.trace_id[:16] + current.span_id)

    def get_parent_id(self) -> str:
        """The id of the point around this one, or of the sender."""
        point = _POINT.get()
        if point is None or point.profiler is not self:
            return str(self._trace_stack[-2])
        if point.outer is None or point.outer.profiler is not self:
            return str(self._trace_stack[-1])
        around = point.outer.span
        return uuid_text(around.trace_id[:16] + around.span_id)

    def start(self, name: str, info: dict[str, Any] | None = None) -> None:
        """Begin a point."""
        _guarded(self.points.begin, self, name, info)

    def stop(self, info: dict[str, Any] | None = None) -> None:
        """End the point that was begun last."""
        _guarded(self.points.end, self, info)


def _span_id(profiler: Any) -> str:
    current = CURRENT.get()
    if current is not None and current.recording and current.span_id.strip("0"):
        return str(current.span_id)
    return str(profiler.request.trace_id.hex()[16:])


def _fail(made: Any, info: dict[str, Any]) -> None:
    """End a span by what OSProfiler tells of an exception; by the exception, if it is there."""
    error = sys.exc_info()[1]
    if error is not None and class_of(error) == info["etype"]:
        made.finish(error)
        return
    made.set_attribute("error.type", str(info["etype"]))
    message = str(info.get("message") or "")[:MESSAGE_CHARS_MAX]
    made.set_status(Status.ERROR, without_queries(message))
    made.finish()


def _guarded(function: Callable[..., None], *args: Any) -> None:
    """Whatever fails in here is no concern of the service's."""
    try:
        function(*args)
    except Exception as error:  # noqa: BLE001
        REGISTRY.lost("spans", f"osprofiler_{type(error).__name__}")
        faults.tell("osprofiler", "a point", error)


def class_of(error: BaseException) -> str:
    """The full name of an exception's class, as OSProfiler tells it."""
    from oslo_utils import reflection

    return str(reflection.get_class_name(error))
