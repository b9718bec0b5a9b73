"""Celery's tasks on their way to a broker that takes all at once, and where they run.

What is measured is made anew once a peer instruments the library: a sender and a runner keep
the signals that there were when they were made.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.pairs import Loop

HEARD = ("before_task_publish", "after_task_publish", "task_prerun", "task_postrun")


@contextmanager
def nobody_hears() -> Iterator[None]:
    """What is made inside sends signals that no peer ever hears."""
    from celery import signals
    from celery.utils.dispatch import Signal

    kept = {name: getattr(signals, name) for name in HEARD}
    for name in HEARD:
        setattr(signals, name, Signal(name=name))
    yield
    for name, signal in kept.items():
        setattr(signals, name, signal)


@cache
def task() -> Any:
    """A task that does nothing, and keeps no result; the same for all that is compared."""
    from celery import Celery

    app = Celery("bench", broker="memory://", set_as_current=False)

    @app.task(name="nothing", ignore_result=True)
    def nothing() -> None:
        pass

    return nothing


class Producer:
    """Stands for what gives a message to a broker."""

    def publish(self, body: Any, **given: Any) -> None:
        return None


def sends() -> Loop:
    """A loop of messages that are sent."""
    amqp = task().app.amqp
    producer, message = Producer(), amqp.as_task_v2("1", "nothing")
    send = amqp._create_task_sender()

    def many(times: int) -> None:
        for _ in range(times):
            send(producer, "nothing", message)

    return many


def runs(sent: Mapping[str, str] | None = None) -> Loop:
    """A loop of runs, as a worker makes them of messages with these headers."""
    from celery.app import trace

    nothing = task()
    run = trace.build_tracer("nothing", nothing, app=nothing.app)
    headers = {"id": "1", **(sent or {})}

    def many(times: int) -> None:
        for _ in range(times):
            run("1", (), {}, dict(headers))

    many(1)  # the first run loads what keeps results
    return many
