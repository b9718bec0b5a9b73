"""The REST interface over a store of its own, without a server."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import httpx

from nilometer.api.native import api
from nilometer.api.queries import THREADS, Queries
from nilometer.store.lake import Lake
from nilometer.store.query import Reader


@contextmanager
def asking(place, batches):
    """``with asking(tmp_path, batches) as ask: ask("/api/v1/traces", limit=1)``."""
    lake = Lake(place, durability="os")
    for batch in batches:
        lake.append([batch])
    reader = Reader(place)
    with asyncio.Runner() as runner:
        queries = Queries()
        all_at_once = threading.Barrier(THREADS + 1)  # they are nobody's who asks
        for _ in range(THREADS):
            queries._pool.submit(all_at_once.wait)
        all_at_once.wait(10)
        app = api(reader, queries, dict)

        def ask(path, *, method="GET", body=None, **parameters):
            async def talk():
                transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
                async with httpx.AsyncClient(transport=transport, base_url="http://n") as one:
                    given = parameters or None
                    return await one.request(method, path, params=given, content=body)

            return runner.run(talk())

        yield ask
        queries.close()
    reader.close()
