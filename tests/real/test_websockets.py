"""WebSockets of a real server, from the handshake to the close."""

from __future__ import annotations

import json
import sys

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

pytestmark = pytest.mark.real

APP = """
async def application(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        if message["text"] == "break":
            raise LookupError("mine")
        await send({"type": "websocket.send", "text": message["text"]})
"""


def values(sink):
    """{name: what it came to, or for a gauge the largest that it was}, of WebSockets."""
    found = {}
    for line in sink.read_text().splitlines() if sink.exists() else ():
        for one in json.loads(line).get("readings", ()):
            name, value = one["name"], one["value"]
            if not name.startswith(("websocket.", "http.server.request.errors")):
                continue
            if one["kind"] == "gauge":
                found[name] = max(found.get(name, 0), value)
            else:
                number = value["samples"] if isinstance(value, dict) else value
                found[name] = found.get(name, 0) + number
    return found


def test_websockets_are_counted_while_they_are_open_and_timed_when_they_close(
    tmp_path, free_port, start_process, wait_until
):
    port, sink = free_port(), tmp_path / "told.jsonl"
    (tmp_path / "app.py").write_text(APP)
    run = ["-m", "nilometer", "run", "--export", f"file://{sink}", "--interval", "100ms", "--"]
    serve = ["-m", "uvicorn", "--port", str(port), "--lifespan", "off", "app:application"]
    start_process([sys.executable, *run, sys.executable, *serve], ready=port, cwd=tmp_path)
    with (
        connect(f"ws://127.0.0.1:{port}/one") as one,
        connect(f"ws://127.0.0.1:{port}/") as two,
    ):
        one.send("hello")
        assert one.recv(10) == "hello"
        wait_until(
            lambda: values(sink).get("websocket.server.in_flight") == 2, what="both are seen"
        )
        two.send("break")
        with pytest.raises(ConnectionClosed):
            two.recv(10)
    expected = {
        "websocket.server.connection": 2,
        "websocket.server.in_flight": 2,
        "websocket.server.connection.errors": 1,
    }
    wait_until(lambda: values(sink) == expected, what="both have ended, one by its fault")
