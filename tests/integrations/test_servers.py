"""Real servers, each running an application that knows nothing of us."""

import json

import pytest
import requests

from tests.integrations.integration_kit import KEY, trigger_headers
from tests.integrations.served import IS_ASGI, SERVERS, start

SITE = f"""
from nilometer.integrations import Chosen, automatic
from nilometer.trace.trigger import Triggers

chosen = Chosen(automatic(), triggers=Triggers([{KEY!r}]))
chosen.begin()
"""

REPORT = """
import json

def report():
    from nilometer.measure import REGISTRY
    from nilometer.model import Distribution
    from nilometer.trace import drain_spans
    readings = {}
    for r in REGISTRY.collect()[0]:
        value = r.value.samples if isinstance(r.value, Distribution) else r.value
        readings[f"{r.name} {dict(r.dimensions)}"] = value
    spans = [[s.name, s.status.name, dict(s.attributes)] for s in drain_spans()]
    return json.dumps({"readings": readings, "spans": spans}).encode()
"""

WSGI = """
from wsgiref.util import FileWrapper

from report import report

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/error":
        raise RuntimeError("broken")
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/stream":
        return (b"x" * 10 for _ in range(3))
    if path == "/file":
        return environ.get("wsgi.file_wrapper", FileWrapper)(open(__file__, "rb"))
    if path == "/read":
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    return [report()] if path == "/report" else [b"hel", b"lo"]

make = lambda: application
"""

ASGI = """
from report import report

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path = scope["path"]
    if path == "/error":
        raise RuntimeError("broken")
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"text/plain")]})
    if path == "/stream":
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"x" * 10, "more_body": True})
        await send({"type": "http.response.body"})
        return
    if path == "/read":
        while (await receive()).get("more_body"):
            pass
    body = report() if path == "/report" else b"hello"
    await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture(params=SERVERS)
def server(request, tmp_path, free_port, start_process):
    """The name of a running server, and where it listens."""
    port = free_port()
    name = request.param
    start(
        name,
        tmp_path,
        port=port,
        start_process=start_process,
        site=SITE,
        app=ASGI if name in IS_ASGI else WSGI,
        report=REPORT,
    )
    return name, f"http://127.0.0.1:{port}"


@pytest.mark.real
def test_an_application_is_measured_and_traced_without_touching_its_source(server):
    name, url = server
    with requests.Session() as session:
        session.get(f"{url}/report", timeout=10)  # whoever looked whether it listens
        assert session.get(f"{url}/stream", timeout=10).content == b"x" * 30
        assert session.post(f"{url}/read", data=b"y" * 1000, timeout=10).content == b"hello"
        signed = trigger_headers()
        assert session.get(f"{url}/", headers=signed, timeout=10).content == b"hello"
        is_wsgi = name not in IS_ASGI
        if is_wsgi:
            assert b"FileWrapper" in session.get(f"{url}/file", timeout=10).content
    try:
        assert requests.get(f"{url}/error", timeout=10).status_code == 500
    except requests.ConnectionError:
        assert name.startswith("uwsgi")  # it answers a raised exception by closing
    report = json.loads(requests.get(f"{url}/report", timeout=10).content)

    readings = report["readings"]
    get = 3 + is_wsgi + 1 - 1  # stream, signed, file, error; the first report read itself away
    assert readings["http.server.request {'http.request.method': 'POST'}"] == 1
    assert readings["http.server.request {'http.request.method': 'GET'}"] == get + 1
    assert readings["http.server.responses {'http.response.status_class': '5xx'}"] == 1
    assert readings["http.server.request.errors {'error.type': 'RuntimeError'}"] == 1
    assert readings["http.server.request.bytes {}"] == 1000
    assert readings["http.server.in_flight {}"] == 1
    ((root, status, attributes),) = report["spans"]
    assert (root, status) == ("GET", "UNSET")
    assert attributes["url.path"] == "/"
    assert attributes["nilometer.server"] == name.split()[0]
