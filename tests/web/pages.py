"""The pages on tables that hold what a test gives, asked in this process.

with asking(tmp_path, batches) as ask:
    answer = ask("/services", since="1h")
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import httpx
from starlette.applications import Starlette

from nilometer.api.dialects import Means
from nilometer.api.queries import THREADS, Queries
from nilometer.clock import Clock
from nilometer.store.lake import Lake
from nilometer.store.query import Reader
from nilometer.web.app import pages

HEALTH = {
    "status": "ok",
    "version": "1",
    "pending_rows": 0,
    "commits_failed": 0,
    "broken_files": [],
    "uptime_ns": 1,
}


async def _nowhere(_batches):
    raise AssertionError("nothing is sent by looking")


@contextmanager
def asking(store, batches=(), *, clock=None, keys=None):
    """``ask(path, method=, headers=, **parameters)``: an `httpx.Response`."""
    Lake(store, durability="os").append(list(batches))
    reader = Reader(store)
    with asyncio.Runner() as runner:
        queries = Queries()
        all_at_once = threading.Barrier(THREADS + 1)  # they are nobody's who asks
        for _ in range(THREADS):
            queries._pool.submit(all_at_once.wait)
        all_at_once.wait(10)
        means = Means(reader, queries, _nowhere, lambda _: None, clock or Clock())
        app = Starlette(routes=[pages(means, lambda: HEALTH, keys)])

        async def send(path, parameters, method, headers, data):
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1", trust_env=False
            ) as client:
                return await client.request(
                    method, path, params=parameters or None, headers=headers, data=data
                )

        def ask(path, *, method="GET", headers=None, data=None, **parameters):
            return runner.run(send(path, parameters, method, headers, data))

        yield ask
        queries.close()
    reader.close()
