"""Services that call OSProfiler themselves: its points are our spans, without its defects.

The first eighteen laws are numbered as docs/openstack.md numbers the defects that they exclude.
"""

from __future__ import annotations

import asyncio
import io
import sys
import threading
import time
from contextlib import suppress

import osprofiler.initializer
import osprofiler.opts
import osprofiler.requests
import osprofiler.sqlalchemy
import pytest
import requests
import sqlalchemy
from osprofiler import _utils, notifier, profiler, web
from webob import Request

from nilometer.integrations import osprofiler as ours
from nilometer.integrations import sqlalchemy as our_sqlalchemy
from nilometer.integrations import threads, urllib3
from nilometer.integrations.osprofiler import group
from nilometer.integrations.osprofiler.group import ProfilerGroup
from nilometer.integrations.osprofiler.points import Verified
from nilometer.measure import REGISTRY
from nilometer.model import Batch, Resource, Status
from nilometer.trace import CURRENT, Trace, drain_spans, start_root
from nilometer.trace.trigger import Triggers, new_trigger
from nilometer.wire.osprofiler import payloads
from tests.integrations.integration_kit import read, shape, traced_request

KEY = "a key of the operator's"
BASE = "f09d33fd-1234-4f5e-8d3e-0b8e6b0a9c11"
PARENT = "f09d33fd-1234-4f5e-b6d7-0c9d1e2f3a4b"


@pytest.fixture
def triggers():
    return Triggers([KEY], requests_per_second=1000)


@pytest.fixture
def drop_in(triggers, registry):
    """OSProfiler with ours in its place, as a service imports it; nothing stays current."""
    yield from installed(triggers, registry, values=False)


@pytest.fixture
def showing(triggers, registry):
    """The same where the operator wants values."""
    yield from installed(triggers, registry, values=True)


def installed(triggers, registry, **options):
    before = web._ENABLED, web._HMAC_KEYS
    assert ours.install(triggers=triggers, registry=registry, **options)
    yield profiler
    profiler.clean()
    ours.uninstall()
    ours.apply(ProfilerGroup())
    our_sqlalchemy.uninstall()
    urllib3.uninstall()
    web._ENABLED, web._HMAC_KEYS = before
    notifier.set(notifier._noop_notifier)
    assert CURRENT.get() is None


class Told:
    """An argument that notes each time that somebody makes a text of it."""

    def __init__(self, text="told"):
        self.text = text
        self.times = 0

    def __repr__(self):
        self.times += 1
        return self.text


def signed(base_id=BASE, parent_id=PARENT, key=KEY):
    """The headers of a request that OSProfiler signed."""
    packed, mac = _utils.signed_pack({"base_id": base_id, "parent_id": parent_id}, key)
    return {"HTTP_X_TRACE_INFO": packed.decode(), "HTTP_X_TRACE_HMAC": mac}


def environ(**headers):
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/v1",
        "QUERY_STRING": "token=secret",
        "wsgi.input": io.BytesIO(),
        "wsgi.url_scheme": "http",
        "SERVER_NAME": "here",
        "SERVER_PORT": "80",
        **headers,
    }


def served(app, **headers):
    """The body of one request, by WSGI."""
    answer = app(environ(**headers), lambda *_: None)
    body = b"".join(answer)
    getattr(answer, "close", lambda: None)()
    return body


# --- 1 to 18 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [False, True])
def test_01_nothing_of_a_call_is_formatted_unless_it_is_traced(triggers, registry, values):
    told = Told()
    for _ in installed(triggers, registry, values=values):
        function = profiler.trace("point", hide_result=False)(lambda *args, **kwargs: told)

        function(told, key=told)

    assert told.times == 0


