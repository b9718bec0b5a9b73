"""ASGI: HTTP, WebSockets and lifespan, and that the application sees no change."""

import asyncio
from contextlib import suppress

import pytest

import nilometer.trace as trace
from nilometer.integrations.asgi import Middleware
from nilometer.model import Level, SpanKind, Status
from nilometer.trace import drain_spans
from tests.integrations.integration_kit import read, shape, trigger_headers

GET = "http.request.method=GET"


def scope(method="GET", headers=None, **more):
    pairs = [(b"host", b"localhost")]
    pairs += [(k.lower().encode(), v.encode("latin-1")) for k, v in (headers or {}).items()]
    return {"type": "http", "method": method, "path": "/", "headers": pairs, **more}


def serve(app, its_scope, *messages):
    """Run the application on these messages; return what it sent."""
    waiting = list(messages) or [{"type": "http.request", "body": b"", "more_body": False}]
    sent = []

    async def receive():
        return waiting.pop(0)

    async def send(message):
        await asyncio.sleep(0)
        sent.append(message)

    asyncio.run(app(its_scope, receive, send))
    return sent


START = {"type": "http.response.start", "status": 200, "headers": []}


async def hello(its_scope, receive, send):
    await receive()
    await send(START)
    await send({"type": "http.response.body", "body": b"hello"})


async def stream(its_scope, receive, send):
    with trace.span("made"):
        await send(START)
        for part in (b"one", b"two"):
            with trace.span("part"):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})


@pytest.fixture
def middleware(twin, registry, triggers):
    return lambda app: Middleware(app, triggers=triggers, registry=registry)


# --- What is counted -----------------------------------------------------------------------


def test_a_request_is_counted_timed_and_weighed(middleware, registry):
    sent = serve(middleware(hello), scope("POST", {"Content-Length": "30"}))

    assert sent == [START, {"type": "http.response.body", "body": b"hello"}]
    assert read(registry) == {
        "http.server.request": {"http.request.method=POST": 1},
        "http.server.responses": {"http.response.status_class=2xx": 1},
        "http.server.request.bytes": {"": 30},
        "http.server.response.bytes": {"": 5},
        "http.server.in_flight": {"": 0},
        "websocket.server.in_flight": {"": 0},
    }


@pytest.mark.parametrize("status", [0, -1, 1000, 10**30, "200", None, b"200", 2.0])
def test_a_status_that_is_none_is_counted_as_none(middleware, registry, status):
    async def app(its_scope, receive, send):
        await send({**START, "status": status})
        await send({"type": "http.response.body"})

    serve(middleware(app), scope())

    assert read(registry)["http.server.responses"] == {"http.response.status_class=none": 1}


