"""Celery's senders: each task says when it was sent, so that who runs it knows how it waited.

At the level of the integration `celery`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import Clock
from nilometer.integrations.calls import Depth
from nilometer.integrations.celery_sent import HEADER, sent_now
from nilometer.integrations.patches import Patches, expect
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY) -> bool:
    """Stamp what applications send that send nothing yet; False if that is done already.

    AttributeError if this Celery is another.
    """
    if _patches.active:
        return False
    from celery.app.amqp import AMQP

    expect(AMQP._create_task_sender, "self")
    depth = Depth("celery", registry)
    _patches.also_end(depth)
    with _patches:
        _patches.replace(AMQP, "_create_task_sender", lambda f: _creating(f, depth))
    return True


def uninstall() -> None:
    """Leave nothing behind; applications that have sent already pass their tasks on."""
    _patches.undo()


def _creating(original: Callable[..., Any], depth: Depth) -> Callable[..., Any]:
    """Around what makes, once for each application, the function that sends its tasks."""
    clock = Clock()

    def _create_task_sender(amqp: Any) -> Callable[..., Any]:
        send = original(amqp)

        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            if depth.on:
                message.headers[HEADER] = sent_now(clock)
            return send(producer, name, message, **options)

        return send_task_message

    return _create_task_sender
