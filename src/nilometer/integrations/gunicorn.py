"""gunicorn: each worker takes the application up after the fork.

A worker class of another project (uvicorn's) derives from gunicorn's bare `Worker` and is
served by that project's own integration, since what it runs need not be WSGI.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import elapsed_ns
from nilometer.integrations.dispatch import ATTRIBUTE, marked
from nilometer.integrations.http_meters import server_instruments
from nilometer.integrations.http_phases import ARRIVED
from nilometer.integrations.servers import Served
from nilometer.integrations.serving import Load
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.patches import Patches


def _is_wsgi(worker: Any) -> bool:
    return any(
        kind.__module__.startswith("gunicorn.workers.")
        and kind.__module__ != "gunicorn.workers.base"
        for kind in type(worker).__mro__
    )


_at_work: Final[set[int]] = set()
"""gthread's threads that are at a request: the pool itself counts one that goes on with what
waited as idle once more."""


# --- How busy it is --------------------------------------------------------------------------


def _load(worker: Any) -> Load:
    """Threads of gthread, connections that greenlets may serve, or the one of sync."""
    if hasattr(worker, "tpool"):
        used = len(_at_work)
        waiting = 0 if worker.tpool._shutdown else worker.tpool._work_queue.qsize()
        return Load(used, max(0, worker.cfg.threads - used), waiting, worker.nr_conns)
    used = server_instruments(REGISTRY).in_flight()
    return Load(used, max(0, getattr(worker, "worker_connections", 1) - used))


def _counting(worker: Any, patches: Patches) -> None:
    """Of gthread's threads, at every level; the other workers are known by their requests."""
    for kind in type(worker).__mro__:
        if f"{kind.__module__}.{kind.__name__}" == "gunicorn.workers.gthread.ThreadWorker":
            patches.replace(kind, "handle", _at_work_while)


def _at_work_while(original: Callable[..., Any]) -> Callable[..., Any]:
    def handle(*args: Any, **kwargs: Any) -> Any:
        thread = get_ident()
        _at_work.add(thread)
        try:
            return original(*args, **kwargs)
        finally:
            _at_work.discard(thread)

    return handle


# --- When it has a request -------------------------------------------------------------------


def _arrivals(worker: Any, patches: Patches) -> None:
    """Sync has it when it accepts, gthread when a thread may take it, others with its head."""
    kinds = {f"{kind.__module__}.{kind.__name__}": kind for kind in type(worker).__mro__}
    handler = getattr(worker, "wsgi_handler", None)  # gevent's own server in gunicorn's worker
    if handler is not None:
        patches.replace(handler, "read_request", marked)
    if (kind := kinds.get("gunicorn.workers.base_async.AsyncWorker")) is not None:
        patches.replace(kind, "handle_request", marked)
    if (kind := kinds.get("gunicorn.workers.sync.SyncWorker")) is not None:
        patches.replace(kind, "handle", marked)
    if (kind := kinds.get("gunicorn.workers.gthread.ThreadWorker")) is not None:
        patches.replace(kind, "enqueue_req", _queued)
        patches.replace(kind, "handle", _begun)
        connections = getattr(sys.modules.get(kind.__module__), "TConn", None)
        if hasattr(connections, "wait_for_data"):  # newer than 23
            patches.replace(connections, "wait_for_data", _waited)


def _queued(original: Callable[..., Any]) -> Callable[..., Any]:
    def enqueue(worker: Any, connection: Any) -> Any:
        setattr(connection, ATTRIBUTE, elapsed_ns())
        return original(worker, connection)

    return enqueue


def _begun(original: Callable[..., Any]) -> Callable[..., Any]:
    def handle(worker: Any, connection: Any) -> Any:
        ARRIVED.set(getattr(connection, ATTRIBUTE, 0))
        return original(worker, connection)

    return handle


def _waited(original: Callable[..., Any]) -> Callable[..., Any]:
    """In the same thread, for the client to say anything: no fault of the server's."""

    def wait_for_data(connection: Any, timeout_s: float) -> Any:
        started = elapsed_ns()
        has_come = original(connection, timeout_s)
        if ARRIVED.get():
            ARRIVED.set(ARRIVED.get() + elapsed_ns() - started)
        return has_come

    return wait_for_data


_served = Served(
    "gunicorn",
    "gunicorn.workers.base",
    "Worker",
    "load_wsgi",
    "wsgi",
    concerns=_is_wsgi,
    load=_load,
    arrivals=_arrivals,
    counting=_counting,
)
install = _served.install
uninstall = _served.uninstall
