"""A collector inside the test's own process, on tables that do what the test tells them."""

from __future__ import annotations

import asyncio
import threading

import httpx

from nilometer.collect.daemon import Collector
from nilometer.collect.own import OWN_SERVICE
from nilometer.collect.settings import CollectorSettings
from nilometer.measure import REGISTRY

URL = "http://127.0.0.1:4318"


class Tables:
    """Stands in for the lake: remembers what was committed, fails on demand, can be held up."""

    def __init__(self):
        self.batches = []
        self.clamped = {}
        self.again = {}
        self.error = None
        self.rejected = {}  # by door and reason, when the visit is over
        self.open = threading.Event()
        self.open.set()

    def torn(self):
        return {}

    def append(self, batches):
        self.open.wait(10)
        if self.error is not None:
            raise self.error
        self.batches.extend(b for b in batches if b.resource.service != OWN_SERVICE)

    @property
    def spans(self):
        return [span for batch in self.batches for span in batch.spans]

    @property
    def readings(self):
        return [reading for batch in self.batches for reading in batch.readings]

    @property
    def events(self):
        return [event for batch in self.batches for event in batch.events]


class NoReader:
    """Stands in for the reader where nobody asks anything."""

    def broken(self):
        return []


def visit(tmp_path, talk, *, tables=None, reader=None, **settings):
    """Run ``await talk(client, collector)`` against a collector; what it returned."""

    tables = Tables() if tables is None else tables

    async def whole():
        counted()
        collector = Collector(
            CollectorSettings(store=str(tmp_path), **{"window_s": 0.0, **settings}),
            tables,
            NoReader() if reader is None else reader,
        )
        transport = httpx.ASGITransport(app=collector.app)
        try:
            async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
                answer = await talk(client, collector)
                tables.rejected = counted()
                return answer
        finally:
            await collector.close()

    return asyncio.run(whole())


def counted():
    """What was refused since the last call, by door and reason."""
    return {
        (dict(reading.dimensions)["door"], dict(reading.dimensions)["reason"]): reading.value
        for reading in REGISTRY.collect()[0]
        if reading.name == "nilometer.collector.rejected"
    }