def test_a_body_of_unannounced_length_is_counted_as_it_comes(middleware, registry):
    async def app(its_scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        await hello_again(send)

    async def hello_again(send):
        await send(START)
        await send({"type": "http.response.body", "body": b"x"})

    serve(
        middleware(app),
        scope("POST"),
        {"type": "http.request", "body": b"12345", "more_body": True},
        {"type": "http.request", "body": b"678"},
    )

    assert read(registry)["http.server.request.bytes"] == {"": 8}


@pytest.mark.parametrize(
    "headers",
    [
        None,
        7,
        [],
        (),
        {(b"x", b"y"): 1}.keys(),
        [(b"content-length", b"abc")],
        [(b"content-length", "7")],
        [(b"content-length",)],
        [("traceparent", "x"), None, 7, (b"a", b"b", b"c"), [b"traceparent", b"\xff"]],
        [
            (b"traceparent", b"\xff" * 55),
            (b"x-trace-info", b"\x00"),
            (b"x-trace-hmac", b"\xff"),
        ],
        [(b"x-trace-info", b"A" * 1_000_000), (b"x-trace-hmac", b"A" * 1_000_000)],
    ],
    ids=range(11),
)
def test_odd_headers_are_the_application_s_to_judge(middleware, registry, headers):
    seen = []

    async def app(its_scope, receive, send):
        given = its_scope["headers"]
        seen.append(given if given in (None, 7) else list(given))
        await hello(its_scope, receive, send)

    plain = isinstance(headers, list | tuple | int | type(None))
    serve(middleware(app), scope() | {"headers": headers if plain else iter(headers)})

    assert seen == [headers if headers in (None, 7) else list(headers)]
    assert read(registry)["http.server.responses"] == {"http.response.status_class=2xx": 1}
    assert drain_spans() == ()


@pytest.mark.parametrize(
    "message",
    [None, 7, {}, {"type": None}, {"type": "http.response.body", "body": None}, {"type": 7}],
)
def test_odd_messages_reach_the_server(middleware, message):
    async def app(its_scope, receive, send):
        await send(message)

    assert serve(middleware(app), scope()) == [message]


class Route:
    path = "/users/{id}"


@pytest.mark.parametrize(
    ("key", "value", "route"),
    [
        ("route", Route(), "/users/{id}"),
        ("path_template", "/users/{id:int}", "/users/{id:int}"),
        ("route", object(), None),
    ],
)
def test_the_route_is_taken_from_the_framework(middleware, registry, key, value, route):
    async def app(its_scope, receive, send):
        its_scope[key] = value
        await hello(its_scope, receive, send)

    serve(middleware(app), scope())

    dimensions = GET if route is None else f"{GET},http.route={route}"
    assert read(registry)["http.server.request"] == {dimensions: 1}


# --- When a request ends -------------------------------------------------------------------


def in_flight(registry):
    return read(registry)["http.server.in_flight"][""]


def ends_at(registry, middleware, *messages):
    """How many requests are in flight after each of these messages, and in the end."""
    seen = []

    async def app(its_scope, receive, send):
        for message in messages:
            await send(message)
            seen.append(in_flight(registry))

    serve(middleware(app), scope())
    return [*seen, in_flight(registry)]


PART = {"type": "http.response.body", "body": b"x", "more_body": True}
LAST = {"type": "http.response.body", "body": b"x"}
TRAILERS = {"type": "http.response.trailers", "headers": []}
PATH = {"type": "http.response.pathsend", "path": "/etc/hosts"}
ZERO = {"type": "http.response.zerocopysend", "file": 0}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ((START, LAST), [1, 0, 0]),
        ((START, PART, LAST), [1, 1, 0, 0]),
        ((START, PART), [1, 1, 0]),
        (({**START, "trailers": True}, LAST, TRAILERS), [1, 1, 0, 0]),
        (
            ({**START, "trailers": True}, LAST, {**TRAILERS, "more_trailers": True}, TRAILERS),
            [1, 1, 1, 0, 0],
        ),
        ((START, PATH), [1, 0, 0]),
        ((START, {**ZERO, "more_body": True}, ZERO), [1, 1, 0, 0]),
        (({"type": "http.response.push"}, START, LAST), [1, 1, 0, 0]),
        ((), [0]),
    ],
)
def test_a_request_ends_with_the_last_part_of_its_response(
    middleware, registry, messages, expected
):
    assert ends_at(registry, middleware, *messages) == expected


@pytest.mark.parametrize(
    ("messages", "word"), [((), "no_response"), ((START, PART), "closed_early")]
)
def test_a_response_that_is_not_completed_is_counted(middleware, registry, messages, word):
    ends_at(registry, middleware, *messages)

    assert read_errors(middleware, messages) == {f"error.type={word}": 1}


def read_errors(middleware, messages):
    from nilometer.measure import Registry

    fresh = Registry()

    async def app(its_scope, receive, send):
        for message in messages:
            await send(message)

    serve(Middleware(app, registry=fresh), scope())
    return read(fresh)["http.server.request.errors"]


def test_work_after_the_response_is_not_part_of_its_time(middleware, registry):
    async def app(its_scope, receive, send):
        await hello(its_scope, receive, send)
        raise Trouble("in the background")

    with pytest.raises(Trouble):
        serve(middleware(app), scope())

    readings = read(registry)
    assert readings["http.server.request"] == {GET: 1}
    assert readings["http.server.request.errors"] == {"error.type=Trouble": 1}
    assert readings["http.server.responses"] == {"http.response.status_class=2xx": 1}