def test_02_on_a_thread_that_never_traced_nothing_is_raised_and_swallowed(drop_in):
    raised = []

    def watch(frame, event, argument):
        if event == "exception":
            raised.append(argument)
        return watch

    def call():
        sys.settrace(watch)
        profiler.start("point")
        profiler.trace("point")(lambda: None)()
        profiler.stop()
        sys.settrace(None)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()

    assert raised == []


def test_03_no_request_is_told_another_s_arguments(showing):
    both = threading.Barrier(2)

    @profiler.trace("point")
    def point(who):
        both.wait()

    def request(who):
        with start_root(who, request=Trace(who.encode() * 16)):
            point(who)

    workers = [threading.Thread(target=request, args=(who,)) for who in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    told = {
        span.trace_id[:1].decode(): span.attributes["osprofiler.args"]
        for span in drain_spans()
        if span.name == "point"
    }
    assert told == {"a": "('a',)", "b": "('b',)"}


def test_04_a_notifier_that_raises_costs_no_request(drop_in, caplog):
    def broken(info):
        raise RuntimeError("no backend")

    notifier.set(broken)
    app = web.WsgiMiddleware(lambda *_: [b"ok"], hmac_keys=KEY, enabled=True)

    assert served(app, **signed()) == b"ok"
    notifier.notify({"name": "by hand"})
    notifier.notify({"name": "by hand"})

    assert caplog.text.count("[osprofiler-notifier]") == 1


@pytest.mark.parametrize("header", ["HTTP_X_TRACE_HMAC", "HTTP_X_TRACE_INFO"])
def test_05_a_byte_that_is_not_ascii_is_no_signature_and_no_error(drop_in, header):
    app = web.WsgiMiddleware(lambda *_: [b"ok"], hmac_keys=KEY, enabled=True)
    headers = {**signed(), header: "\xff"}

    assert served(app, **headers) == b"ok"
    request = Request(environ(**headers))
    request.get_response = lambda _: "answered"
    assert app(request) == "answered"
    assert _utils.signed_unpack("e30=", "\xff", ["K"]) is None
    assert drain_spans() == ()


def test_06_tasks_threads_and_generators_have_each_their_own_parents(drop_in):
    @profiler.trace("inner")
    async def inner():
        await asyncio.sleep(0)

    @profiler.trace("outer")
    async def outer():
        await inner()
        await asyncio.sleep(0)

    @profiler.trace("rows")
    def rows():
        with profiler.Trace("row"):
            yield 1

    async def both():
        await asyncio.gather(outer(), outer())
        await asyncio.to_thread(profiler.trace("in a thread")(lambda: None))

    threads.install()
    try:
        with traced_request() as spans:
            asyncio.run(both())
            list(rows())
    finally:
        threads.uninstall()

    assert sorted(shape(spans)) == [
        ("in a thread", "request", "UNSET"),
        ("inner", "outer", "UNSET"),
        ("inner", "outer", "UNSET"),
        ("outer", "request", "UNSET"),
        ("outer", "request", "UNSET"),
        ("request", "", "UNSET"),
        ("row", "rows", "UNSET"),
        ("rows", "request", "UNSET"),
    ]
    assert len({span.parent_id for span in spans if span.name == "inner"}) == 2


def test_07_a_request_lasts_until_its_body_was_read_and_says_how_it_was_answered(drop_in):
    def app(environ, start_response):
        start_response("503 Service Unavailable", [])
        with profiler.Trace("row"):
            yield b"r"

    middleware = web.WsgiMiddleware(app, hmac_keys=KEY, enabled=True)

    assert served(middleware, **signed()) == b"r"

    row, root = drain_spans()
    assert (row.name, row.parent_id, root.name) == ("row", root.span_id, "GET")
    assert root.ended_ns >= row.ended_ns
    assert root.attributes["http.response.status_code"] == 503
    assert (root.status, root.parent_id.hex()) == (Status.ERROR, PARENT.replace("-", "")[16:])
    assert "secret" not in str(root.attributes)


@pytest.mark.parametrize("how", ["engine", "listeners"])
def test_08_an_error_of_a_database_ends_its_own_statement_and_shows_no_value(drop_in, how):
    def listened(engine):
        if how == "engine":
            osprofiler.sqlalchemy.add_tracing(sqlalchemy, engine, "db", hide_result=False)
        else:
            listened_to(engine)
        return engine

    engine = listened(sqlalchemy.create_engine("sqlite://"))

    with traced_request() as spans, profiler.Trace("outer"):
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("select :value"), {"value": "secret"})
            with suppress(sqlalchemy.exc.OperationalError):
                connection.execute(sqlalchemy.text("select secret from nowhere"))
        nowhere = listened(sqlalchemy.create_engine("sqlite:////nowhere/at/all"))
        with suppress(sqlalchemy.exc.OperationalError):
            nowhere.connect()
        profiler.start("after")
        profiler.stop()

    told = {(name, parent): status for name, parent, status in shape(spans)}
    name = "SELECT" if how == "engine" else "db"
    assert told[("after", "outer")] == told[("outer", "request")] == "UNSET"
    assert told[(name, "outer")] == "ERROR"
    assert "secret'" not in str([span.attributes for span in spans])


