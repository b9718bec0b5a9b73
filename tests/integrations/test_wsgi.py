"""WSGI requests: what is counted, when they end, and that the application sees no change."""

import io
import os
import sys
from contextlib import suppress
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

import nilometer.trace as trace
from nilometer.integrations import wsgi
from nilometer.model import Level, SpanKind, Status
from nilometer.trace import drain_spans
from tests.integrations.integration_kit import read, shape, trigger_headers

GET = "http.request.method=GET"


def environ(method="GET", headers=None, **more):
    made = {"REQUEST_METHOD": method}
    setup_testing_defaults(made)
    for name, value in (headers or {}).items():
        made["HTTP_" + name.upper().replace("-", "_")] = value
    made.update(more)
    return made


class Server:
    """A server that keeps what it is given and does what PEP 3333 asks, close() included."""

    def __init__(self, app):
        self.app = app
        self.status = None
        self.written = []
        self.headers_sent = False

    def start_response(self, status, headers, exc_info=None):
        if exc_info and self.headers_sent:
            raise exc_info[1].with_traceback(exc_info[2])
        self.status = status
        return self.written.append

    def serve(self, env):
        result = self.app(env, self.start_response)
        try:
            for chunk in result:
                self.headers_sent = True
                self.written.append(chunk)
        finally:
            if hasattr(result, "close"):
                result.close()
        return b"".join(self.written)


