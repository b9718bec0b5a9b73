"""Routes of Django and Falcon, which say them nowhere unless they are asked."""

import asyncio
import subprocess
import sys
from types import ModuleType

import django
import falcon
import falcon.asgi
import pytest
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.urls import include, path, re_path

from nilometer.integrations import asgi, wsgi
from nilometer.integrations import django as django_routes
from nilometer.integrations import falcon as falcon_routes
from nilometer.trace import drain_spans
from tests.integrations.integration_kit import read, trigger_headers


def view(request, **found):
    return HttpResponse(repr(sorted(found)))


async def async_view(request, **found):
    return HttpResponse(repr(sorted(found)))


def broken_view(request, **found):
    raise LookupError(found)


def named_view(request):
    (request.environ if hasattr(request, "environ") else request.scope)["http.route"] = "/mine"
    return HttpResponse("")


urlpatterns = [
    path("", view),
    path("orders/<int:number>", view),
    path("later/<slug:name>/", async_view),
    path("named/", named_view),
    path("shop/", include([path("broken/<path:where>", broken_view)])),
    re_path(r"^old/(?P<number>[0-9]+)$", view),
]

DJANGO = [
    ("/", "/", 200),
    ("/orders/7", "/orders/<int:number>", 200),
    ("/later/x/", "/later/<slug:name>/", 200),
    ("/named/", "/mine", 200),
    ("/shop/broken/a/b", "/shop/broken/<path:where>", 500),
    ("/old/7", "^old/(?P<number>[0-9]+)$", 200),
    ("/nowhere/7", None, 404),
]


class Order:
    def on_get(self, req, resp, number):
        resp.text = str(number)


class AsyncOrder:
    async def on_get(self, req, resp, number):
        resp.text = str(number)

    async def on_websocket(self, req, ws, number):
        await ws.accept()
        await ws.close()


FALCON = [
    ("/orders/7", "/orders/{number:int}", 200),
    ("/orders/x", None, 404),
    ("/nowhere", None, 404),
]


def falcon_app(kind, resource):
    app = kind()
    app.add_route("/orders/{number:int}", resource)
    return app


@pytest.fixture(scope="module", autouse=True)
def django_settings():
    urls = ModuleType("urls_under_test")
    urls.urlpatterns = urlpatterns
    sys.modules[urls.__name__] = urls
    settings.configure(ROOT_URLCONF=urls.__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x" * 50)
    django.setup()


@pytest.fixture(autouse=True)
def installed():
    assert django_routes.install()
    assert falcon_routes.install()
    yield
    django_routes.uninstall()
    falcon_routes.uninstall()


def ask_wsgi(app, where):
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": where,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": sys.stdin.buffer,
        "wsgi.errors": sys.stderr,
    }
    for name, value in trigger_headers().items():
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    result = app(environ, lambda status, headers, exc_info=None: None)
    b"".join(result)
    if hasattr(result, "close"):
        result.close()


def ask_asgi(app, where, kind="http"):
    async def whole():
        asked = [{"type": "http.request", "body": b"", "more_body": False}]
        if kind == "websocket":
            asked = [{"type": "websocket.connect"}]

        async def receive():
            if asked:
                return asked.pop()
            return await asyncio.sleep(60)

        async def send(message):
            pass

        headers = [(k.encode(), v.encode()) for k, v in trigger_headers().items()]
        scope = {"type": kind, "method": "GET", "path": where, "raw_path": where.encode()}
        scope |= {"headers": headers, "query_string": b"", "http_version": "1.1"}
        scope |= {"scheme": "http", "server": ("localhost", 80), "asgi": {"version": "3.0"}}
        await app(scope, receive, send)

    asyncio.run(asyncio.wait_for(whole(), 30))


def dimensions(route):
    return "http.request.method=GET" + ("" if route is None else f",http.route={route}")


def is_told(registry, route, status):
    root = drain_spans()[-1]  # the first is the outermost, so it ended last

    assert root.name == ("GET" if route is None else f"GET {route}")
    assert root.attributes.get("http.route") == route
    assert root.attributes["http.response.status_code"] == status
    assert read(registry)["http.server.request"] == {dimensions(route): 1}


@pytest.mark.parametrize(("where", "route", "status"), DJANGO)
def test_a_django_route_names_span_and_series_over_wsgi(
    twin, registry, triggers, where, route, status
):
    ask_wsgi(wsgi.Middleware(WSGIHandler(), triggers=triggers, registry=registry), where)

    is_told(registry, route, status)


@pytest.mark.parametrize(("where", "route", "status"), DJANGO)
def test_a_django_route_names_span_and_series_over_asgi(
    twin, registry, triggers, where, route, status
):
    ask_asgi(asgi.Middleware(ASGIHandler(), triggers=triggers, registry=registry), where)

    is_told(registry, route, status)


@pytest.mark.parametrize(("where", "route", "status"), FALCON)
def test_a_falcon_route_names_span_and_series_over_wsgi(
    twin, registry, triggers, where, route, status
):
    app = falcon_app(falcon.App, Order())
    ask_wsgi(wsgi.Middleware(app, triggers=triggers, registry=registry), where)

    is_told(registry, route, status)


@pytest.mark.parametrize(("where", "route", "status"), FALCON)
def test_a_falcon_route_names_span_and_series_over_asgi(
    twin, registry, triggers, where, route, status
):
    app = falcon_app(falcon.asgi.App, AsyncOrder())
    ask_asgi(asgi.Middleware(app, triggers=triggers, registry=registry), where)

    is_told(registry, route, status)


def test_a_falcon_route_names_the_series_of_a_websocket(twin, registry):
    app = falcon_app(falcon.asgi.App, AsyncOrder())
    ask_asgi(asgi.Middleware(app, registry=registry), "/orders/7", "websocket")

    assert read(registry)["websocket.server.connection"] == {
        "http.route=/orders/{number:int}": 1
    }


def test_what_was_taken_off_tells_nothing_more(registry):
    django_routes.uninstall()
    falcon_routes.uninstall()
    app = falcon_app(falcon.App, Order())
    ask_wsgi(wsgi.Middleware(WSGIHandler(), registry=registry), "/orders/7")
    ask_wsgi(wsgi.Middleware(app, registry=registry), "/orders/7")

    assert read(registry)["http.server.request"] == {dimensions(None): 2}
    assert "nilometer" not in BaseHandler.resolve_request.__module__
    assert not hasattr(BaseHandler.resolve_request, "__wrapped__")


def test_neither_framework_is_imported_by_its_integration():
    source = """
import sys
from nilometer.integrations import Chosen, automatic
chosen = Chosen(automatic())
chosen.begin()
for name in ("django", "falcon"):
    ours = "nilometer.integrations." + name
    print(name in chosen.waiting, name in sys.modules, ours in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)

    assert ran.stdout == "True False False\n" * 2, ran.stderr
