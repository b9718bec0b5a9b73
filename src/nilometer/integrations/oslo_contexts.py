"""What serializers of oslo.messaging take to pack and unpack the contexts of requests."""

from __future__ import annotations

from functools import partial, update_wrapper
from types import FunctionType
from typing import TYPE_CHECKING, Any

from nilometer.integrations import faults
from nilometer.integrations.calls import Depth
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.patches import Patches
    from nilometer.measure import Registry


class Contexts:
    """What serializers take to pack and unpack a request's context, by serializer.

    Each service has a class of its own, so a class is measured from its first use on.
    """

    def __init__(self, registry: Registry, patches: Patches) -> None:
        self._patches = patches
        self._depth = Depth("oslo_messaging", registry)
        self._seen: set[type] = set()
        self._measured: set[tuple[type, str]] = set()
        self._timers = {
            "serialize_context": registry.timer(
                "rpc.context.pack", description="Making a message's context of a request's."
            ),
            "deserialize_context": registry.timer(
                "rpc.context.unpack", description="Making a request's context of a message's."
            ),
        }

    def end(self) -> None:
        """Pass everything on from now on."""
        self._depth.end()

    def of(self, serializer: Any) -> None:
        """Measure this serializer, too; it serves unmeasured if that cannot be."""
        try:
            kind = type(serializer)
            if kind in self._seen:
                return
            self._seen.add(kind)
            for name in self._timers:
                self._measure(kind, name)
        except Exception as error:  # noqa: BLE001  a class that lets none look, or remember it
            REGISTRY.lost("attributes", "unreadable")
            faults.tell("oslo_messaging", "a serializer", error)

    def _measure(self, kind: type, name: str) -> None:
        owner = next((one for one in kind.__mro__ if name in vars(one)), kind)
        if (owner, name) in self._measured:
            return
        self._measured.add((owner, name))
        try:
            if type(vars(owner)[name]) is not FunctionType:
                raise TypeError(name)  # it binds in a way of its own
            timed = self._timers[name].bind(serializer=owner.__name__)
            self._patches.swap(owner, name, partial(self._packing, timed))
        except Exception as error:  # noqa: BLE001  it has none, or lets nobody change it
            REGISTRY.lost("attributes", "unreadable")
            faults.tell("oslo_messaging", "the context of a request", error)

    def _packing(self, timed: Any, original: Callable[..., Any]) -> Callable[..., Any]:
        depth, inside = self._depth, timed(original)

        def pack(*args: Any, **named: Any) -> Any:
            return (inside if depth.on else original)(*args, **named)

        return update_wrapper(pack, original)
