"""Starting a background thread wherever a service may run: patched, forked, or inside uWSGI.

Where eventlet or gevent patched `threading`, ours is a green thread like all others there. A
native one would share locks with greenlets (those of logging, above all), and a green lock that
is fought over across native threads raises in the *service's* hub. docs/adr/0009 has the story.
"""

from __future__ import annotations

import _thread
import atexit
import os
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from nilometer.clock import elapsed_ns

if TYPE_CHECKING:
    from collections.abc import Callable

SETTLE_S: Final = 0.005
"""Between two looks whether others are done: 1/400 of the 2 s that a flush may take."""


def patched_by() -> str:
    """``"eventlet"`` or ``"gevent"`` where it replaced threads by greenlets, else ``""``."""
    # One that another thread is just importing has nothing of this yet, and patched nothing.
    patcher = getattr(sys.modules.get("eventlet.patcher"), "is_monkey_patched", None)
    if patcher is not None and patcher("thread"):
        return "eventlet"
    patcher = getattr(sys.modules.get("gevent.monkey"), "is_module_patched", None)
    if patcher is not None and patcher("threading"):
        return "gevent"
    return ""


def is_in_hub() -> bool:
    """Whether the caller runs in eventlet's or gevent's hub itself, which can wait for nothing.

    A signal handler does, that comes while the service rests.
    """
    patcher = patched_by()
    if patcher == "eventlet":
        local = getattr(sys.modules.get("eventlet.hubs"), "_threadlocal", None)
        hub = getattr(getattr(local, "hub", None), "greenlet", None)
    elif patcher == "gevent":
        hub = import_module("gevent._hub_local").get_hub_if_exists()
    else:
        return False
    return hub is not None and sys.modules["greenlet"].getcurrent() is hub


def where_threads_run() -> tuple[str, int]:
    """Where a thread begun here gets its turns: a green one in no hub but its native thread's.

    The same as before: what was begun then runs beside who asks now.
    """
    patcher = patched_by()
    return patcher, _thread.get_native_id() if patcher else 0


def wait_until(
    is_so: Callable[[], object], deadline_ns: float, elapsed_ns: Callable[[], int]
) -> bool:
    """Look again and again, between the others' turns, until something is so; False in the end.

    Nothing is waited for but time: locks and bells may be of other threads than those of now.
    """
    while not is_so():
        if elapsed_ns() >= deadline_ns:
            return False
        threading.Event().wait(SETTLE_S)
    return True


def wait_s(timeout_s: float) -> float:
    """How long to wait, from nothing to the longest wait there is. Raises TypeError."""
    try:
        return max(0.0, min(timeout_s + 0.0, threading.TIMEOUT_MAX))
    except TypeError:
        raise TypeError(f"timeout_s={timeout_s!r} is not a number of seconds") from None


def start_thread(run: Callable[[], None], name: str) -> None:
    """Run a function in a daemon thread, green where threads are green.

    Safe in a fork hook: it does not wait for a green thread to begin, because waiting would
    run the hub, and with it the parent's greenlets, in a child that is not ready for them.
    """
    patcher = patched_by()
    if patcher == "gevent" and sys.version_info[:2] == (3, 12):
        _make_a_thread_to_resolve_in()
    if patcher:
        _thread.start_new_thread(run, ())  # what both of them patch, on every Python
        return
    _Native(target=run, name=name, daemon=True).start()


def _make_a_thread_to_resolve_in() -> None:
    """See to it that gevent's pool has a thread; waits for nothing.

    gevent looks up names in a thread of its pool, made at first use; Python 3.12, alone, makes
    no thread any more once it ends, which is when a short-lived process connects first. Where
    that is now, names are looked up by who asks: nobody else wants a turn any more.
    """
    hub = import_module("gevent").get_hub()
    try:
        hub.threadpool.spawn(int)
    except RuntimeError:
        hub.resolver = import_module("gevent.resolver.blocking").Resolver()


