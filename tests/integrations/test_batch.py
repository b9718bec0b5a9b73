"""What stands where batches of commands are executed, and what finds a request's route."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from wsgiref.handlers import BaseHandler
from wsgiref.util import setup_testing_defaults

import falcon
import pytest

from nilometer.integrations import _http, _sql, commands, standing, wsgiref
from nilometer.integrations import falcon as falcon_routes
from nilometer.integrations.batch_pure import Counted, Stack
from nilometer.integrations.routes import DISPATCHED
from nilometer.trace import CURRENT
from tests.integrations.integration_kit import read
from tests.trace.conftest import blocks_left_by

STACK = Stack("commands", "PLAIN", "TRANSACTION", ("explicit", "implicit"))


@pytest.fixture(params=["sql_pure", "_sql"], ids=["python", "c"])
def sql_twin(request):
    """Every test that asks for it runs once per twin."""
    return importlib.import_module(f"nilometer.integrations.{request.param}")


class Client:
    """A pipeline of these commands."""

    explicit = False

    def __init__(self, *names, implicit=False):
        self.commands = [((name, "key"), {}) for name in names]
        self.implicit = implicit


class Told:
    """What was called, in order; GET and SET are known, and both kinds of batches run."""

    def __init__(self, twin):
        self.said = []
        self.known = {name: self.counted(name) for name in ("GET", "SET")}
        self.known["get"] = self.known["GET"]
        self.runs = {name: self.saying(name) for name in ("PLAIN", "TRANSACTION")}
        self.batch = twin.Batch(
            self.saying("original"), self.choose, self.known, self.runs, STACK
        )

    def counted(self, name):
        return Counted(name, lambda count: self.said.append((name, count)))

    def saying(self, what):
        def run(*args, **named):
            self.said.append(what)
            return args, named

        return run

    def choose(self, *args, **named):
        self.said.append("choose")
        return self.saying("chosen")


@pytest.mark.parametrize(
    ("client", "said"),
    [
        (Client("GET"), [("GET", 1), "PLAIN"]),
        (Client("GET", "SET", "get"), [("GET", 2), ("SET", 1), "PLAIN"]),
        (Client("SET", implicit=True), [("SET", 1), "TRANSACTION"]),
        (Client(), ["choose", "chosen"]),
        (Client("GET", "NEW"), ["choose", "chosen"]),
        (Client("GET", b"GET"), ["choose", "chosen"]),
        (Client("GET", ["unhashable"]), ["choose", "chosen"]),
        (object(), ["choose", "chosen"]),
    ],
)
def test_a_batch_of_known_names_is_counted_and_run_and_all_else_is_chosen_for(
    sql_twin, client, said
):
    told = Told(sql_twin)

    assert told.batch(client, 1, k=2) == ((client, 1), {"k": 2})
    assert told.said == said


@pytest.mark.parametrize(
    "commands", [None, (), [None], [()], [((), {})], [("GET",)], [("GET", {}, 3)], [([], {})]]
)
def test_a_stack_that_is_otherwise_than_expected_is_not_counted(sql_twin, commands):
    told, client = Told(sql_twin), Client()
    client.commands = commands

    told.batch(client)
    assert told.said == ["choose", "chosen"]


def test_a_batch_of_any_size_is_counted_once(sql_twin):
    told = Told(sql_twin)
    told.batch(Client(*["SET", "GET"] * 1000))

    assert told.said == [("SET", 1000), ("GET", 1000), "PLAIN"]


def test_a_batch_of_many_names_is_counted_or_chosen_for(sql_twin):
    told = Told(sql_twin)
    names = [f"N{n}" for n in range(30)]
    told.known.update({name: told.counted(name) for name in names})
    told.batch(Client(*names))

    assert told.said in (["choose", "chosen"], [*((name, 1) for name in names), "PLAIN"])


@pytest.mark.parametrize(
    ("client", "shape"),
    [
        (Client("GET", b"SET", "GET"), ("PLAIN", "GET", b"SET", "GET")),
        (Client(7, implicit=True), ("TRANSACTION", 7)),
        (Client(), ("PLAIN",)),
        (object(), None),
    ],
)
def test_the_shape_of_a_batch_is_its_name_and_those_of_its_commands(sql_twin, client, shape):
    assert sql_twin.shape_of(STACK, client) == shape


@pytest.mark.parametrize("commands", [None, 7, [None], [()], [((), {})], [("GET", {}, 3)]])
def test_a_stack_that_is_otherwise_than_expected_has_no_shape(sql_twin, commands):
    client = Client()
    client.commands = commands

    assert sql_twin.shape_of(STACK, client) is None


def test_shapes_leave_no_memory_behind(sql_twin):
    whole, broken = Client("GET", "SET"), Client("GET")
    broken.commands.append(None)

    def once():
        sql_twin.shape_of(STACK, whole)
        sql_twin.shape_of(STACK, broken)
        sql_twin.shape_of(STACK, None)

    assert blocks_left_by(once) < 10


def test_a_kind_of_batch_that_never_ran_is_chosen_for(sql_twin):
    told = Told(sql_twin)
    del told.runs["PLAIN"]
    told.batch(Client("GET"))

    assert told.said == ["choose", "chosen"]


def test_a_flag_that_cannot_be_read_leaves_it_to_what_chooses(sql_twin):
    class Hostile(Client):
        @property
        def explicit(self):
            raise ZeroDivisionError

    told = Told(sql_twin)
    told.batch(Hostile("GET"))

    assert told.said == ["choose", "chosen"]


def test_inside_of_a_traced_request_a_batch_is_chosen_for(sql_twin):
    told = Told(sql_twin)
    token = CURRENT.set(object())
    try:
        told.batch(Client("GET"))
    finally:
        CURRENT.reset(token)

    assert told.said == ["choose", "chosen"]


def test_a_batch_that_is_off_or_of_nobody_is_passed_on(sql_twin):
    told = Told(sql_twin)
    assert told.batch() == ((), {})
    told.batch.on = False
    assert told.batch(Client("GET"), k=1)[1] == {"k": 1}

    assert told.said == ["original", "original"]


def test_in_a_class_a_batch_is_a_method(sql_twin):
    told = Told(sql_twin)
    kind = type("Pipeline", (Client,), {"execute": told.batch})
    one = kind("GET")

    assert one.execute(1) == ((one, 1), {})
    assert kind.execute.__name__ == "run"


@pytest.mark.parametrize("failing", ["choosing", "running"])
def test_what_a_batch_raises_is_raised(sql_twin, failing):
    def fail(*_, **__):
        raise ZeroDivisionError

    runs = {"PLAIN": fail}
    known = {"GET": Counted("GET", lambda count: None)}
    batch = sql_twin.Batch(None, fail, known, runs, STACK)

    with pytest.raises(ZeroDivisionError):
        batch(Client(*["GET"] * (failing == "running")))


class Request:
    """A request of Falcon's."""

    def __init__(self, env):
        self.env = env