def listened_to(engine):
    """As OSProfiler listens to what is no engine."""
    listen = sqlalchemy.event.listen
    module = osprofiler.sqlalchemy
    listen(engine, "before_cursor_execute", module._before_cursor_execute("db"))
    listen(engine, "after_cursor_execute", module._after_cursor_execute(hide_result=False))
    listen(engine, "handle_error", module.handle_error)


def test_09_a_request_sent_in_vain_leaves_nothing_open(drop_in):
    osprofiler.requests.enable()

    with traced_request() as spans, profiler.Trace("outer"):
        with suppress(requests.ConnectionError):
            requests.get("http://127.0.0.1:9/", timeout=1)
        with profiler.Trace("after"):
            pass

    told = {name: (parent, status) for name, parent, status in shape(spans)}
    assert told["after"] == ("outer", "UNSET")
    assert told["GET"] == ("outer", "ERROR")


@pytest.mark.parametrize("name", ["my-op", "restart", "non-stop", "a-start"])
def test_10_a_name_is_the_whole_name_whatever_it_has_of_hyphens(drop_in, name):
    with traced_request() as spans, profiler.Trace(name):
        pass

    start, stop = payloads(spans[0], Resource("service", "host", 1), 1)
    assert spans[0].name == name
    assert (start["name"], stop["name"]) == (f"{name}-start", f"{name}-stop")


def test_11_points_within_one_millisecond_keep_their_order_and_their_time(drop_in):
    with traced_request() as spans:
        for name in "abc":
            with profiler.Trace(name):
                pass

    starts = {span.name: span.started_ns for span in spans}
    assert starts["a"] < starts["b"] < starts["c"]
    assert all(span.ended_ns > span.started_ns for span in spans)


def test_12_requests_at_once_end_each_its_own_points(drop_in):
    inside, outside = threading.Event(), threading.Event()

    def long():
        with start_root("long", request=Trace(b"l" * 16)), profiler.Trace("point"):
            inside.set()
            outside.wait(5)

    worker = threading.Thread(target=long)
    worker.start()
    inside.wait(5)
    with start_root("short", request=Trace(b"s" * 16)), profiler.Trace("point"):
        pass
    outside.set()
    worker.join()

    points = {span.trace_id[:1]: span for span in drain_spans() if span.name == "point"}
    assert points[b"l"].started_ns < points[b"s"].started_ns
    assert points[b"l"].ended_ns > points[b"s"].ended_ns


