"""oslo.messaging: a message goes on in the trace of the request that sent it.

What travels, in the message's context, is a signature that expires and holds once per process;
the key does not. It is added where the transport sends, and taken out where a message is
dispatched, so endpoints see the context that was sent. `serializer` does the same by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import faults
from nilometer.integrations.messages import onward, take_up
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY
from nilometer.trace import CURRENT
from nilometer.trace.trigger import Triggers

if TYPE_CHECKING:
    from collections.abc import Callable

KEY: Final = "nilometer_trace"
"""Of the message's context."""

_patches: Final = Patches()
_taken: Final[ContextVar[Any]] = ContextVar("nilometer.oslo_serializer", default=None)


def with_trace(ctxt: Any) -> Any:
    """The context of a message that is sent here and now; as it is outside of a request."""
    if CURRENT.get() is None or not isinstance(ctxt, Mapping) or KEY in ctxt:
        return ctxt
    sent = onward()
    return {**ctxt, KEY: sent} if sent else ctxt


def without_trace(ctxt: Any) -> tuple[Any, Any]:
    """The context as it was before `with_trace`, and what that had added."""
    if not isinstance(ctxt, Mapping) or KEY not in ctxt:
        return ctxt, None
    return {key: value for key, value in ctxt.items() if key != KEY}, ctxt[KEY]


def install(*, triggers: Triggers | None = None) -> bool:
    """Send traces on with messages and take them up; False if that is done already.

    `triggers` says which are taken up. AttributeError if oslo.messaging is not as we know it.
    """
    if _patches.active:
        return False
    from oslo_messaging.notify import dispatcher as notifications
    from oslo_messaging.rpc.dispatcher import RPCDispatcher
    from oslo_messaging.transport import Transport

    door = triggers or Triggers()
    dispatching = _dispatching(door)
    with _patches:
        for name in ("_send", "_send_notification"):
            _patches.replace(Transport, name, _sending)
        _patches.replace(RPCDispatcher, "dispatch", dispatching)
        _patches.replace(notifications.NotificationDispatcher, "dispatch", dispatching)
        many = notifications.BatchNotificationDispatcher
        _patches.replace(many, "dispatch", _dispatching_many)
    return True


def uninstall() -> None:
    """Leave oslo.messaging's own methods behind, and nothing else."""
    _patches.undo()


def _sending(original: Callable[..., Any]) -> Callable[..., Any]:
    def send(transport: Any, target: Any, ctxt: Any, *args: Any, **kwargs: Any) -> Any:
        return original(transport, target, with_trace(ctxt), *args, **kwargs)

    return send


def _dispatching(triggers: Triggers) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A message is its own request: nothing of the one before, nothing left to the next."""

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def dispatch(dispatcher: Any, incoming: Any) -> Any:
            before = CURRENT.get()
            taken = _taken_from(triggers, incoming)
            try:
                return original(dispatcher, incoming)
            finally:
                if taken is not None:
                    taken.finish()
                CURRENT.set(before)

        return dispatch

    return measured


def _taken_from(triggers: Triggers, incoming: Any) -> Any:
    try:
        incoming.ctxt, sent = without_trace(incoming.ctxt)
        return take_up(triggers, sent)
    except Exception as error:  # noqa: BLE001  the message is dispatched all the same
        REGISTRY.lost("spans", f"oslo_serializer_{type(error).__name__}")
        faults.tell("oslo_serializer", "the trace of a message", error)
        return None


def _dispatching_many(original: Callable[..., Any]) -> Callable[..., Any]:
    """Many messages at once are of no trace in particular."""

    def dispatch(dispatcher: Any, incoming: Any) -> Any:
        for one in incoming:
            one.ctxt, _ = without_trace(one.ctxt)
        return original(dispatcher, incoming)

    return dispatch


def serializer(base: Any = None, *, triggers: Triggers | None = None) -> Any:
    """A serializer around `base`, for client and server; nothing need be installed.

    On the server `triggers` says which traces are taken up; one lasts until the next message
    of the same thread, task or greenlet is read. OSProfiler's `serialize_context` may be
    `base`. Raises ImportError without oslo.messaging.
    """
    return _serializer_class()(base, triggers or Triggers())


@cache
def _serializer_class() -> Any:
    from oslo_messaging import NoOpSerializer, Serializer

    class TraceSerializer(Serializer):  # type: ignore[misc]
        """Adds the current trace to what `base` makes of a context, and takes it out again."""

        def __init__(self, base: Any, triggers: Triggers) -> None:
            self._base = NoOpSerializer() if base is None else base
            self._triggers = triggers

        def serialize_entity(self, ctxt: Any, entity: Any) -> Any:
            """As `base` does."""
            return self._base.serialize_entity(ctxt, entity)

        def deserialize_entity(self, ctxt: Any, entity: Any) -> Any:
            """As `base` does."""
            return self._base.deserialize_entity(ctxt, entity)

        def serialize_context(self, ctxt: Any) -> Any:
            """With the current trace."""
            return with_trace(self._base.serialize_context(ctxt))

        def deserialize_context(self, ctxt: Any) -> Any:
            """Without it; it is current from now on, in the place of the one before."""
            left = _taken.get()
            if left is not None:
                left.finish()
            bare, sent = without_trace(ctxt)
            _taken.set(take_up(self._triggers, sent))
            return self._base.deserialize_context(bare)

    return TraceSerializer
