"""An application that nobody here wrote, without us in its environment, measured as it is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest

from nilometer.cli.processes import Processes, free_port, nilometer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".cache" / "httpbin"

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(180)]


class Measured(NamedTuple):
    """httpbin under gunicorn, and the collector that its measurements go to."""

    server: str
    app: str
    collector: str
    key_file: Path

    def statistics(self, metric: str, **asked: str) -> list[dict[str, Any]]:
        url = f"{self.collector}/api/v1/metrics/{metric}/statistics"
        rows: list[dict[str, Any]] = httpx.get(url, params=asked).json().get("statistics", [])
        return rows


SERVERS = {
    "gunicorn": ("gunicorn", "httpbin:app", "--bind", "{at}", "--threads", "4"),
    "uwsgi": (
        *("uwsgi", "--http-socket", "{at}", "--module", "httpbin:app", "--enable-threads"),
        *("--threads", "4", "--master", "--processes", "2", "--die-on-term"),
        *("--home", str(HOME), "--add-header", "Connection: close"),  # it closes, and says so
    ),
}


@pytest.fixture(scope="module", params=SERVERS)
def httpbin(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, python: str
) -> Iterator[Measured]:
    subprocess.run([ROOT / "scripts" / "install-httpbin", HOME, python], check=True)
    folder = tmp_path_factory.mktemp("httpbin")
    key_file = folder / "trace.key"
    key_file.touch(mode=0o600)
    key_file.write_text("a key of sixteen or more characters\n")
    port, app = free_port(), free_port()
    urls = (f"http://127.0.0.1:{app}", f"http://127.0.0.1:{port}")
    here = Measured(request.param, *urls, key_file)
    server, *words = [word.format(at=f"127.0.0.1:{app}") for word in SERVERS[request.param]]
    # uWSGI is built once, beside this suite; httpbin's environment is its --home.
    program = HOME / "bin" / server if server == "gunicorn" else Path(python).parent / server
    with Processes(folder) as processes:
        store = ["--store", str(folder / "store"), "--listen", f"127.0.0.1:{port}"]
        processes.start(
            "collector",
            *nilometer("serve", *store, "--statsd", "off", "--window", "100ms"),
            ready=f"{here.collector}/api/v1/health",
        )
        flags = ["--service", "httpbin", "--export", f"otlp://127.0.0.1:{port}"]
        flags += ["--interval", "500ms", "--trace-key-file", str(key_file)]
        processes.start(
            "httpbin",
            *nilometer("run", *flags, "--", str(program), *words),
            ready=f"{here.app}/status/204",
        )
        yield here


def counted(httpbin: Measured, wait_until: Any, expected: dict[str, int]) -> dict[str, int]:
    """Responses by status class once as many as expected have arrived."""

    def now() -> dict[str, int]:
        rows = httpbin.statistics(
            "http.server.responses", group_by="http.response.status_class"
        )
        return {row["group"]["http.response.status_class"]: row["sum"] for row in rows}

    wait_until(lambda: sum(now().values()) >= sum(expected.values()), what="all are reported")
    return now()


def test_streams_errors_delays_and_bytes_are_measured_exactly(
    httpbin: Measured, wait_until: Any
) -> None:
    with httpx.Client(base_url=httpbin.app, timeout=30) as client:
        for _ in range(10):
            assert client.get("/get").status_code == 200
        assert len(client.get("/stream-bytes/50000?chunk_size=1000&seed=1").content) == 50_000
        assert len(client.get("/stream/20").text.splitlines()) == 20
        assert client.get("/delay/1").status_code == 200
        assert client.get("/drip?duration=1&numbytes=10&delay=0").status_code == 200
        assert len(client.get("/bytes/100000?seed=1").content) == 100_000
        for status in (404, 418, 500, 503):
            assert client.get(f"/status/{status}").status_code == status
        assert client.get("/redirect-to?url=/get", follow_redirects=False).status_code == 302
        assert client.get("/basic-auth/me/secret").status_code == 401
        assert client.get("/no/such/path").status_code == 404
        sent = client.post("/post", content=b"x" * 12_345)

    # The first is the readiness probe.
    expected = {"2xx": 1 + 10 + 4 + 1 + 1, "3xx": 1, "4xx": 4, "5xx": 2}
    assert sent.status_code == 200
    assert counted(httpbin, wait_until, expected) == expected
    (taken,) = httpbin.statistics("http.server.request.bytes")
    (given,) = httpbin.statistics("http.server.response.bytes")
    (time,) = httpbin.statistics("http.server.request", quantile="0.5")
    assert taken["sum"] == 12_345
    assert given["sum"] > 150_000
    # A second of delay and a second of drip: the drip is in the body's iteration, not the call.
    assert time["sum"] > 2 * 10**9
    assert time["count"] == sum(expected.values())


def test_an_upload_in_chunks_is_counted_by_the_bytes_that_were_read(
    httpbin: Measured, wait_until: Any
) -> None:
    """It has no Content-Length: what counts is what the application took from it.

    httpbin itself refuses such uploads by 501 everywhere but under gunicorn.
    """

    def taken() -> int:
        return sum(int(row["sum"]) for row in httpbin.statistics("http.server.request.bytes"))

    before = taken()
    sent = httpx.post(f"{httpbin.app}/post", content=iter([b"y" * 1000] * 7), timeout=30)
    if sent.status_code == 501:
        assert httpbin.server == "uwsgi"
        return

    assert len(sent.json()["data"]) == 7000
    wait_until(lambda: taken() > before, what="the upload is reported")
    assert taken() - before == 7000


def test_a_signed_request_is_traced_to_the_end_of_its_stream(
    httpbin: Measured, wait_until: Any
) -> None:
    made = subprocess.run(
        nilometer("trace", "new", "--key-file", str(httpbin.key_file), "--json"),
        capture_output=True,
        check=True,
    )
    trigger = json.loads(made.stdout)
    slow = f"{httpbin.app}/drip?duration=1&numbytes=5&delay=0"
    httpx.get(slow, headers=trigger["headers"], timeout=30)
    url = f"{httpbin.collector}/api/v1/traces/{trigger['trace_id']}"
    wait_until(lambda: httpx.get(url).status_code == 200, what="the trace is there")

    (root,) = httpx.get(url).json()["roots"]

    assert root["service"] == "httpbin"
    assert root["attributes"]["http.response.status_code"] == 200
    assert root["duration_ns"] > 700_000_000  # longer than the call that made the generator


def test_its_environment_was_not_touched(httpbin: Measured) -> None:
    """The package is loaded from where it lies; nothing is installed beside the application."""
    listed = subprocess.run(
        [HOME / "bin" / "python", "-m", "pip", "list", "--format=freeze"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert httpx.get(f"{httpbin.app}/get").status_code == 200
    assert "nilometer" not in listed.stdout.lower()
