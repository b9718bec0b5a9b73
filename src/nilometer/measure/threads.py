"""Which thread calls: a real one, also where gevent or eventlet put greenlets in their place.

A greenlet is no thread here. Services make one per request: a series for each would say
nothing, and there would be no end of them.
"""

from __future__ import annotations

import _thread
import sys
from threading import current_thread, main_thread
from types import BuiltinFunctionType
from typing import Any


def local_of_threads() -> Any:
    """Return what keeps attributes by real thread."""
    # One that another thread is just importing has nothing of this yet, and patched nothing.
    monkey: Any = sys.modules.get("gevent.monkey")
    if hasattr(monkey, "is_module_patched") and monkey.is_module_patched("_thread"):
        return monkey.get_original("_thread", "_local")()
    patcher: Any = sys.modules.get("eventlet.patcher")
    if hasattr(patcher, "is_monkey_patched") and patcher.is_monkey_patched("thread"):
        return patcher.original("_thread")._local()
    return _thread._local()


def name_of_thread() -> str:
    """Return the name of the real thread that calls."""
    if isinstance(_thread.get_ident, BuiltinFunctionType):
        return current_thread().name
    main = main_thread()  # there are greenlets: these are of the main thread, as good as always
    if _thread.get_native_id() == main.native_id:
        return main.name
    return f"thread-{_thread.get_native_id()}"


class Lease:
    """That some thread uses a series: all of one name hold the same one, until they end."""

    __slots__ = ("__weakref__",)
