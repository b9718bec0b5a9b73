"""The end of a child by a signal: what it measured is sent before that.

`multiprocessing` ends its children by SIGTERM. A handler alone would come too late: Python
calls it when the main thread is back from C, and some versions of Kafka's client stay there for
five seconds, whatever signal comes. So a thread is told by what Python does in the signal
itself, sends, and ends the process by the same signal.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER: Final = signal.SIGTERM


def call_before_the_end(ended: Callable[[], None]) -> Callable[[], None]:
    """Have a function called before SIGTERM ends this child; returns what undoes that.

    Does nothing where somebody handles that signal, or is told of signals, already.
    """
    from multiprocessing.process import parent_process

    if (
        parent_process() is None
        or threading.current_thread() is not threading.main_thread()
        or signal.getsignal(NUMBER) is not signal.SIG_DFL
    ):
        return lambda: None
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    others = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    if others != -1:
        signal.set_wakeup_fd(others)
        os.close(reads)
        os.close(writes)
        return lambda: None
    threading.Thread(
        target=_wait, args=(reads, ended), name="nilometer-end", daemon=True
    ).start()
    signal.signal(NUMBER, _stand_still)

    def undo() -> None:
        if signal.getsignal(NUMBER) is _stand_still:
            signal.signal(NUMBER, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        os.close(writes)

    return undo


def _wait(reads: int, ended: Callable[[], None]) -> None:
    """Until the signal came, or until it is undone that anybody is told of it."""
    while told := os.read(reads, 1):
        if told[0] == NUMBER:
            try:
                ended()
            finally:
                # By C, as Python lets only the main thread do that, which may be in C.
                ctypes.CDLL(None).signal(NUMBER, None)
                os.kill(os.getpid(), NUMBER)
    os.close(reads)


def _stand_still(_number: int, _frame: object) -> None:
    """In the main thread, if it gets here: what it measured from now on would not be sent."""
    while True:
        signal.pause()
