"""logging: how many lines are logged at which level, and the time that their handlers take.

A line is counted if a handler takes its level. What our own exporter writes (``log://``) is
neither counted nor timed: it would report itself for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import elapsed_ns
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
        )
        self.depth = self._calls.depth
        self._adds: dict[int, Callable[[], None]] = {}
        self._records: dict[object, Callable[[int], None]] = {}

    def counting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace ``Logger.callHandlers``."""
        depth, adds, count = self.depth, self._adds, self._count

        def call_handlers(logger: Any, record: Any) -> Any:
            level, one = record.levelno, logger
            while one is not None and depth.on:
                for handler in one.handlers:
                    if level >= handler.level:
                        if level in adds and level != _METRIC:
                            adds[level]()
                        else:
                            count(record)
                        return original(logger, record)
                one = one.parent if one.propagate else None
            if depth.on and not logger.hasHandlers():
                self._last_resort(record)
            return original(logger, record)

        return call_handlers

    def timing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace ``Handler.handle``."""
        depth, records, find = self.depth, self._records, self._record

        def handle(handler: Any, record: Any) -> Any:
            if not depth.on or (record.levelno == _METRIC and _MARK in vars(record)):
                return original(handler, record)
            started = elapsed_ns()
            try:
                return original(handler, record)
            except BaseException as error:
                self._failed(handler, error)
                raise
            finally:
                took = elapsed_ns() - started
                key = handler._name or type(handler)
                (records[key] if key in records else find(key))(took)

        return handle

    def failing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace ``Handler.handleError``, called where a line could not be written."""
        import sys

        def handle_error(handler: Any, record: Any) -> Any:
            error = sys.exception()
            if self.depth.on and error is not None:
                self._failed(handler, error)
            return original(handler, record)

        return handle_error

    def _count(self, record: Any) -> None:
        if _MARK in vars(record):
            return
        add = self._adds.get(record.levelno)
        if add is None:
            add = self._counter.bind(**{"log.level": record.levelname}).add
            if len(self._adds) < KEPT_MAX:
                self._adds[record.levelno] = add
        add()

    def _last_resort(self, record: Any) -> None:
        """Nobody has set up any handler: what is said is written to stderr."""
        from logging import lastResort

        if lastResort is not None and record.levelno >= lastResort.level:
            self._count(record)

    def _record(self, key: Any) -> Callable[[int], None]:
        record = self._calls.record_for({"handler": _name(key)})
        if len(self._records) < KEPT_MAX:
            self._records[key] = record
        return record

    def _failed(self, handler: Any, error: BaseException) -> None:
        name = _name(handler._name or type(handler))
        self._calls.failed({"handler": name}, error)


def _name(key: Any) -> str:
    return key.__name__ if isinstance(key, type) else str(key)