@pytest.mark.parametrize(
    ("env", "after", "told"),
    [
        ({}, {"http.route": "/r"}, False),
        ({"SCRIPT_NAME": ""}, {"SCRIPT_NAME": "", "http.route": "/r"}, False),
        ({"http.route": "/mine"}, {"http.route": "/mine"}, False),
        ({"SCRIPT_NAME": "/v1"}, {"SCRIPT_NAME": "/v1"}, True),
        ({DISPATCHED: ()}, {DISPATCHED: ()}, True),
        (None, None, True),
    ],
)
def test_a_route_is_put_where_it_is_whole_and_told_elsewhere(twin, env, after, told):
    said = []
    request = Request(env)
    found = ("responder", {}, "resource", "/r")
    routing = twin.Routing(lambda *_: found, lambda *what: said.append(what))

    assert routing("app", request) is found
    assert (env, said) == (after, [(request, "/r")] if told else [])


@pytest.mark.parametrize(
    "found", [None, (), ("responder", None), ["/r"], ("/r", type("S", (str,), {})("/r"))]
)
def test_what_is_no_tuple_that_ends_with_a_template_tells_no_route(twin, found):
    env = {}

    assert twin.Routing(lambda *_: found, None)("app", Request(env)) is found
    assert env == {}


def test_a_request_without_an_environ_has_its_route_told(twin):
    said = []
    routing = twin.Routing(lambda *_: ("/r",), lambda *what: said.append(what))

    assert routing("app", 7) == routing("app") == ("/r",)
    assert said == [(7, "/r")]


def test_what_finds_no_route_raises_as_before(twin):
    def fail(*_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        twin.Routing(fail, None)("app", Request({}))


def test_in_a_class_a_routing_is_a_method(twin):
    kind = type("App", (), {"find": twin.Routing(lambda app, request: (app, "/r"), None)})
    one, env = kind(), {}

    assert one.find(Request(env)) == (one, "/r")
    assert (env, kind.find.__name__) == ({"http.route": "/r"}, "<lambda>")


def test_wsgiref_shows_requests_the_variables_of_the_process_without_ours(monkeypatch):
    variables = {"HOME": "/root", "NILOMETER_SERVICE": "shop"}
    monkeypatch.setattr(BaseHandler, "os_environ", variables)
    monkeypatch.setenv("NILOMETER_SERVICE", "shop")
    wsgiref.install()
    try:
        assert BaseHandler.os_environ == {"HOME": "/root"}
        assert os.environ["NILOMETER_SERVICE"] == "shop"
    finally:
        wsgiref.uninstall()

    assert BaseHandler.os_environ is variables


@contextmanager
def python_of_ours():
    """The functions of our integrations that are called meanwhile."""
    called = []
    place = str(Path(commands.__file__).parent)

    def seen(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(place):
            called.append(frame.f_code.co_qualname)

    sys.setprofile(seen)
    try:
        yield called
    finally:
        sys.setprofile(None)


def test_outside_of_traced_requests_a_batch_runs_no_python_of_ours(registry, monkeypatch):
    monkeypatch.setattr(standing, "Batch", _sql.Batch)
    made = commands.Commands(
        "store", "store", frozenset(["GET"]), told=lambda client, ended: {}, registry=registry
    )
    measured = made.batch(STACK.read, STACK)
    kind = type("Pipeline", (Client,), {"run": measured(lambda self: "ran")})
    kind("GET").run()
    with python_of_ours() as called:
        assert kind("GET", "GET").run() == "ran"

    assert called == []
    about = "db.operation.name={},db.system.name=store".format
    assert read(registry) == {
        "db.client.batch.operation": {about("GET"): 3},
        "db.client.operation": {about("PLAIN"): 2},
    }


def test_falcon_s_routes_are_told_without_python_of_ours(monkeypatch):
    monkeypatch.setattr(falcon_routes, "Routing", _http.Routing)
    app = falcon.App()
    app.add_route("/orders/{number}", type("Order", (), {"on_get": lambda *_, number: None})())
    environ = {"PATH_INFO": "/orders/7", "SCRIPT_NAME": ""}
    setup_testing_defaults(environ)
    falcon_routes.install()
    try:
        with python_of_ours() as called:
            app(environ, lambda *_: None)
    finally:
        falcon_routes.uninstall()

    assert (called, environ["http.route"]) == ([], "/orders/{number}")
