"""Hanging up so that the server has counted all of the session when that is done."""

from __future__ import annotations

import os
import select
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from nilometer import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDED_S: Final = 1.0
"""A server ends a session within a millisecond of the word; this is for one that does not."""

BYTES: Final = 4096  # of its last words, which nobody reads


class _Socket(Protocol):
    def fileno(self) -> int: ...


@contextmanager
def until_ended(connected: _Socket | int | None) -> Iterator[None]:
    """Say goodbye and close within this; it returns when the server has closed its end, too.

    Servers add up what a session did when it ends, some time after we have closed. Read again
    before that, they would count it now in one read and now in the next. A second descriptor
    of the connection sees the end.
    """
    handle = (
        connected if isinstance(connected, int) or connected is None else connected.fileno()
    )
    ours = None if handle is None or handle < 0 else os.dup(handle)
    try:
        yield
        if ours is not None:
            _drained(ours)
    finally:
        if ours is not None:
            os.close(ours)


def _drained(handle: int) -> None:
    """Wait for the end of what comes in, whatever that is."""
    until_ns = clock.elapsed_ns() + int(ENDED_S * 1e9)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    while (left_ms := (until_ns - clock.elapsed_ns()) / 1e6) > 0:
        try:
            if poll.poll(left_ms) and not os.read(handle, BYTES):
                return
        except BlockingIOError:
            continue
        except OSError:
            return  # cut, which is an end as well
