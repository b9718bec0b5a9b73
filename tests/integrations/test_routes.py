"""Routes as real frameworks tell them, in spans' names and in the timer's dimensions."""

import pytest
from flask import Flask, Response

from nilometer.clock import Clock
from nilometer.integrations import wsgi
from nilometer.integrations.http_meters import server_instruments
from nilometer.trace import drain_spans
from nilometer.trace.trigger import HEADERS
from tests.integrations.integration_kit import read, trigger_headers

flask = Flask(__name__)


@flask.get("/orders/<int:number>")
def order(number):
    return {"number": number}


@flask.get("/streams/<name>")
def stream(name):
    return Response(part + "\n" for part in (name, name))


@flask.get("/broken/<path:where>")
def broken(where):
    raise LookupError(where)


@pytest.fixture
def served(twin, registry, triggers):
    app = wsgi.Middleware(flask, triggers=triggers, registry=registry)

    def get(path):
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": path,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.url_scheme": "http",
        }
        for name, value in trigger_headers().items():
            environ["HTTP_" + name.upper().replace("-", "_")] = value
        result = app(environ, lambda status, headers, exc_info=None: None)
        body = b"".join(result)
        result.close()
        return body

    return get


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/orders/7", "/orders/<int:number>", 200),
        ("/streams/x", "/streams/<name>", 200),
        ("/broken/a/b", "/broken/<path:where>", 500),
        ("/nowhere", None, 404),
    ],
)
def test_a_flask_route_names_the_span_and_the_series(served, registry, path, route, status):
    served(path)
    (root,) = drain_spans()
    about = root.attributes

    assert root.name == ("GET" if route is None else f"GET {route}")
    assert about.get("http.route") == route
    assert about["http.response.status_code"] == status
    dimensions = "http.request.method=GET" + ("" if route is None else f",http.route={route}")
    assert read(registry)["http.server.request"] == {dimensions: 1}


def test_what_flask_answers_is_what_it_answers_without_us(served):
    assert served("/streams/x") == b"x\nx\n"


def test_a_route_that_cannot_be_read_is_counted_once_and_so_is_the_request(
    twin, registry, triggers
):
    class Hostile:
        @property
        def rule(self):
            raise RuntimeError("no rule for you")

    def app(environ, start_response):
        environ["bottle.route"] = Hostile()
        start_response("200 OK", [])
        return [b"ok"]

    served = wsgi.Middleware(app, registry=registry)
    assert list(served({"REQUEST_METHOD": "GET"}, lambda *given: None)) == [b"ok"]
    readings = read(registry)

    assert readings["nilometer.lost"] == {"reason=RuntimeError,what=http.exchange": 1}
    assert readings["http.server.request"] == {"http.request.method=GET": 1}


def test_the_environ_is_asked_for_each_header_of_a_trigger():
    assert [f"HTTP_{name.upper().replace('-', '_')}" for name in HEADERS] == list(wsgi.HEADERS)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], None),
        ([(b"x-trace-hmac", b"a"), (b"x-trace-info", b"b")], "b"),
        ([(b"x-trace-info", b"a"), [b"x-trace-info", b"\xe9"], (b"a", b"b")], "a,\xe9"),
        ([(b"x-trace-info", b"a"), (b"x-trace-info", "no bytes"), None, (1, 2, 3)], "a"),
        ([(b"X-Trace-Info", b"a"), ("x-trace-info", b"b")], None),
        (((b"x-trace-info", b""),), ""),
    ],
)
def test_headers_of_a_name_are_one_in_their_order(twin, registry, headers, found):
    instruments = server_instruments(registry)
    meters = instruments.meters("asgi", Clock(), lambda exchange: None)
    scope = {"type": "http", "method": "GET", "headers": headers}
    exchange = twin.AsgiExchange(meters, scope, lambda message: None)

    assert exchange.header("x-trace-info") == found
    exchange.finish()
    assert exchange.header("x-trace-info") is None