def test_14_no_request_waits_for_a_store(triggers, registry):
    """Whom a service set is told by the pump; here, where there is none, by nobody."""
    exported = {}
    told = []
    for _ in installed(triggers, registry, export_also=exported.__setitem__):
        notifier.set(told.append)
        with traced_request() as spans:
            profiler.trace("decorated")(lambda: None)()
            profiler.start("started")
            profiler.stop()
        assert told == []

        [(name, get)] = exported.items()
        assert (name, get()) == ("osprofiler notifier", told.append)
    from nilometer.export.osprofiler import Notifying

    Notifying(lambda: told.append)(Batch(Resource("service", "host", 1), spans=tuple(spans)))

    assert [one["name"] for one in told] == [
        *("decorated-start", "decorated-stop"),
        *("started-start", "started-stop"),
        *("request-start", "request-stop"),
    ]


def test_15_what_vouches_for_a_request_on_a_bus_is_no_key_and_holds_once(drop_in):
    served_info = {}

    def app(environ, start_response):
        there = profiler.get()
        served_info.update(
            hmac_key=there.hmac_key, base_id=there.get_base_id(), parent_id=there.get_id()
        )
        return [b"ok"]

    served(web.WsgiMiddleware(app, hmac_keys=KEY, enabled=True), **signed())
    [root] = drain_spans()

    assert KEY not in served_info["hmac_key"]
    profiler.init(**served_info)
    with profiler.Trace("rpc"):
        pass
    profiler.clean()
    [rpc] = drain_spans()
    assert (rpc.trace_id, rpc.parent_id) == (root.trace_id, root.span_id)

    profiler.init(**served_info)

    assert profiler.get() is None


def test_15_the_default_key_is_nobody_s(drop_in, caplog, monkeypatch):
    monkeypatch.setattr(group, "_refused", set())
    web.enable("SECRET_KEY")
    app = web.WsgiMiddleware(lambda *_: [b"ok"], enabled=True)

    assert served(app, **signed(key="SECRET_KEY")) == b"ok"
    assert drain_spans() == ()
    assert caplog.text.count("[osprofiler-default-key]") == 1


def test_16_a_message_is_traced_as_itself_whatever_the_one_before_left_open(drop_in):
    def message(base_id):
        profiler.init(Verified(KEY), base_id=base_id)
        profiler.start("left open")
        return profiler.get()

    first, second = message(BASE), message(BASE.replace("f09d", "f09e"))

    assert first.get_base_id() == BASE
    assert second is not first
    assert second.get_base_id().startswith("f09e")
    profiler.clean()
    assert profiler.get() is None
    spans = drain_spans()
    assert [span.parent_id for span in spans] == [b"", b""]
    assert spans[0].trace_id != spans[1].trace_id


def test_17_a_clock_that_is_put_back_makes_no_negative_duration(drop_in, monkeypatch):
    now = time.time
    with traced_request() as spans, profiler.Trace("point"):
        monkeypatch.setattr(time, "time", lambda: now() - 3600)
        monkeypatch.setattr(time, "time_ns", lambda: int((now() - 3600) * 1e9))

    point, root = spans
    assert root.started_ns <= point.started_ns < point.ended_ns <= root.ended_ns


# --- the rest of the interface ----------------------------------------------------------------


def test_outside_a_traced_request_every_call_does_nothing(drop_in):
    profiler.start("point", {"a": 1})
    profiler.stop()
    profiler.clean()
    with profiler.Trace("point"):
        pass

    assert profiler.get() is None
    assert web.get_trace_id_headers() == {}
    assert drain_spans() == ()


