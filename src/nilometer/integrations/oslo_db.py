"""oslo.db: how often its functions are tried again. Its engines are those of SQLAlchemy."""

from __future__ import annotations

from contextvars import ContextVar
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.calls import Depth
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

_patches: Final = Patches()
_attempts: Final[ContextVar[list[None]]] = ContextVar("nilometer.attempts")


def install(*, registry: Registry = REGISTRY) -> bool:
    """Count in all functions that are decorated from now on; False if that is done already."""
    if _patches.active:
        return False
    from oslo_db.api import wrap_db_retry

    depth = Depth("oslo_db", registry)
    retries = registry.counter(
        "db.client.retries",
        unit="{retry}",
        description="Calls that oslo.db made again after an error of the database.",
    )

    def again(function: Any) -> None:
        if depth.on:
            name = getattr(function, "__qualname__", type(function).__name__)
            retries.bind(**{"code.function.name": name}).add()

    _patches.also_end(depth)
    _patches.replace(wrap_db_retry, "__call__", lambda original: _decorating(original, again))
    return True


def uninstall() -> None:
    """Leave nothing behind; functions that were decorated meanwhile count no more."""
    _patches.undo()


def _decorating(
    original: Callable[..., Any], again: Callable[[Any], None]
) -> Callable[..., Any]:
    """For the place of what decorates: each call of the function but the first is again."""

    def decorate(decorator: Any, f: Callable[..., Any]) -> Callable[..., Any]:
        def attempt(*args: Any, **named: Any) -> Any:
            attempts = _attempts.get()
            if attempts:
                again(f)
            attempts.append(None)
            return f(*args, **named)

        retried = original(decorator, update_wrapper(attempt, f))

        def call(*args: Any, **named: Any) -> Any:
            token = _attempts.set([])
            try:
                return retried(*args, **named)
            finally:
                _attempts.reset(token)

        return update_wrapper(call, f)

    return decorate
