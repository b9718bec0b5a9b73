"""Celery's workers: the trace on its way from who receives a message to who runs the task.

That is a hop of its own, and signed as one: a signature counts once in a process, and it was
taken up where the message was received (see `kombu`). At the level of the integration `celery`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import faults
from nilometer.integrations.calls import Depth
from nilometer.integrations.messages import onward
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY
from nilometer.trace import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY) -> bool:
    """Let the trace go on with what is received from now on; False if that is done already.

    AttributeError if this Celery is another.
    """
    if _patches.active:
        return False
    from celery.worker.request import Request

    depth = Depth("celery", registry)
    _patches.also_end(depth)
    with _patches:
        _patches.swap(Request, "__init__", lambda f: _receiving(f, depth))
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


def _receiving(original: Callable[..., Any], depth: Depth) -> Callable[..., Any]:
    current = CURRENT.get

    def made(request: Any, /, *args: Any, **options: Any) -> None:
        original(request, *args, **options)
        if depth.on and current() is not None:
            try:
                request.request_dict.update(onward())
            except Exception as error:  # noqa: BLE001  the task runs all the same
                REGISTRY.lost("spans", "celery")
                faults.tell("celery_worker", "the trace of a task", error)

    return made
