"""Log records that carry the id of the request they belong to.

    logging.basicConfig(format="%(asctime)s %(trace_id)s %(message)s")
    nilometer.integrations.logging.install()

Each record gets `trace_id`: 32 hexadecimal digits, or "-" outside of any request.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from nilometer.trace import current_trace_id

if TYPE_CHECKING:
    from collections.abc import Callable

NOT_IN_A_REQUEST = "-"

_ours: Callable[..., logging.LogRecord] | None = None
_before: Callable[..., logging.LogRecord] = logging.LogRecord


class TraceIdFilter(logging.Filter):
    """For those who would rather say it in their logging configuration: adds `trace_id`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, with its `trace_id`."""
        record.trace_id = current_trace_id() or NOT_IN_A_REQUEST
        return True


def install() -> bool:
    """Give every record made from now on a `trace_id`; False if that is done already."""
    global _before, _ours
    if _ours is not None:
        return False
    before = _before = logging.getLogRecordFactory()

    def with_trace_id(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        record.trace_id = current_trace_id() or NOT_IN_A_REQUEST
        return record

    _ours = with_trace_id
    logging.setLogRecordFactory(with_trace_id)
    return True


def uninstall() -> None:
    """Put the record factory back, unless somebody has put his own around ours."""
    global _ours
    if _ours is not None and logging.getLogRecordFactory() is _ours:
        logging.setLogRecordFactory(_before)
    _ours = None
