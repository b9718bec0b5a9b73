"""Log records that carry the id of the request they belong to.

    logging.basicConfig(format="%(asctime)s %(trace_id)s %(message)s")
    nilometer.integrations.logging.install()

Each record gets `trace_id`: 32 hexadecimal digits, or "-" outside of any request. A record that
has one, as a line's own ``extra={"trace_id": ...}`` gives it, keeps that.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.patches import Patches
from nilometer.trace.identified_pure import identify
from nilometer.trace.twin import identified

if TYPE_CHECKING:
    from collections.abc import Callable

_patches: Final = Patches()


class TraceIdFilter(logging.Filter):
    """For those who would rather say it in their logging configuration: adds `trace_id`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, with its `trace_id`."""
        identify(record)
        return True


def install() -> bool:
    """Give every record made from now on a `trace_id`; False if that is done already."""
    if _patches.active:
        return False
    with _patches:
        _patches.swap(logging.Logger, "makeRecord", _logged)
        _patches.replace(logging, "makeLogRecord", _given)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


def _logged(original: Callable[..., Any]) -> Any:
    """For ``Logger.makeRecord``: after it, for it refuses an `extra` that a record has."""
    names = vars(logging)
    is_logging_s = getattr(original, "__globals__", None) is names
    ours = identified(original, names if is_logging_s else None)
    _patches.also_end(ours)
    return ours


def _given(original: Callable[..., Any]) -> Callable[..., Any]:
    """For ``makeLogRecord``, which makes a record of what another process sent."""

    def make_log_record(told: Any) -> Any:
        record = original(told)
        identify(record)
        return record

    return make_log_record
