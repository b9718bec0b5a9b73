"""What tasks cost beyond their timers, untraced: see `costs`."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from nilometer.measure.overhead import extra_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

_TASK: Final = SimpleNamespace(name="calibration")
_SENT: Final = {"nilometer_sent": "calibration.1.1"}


class _Idle:
    """Has the manners of a thread that runs nothing of ours, and is never started."""

    __module__ = "calibration"
    daemon = False
    run = dict


def thread() -> float:
    """What a thread runs."""
    module = import_module("nilometer.integrations.threading")

    def measured(registry: Registry) -> Callable[[], object]:
        tasks, idle = module.Tasks("calibration", registry=registry), _Idle()

        def run() -> None:
            module.prepared(tasks, idle)()

        return run

    return extra_ns(measured, dict)


def handed() -> float:
    """What a pool is given, from there to its run; without its way."""
    module = import_module("nilometer.integrations.handed")

    def measured(registry: Registry) -> Callable[[], object]:
        worker = module.Worker("calibration", registry=registry, triggers=None)

        def run() -> None:
            worker.running(module.Hands().marked(int))()

        return run

    return extra_ns(measured, int)


def celery() -> float:
    """A task of Celery's."""
    module = import_module("nilometer.integrations.celery")

    def measured(registry: Registry) -> Callable[[], object]:
        runs = module.Runs(registry, None)
        return partial(_run, runs.running(_ended, runs.of(_TASK)))

    return extra_ns(measured, partial(_run, _ended))


def _run(run: Callable[..., Any]) -> None:
    run("calibration", (), {}, dict(_SENT))


def _ended(*_: object) -> tuple[None, None]:
    return None, None
