"""What the tests of the integrations share: registries, requests, and reading the outcome."""

from __future__ import annotations

from importlib import import_module

import pytest

from nilometer.integrations import asgi, attendance, callers, http_meters, wsgi
from nilometer.measure import Registry
from nilometer.trace import drain_spans
from nilometer.trace.trigger import Triggers
from tests.catalogue import no_dimension_is_left_out_of_the_catalogue  # noqa: F401
from tests.integrations.integration_kit import KEY

TWINS = {
    "python": "nilometer.integrations.http_pure",
    "c": "nilometer.integrations._http",
}


@pytest.fixture(params=TWINS)
def twin(request, monkeypatch):
    """Every test that asks for it runs once per twin."""
    module = import_module(TWINS[request.param])
    monkeypatch.setattr(http_meters, "Meters", module.Meters)
    monkeypatch.setattr(wsgi, "WsgiExchange", module.WsgiExchange)
    middleware = type("Middleware", (wsgi.Manners, module.WsgiEntry), {})
    monkeypatch.setattr(wsgi, "Middleware", middleware)
    monkeypatch.setattr(asgi, "AsgiExchange", module.AsgiExchange)
    monkeypatch.setattr(attendance, "attend_all", module.attend_all)
    return module


@pytest.fixture
def registry():
    return Registry()


@pytest.fixture
def triggers():
    return Triggers([KEY], requests_per_second=1000)


@pytest.fixture(autouse=True)
def _no_spans_left():
    drain_spans()
    yield
    drain_spans()


@pytest.fixture(autouse=True)
def _files_are_shown_from_here():
    """Whatever a test of the pytest plugin has said before."""
    callers.show_files_from("")