def test_points_of_every_kind_hang_in_one_tree_under_the_sender(drop_in):
    @profiler.trace("function", info={"zone": "north"})
    def function():
        with profiler.Trace("with"):
            profiler.start("by hand")
            profiler.stop()

    @profiler.trace_cls("class")
    class Manager:
        def method(self):
            function()

        def _private(self):
            pass

    class Traced(metaclass=profiler.TracedMeta):
        __trace_args__ = {"name": "meta"}  # noqa: RUF012

        def method(self):
            Manager().method()

    profiler.init(Verified(KEY), base_id=BASE)
    Traced().method()
    Manager()._private()
    profiler.clean()

    spans = drain_spans()
    assert shape(spans) == [
        ("by hand", "with", "UNSET"),
        ("with", "function", "UNSET"),
        ("function", "class", "UNSET"),
        ("class", "meta", "UNSET"),
        ("meta", "", "UNSET"),
    ]
    assert {span.trace_id.hex() for span in spans} == {BASE.replace("-", "")}
    assert spans[2].attributes["zone"] == "north"
    assert spans[2].attributes["code.function.name"].endswith("function")


def test_a_class_that_may_not_be_traced_twice_is_not(drop_in):
    @profiler.trace_cls("once")
    class Manager:
        def method(self):
            pass

    with pytest.raises(ValueError, match="has been traced already"):
        profiler.trace_cls("twice", allow_multiple_trace=False)(Manager)
    with pytest.raises(ValueError, match="1 times already"):
        profiler.trace("twice", allow_multiple_trace=False)(Manager.method)


@pytest.mark.parametrize("fixture", ["drop_in", "showing"])
def test_an_error_ends_its_point_and_passes_on_unchanged(request, fixture):
    request.getfixturevalue(fixture)

    @profiler.trace("point")
    def point():
        raise LookupError("gone")

    with traced_request() as spans, suppress(LookupError), profiler.Trace("with"):
        point()

    told = {span.name: (span.status, span.status_message) for span in spans}
    assert told["point"] == told["with"] == (Status.ERROR, "gone")
    assert {span.attributes["error.type"] for span in spans if span.name != "request"} == {
        "LookupError"
    }


def test_values_are_recorded_only_where_the_operator_wants_them_and_the_developer_shows(
    showing,
):
    @profiler.trace("shown", hide_result=False)
    def shown(a, b=2):
        return [a, b]

    @profiler.trace("hidden", hide_args=True)
    def hidden(a):
        return a

    with traced_request() as spans:
        shown(1, b=3)
        hidden("secret")

    told = {span.name: dict(span.attributes) for span in spans}
    assert {k: v for k, v in told["shown"].items() if k != "code.function.name"} == {
        "osprofiler.args": "(1,)",
        "osprofiler.kwargs": "{'b': 3}",
        "osprofiler.result": "[1, 3]",
    }
    assert list(told["hidden"]) == ["code.function.name"]


def test_a_notifier_finds_values_that_are_wanted_where_osprofiler_puts_them(showing):
    @profiler.trace("shown", hide_result=False)
    def shown(a, b=2):
        return [a, b]

    with traced_request() as spans:
        shown(1, b=3)
        profiler.start("db", {"db": {"statement": "select 1", "params": [1]}})
        profiler.stop({"db": {"result": "one"}})

    told = {span.name: payloads(span, Resource("service", "host", 1), 1) for span in spans}
    (called, returned), (asked, answered) = told["shown"], told["db"]
    function = called["info"]["function"]
    assert function.pop("name").endswith("shown")
    assert function == {"args": "(1,)", "kwargs": "{'b': 3}"}
    assert returned["info"]["function"] == {"result": "[1, 3]"}
    assert asked["info"]["db"] == {"statement": "select ?", "params": "[1]"}
    assert answered["info"]["db"] == {"result": "one"}


def test_what_a_service_tells_of_a_point_shows_no_value_of_its_requests(drop_in):
    with traced_request() as spans:
        told = {"statement": "select 'secret'", "params": ["secret"], "result": "secret"}
        profiler.start("db", {"db": told, "zone": "north"})
        profiler.stop({"db": {"result": "secret"}})
        request = {"path": "/v1", "method": "GET", "query": "token=secret", "scheme": "http"}
        with profiler.Trace("wsgi", info={"request": request}):
            pass
        profiler.start("odd", "not a dict")
        profiler.stop("not a dict")

    assert {span.name: dict(span.attributes) for span in spans if span.name != "request"} == {
        "db": {"db.operation.name": "SELECT", "db.query.text": "select ?", "zone": "north"},
        "wsgi": {"url.path": "/v1", "http.request.method": "GET", "url.scheme": "http"},
        "odd": {},
    }