# --- Errors --------------------------------------------------------------------------------


class Trouble(Exception):
    pass


@pytest.mark.parametrize("kind", [Trouble, asyncio.CancelledError, SystemExit])
@pytest.mark.parametrize("sent", [(), (START, PART)], ids=["before", "after"])
def test_what_an_application_raises_passes_unchanged_and_is_counted(
    middleware, registry, kind, sent
):
    error = kind("mine")

    async def app(its_scope, receive, send):
        for message in sent:
            await send(message)
        raise error

    with pytest.raises(kind) as caught:
        serve(middleware(app), scope())

    readings = read(registry)
    unsent = "none" if kind is asyncio.CancelledError else "5xx"  # nobody waits for an answer
    status_class = "2xx" if sent else unsent
    if kind is not asyncio.CancelledError:  # asyncio.run makes a new one
        assert caught.value is error
    assert readings["http.server.request.errors"] == {f"error.type={kind.__name__}": 1}
    assert readings["http.server.responses"] == {
        f"http.response.status_class={status_class}": 1
    }
    assert readings["http.server.in_flight"] == {"": 0}


def test_a_cancelled_request_ends(middleware, registry):
    async def app(its_scope, receive, send):
        await asyncio.sleep(60)

    async def main():
        task = asyncio.ensure_future(middleware(app)(scope(), None, None))
        await asyncio.sleep(0)
        during = in_flight(registry)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return during

    assert (asyncio.run(main()), in_flight(registry)) == (1, 0)


@pytest.mark.parametrize(
    ("error", "word"),
    [
        *((asyncio.CancelledError, "none"), (GeneratorExit, "none")),
        *((KeyError, "5xx"), (SystemExit, "5xx"), (KeyboardInterrupt, "5xx")),
    ],
)
def test_nobody_answered_what_was_cancelled(middleware, registry, error, word):
    async def app(its_scope, receive, send):
        raise error

    with pytest.raises(error):
        serve(middleware(app), scope())
    readings = read(registry)

    assert readings["http.server.responses"] == {f"http.response.status_class={word}": 1}
    assert readings["http.server.request.errors"] == {f"error.type={error.__name__}": 1}


@pytest.mark.parametrize(
    ("headers", "counted"),
    [
        ([(b"content-type", b"x"), (b"content-length", b"77")], {"": 77}),
        (([b"content-length", b"77"],), {"": 77}),
        (iter([(b"content-length", b"77")]), None),  # the server's to go through
        ([(b"content-length", b"x"), 5, None, (b"a",)], None),
        (None, None),
        (5, None),
    ],
)
def test_a_file_that_is_sent_by_its_path_has_the_bytes_that_were_announced(
    middleware, registry, headers, counted
):
    async def app(its_scope, receive, send):
        await send(START | {"headers": headers})
        await send({"type": "http.response.pathsend", "path": "/etc/hostname"})

    serve(middleware(app), scope())
    readings = read(registry)

    assert readings.get("http.server.response.bytes") == counted
    assert readings["http.server.responses"] == {"http.response.status_class=2xx": 1}
    assert "http.server.request.errors" not in readings


@pytest.mark.parametrize("body", [None, 5, object()])
def test_a_body_that_is_none_is_no_answer(middleware, registry, body):
    async def app(its_scope, receive, send):
        await send(START)
        await send({"type": "http.response.body", "body": body})

    serve(middleware(app), scope())
    readings = read(registry)

    assert readings["http.server.request.errors"] == {"error.type=closed_early": 1}


def test_a_request_that_is_never_awaited_again_ends(middleware, registry):
    async def app(its_scope, receive, send):
        await Forever()

    class Forever:
        def __await__(self):
            yield

    request = middleware(app)(scope(), None, None)
    request.send(None)
    during = in_flight(registry)
    request.close()

    assert (during, in_flight(registry)) == (1, 0)
    assert "http.server.request.errors" not in read(registry)


