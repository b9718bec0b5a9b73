"""What stands where a framework finds a request's route: the specification of ``routing.h``."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

from nilometer.integrations.routes import DISPATCHED

if TYPE_CHECKING:
    from collections.abc import Callable


class Routing:
    """Stands for a method that finds what answers a request, its second argument.

    It gives a tuple, whose last is the template of the route, if there is one. That is put
    into the request's attribute `env` unless a route is there; ``tell(request, template)`` is
    asked to where the request has no such dict, or the application is mounted under another.
    """

    __slots__ = ("__wrapped__", "_tell")

    def __init__(
        self, original: Callable[..., Any], tell: Callable[[Any, str], object]
    ) -> None:
        self.__wrapped__ = original
        self._tell = tell

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        """Find it."""
        found = self.__wrapped__(*args, **named)
        if type(found) is tuple and found and type(found[-1]) is str and len(args) > 1:
            env = getattr(args[1], "env", None)
            if type(env) is not dict or env.get("SCRIPT_NAME") or DISPATCHED in env:
                self._tell(args[1], found[-1])
            else:
                env.setdefault("http.route", found[-1])
        return found

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":  # not yet set
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)
