"""A server with the collector's HTTP protocol and little behind it, for a talk with it."""

from __future__ import annotations

import asyncio
import logging

import uvicorn

from nilometer.collect.http_head import BoundedHead
from nilometer.collect.http_log import LOGGER, UvicornLog


class Counted:
    def __init__(self):
        self.reasons = []

    def count(self, door, reason, items=1, *, detail=""):
        self.reasons.append((door, reason))


async def answer_ok(_scope, receive, send):
    await receive()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
    )
    await send({"type": "http.response.body"})


async def answer_ok_when_whole(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await answer_ok(scope, receive_nothing, send)


async def receive_nothing():
    return {"type": "http.disconnect"}


async def refuse(_scope, _receive, send):
    """Answer before the body has come, as whoever has no token is answered."""
    await send(
        {"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]}
    )
    await send({"type": "http.response.body"})


async def answer_much(_scope, _receive, send):
    """Far more than the kernel keeps for somebody who does not read."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(500):
        await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
    await send({"type": "http.response.body"})


def visit(talk, app=answer_ok, **settings):
    """Run ``await talk(connect)`` against a server with our protocol; what it refused."""
    counted = Counted()
    http_log = UvicornLog(counted)

    async def whole():
        config = uvicorn.Config(
            app, http=BoundedHead, lifespan="off", log_config=None, port=0, **settings
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            await talk(lambda: asyncio.open_connection("127.0.0.1", port))
        finally:
            server.should_exit = True
            await serving

    logging.getLogger(LOGGER).addFilter(http_log)
    try:
        asyncio.run(whole())
    finally:
        logging.getLogger(LOGGER).removeFilter(http_log)
    return counted.reasons
