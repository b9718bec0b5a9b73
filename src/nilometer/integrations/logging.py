"""Log records that carry the id of the request they belong to.

    logging.basicConfig(format="%(asctime)s %(trace_id)s %(message)s")
    nilometer.integrations.logging.install()

Each record gets `trace_id`: 32 hexadecimal digits, or "-" outside of any request.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nilometer.trace import current_trace_id
from nilometer.trace.identified_pure import NO_TRACE_ID
from nilometer.trace.twin import identified

if TYPE_CHECKING:
    from collections.abc import Callable

_ours: Callable[..., logging.LogRecord] | None = None
_before: Callable[..., logging.LogRecord] = logging.LogRecord


class TraceIdFilter(logging.Filter):
    """For those who would rather say it in their logging configuration: adds `trace_id`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, with its `trace_id`."""
        record.trace_id = current_trace_id() or NO_TRACE_ID
        return True


def install() -> bool:
    """Give every record made from now on a `trace_id`; False if that is done already."""
    global _before, _ours
    if _ours is not None:
        return False
    _before = logging.getLogRecordFactory()

    _ours = identified(_before)
    logging.setLogRecordFactory(_ours)
    return True


def uninstall() -> None:
    """Put the record factory back, unless somebody has put his own around ours."""
    global _ours
    if _ours is not None and logging.getLogRecordFactory() is _ours:
        logging.setLogRecordFactory(_before)
    _ours = None