def test_an_argument_that_cannot_be_shown_costs_no_call(showing):
    class Broken:
        def __repr__(self):
            raise RuntimeError

    with traced_request() as spans:
        assert profiler.trace("point")(lambda one: "ok")(Broken()) == "ok"

    assert spans[0].attributes["osprofiler.args"] == "<tuple: RuntimeError>"


def test_headers_are_those_that_osprofiler_itself_would_verify(drop_in):
    profiler.init(Verified(KEY), base_id=BASE)
    with profiler.Trace("point"):
        sent = web.get_trace_id_headers()
        here = profiler.get().get_id()
    profiler.clean()

    told = _utils.signed_unpack(sent["X-Trace-Info"], sent["X-Trace-HMAC"], [KEY])
    assert told == {"base_id": BASE, "parent_id": here, "hmac_key": KEY}


def test_where_osprofiler_s_form_is_off_it_is_neither_believed_nor_sent(registry):
    for _ in installed(Triggers([KEY], osprofiler=False), registry):
        app = web.WsgiMiddleware(lambda *_: [b"ok"], hmac_keys=KEY, enabled=True)
        served(app, **signed())
        request = Request(environ(**signed()))
        request.get_response = lambda _: "answered"
        assert app(request) == "answered"
        assert drain_spans() == ()

        profiler.init(Verified(KEY), base_id=BASE)
        assert sorted(web.get_trace_id_headers()) == ["traceparent", "tracestate"]


def test_a_request_that_our_own_middleware_traces_has_one_root(drop_in, triggers, registry):
    from nilometer.integrations.wsgi import Middleware

    inner = web.WsgiMiddleware(lambda *_: [b"ok"], hmac_keys=KEY, enabled=True)
    outer = Middleware(inner, triggers=triggers, registry=registry)

    served(outer, **{
        f"HTTP_{name.upper().replace('-', '_')}": value
        for name, value in new_trigger(KEY).headers.items()
    })  # fmt: skip

    assert [span.name for span in drain_spans()] == ["GET"]
    assert sum(read(registry)["http.server.request"].values()) == 1


@pytest.mark.parametrize(
    ("everywhere", "here", "traced"),
    [(None, True, 1), (None, False, 0), (True, False, 1), (False, True, 0)],
)
def test_the_switch_for_all_middlewares_wins_over_their_own(drop_in, everywhere, here, traced):
    web._ENABLED, web._HMAC_KEYS = everywhere, None
    app = web.WsgiMiddleware(lambda *_: [b"ok"], hmac_keys="another", enabled=here)

    served(app, **signed(key="another"))

    assert len(drain_spans()) == traced


def test_after_disable_its_keys_open_nothing(drop_in):
    web.enable("another")
    web.disable()

    profiler.init("another", base_id=BASE)

    assert profiler.get() is None


def test_enabled_again_every_key_is_as_it_was(drop_in):
    app = web.WsgiMiddleware(lambda *_: [b"ok"], hmac_keys="its own")
    web.enable()
    served(app, **signed(key="its own"))
    web.disable()
    served(app, **signed(key="its own"))
    web.enable()
    served(app, **signed(key="its own"))

    assert len(drain_spans()) == 2


def test_a_key_that_another_one_replaced_after_disable_opens_nothing(drop_in):
    app = web.WsgiMiddleware(lambda *_: [b"ok"])
    web.enable("K1")
    web.disable()
    web.enable("K2")

    served(app, **signed(key="K1"))
    assert drain_spans() == ()
    served(app, **signed(key="K2"))
    assert len(drain_spans()) == 1