class _Native(threading.Thread):
    """A thread that ends without noise even if greenlets have replaced threads meanwhile."""

    def start(self) -> None:
        _natives.add(self)
        super().start()

    def _delete(self) -> None:
        with suppress(KeyError):  # it is known by its native number, and asked for by another
            super()._delete()  # type: ignore[misc]


_natives: Final[WeakSet[threading.Thread]] = WeakSet()


def join_threads(timeout_s: float) -> None:
    """Wait until those of ours that were told to end are gone, and ask for no lock any more."""
    deadline_ns = elapsed_ns() + int(timeout_s * 1e9)
    for thread in list(_natives):
        if thread is not threading.current_thread():
            thread.join(max(0.0, (deadline_ns - elapsed_ns()) / 1e9))


_awaits_uwsgi = False


def await_uwsgi() -> None:
    """This process is a uWSGI: until its module is there, take it for one that forks later."""
    global _awaits_uwsgi
    _awaits_uwsgi = True


def forks_later() -> bool:
    """Whether this is a uWSGI that forks workers: when it has loaded all, and others later.

    It forks in C while any thread may hold the interpreter's lock, and in the child nobody
    lets go of that: so here none of ours may run.
    """
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is None:
        return _awaits_uwsgi
    master = getattr(uwsgi, "masterpid", None)
    return master is not None and bool(master() == os.getpid())


def threads_cannot_run() -> str:
    """Why threads get no time in this process, or ``""`` if they do.

    uWSGI without ``enable-threads`` never lets go of the interpreter's lock.
    """
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is None:
        return ""
    options = {
        key.decode() if isinstance(key, bytes) else key for key in getattr(uwsgi, "opt", {})
    }
    if options & {"enable-threads", "threads"}:
        return ""
    return "uWSGI runs without enable-threads, so no thread of ours gets any time"


def call_after_fork(resume: Callable[[], None], flush: Callable[[], object]) -> None:
    """See to it that `resume` runs in every forked child, and `flush` when one ends.

    Call it once per process tree: a child inherits both.
    """

    def in_child() -> None:
        resume()
        _flush_when_multiprocessing_ends(flush)

    os.register_at_fork(after_in_child=in_child)
    call_after_uwsgi_forks(resume, flush)


def call_after_uwsgi_forks(resume: Callable[[], None], flush: Callable[[], object]) -> None:
    """The same in the workers of a uWSGI, if this is one and its module is there already.

    It forks in C, and runs Python's own hooks only if asked by an option; by its gevent loop
    workers end without Python's `atexit`, too. Its own hooks, one each, may be taken by the
    application meanwhile, so this may be called again: ours is put around it.
    """
    _around("post_fork_hook", resume)
    _around("atexit", flush)


def _around(name: str, ours: Callable[[], object]) -> None:
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is None:
        return
    inner: Callable[[], None] | None = getattr(uwsgi, name, None)
    if getattr(inner, "__module__", "") == __name__:
        return

    def hook() -> None:
        try:
            if inner is not None:
                inner()
        finally:
            ours()

    setattr(uwsgi, name, hook)


def _flush_when_multiprocessing_ends(flush: Callable[[], object]) -> None:
    """Children of multiprocessing end by os._exit: atexit does not run, its finalizers do.

    They are cleared when the child begins, just before its after-fork registry runs.
    """
    multiprocessing_util = sys.modules.get("multiprocessing.util")
    if multiprocessing_util is None:
        return
    util = multiprocessing_util

    def register(_: object) -> None:
        util.Finalize(None, flush, exitpriority=0)

    util.register_after_fork(flush, register)


def call_at_end(flush: Callable[[], object]) -> None:
    """See to it that `flush` runs when this process ends in order, however it was started.

    A child of multiprocessing that was not forked from us knows no fork hook of ours.
    """
    atexit.register(flush)
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, flush, exitpriority=0)
