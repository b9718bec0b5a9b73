"""logging: how many lines are logged at which level, and the time that their handlers take.

A line is counted if a handler takes its level. What our own exporter writes (``log://``) is
neither counted nor timed: it would report itself for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import faults, http_costs
from nilometer.integrations.calls import Calls
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY
from nilometer.model import SpanKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

KEPT_MAX: Final = 1000
"""Levels, and names of handlers, whose series are looked up once; 0.5 KiB each."""

_METRIC: Final = 25  # the level of our exporter, which is not imported for a number
_MARK: Final = "nilometer_metric"  # is on its records

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY) -> bool:
    """Count lines and time handlers; False if that is done already."""
    if _patches.active:
        return False
    import logging

    lines = Lines(registry)
    _patches.also_end(lines.depth)
    with _patches:
        _patches.swap(logging.Logger, "callHandlers", lines.counting)
        _patches.swap(logging.Handler, "handle", lines.timing)
        _patches.swap(logging.Handler, "handleError", lines.failing)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


class Handles(dict[object, "Callable[[Any, Any], Any]"]):
    """By a handler's name or else its class: ``Handler.handle``, timed in its series."""

    __slots__ = ("_calls", "_handle")

    def __init__(self, calls: Calls, handle: Callable[..., Any]) -> None:
        super().__init__()
        self._calls = calls
        self._handle = handle

    def __missing__(self, key: object) -> Callable[[Any, Any], Any]:
        made = self._calls.timed({"handler": _name(key)})(self._handle)
        if len(self) < KEPT_MAX:
            self[key] = made
        return made


class Lines:
    """The instruments of `logging` in one registry."""

    def __init__(self, registry: Registry) -> None:
        self._counter = registry.counter(
            "logging.lines",
            unit="{line}",
            description="Lines that were logged, by level; those of log:// are not.",
        )
        self._calls = Calls(
            "logging_lines",
            "logging.handler",
            description="From a line's arrival at a handler to its being written.",
            kind=SpanKind.INTERNAL,
            registry=registry,
            costs=http_costs.log_line,
        )
        self.depth = self._calls.depth
        self._adds: dict[int, Callable[[], None]] = {}

    def counting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace ``Logger.callHandlers``."""
        depth, adds, count = self.depth, self._adds, self._count

        def call_handlers(logger: Any, record: Any) -> Any:
            level, one = record.levelno, logger
            while one is not None and depth.on:
                for handler in one.handlers:
                    if level >= handler.level:
                        (adds[level] if level in adds else count(record))()
                        return original(logger, record)
                one = one.parent if one.propagate else None
            if depth.on and not logger.hasHandlers():
                self._last_resort(record)
            return original(logger, record)

        return call_handlers

    def timing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace ``Handler.handle``."""
        depth, handles = self.depth, Handles(self._calls, original)

        def handle(handler: Any, record: Any) -> Any:
            timed = original
            try:
                if depth.on and (record.levelno != _METRIC or _MARK not in vars(record)):
                    # One made by halves, without logging's own `__init__`, has no name.
                    timed = handles[getattr(handler, "_name", None) or type(handler)]
            except Exception as error:  # noqa: BLE001  its name may be anything: it handles
                REGISTRY.lost("attributes", "unreadable")
                faults.tell("logging_lines", "a handler", error)
            return timed(handler, record)

        return handle

    def failing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace ``Handler.handleError``, called where a line could not be written."""
        import sys

        def handle_error(handler: Any, record: Any) -> Any:
            error = sys.exception()
            if self.depth.on and error is not None:
                try:
                    name = _name(getattr(handler, "_name", None) or type(handler))
                    self._calls.failed({"handler": name}, error)
                except Exception as fault:  # noqa: BLE001  as above; who logs hears of nothing
                    REGISTRY.lost("attributes", "unreadable")
                    faults.tell("logging_lines", "the error of a handler", fault)
            return original(handler, record)

        return handle_error

    def _count(self, record: Any) -> Callable[[], None]:
        """What counts this line; kept for its level, but for ours, which others use as well."""
        level = record.levelno
        if level == _METRIC and _MARK in vars(record):
            return _nothing
        try:
            add = self._counter.bind(**{"log.level": str(record.levelname)}).add
        except Exception as error:  # noqa: BLE001  a level may have any name: it is logged
            REGISTRY.lost("attributes", "unreadable")
            faults.tell("logging_lines", "a level", error)
            return _nothing
        if level != _METRIC and len(self._adds) < KEPT_MAX:
            self._adds[level] = add
        return add

    def _last_resort(self, record: Any) -> None:
        """Nobody has set up any handler: what is said is written to stderr."""
        from logging import lastResort

        if lastResort is not None and record.levelno >= lastResort.level:
            self._count(record)()


def _name(key: Any) -> str:
    return key.__name__ if isinstance(key, type) else str(key)


def _nothing() -> None:
    """Count nothing."""
