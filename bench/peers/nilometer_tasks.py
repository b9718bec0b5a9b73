"""Nilometer's integration of Celery, in both twins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nilometer
from bench import tasks
from bench.peers.nilometer_databases import paired
from nilometer.clock import Clock
from nilometer.integrations import celery, celery_sender
from nilometer.integrations.celery_sent import HEADER, sent_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.pairs import Loop, Pair


def measured(loop: Callable[[], Loop], *, active: bool = False, level: str = "basic") -> Pair:
    bare = loop()
    celery.install()
    celery_sender.install()
    nilometer.set_level("integrations.celery", level)
    return paired(bare, loop(), active=active)


def runs() -> Loop:
    """Of messages that say when they were sent."""
    return tasks.runs({HEADER: sent_now(Clock())})


CASES = {
    "celery send switched off": lambda: measured(tasks.sends, level="off"),
    "celery send untraced": lambda: measured(tasks.sends),
    "celery send traced": lambda: measured(tasks.sends, active=True),
    "celery run switched off": lambda: measured(runs, level="off"),
    "celery run untraced": lambda: measured(runs),
    "celery run traced": lambda: measured(runs, active=True),
}
