"""Routes as real frameworks tell them, in spans' names and in the timer's dimensions."""

import asyncio
import io
import sys

import falcon
import pytest
from fastapi import FastAPI
from flask import Flask, Response
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from nilometer.clock import Clock
from nilometer.integrations import asgi, dispatcher, routes, wsgi
from nilometer.integrations import falcon as falcon_routes
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


async def users(request):
    return PlainTextResponse("users")


def fastapi_users():
    made = FastAPI()
    made.get("/users/{number}")(lambda number: number)
    return made


ASGI_MOUNTS = Starlette(
    routes=[
        Route("/users", users),
        Mount("/v1", routes=[Route("/users", users)]),
        Mount("/v2", routes=[Mount("/in", routes=[Route("/users", users)])]),
        Mount("/of/{tenant}", routes=[Route("/users", users)]),
        Mount("/api", app=fastapi_users()),
        Host("other", app=Starlette(routes=[Mount("/v3", routes=[Route("/users", users)])])),
    ]
)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/users", "/users"),
        ("/v1/users", "/v1/users"),
        ("/v2/in/users", "/v2/in/users"),
        ("/v1/nothing", "/v1"),
        ("/of/you/users", "/of/{tenant}/users"),
        ("/of/me/users", "/of/{tenant}/users"),
        ("/api/users/7", "/api/users/{number}"),
        ("/v3/users", "/v3/users"),
        ("/nothing", None),
    ],
)
@pytest.mark.parametrize("deployed_at", ["", "/hostile/prefix"])
def test_routes_of_mounted_asgi_applications_are_told_apart(
    twin, registry, path, route, deployed_at
):
    app = asgi.Middleware(ASGI_MOUNTS, registry=registry)
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": deployed_at + path,
        "root_path": deployed_at,
        "query_string": b"",
        "headers": [(b"host", b"other" if "v3" in path else b"this")],
    }

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        pass

    asyncio.run(app(scope, receive, send))

    dimensions = "http.request.method=GET" + ("" if route is None else f",http.route={route}")
    assert read(registry)["http.server.request"] == {dimensions: 1}


def test_what_is_remembered_of_mounts_is_bounded():
    for n in range(3 * routes.MOUNTED_UNDER_MAX):
        scope = {"app_root_path": "", "root_path": f"/of/{n}", "router": ASGI_MOUNTS.router}
        assert routes.mounted_under(scope) == "/of/{tenant}"

    assert len(routes._templates) <= routes.MOUNTED_UNDER_MAX


def flask_users():
    made = Flask("users")
    made.get("/users")(lambda: "users")
    return made


def falcon_users():
    class Users:
        def on_get(self, request, response):
            response.text = "users"

    made = falcon.App()
    made.add_route("/users", Users())
    return made


@pytest.fixture
def dispatching():
    dispatcher.install()
    falcon_routes.install()
    yield
    falcon_routes.uninstall()
    dispatcher.uninstall()


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/users", "/users"),
        ("/v1/users", "/v1/users"),
        ("/v2/in/users", "/v2/in/users"),
        ("/v2/users", "/v2/users"),
        ("/falcon/users", "/falcon/users"),
    ],
)
@pytest.mark.parametrize("deployed_at", ["", "/hostile/prefix"])
def test_routes_of_dispatched_wsgi_applications_are_told_apart(
    twin, registry, dispatching, path, route, deployed_at
):
    inner = DispatcherMiddleware(flask_users(), {"/in": flask_users()})
    mounts = {"/v1": flask_users(), "/v2": inner, "/falcon": falcon_users()}
    app = wsgi.Middleware(DispatcherMiddleware(flask_users(), mounts), registry=registry)

    assert series_of(app, registry, path, deployed_at) == {
        f"http.request.method=GET,http.route={route}": 1
    }


@pytest.fixture
def routes_of_falcon():
    falcon_routes.install()
    yield
    falcon_routes.uninstall()


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/users", "/users"),
        ("/v1/users", None),
        ("/falcon/users", None),
        ("/named/users", "/named/users"),
    ],
)
def test_without_its_integration_a_dispatcher_s_applications_are_not_made_one(
    twin, registry, routes_of_falcon, path, route
):
    def named(environ, start_response):
        environ["http.route"] = "/named/users"
        return flask_users()(environ, start_response)

    mounts = {"/v1": flask_users(), "/falcon": falcon_users(), "/named": named}
    app = wsgi.Middleware(DispatcherMiddleware(flask_users(), mounts), registry=registry)

    dimensions = "http.request.method=GET" + ("" if route is None else f",http.route={route}")
    assert series_of(app, registry, path) == {dimensions: 1}


def test_where_nothing_dispatches_the_prefix_of_a_server_hides_no_route(
    twin, registry, monkeypatch
):
    monkeypatch.delitem(sys.modules, routes.DISPATCHER)
    app = wsgi.Middleware(flask_users(), registry=registry)

    assert series_of(app, registry, "/users", "/prefix") == {
        "http.request.method=GET,http.route=/users": 1
    }


def series_of(app, registry, path, deployed_at=""):
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": deployed_at,
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.errors": io.StringIO(),
        "wsgi.input": io.BytesIO(),
    }
    result = app(environ, lambda status, headers, exc_info=None: None)
    assert b"".join(result) == b"users"
    result.close()
    return read(registry)["http.server.request"]


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
