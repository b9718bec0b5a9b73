"""Records of log lines with the id of the request that they were logged in.

The specification of C's ``identified.h``.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from nilometer.trace.current import current_trace_id

if TYPE_CHECKING:
    from collections.abc import Callable

ATTRIBUTE: Final = "trace_id"
NO_TRACE_ID: Final = "-"
"""Of what is logged outside of any request."""


def identify(record: Any) -> None:
    """Give a record the id of the request we are in, or "-"; one that has an id keeps it."""
    try:
        if not hasattr(record, ATTRIBUTE):
            record.trace_id = current_trace_id() or NO_TRACE_ID
    except Exception:  # noqa: BLE001, S110 -- what takes no attribute is logged all the same
        pass


def identified(original: Callable[..., Any], names: dict[str, Any] | None, /) -> Any:
    """``Logger.makeRecord``, whose records have a `trace_id`, until its ``end()`` is called.

    `names` are those of logging's module if `original` is its own function: without `extra`
    that does nothing but call the `_logRecordFactory`, which is then called directly; records
    of which the class `LogRecord` itself is the factory have no id of their own. They are None
    if it is anybody else's function.
    """
    on = True
    plain = None if names is None else names.get("LogRecord")

    @wraps(original)
    def make_record(
        logger: Any,
        name: Any,
        level: Any,
        fn: Any,
        lno: Any,
        msg: Any,
        args: Any,
        exc_info: Any,
        func: Any = None,
        extra: Any = None,
        sinfo: Any = None,
    ) -> Any:
        if names is None or extra is not None or not on:
            record = original(
                logger, name, level, fn, lno, msg, args, exc_info, func, extra, sinfo
            )
        else:
            factory = names["_logRecordFactory"]
            record = factory(name, level, fn, lno, msg, args, exc_info, func, sinfo)
            if factory is plain:
                record.trace_id = current_trace_id() or NO_TRACE_ID
                return record
        if on:
            identify(record)
        return record

    def end() -> None:
        nonlocal on
        on = False

    make_record.end = end  # type: ignore[attr-defined]
    return make_record