@pytest.mark.parametrize("keys", ["", "SECRET_KEY", ",".join(f"T{i}" for i in range(17))])
def test_enabled_without_a_key_that_is_left_no_message_opens_a_trace(registry, keys):
    for _ in installed(Triggers(clear_key=True), registry):
        web.enable(keys)
        for key in ("SECRET_KEY", "made up"):
            for ids in ({"base_id": BASE, "parent_id": PARENT}, {"base_id": BASE}):
                profiler.init(key, **ids)
                assert profiler.get() is None


@pytest.mark.parametrize("ids", [{"base_id": BASE, "parent_id": PARENT}, {"base_id": BASE}])
def test_a_message_with_the_key_in_clear_opens_a_trace_on_request_only(registry, ids):
    for _ in installed(Triggers([KEY]), registry):
        assert profiler.init(KEY, **ids).request is None


def test_messages_with_the_key_in_clear_keep_to_the_budget(registry):
    door = Triggers([KEY], clear_key=True, requests_per_second=2)
    for _ in installed(door, registry):
        traced = 0
        for _ in range(5):
            traced += profiler.init(KEY, base_id=BASE).request is not None
            profiler.clean()

    assert traced == 2


def test_a_key_that_is_none_of_ours_opens_nothing_and_costs_nothing(drop_in):
    made = profiler.init("not ours", base_id=BASE)
    made.start("point")
    made.stop()

    assert (profiler.get(), made.get_base_id(), drain_spans()) == (None, BASE, ())


def test_a_client_without_keys_traces_itself_with_the_one_it_was_told(registry):
    for _ in installed(Triggers(), registry):
        profiler.init("told on the command line")
        sent = web.get_trace_id_headers()
        assert profiler.get().hmac_key == "told on the command line"
        profiler.clean()

    assert _utils.signed_unpack(
        sent["X-Trace-Info"], sent["X-Trace-HMAC"], ["told on the command line"]
    )


def test_points_switched_off_are_not_made_and_the_others_are(drop_in):
    ours.apply(ProfilerGroup(keys=(KEY,), switches={"trace_redis": False}))

    with traced_request() as spans:
        profiler.trace("redis_queue_controller")(lambda: None)()
        with profiler.Trace("redis_driver"):
            pass
        profiler.trace("mongodb_queue_controller")(lambda: None)()

    assert [span.name for span in spans] == ["mongodb_queue_controller", "request"]
    REGISTRY.set_level("integrations.redis", "basic")


def test_a_module_of_another_version_stays_its_own_and_is_listed(registry, monkeypatch):
    failed = []
    monkeypatch.delitem(sys.modules, "osprofiler.web")
    monkeypatch.setattr(web, "get_trace_id_headers", web.get_trace_id_headers)
    for _ in installed(Triggers(), registry, fail=failed.append):
        monkeypatch.delattr(web, "get_trace_id_headers")
        monkeypatch.setitem(sys.modules, "osprofiler.web", web)
        ours._drop_in._arrived("osprofiler.web")

    assert [type(error) for error in failed] == [AttributeError]


def test_taken_off_again_osprofiler_is_as_it_was(triggers):
    names = {
        profiler: ("init", "get", "clean", "start", "stop", "trace", "trace_cls", "_Profiler"),
        web: ("enable", "disable", "get_trace_id_headers"),
        osprofiler.sqlalchemy: ("add_tracing", "handle_error"),
        notifier: ("notify", "set"),
        osprofiler.initializer: ("init_from_conf",),
    }
    before = {
        (module, name): getattr(module, name) for module in names for name in names[module]
    }
    called = vars(web.WsgiMiddleware)["__call__"]

    assert ours.install(triggers=triggers)
    assert not ours.install(triggers=triggers)
    ours.uninstall()

    assert {key: getattr(*key) for key in before} == before
    assert vars(web.WsgiMiddleware)["__call__"] is called