def test_what_the_server_s_send_raises_reaches_the_application(middleware, registry):
    async def send(message):
        raise OSError("the client has gone")

    with pytest.raises(OSError, match="has gone"):
        asyncio.run(middleware(stream)(scope(), None, send))

    assert read(registry)["http.server.request.errors"] == {"error.type=OSError": 1}


def test_send_returns_what_the_server_s_send_returns(middleware):
    awaitable = object()

    async def app(its_scope, receive, send):
        assert send(START) is awaitable

    asyncio.run(middleware(app)(scope(), None, lambda message: awaitable))


# --- Tracing -------------------------------------------------------------------------------


def test_a_signed_request_is_traced_to_the_last_part(middleware):
    serve(middleware(stream), scope(headers=trigger_headers()))
    spans = drain_spans()

    assert shape(spans) == [
        ("part", "made", "UNSET"),
        ("part", "made", "UNSET"),
        ("GET", "", "UNSET"),
        ("made", "GET", "UNSET"),
    ]
    root = spans[2]
    assert (root.kind, root.parent_id) == (SpanKind.SERVER, b"")
    assert dict(root.attributes) == {
        "http.request.method": "GET",
        "url.path": "/",
        "http.response.status_code": 200,
        "http.response.body.size": 6,
    }


def test_at_off_the_request_has_no_span_and_what_happens_in_it_is_its_sender_s(
    middleware, registry
):
    async def app(its_scope, receive, send):
        with trace.span("inner"):
            await hello(its_scope, receive, send)

    served = middleware(app)
    registry.set_level("integrations.asgi", Level.OFF)
    serve(served, scope(headers=trigger_headers()))
    registry.set_level("integrations.asgi", Level.BASIC)
    (inner,) = drain_spans()

    assert (inner.name, inner.parent_id) == ("inner", b"")
    assert read(registry)["http.server.request"] == {"http.request.method=GET": 1}


def test_what_runs_after_the_response_belongs_to_the_trace(middleware):
    async def app(its_scope, receive, send):
        await hello(its_scope, receive, send)
        for name in ("background", "another"):
            with trace.span(name):
                await asyncio.sleep(0)

    serve(middleware(app), scope(headers=trigger_headers()))

    assert shape(drain_spans()) == [
        ("GET", "", "UNSET"), ("background", "GET", "UNSET"), ("another", "GET", "UNSET"),
    ]  # fmt: skip


def test_concurrent_requests_on_one_loop_keep_their_own_trees(middleware):
    async def app(its_scope, receive, send):
        for step in range(3):
            with trace.span(f"{its_scope['path']}{step}"):
                await asyncio.sleep(0)
        await send(START)
        await send({"type": "http.response.body"})

    async def send(message):
        pass

    async def main():
        served = middleware(app)
        await asyncio.gather(
            *(
                served(scope(headers=trigger_headers(), path=path), None, send)
                for path in ("/a", "/b")
            )
        )

    asyncio.run(main())
    spans = drain_spans()
    roots = {s.span_id: s.attributes["url.path"] for s in spans if s.kind is SpanKind.SERVER}

    assert sorted(roots.values()) == ["/a", "/b"]
    assert sorted(
        (roots[s.parent_id], s.name) for s in spans if s.kind is not SpanKind.SERVER
    ) == [(path, f"{path}{step}") for path in ("/a", "/b") for step in range(3)]


def test_the_next_request_of_the_same_task_is_not_in_the_trace(middleware):
    seen = []

    async def app(its_scope, receive, send):
        seen.append(trace.current_trace_id() is not None)
        await send(START)
        await send({"type": "http.response.body"})

    async def send(message):
        pass

    async def main():
        served = middleware(app)
        await served(scope(headers=trigger_headers()), None, send)
        await served(scope(), None, send)

    asyncio.run(main())

    assert seen == [True, False]