def hello(env, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello, ", b"world"]


def stream(env, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    with trace.span("made"):
        yield b"a" * 10
        with trace.span("inner"):
            yield b"b" * 10


@pytest.fixture
def middleware(twin, registry, triggers):
    return lambda app: wsgi.Middleware(app, triggers=triggers, registry=registry)


# --- What is counted -----------------------------------------------------------------------


def test_a_request_is_counted_timed_and_weighed(middleware, registry):
    body = b"x" * 30

    assert Server(middleware(hello)).serve(
        environ("POST", CONTENT_LENGTH="30", **{"wsgi.input": io.BytesIO(body)})
    ) == (b"hello, world")
    assert read(registry) == {
        "http.server.request": {"http.request.method=POST": 1},
        "http.server.responses": {"http.response.status_class=2xx": 1},
        "http.server.request.bytes": {"": 30},
        "http.server.response.bytes": {"": 12},
        "http.server.in_flight": {"": 0},
        "websocket.server.in_flight": {"": 0},
    }


def test_what_the_application_answers_reaches_the_server_unchanged(middleware):
    seen = []

    def app(env, start_response):
        start_response("404 Not Found", [("X-Odd", "1")])
        return (b"part",)

    def start_response(*args):
        seen.append(args)

    result = middleware(app)(environ(), start_response)

    assert (list(result), seen) == ([b"part"], [("404 Not Found", [("X-Odd", "1")])])


@pytest.mark.parametrize(
    ("status", "status_class"),
    [
        ("100 Continue", "1xx"),
        ("204 No Content", "2xx"),
        ("302 Found", "3xx"),
        ("418 I'm a teapot", "4xx"),
        ("599 Odd", "5xx"),
        ("600 Odder", "none"),
        ("0", "none"),
        ("abc", "none"),
        ("٢٠٠ OK", "none"),
    ],
)
def test_responses_are_counted_by_class_whatever_the_application_says(
    middleware, registry, status, status_class
):
    def app(env, start_response):
        start_response(status, [])
        return []

    Server(middleware(app)).serve(environ())

    assert read(registry)["http.server.responses"] == {
        f"http.response.status_class={status_class}": 1
    }


def test_methods_nobody_knows_share_one_series(middleware, registry):
    for method in ("GET", "MKCOL", "x" * 10_000, "get"):
        Server(middleware(hello)).serve(environ(method))

    assert read(registry)["http.server.request"] == {
        GET: 1,
        "http.request.method=_OTHER": 3,
    }


@pytest.mark.parametrize("length", ["", "-5", "abc", "1e3", "9" * 40, "٣", " 7", None, 7])
def test_a_length_that_is_no_number_counts_nothing(middleware, registry, length):
    Server(middleware(hello)).serve(environ("POST", CONTENT_LENGTH=length))

    assert "http.server.request.bytes" not in read(registry)


def test_a_body_of_unannounced_length_is_counted_as_it_is_read(middleware, registry):
    def app(env, start_response):
        stream = env["wsgi.input"]
        kept = stream.read(3), stream.readline(), stream.readlines(), list(stream)
        start_response("200 OK", [])
        return [repr(kept).encode(), str(stream.getvalue()).encode()]

    data = b"abcdef\nghi\njkl"
    env = environ("POST", {"Transfer-Encoding": "chunked"}, **{"wsgi.input": io.BytesIO(data)})
    answer = Server(middleware(app)).serve(env)

    assert (
        answer
        == repr((b"abc", b"def\n", [b"ghi\n", b"jkl"], [])).encode() + repr(data).encode()
    )
    assert read(registry)["http.server.request.bytes"] == {"": len(data)}


def test_bytes_of_the_write_callable_count_too(middleware, registry):
    def app(env, start_response):
        write = start_response("200 OK", [])
        write(b"old ")
        write(b"style")
        return [b"!"]

    assert Server(middleware(app)).serve(environ()) == b"old style!"
    assert read(registry)["http.server.response.bytes"] == {"": 10}


def test_the_raw_path_is_never_a_dimension(middleware, registry):
    for number in range(50):
        Server(middleware(hello)).serve(environ(PATH_INFO=f"/users/{number}"))

    assert read(registry)["http.server.request"] == {GET: 50}


class Rule:
    rule = "/users/<int:id>"
    pattern = "/users/{id}"
    routepath = "/users/:id"
    url_rule = None


class WithRule:
    url_rule = Rule


@pytest.mark.parametrize(
    ("key", "value", "route"),
    [
        ("werkzeug.request", WithRule(), "/users/<int:id>"),
        ("werkzeug.request", Rule(), None),
        ("bottle.route", Rule(), "/users/<int:id>"),
        ("bfg.routes.route", Rule(), "/users/{id}"),
        ("routes.route", Rule(), "/users/:id"),
        ("http.route", "/mine", "/mine"),
        ("http.route", "x" * 300, "x" * 200),
        ("http.route", "", None),
    ],
)
def test_the_route_is_taken_from_the_framework(middleware, registry, key, value, route):
    def app(env, start_response):
        env[key] = value
        return hello(env, start_response)

    for _ in range(2):  # the second one finds the series in the cache
        Server(middleware(app)).serve(environ())

    dimensions = GET if route is None else f"{GET},http.route={route}"
    assert read(registry)["http.server.request"] == {dimensions: 2}


def test_a_framework_whose_route_raises_costs_the_request_nothing(middleware, registry):
    class Hostile:
        @property
        def rule(self):
            raise RuntimeError("no rule for you")

    def app(env, start_response):
        env["bottle.route"] = Hostile()
        return hello(env, start_response)

    assert Server(middleware(app)).serve(environ()) == b"hello, world"
    readings = read(registry)
    assert readings["nilometer.lost"] == {"reason=RuntimeError,what=http.exchange": 1}
    assert readings["http.server.in_flight"] == {"": 0}


def test_nothing_is_measured_while_switched_off(middleware, registry):
    registry.set_level("", Level.OFF)
    app = middleware(hello)

    assert Server(app).serve(environ()) == b"hello, world"
    assert read(registry) == {}


def test_switching_on_in_the_middle_leaves_the_gauge_right(middleware, registry):
    registry.set_level("", Level.OFF)
    app = middleware(stream)
    result = iter(app(environ(), lambda *a: None))
    next(result)
    registry.set_level("", Level.BASIC)
    during = read(registry)["http.server.in_flight"]
    result.close()

    assert (during, read(registry)["http.server.in_flight"]) == ({"": 1}, {"": 0})


# --- When a request ends -------------------------------------------------------------------


def in_flight(registry):
    return read(registry)["http.server.in_flight"][""]


def test_a_request_is_in_flight_until_its_body_is_read(middleware, registry):
    result = middleware(stream)(environ(), lambda *a: None)
    seen = [in_flight(registry)]
    for _ in result:
        seen.append(in_flight(registry))
    seen.append(in_flight(registry))

    assert seen == [1, 1, 1, 0]


@pytest.mark.parametrize("app", [hello, stream], ids=["list", "generator"])
def test_a_body_nobody_reads_ends_when_it_is_dropped(middleware, registry, app):
    result = middleware(app)(environ(), lambda *a: None)
    before = in_flight(registry)
    del result

    assert (before, in_flight(registry)) == (1, 0)


def test_a_body_with_something_to_close_ends_with_its_close(middleware, registry):
    closed = []

    class Result:
        def __iter__(self):
            return iter([b"x"])

        def close(self):
            closed.append(in_flight(registry))

    def app(env, start_response):
        start_response("200 OK", [])
        return Result()

    result = middleware(app)(environ(), lambda *a: None)
    read_whole = list(result), in_flight(registry)
    result.close()
    result.close()

    assert (read_whole, closed, in_flight(registry)) == (([b"x"], 1), [1, 0], 0)


def test_an_ended_request_is_told_once(middleware, registry):
    result = middleware(hello)(environ(), lambda *a: None)
    assert list(result) == [b"hello, ", b"world"]
    result.close()
    result.close()
    del result

    assert read(registry)["http.server.request"] == {GET: 1}


def test_a_client_that_goes_away_is_counted_and_the_generator_told(middleware, registry):
    told = []

    def app(env, start_response):
        start_response("200 OK", [])
        try:
            while True:
                yield b"tick"
        except GeneratorExit:
            told.append("gone")
            raise

    result = middleware(app)(environ(), lambda *a: None)
    next(iter(result))
    result.close()

    readings = read(registry)
    assert told == ["gone"]
    assert readings["http.server.request.errors"] == {"error.type=closed_early": 1}
    assert readings["http.server.response.bytes"] == {"": 4}


def test_a_head_request_whose_body_is_not_read_is_no_error(middleware, registry):
    result = middleware(stream)(environ("HEAD"), lambda *a: None)
    next(iter(result))
    result.close()

    assert "http.server.request.errors" not in read(registry)


def test_a_list_that_is_read_twice_is_counted_once(middleware, registry):
    result = middleware(hello)(environ(), lambda *a: None)  # eventlet sums the lengths first

    assert (sum(map(len, result)), b"".join(result), len(result)) == (12, b"hello, world", 2)
    result.close()
    assert read(registry)["http.server.response.bytes"] == {"": 12}


@pytest.mark.parametrize("level", [Level.BASIC, Level.DETAIL])
@pytest.mark.parametrize("traced", [False, True])
def test_a_list_is_added_up_while_it_is_read_as_gevent_does_and_sent_whole(
    middleware, registry, level, traced
):
    registry.set_level("", level)
    headers = trigger_headers() if traced else {}
    result = middleware(hello)(environ(headers=headers), lambda *a: None)

    parts = iter(result)
    sent = [next(parts)]
    length = sum(map(len, result))
    sent += list(iter(parts))
    result.close()
    registry.set_level("", Level.BASIC)

    assert (sent, length) == ([b"hello, ", b"world"], 12)
    assert read(registry)["http.server.response.bytes"] == {"": 12}
    assert "http.server.request.errors" not in read(registry)


@pytest.mark.parametrize("after", [1, 2])
def test_who_adds_up_a_list_and_fails_before_its_end_has_closed_it_early(
    middleware, registry, after
):
    result = middleware(hello)(environ(), lambda *a: None)
    parts = iter(result)
    for _ in range(after):
        next(parts)
    sum(map(len, result))
    result.close()

    assert read(registry)["http.server.request.errors"] == {"error.type=closed_early": 1}


def test_a_list_of_which_the_first_part_was_looked_at_counts_as_it_is_read_then(
    middleware, registry
):
    result = middleware(hello)(environ(), lambda *a: None)
    first = next(iter(result))

    assert (first, b"".join(result)) == (b"hello, ", b"hello, world")
    result.close()
    assert read(registry)["http.server.response.bytes"] == {"": 12}
    assert "http.server.request.errors" not in read(registry)


def test_a_body_may_begin_anew_while_it_is_read(middleware, registry):
    class Parts:
        def __iter__(self):
            with suppress(NameError, ValueError):
                iter(result)
            yield b"hello"

    def app(env, start_response):
        start_response("200 OK", [])
        return Parts()

    result = middleware(app)(environ(), lambda *a: None)
    assert next(result) == b"hello"
    result.close()
    assert read(registry)["http.server.responses"] == {"http.response.status_class=2xx": 1}


def test_only_bodies_that_have_a_length_have_one(middleware):
    sized = middleware(hello)(environ(), lambda *a: None)
    unsized = middleware(stream)(environ(), lambda *a: None)

    assert (len(sized), hasattr(unsized, "__len__")) == (2, False)


def test_a_forked_child_has_nothing_in_flight(middleware, registry):
    result = iter(middleware(stream)(environ(), lambda *a: None))
    next(result)
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        first = in_flight(registry)
        list(result)
        os.write(writable, f"{first} {in_flight(registry)}".encode())
        os._exit(0)
    os.waitpid(pid, 0)

    assert (os.read(readable, 100), in_flight(registry)) == (b"0 0", 1)
    os.close(readable)
    os.close(writable)


# --- Errors --------------------------------------------------------------------------------


class Trouble(Exception):
    pass


@pytest.mark.parametrize("kind", [Trouble, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_an_application_raises_passes_unchanged_and_is_counted(middleware, registry, kind):
    error = kind("mine")

    def app(env, start_response):
        raise error

    with pytest.raises(kind) as caught:
        middleware(app)(environ(), lambda *a: None)

    assert caught.value is error
    readings = read(registry)
    assert readings["http.server.request.errors"] == {f"error.type={kind.__name__}": 1}
    answer = "none" if kind is GeneratorExit else "5xx"  # as greenlets are killed
    assert readings["http.server.responses"] == {f"http.response.status_class={answer}": 1}
    assert readings["http.server.in_flight"] == {"": 0}


def test_what_a_body_raises_passes_unchanged_and_is_counted(middleware, registry):
    error = Trouble("half way")

    def app(env, start_response):
        start_response("200 OK", [])
        yield b"first"
        raise error

    with pytest.raises(Trouble) as caught:
        Server(middleware(app)).serve(environ())

    assert caught.value is error
    readings = read(registry)
    assert readings["http.server.request.errors"] == {"error.type=Trouble": 1}
    assert readings["http.server.responses"] == {"http.response.status_class=2xx": 1}


def test_what_close_raises_passes_unchanged_and_is_counted(middleware, registry):
    class Result:
        def __iter__(self):
            return iter([b"x"])

        def close(self):
            raise Trouble

    def app(env, start_response):
        start_response("200 OK", [])
        return Result()

    with pytest.raises(Trouble):
        Server(middleware(app)).serve(environ())

    assert read(registry)["http.server.request.errors"] == {"error.type=Trouble": 1}


def test_an_error_made_into_a_response_counts_with_the_status_that_was_sent(
    middleware, registry
):
    def app(env, start_response):
        start_response("200 OK", [])
        try:
            raise Trouble
        except Trouble:
            start_response("500 Oh dear", [], sys.exc_info())
        return [b"sorry"]

    server = Server(middleware(app))

    assert (server.serve(environ()), server.status) == (b"sorry", "500 Oh dear")
    readings = read(registry)
    assert readings["http.server.responses"] == {"http.response.status_class=5xx": 1}
    assert readings["http.server.request.errors"] == {"error.type=Trouble": 1}


def test_a_response_that_comes_too_late_keeps_the_status_that_was_sent(middleware, registry):
    def app(env, start_response):
        start_response("200 OK", [])
        yield b"sent"
        try:
            raise Trouble
        except Trouble:
            start_response("500 Too late", [], sys.exc_info())

    with pytest.raises(Trouble):
        Server(middleware(app)).serve(environ())

    assert read(registry)["http.server.responses"] == {"http.response.status_class=2xx": 1}


def test_an_application_that_returns_no_iterable_fails_as_without_us(middleware, registry):
    def app(env, start_response):
        start_response("200 OK", [])

    with pytest.raises(TypeError, match="not iterable"):
        Server(middleware(app)).serve(environ())

    readings = read(registry)
    assert readings["http.server.request.errors"] == {"error.type=TypeError": 1}
    assert readings["http.server.in_flight"] == {"": 0}


def test_an_application_that_answers_while_it_is_read_is_counted(middleware, registry):
    def app(env, start_response):
        yield b""
        start_response("201 Created", [])
        yield b"late"

    assert Server(middleware(app)).serve(environ()) == b"late"
    assert read(registry)["http.server.responses"] == {"http.response.status_class=2xx": 1}


def test_an_application_that_never_answers_is_counted_as_such(middleware, registry):
    Server(middleware(lambda env, start_response: [])).serve(environ())

    assert read(registry)["http.server.responses"] == {"http.response.status_class=none": 1}


# --- Files ---------------------------------------------------------------------------------


def test_a_file_wrapper_reaches_the_server_as_it_is(middleware, registry):
    file = io.BytesIO(b"f" * 1000)

    def app(env, start_response):
        start_response("200 OK", [("Content-Length", "1000")])
        return env["wsgi.file_wrapper"](file)

    result = middleware(app)(environ(**{"wsgi.file_wrapper": FileWrapper}), lambda *a: None)
    during = type(result), in_flight(registry)
    result.close()

    assert during == (FileWrapper, 1)
    assert file.closed
    readings = read(registry)
    assert readings["http.server.response.bytes"] == {"": 1000}
    assert readings["http.server.request"] == {GET: 1}


def test_a_file_given_back_by_a_server_s_function_reaches_it_as_it_is(middleware, registry):
    file = io.BufferedReader(io.BytesIO(b"data"))  # uWSGI compares it by identity

    def app(env, start_response):
        start_response("200 OK", [])
        return env["wsgi.file_wrapper"](file, 4096)

    env = environ(**{"wsgi.file_wrapper": lambda file, size=0: file})
    result = middleware(app)(env, lambda *a: None)

    assert result is file
    result.close()
    assert read(registry)["http.server.request"] == {GET: 1}


def test_a_wrapper_that_cannot_be_watched_ends_the_request_at_once(middleware, registry):
    class Sealed:
        __slots__ = ("file",)

        def __init__(self, file):
            self.file = file

        def __iter__(self):
            return iter(self.file)

        def close(self):
            self.file.close()

    def app(env, start_response):
        start_response("200 OK", [])
        return Sealed(io.BytesIO(b"x"))

    result = middleware(app)(environ(**{"wsgi.file_wrapper": Sealed}), lambda *a: None)

    assert (type(result), in_flight(registry)) == (Sealed, 0)


# --- Tracing -------------------------------------------------------------------------------


def test_a_signed_request_is_traced_to_the_end_of_its_body(middleware, registry):
    result = middleware(stream)(environ(headers=trigger_headers()), lambda *a: None)
    early = drain_spans()
    for _ in result:
        assert trace.current_trace_id() is None  # the server's own thread between two steps
    result.close()
    spans = drain_spans()

    assert early == ()
    assert shape(spans) == [
        ("inner", "made", "UNSET"),
        ("made", "GET", "UNSET"),
        ("GET", "", "UNSET"),
    ]
    root = spans[-1]
    assert (root.kind, root.parent_id) == (SpanKind.SERVER, b"")
    assert root.attributes == {
        "http.request.method": "GET",
        "url.path": "/",
        "http.response.status_code": 200,
        "http.response.body.size": 20,
    }
    assert all(root.started_ns <= s.started_ns <= s.ended_ns <= root.ended_ns for s in spans)


def test_the_span_of_a_list_ends_with_its_last_part(middleware):
    result = middleware(hello)(environ(headers=trigger_headers()), lambda *a: None)
    early = drain_spans()

    assert (early, b"".join(result), len(drain_spans())) == ((), b"hello, world", 1)


def test_the_span_has_route_server_and_bytes_and_no_query(twin, registry, triggers):
    def app(env, start_response):
        env["http.route"] = "/users/{id}"
        return hello(env, start_response)

    served = wsgi.Middleware(app, triggers=triggers, registry=registry, server="gunicorn")
    Server(served).serve(
        environ(
            "PUT",
            trigger_headers(),
            PATH_INFO="/users/7",
            QUERY_STRING="token=secret",
            CONTENT_LENGTH="5",
        )
    )
    (root,) = drain_spans()

    assert (root.name, dict(root.attributes)) == (
        "PUT /users/{id}",
        {
            "http.request.method": "PUT",
            "url.path": "/users/7",
            "nilometer.server": "gunicorn",
            "http.route": "/users/{id}",
            "http.response.status_code": 200,
            "http.request.body.size": 5,
            "http.response.body.size": 12,
        },
    )


def test_an_abandoned_traced_body_cannot_lend_its_span_to_the_next_request(middleware):
    app = middleware(stream)
    abandoned = iter(app(environ(headers=trigger_headers()), lambda *a: None))
    next(abandoned)
    seen = []

    def untraced(env, start_response):
        seen.append(trace.current_trace_id())
        return hello(env, start_response)

    Server(middleware(untraced)).serve(environ())

    assert seen == [None]


@pytest.mark.parametrize(
    ("fails", "status", "message"),
    [("app", 500, "broken"), ("body", 200, "broken"), ("status", 503, "")],
)
def test_a_failing_request_ends_its_span_with_an_error(middleware, fails, status, message):
    def app(env, start_response):
        if fails == "app":
            raise Trouble("broken")
        start_response("503 Busy" if fails == "status" else "200 OK", [])
        return body()

    def body():
        yield b"x"
        if fails == "body":
            raise Trouble("broken")

    server = Server(middleware(app))
    if fails == "status":
        server.serve(environ(headers=trigger_headers()))
    else:
        with pytest.raises(Trouble):
            server.serve(environ(headers=trigger_headers()))
    (root,) = drain_spans()

    assert root.status is Status.ERROR
    assert root.status_message == message
    assert root.attributes.get("http.response.status_code", "") == status
    assert root.attributes["error.type"].endswith("503" if fails == "status" else "Trouble")


def test_a_client_that_goes_away_makes_the_span_an_error(middleware):
    result = middleware(stream)(environ(headers=trigger_headers()), lambda *a: None)
    next(iter(result))
    result.close()
    *_, root = drain_spans()

    assert (root.status, root.attributes["error.type"]) == (Status.ERROR, "closed_early")


def test_an_error_made_into_a_response_is_kept_with_the_span(middleware):
    def app(env, start_response):
        try:
            raise Trouble("kept")
        except Trouble:
            start_response("500 Oh dear", [], sys.exc_info())
        return [b"sorry"]

    Server(middleware(app)).serve(environ(headers=trigger_headers()))
    (root,) = drain_spans()

    assert [e.attributes["exception.message"] for e in root.events] == ["kept"]


HOSTILE = [
    {
        "X-Trace-Info": "e30=",
        "X-Trace-HMAC": "\xff\xfe",
    },  # a byte that made OSProfiler answer 500
    {"X-Trace-Info": "\xff" * 10, "X-Trace-HMAC": "aa"},
    {"X-Trace-Info": "A" * 1_000_000, "X-Trace-HMAC": "b" * 1_000_000},
    {"traceparent": "\x00" * 55},
    {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "tracestate": "nilo=;;;"},
    {"traceparent": "٣" * 55, "tracestate": "\xff"},
]


@pytest.mark.parametrize("headers", HOSTILE)
def test_hostile_headers_are_served_untraced(middleware, registry, headers):
    assert Server(middleware(hello)).serve(environ(headers=headers)) == b"hello, world"
    assert drain_spans() == ()
    assert read(registry)["http.server.responses"] == {"http.response.status_class=2xx": 1}


def test_without_triggers_nothing_is_traced(twin, registry):
    app = wsgi.Middleware(hello, registry=registry)

    assert Server(app).serve(environ(headers=trigger_headers())) == b"hello, world"
    assert drain_spans() == ()


@pytest.mark.parametrize("kind", [list, iter, lambda parts: (part for part in parts)])
def test_a_request_in_the_context_of_one_that_was_answered_is_not_in_its_trace(
    middleware, triggers, kind
):
    seen = []

    def app(env, start_response):
        def parts():
            seen.append(trace.current_trace_id())
            yield b"x"

        seen.append(trace.current_trace_id())
        start_response("200 OK", [])
        return kind(parts())

    signed = {name.lower(): value for name, value in trigger_headers().items()}
    request = triggers.accept(signed.get)
    request.lasting = True
    root = trace.start_root("answered", request=request).start()
    left = trace.span("left open").start()
    root.finish()
    try:
        Server(middleware(app)).serve(environ())
    finally:
        left.finish()
        trace.CURRENT.set(None)

    assert seen == [None, None]


def test_an_unsigned_traceparent_joins_and_records_nothing(middleware):
    seen = []

    def app(env, start_response):
        seen.append(trace.current_trace_id())
        return hello(env, start_response)

    headers = {"traceparent": "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"}
    Server(middleware(app)).serve(environ(headers=headers))

    assert (seen, drain_spans(), trace.current_trace_id()) == (["ab" * 16], (), None)


def test_a_middleware_inside_another_one_counts_nothing_twice(middleware, registry):
    headers = trigger_headers()

    assert Server(middleware(middleware(hello))).serve(environ(headers=headers)) == (
        b"hello, world"
    )
    assert read(registry)["http.server.request"] == {GET: 1}
    assert len(drain_spans()) == 1


def test_it_keeps_to_pep_3333(middleware):
    app = validator(middleware(validator(hello)))
    server = Server(app)

    env = environ(QUERY_STRING="")
    assert server.serve(env) == b"hello, world"


def test_what_else_the_application_offers_can_be_reached(middleware):
    class App:
        name = "orders"

        def __call__(self, env, start_response):
            return hello(env, start_response)

    app = middleware(App())

    assert app.name == "orders"
    with pytest.raises(AttributeError):
        app.missing  # noqa: B018


@pytest.mark.parametrize("name", ["WsgiExchange", "AsgiExchange"])
def test_an_exchange_takes_no_meters_that_were_never_made(name):
    from nilometer.integrations import _http

    with pytest.raises(
        TypeError, match=r"^\w+ takes Meters of the same twin, which were made$"
    ):
        getattr(_http, name)(_http.Meters.__new__(_http.Meters), {}, print)
