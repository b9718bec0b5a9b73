"""A collector that is none: it answers what a test tells it to, faults above all.

It says so itself: every answer of it carries ``Server: fake``. What the real one answers is
tested against the real one, in test_commands.py.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Asked(NamedTuple):
    """One request as it came in."""

    path: str
    query: dict[str, list[str]]
    token: str | None


class Answer(NamedTuple):
    """What is sent back; a body that is no bytes is sent as JSON."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = {}

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class FakeCollector:
    """``with FakeCollector(answer) as fake``: `answer` maps a request to an Answer.

    None closes the connection without a word; bytes are sent raw, in the place of HTTP.
    """

    def __init__(self, answer: Callable[[Asked], Answer | bytes | None]) -> None:
        self.asked: list[Asked] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            server_version, sys_version = "fake", ""

            def do_GET(self) -> None:
                split = urlsplit(self.path)
                token = self.headers.get("Authorization")
                asked = Asked(split.path, parse_qs(split.query), token)
                fake.asked.append(asked)
                reply = answer(asked)
                with suppress(OSError):  # a client that gave up is what some tests are about
                    if isinstance(reply, bytes):
                        self.wfile.write(reply)
                    elif reply is not None:
                        self._send(reply)

            def _send(self, reply: Answer) -> None:
                self.send_response(reply.status)
                headers = {"Content-Length": str(len(reply.content)), **reply.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def always(body: Any, status: int = 200, **headers: str) -> Callable[[Asked], Answer]:
    """The same answer to everything."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Answer(body, status, named)


def node(name: str, **given: Any) -> dict[str, Any]:
    """A span as REST writes it."""
    return {
        "name": name,
        "service": "shop",
        "started_ns": 0,
        "duration_ns": 100,
        "self_ns": 100,
        "status": "unset",
        "status_message": "",
        "attributes": {},
        "orphan": False,
        "children": [],
        **given,
    }


def trace(*roots: dict[str, Any], **given: Any) -> dict[str, Any]:
    """A trace as REST writes it."""
    return {
        "id": "ab" * 16,
        "started_ns": 0,
        "duration_ns": 100,
        "spans": len(roots),
        "errors": 0,
        "roots": list(roots),
        **given,
    }