def joining():
    return {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (None, 500, "no_response"),
        (KeyError("mine"), 500, "KeyError"),
        (asyncio.CancelledError(), None, "CancelledError"),
    ],
)
def test_the_span_says_what_the_server_answers_for_the_application(
    middleware, registry, error, status, kind
):
    async def app(its_scope, receive, send):
        if error is not None:
            raise error

    with suppress(KeyError, asyncio.CancelledError):
        serve(middleware(app), scope(headers=trigger_headers()))
    (root,) = drain_spans()
    readings = read(registry)

    assert root.attributes.get("http.response.status_code") == status
    assert root.status is Status.ERROR
    assert root.attributes["error.type"].rpartition(".")[2] == kind
    answered = "none" if status is None else f"{status // 100}xx"
    assert readings["http.server.responses"] == {f"http.response.status_class={answered}": 1}
    assert readings["http.server.request.errors"] == {f"error.type={kind}": 1}


async def ever():
    await asyncio.sleep(60)


async def raising():
    raise Trouble("the server's own")


async def gone():
    return {"type": "http.disconnect"}


async def more():
    return {"type": "http.request", "body": b"more", "more_body": True}


@pytest.mark.parametrize(
    ("receive", "status", "kind"),
    [
        (gone, None, "closed_early"),
        *((there, 500, "no_response") for there in (ever, raising, more)),
    ],
)
def test_who_leaves_unanswered_a_client_that_has_gone_has_made_no_error_of_the_server(
    middleware, registry, receive, status, kind
):
    async def main():
        async def app(its_scope, its_receive, send):
            return

        async def send(message):
            raise AssertionError("nothing is answered")

        await middleware(app)(scope(headers=trigger_headers()), receive, send)

    asyncio.run(main())
    (root,) = drain_spans()
    readings = read(registry)

    assert root.attributes.get("http.response.status_code") == status
    answered = "none" if status is None else "5xx"
    assert readings["http.server.responses"] == {f"http.response.status_class={answered}": 1}
    assert readings["http.server.request.errors"] == {f"error.type={kind}": 1}


@pytest.mark.parametrize("first", [trigger_headers, joining])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_request_that_is_started_by_the_last_one_is_not_in_its_trace(middleware, first, kind):
    """uvicorn starts what was pipelined while the last part of a response is being sent."""
    seen, tasks = {}, []

    async def app(its_scope, receive, send):
        with trace.span(f"in {its_scope['path']}"):
            seen[its_scope["path"]] = trace.current_trace_id()
            await send(START)
            await send({"type": "http.response.body"})
        with trace.span("afterwards"):
            pass

    served = middleware(app)

    async def last(message):
        pass

    async def send(message):
        if message["type"] == "http.response.body":
            next_one = scope(path="/victim") | {"type": kind}
            tasks.append(asyncio.create_task(served(next_one, None, last)))

    async def main():
        await served(scope(headers=first(), path="/traced"), None, send)
        await asyncio.gather(*tasks)

    asyncio.run(main())

    assert seen["/traced"] is not None
    assert seen["/victim"] is None
    names = [span.name for span in drain_spans()]
    assert sorted(names) == (
        ["GET", "afterwards", "in /traced"] if first is trigger_headers else []
    )


def test_a_call_inside_of_a_request_that_goes_on_stays_in_its_trace(middleware):
    """An application may ask another one, or itself, without a server in between."""

    async def app(its_scope, receive, send):
        if its_scope["path"] == "/outer":
            await served(scope(path="/inner"), None, send)
        else:
            with trace.span("inner"):
                await send(START)
                await send({"type": "http.response.body"})

    served = middleware(app)
    serve(served, scope(headers=trigger_headers(), path="/outer"))

    assert sorted(shape(drain_spans())) == [("GET", "", "UNSET"), ("inner", "GET", "UNSET")]


def test_a_failing_request_ends_its_span_with_an_error(middleware):
    async def app(its_scope, receive, send):
        raise Trouble("broken")

    with pytest.raises(Trouble):
        serve(middleware(app), scope(headers=trigger_headers()))
    (root,) = drain_spans()

    assert (root.status, root.status_message) == (Status.ERROR, "broken")


