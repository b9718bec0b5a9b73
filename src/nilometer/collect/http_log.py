"""uvicorn's log as counters and a line a minute: it would write one per bad request."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from nilometer.collect.http_head import (
    MADE_ROOM,
    TOO_LARGE,
    TOO_MANY,
    TOO_SLOW,
    UNREAD,
)
from nilometer.collect.lingering import ENDLESS_REST, NO_REST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.collect.instruments import Refusals

LOGGER: Final = "uvicorn.error"

REASONS: Final[Mapping[str, str]] = {
    "Invalid HTTP request received.": "not-http",
    TOO_LARGE: "head-too-large",
    TOO_SLOW: "slow-head",
    NO_REST: "slow-rest",
    ENDLESS_REST: "endless-rest",
    UNREAD: "unread-answer",
    MADE_ROOM: "idle-connection",
    TOO_MANY: "too-many-connections",
    "Exception in ASGI application\n": "fault",
    "Unsupported upgrade request.": "upgrade",
}
"""What uvicorn says, and the word it is counted by."""


class UvicornLog(logging.Filter):
    """Keeps uvicorn's records from the log; what they complain of is counted and said by us."""

    def __init__(self, refusals: Refusals) -> None:
        super().__init__()
        self._refusals = refusals

    def filter(self, record: logging.LogRecord) -> bool:
        """Never; but errors that are not of one request are passed on."""
        reason = REASONS.get(str(record.msg))
        if reason is None:
            return record.levelno >= logging.ERROR
        self._refusals.count("http", reason, detail=_told(record))
        return False


def _told(record: logging.LogRecord) -> str:
    """Of a fault of ours the exception and where it arose: a traceback a minute is too much."""
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    error, traceback = record.exc_info[1], record.exc_info[2]
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    where = (
        f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}" if traceback else ""
    )
    return f"{type(error).__name__}: {error} at {where}"
