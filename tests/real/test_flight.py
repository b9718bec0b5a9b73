"""The flight recorder in a service that knows nothing of us, and what a collector then has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from nilometer.cli.processes import Processes, free_port, nilometer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(120)]

SLOW_S = 2  # no request that only answers takes so long, on whatever machine
SLEPT_S = 2.5  # an event loop may wake a little before its time

WSGI = f"""
import time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fails":
        raise LookupError("it is gone")
    if path == "/slow":
        time.sleep({SLEPT_S})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""

ASGI = f"""
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    if scope["path"] == "/fails":
        raise LookupError("it is gone")
    if scope["path"] == "/slow":
        await asyncio.sleep({SLEPT_S})
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"ok"}})
"""

SERVERS = {
    "gunicorn": (
        WSGI,
        "gunicorn",
        "service:app",
        "--bind",
        "127.0.0.1:{port}",
        "--threads",
        "4",
    ),
    "uvicorn": (ASGI, "uvicorn", "service:app", "--port", "{port}", "--lifespan", "off"),
}


@pytest.fixture(params=SERVERS)
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A service with the recorder on, and the collector it sends to."""
    source, program, *words = SERVERS[request.param]
    (tmp_path / "service.py").write_text(source)
    port, app = free_port(), free_port()
    collector, service = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{app}"
    with Processes(tmp_path) as processes:
        store = ["--store", str(tmp_path / "store"), "--listen", f"127.0.0.1:{port}"]
        processes.start(
            "collector",
            *nilometer("serve", *store, "--statsd", "off", "--window", "100ms"),
            ready=f"{collector}/api/v1/health",
        )
        flags = ["--service", "shop", "--export", f"otlp://127.0.0.1:{port}"]
        flags += ["--interval", "200ms", "--integrations", "auto"]
        flags += ["--flight-recorder", "true", "--flight-slow", str(SLOW_S)]
        server = [str(Path(sys.executable).parent / program)]
        server += [word.format(port=app) for word in words]
        processes.start(
            "service",
            *nilometer("run", *flags, "--", *server),
            ready=f"{service}/good",
            PYTHONPATH=str(tmp_path),
        )
        yield service, collector


def traces(collector: str) -> list[dict[str, Any]]:
    told = subprocess.run(
        nilometer("trace", "list", "--json", "--url", collector),
        capture_output=True,
        check=True,
        timeout=60,
    )
    found: list[dict[str, Any]] = json.loads(told.stdout)["traces"]
    return found


def test_what_failed_and_what_was_slow_is_found_and_what_went_well_is_not(
    urls: tuple[str, str], wait_until: Any
) -> None:
    service, collector = urls
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    came = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-00"}
    with httpx.Client(base_url=service, timeout=30) as client:
        answers = [client.get(f"/{path}").status_code for path in ("good", "slow", "good")]
        answers.append(client.get("/fails", headers=came).status_code)

    assert answers == [200, 200, 200, 500]

    found: list[dict[str, Any]] = []

    def has_both() -> bool:
        found[:] = traces(collector)
        return len(found) >= 2

    wait_until(has_both, what="both have arrived")
    roots = [
        root
        for one in found
        for root in httpx.get(f"{collector}/api/v1/traces/{one['id']}").json()["roots"]
    ]

    assert sorted(
        (root["attributes"]["url.path"], root["attributes"]["nilometer.flight"])
        for root in roots
    ) == [("/fails", "failed"), ("/slow", "slow")]
    assert trace_id in {one["id"] for one in found}