@pytest.mark.parametrize("ours", [0, 1, 2])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_several_lines_of_a_tracestate_are_one_in_their_order(middleware, ours, kind):
    """As https://www.w3.org/TR/trace-context/#combined-header-value says."""
    signed = trigger_headers()
    lines = [(b"tracestate", b"a=1"), (b"tracestate", b"b=2")]
    lines.insert(ours, (b"tracestate", signed["tracestate"].encode()))
    pairs = [(b"traceparent", signed["traceparent"].encode()), *lines]
    onward = []

    async def app(its_scope, receive, send):
        onward.append(trace.headers()["tracestate"].partition(",")[2])

    serve(middleware(app), scope() | {"type": kind, "headers": pairs})

    assert onward == ["a=1,b=2"]
    assert len(drain_spans()) == 1


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_of_two_traceparents_none_is_believed(middleware, kind):
    seen = []

    async def app(its_scope, receive, send):
        seen.append(trace.current_trace_id())

    ours = {k: v for k, v in trigger_headers().items() if not k.startswith("X-")}
    pairs = [(k.lower().encode(), v.encode()) for k, v in ours.items()]
    other = (b"traceparent", b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01")
    for headers in ([other, *pairs], [*pairs, other], [pairs[0], *pairs]):
        serve(middleware(app), scope() | {"type": kind, "headers": headers})

    assert (seen, drain_spans()) == ([None] * 3, ())


def test_an_unsigned_traceparent_joins_and_records_nothing(middleware):
    seen = []

    async def app(its_scope, receive, send):
        seen.append(trace.current_trace_id())
        await hello(its_scope, receive, send)

    headers = {"traceparent": "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"}
    serve(middleware(app), scope(headers=headers))

    assert (seen, drain_spans()) == (["ab" * 16], ())


def test_a_middleware_inside_another_one_counts_nothing_twice(middleware, registry):
    serve(middleware(middleware(hello)), scope(headers=trigger_headers()))

    assert read(registry)["http.server.request"] == {GET: 1}
    assert len(drain_spans()) == 1


# --- Lifespan and WebSockets ---------------------------------------------------------------


def test_lifespan_passes_untouched(middleware, registry):
    seen = []

    async def app(*arguments):
        seen.append(arguments)

    def receive():
        pass

    def send():
        pass

    its_scope = {"type": "lifespan"}
    asyncio.run(middleware(app)(its_scope, receive, send))

    assert seen == [({"type": "lifespan"}, receive, send)]
    assert "http.server.request" not in read(registry)


def websocket(headers=None):
    return scope(headers=headers) | {"type": "websocket", "route": Route()}


async def chat(its_scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    with trace.span("talk"):
        while (await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": "and you"})


CONVERSATION = (
    {"type": "websocket.connect"},
    {"type": "websocket.receive", "text": "hello"},
    {"type": "websocket.disconnect", "code": 1001},
)


def test_a_websocket_has_its_own_instruments(middleware, registry):
    sent = serve(middleware(chat), websocket(), *CONVERSATION)

    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send"]
    assert read(registry) == {
        "websocket.server.connection": {"http.route=/users/{id}": 1},
        "websocket.server.in_flight": {"": 0},
        "http.server.in_flight": {"": 0},
    }


def test_a_websocket_s_span_lasts_from_connect_to_close(middleware):
    serve(middleware(chat), websocket(trigger_headers()), *CONVERSATION)
    spans = drain_spans()

    assert shape(spans) == [
        ("talk", "WEBSOCKET /users/{id}", "UNSET"),
        ("WEBSOCKET /users/{id}", "", "UNSET"),
    ]
    assert spans[1].attributes["websocket.close_code"] == 1001


def test_a_websocket_that_fails_is_an_error_and_not_in_flight(middleware, registry):
    async def app(its_scope, receive, send):
        await send({"type": "websocket.close"})
        raise Trouble("broken")

    with pytest.raises(Trouble):
        serve(middleware(app), websocket(trigger_headers()), *CONVERSATION)
    (root,) = drain_spans()
    readings = read(registry)

    assert (root.status, root.attributes["websocket.close_code"]) == (Status.ERROR, 1000)
    assert readings["websocket.server.connection.errors"] == {"error.type=Trouble": 1}
    assert "http.server.request.errors" not in readings
    assert readings["websocket.server.in_flight"] == {"": 0}
