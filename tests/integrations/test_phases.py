"""The phases of a request: what its time went to, what failed in it, and whose fault it was."""

import asyncio
import gc
import io
import sys
from contextlib import suppress

import eventlet
import gevent
import pytest

from nilometer.integrations import asgi, attendance, wsgi
from nilometer.integrations.flight import FlightRecorder
from nilometer.integrations.http_phases import ARRIVED, ARRIVED_KEY
from nilometer.model import Distribution
from nilometer.testing import FakeTime
from tests.integrations.integration_kit import trigger_headers

PREFIX = "http.server."
HEAD = {"type": "http.response.start", "status": 200, "headers": []}


@pytest.fixture
def time():
    return FakeTime()


@pytest.fixture
def registry(registry):
    registry.set_level("http.server", "detail")
    yield registry
    registry.set_level("http.server", "basic")  # so that no request is attended to for nothing


def phases(registry):
    """{phase: seconds, or {error: how many}}, of what lies in DETAIL only."""
    told = {}
    for reading in registry.collect()[0]:
        name = reading.name.removeprefix(PREFIX)
        if not name.startswith(("dispatch", "request.receive", "response.")):
            continue
        value = reading.value
        if isinstance(value, Distribution):
            assert value.samples == 1
            told[name] = value.total / 1e9
        elif name.endswith((".errors", ".timeouts")):
            told.setdefault(name, {})[dict(reading.dimensions)["error.type"]] = value
    return told


# --- WSGI ------------------------------------------------------------------------------------


class Stream(io.BytesIO):
    """A request's body that takes a second a reading."""

    def __init__(self, body, time, error=None):
        super().__init__(body)
        self.time = time
        self.error = error

    def _waits(self):
        self.time.advance(1)
        if self.error is not None:
            raise self.error

    def read(self, *size):
        self._waits()
        return super().read(*size)

    def readline(self, *size):
        self._waits()
        return super().readline(*size)

    def readlines(self, *hint):
        self.time.advance(1)
        return io.BytesIO(self.getvalue()).readlines(*hint)

    def __next__(self):
        self._waits()
        return super().__next__()


def posted(time, body=b"one\ntwo\n", announced=None, error=None, **more):
    length = len(body) if announced is None else announced
    stream = Stream(body, time, error)
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/",
        "CONTENT_LENGTH": str(length),
        "wsgi.input": stream,
        **more,
    }


class Server:
    """It takes ten seconds to send a part, and sends what it has put by before it closes."""

    def __init__(self, app, time, error=None):
        self.app = app
        self.time = time
        self.error = error
        self.got = []

    def start_response(self, _status, _headers, _exc_info=None):
        return self.write

    def write(self, data):
        self.time.advance(10)
        if self.error is not None:
            raise self.error
        self.got.append(data)

    def serve(self, environ):
        result = self.app(environ, self.start_response)
        try:
            for part in result:
                self.write(part)
        finally:
            if hasattr(result, "close"):
                result.close()


@pytest.fixture
def served(twin, registry, triggers, time):
    """``served(app, environ, error)``: one request; sending may raise. What is told of it."""

    def serve(app, environ, error=None):
        middleware = wsgi.Middleware(
            app, triggers=triggers, registry=registry, clock=time.clock
        )
        server = Server(middleware, time, error)
        with suppress(Exception, eventlet.Timeout, gevent.Timeout):
            server.serve(environ)
        return phases(registry)

    return serve


READINGS = {
    "read": (lambda body: body.read(), 1),
    "of a size": (lambda body: body.read(8), 1),
    "piece by piece": (lambda body: list(iter(lambda: body.read(3), b"")), 4),
    "by readline": (lambda body: list(iter(body.readline, b"")), 3),
    "by readlines": (lambda body: body.readlines(), 1),
    "by iterating": (list, 3),
    "by next": (lambda body: [next(body), next(body)], 2),
}


@pytest.mark.parametrize("way", READINGS)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_goes_through_its_phases_whichever_way_it_is_read(served, time, way, chunked):
    read, seconds = READINGS[way]

    def app(environ, start_response):
        time.advance(100)
        read(environ["wsgi.input"])
        time.advance(1000)
        start_response("200 OK", [])
        return [b"one", b"two"]

    environ = posted(time)
    if chunked:
        del environ["CONTENT_LENGTH"]
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    assert served(app, environ) == {
        "request.receive": seconds,
        "response.processing": 1000,
        "response.send": 20,
    }


def test_a_traced_request_goes_through_the_same_phases(served, time):
    signed = {
        f"HTTP_{name.upper().replace('-', '_')}": value
        for name, value in trigger_headers().items()
    }

    def app(environ, start_response):
        environ["wsgi.input"].read()
        start_response("200 OK", [])
        yield b"one"

    assert served(app, posted(time, **signed)) == {
        "request.receive": 1,
        "response.processing": 0,
        "response.send": 10,
    }


def test_a_request_without_a_body_is_not_received_and_one_without_parts_not_sent(served, time):
    def app(_environ, start_response):
        time.advance(100)
        start_response("204 No Content", [])
        return []

    assert served(app, {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}) == {}


def test_dispatch_lasts_from_the_servers_first_moment_to_the_application(served, time):
    def app(_environ, start_response):
        time.advance(100)
        start_response("200 OK", [])
        return [b"one"]

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    time.advance(1)
    ARRIVED.set(time.clock.elapsed_ns())
    time.advance(5)
    rest = {"response.processing": 100, "response.send": 10}
    assert served(app, dict(environ)) == {"dispatch": 5, **rest}
    assert served(app, dict(environ)) == rest  # of the next one the server said nothing


def test_what_an_application_writes_at_once_is_sent_at_once(served, time):
    def app(_environ, start_response):
        write = start_response("200 OK", [])
        time.advance(100)
        write(b"one")
        time.advance(1000)
        return [b"two"]

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    assert served(app, environ) == {"response.processing": 100, "response.send": 20}


def test_a_body_that_is_read_for_its_length_first_is_sent_once(twin, registry, time):
    def app(_environ, start_response):
        start_response("200 OK", [])
        return [b"one", b"two"]

    middleware = wsgi.Middleware(app, registry=registry, clock=time.clock)
    result = middleware({"REQUEST_METHOD": "GET"}, lambda *_: None)
    for _ in result:
        time.advance(3)
    assert len(result) == 2
    Server(lambda *_: result, time).serve({})

    assert phases(registry) == {"response.processing": 6, "response.send": 20}


def test_parts_that_a_server_has_put_by_are_sent_before_it_closes(twin, registry, time):
    def app(_environ, start_response):
        start_response("200 OK", [])
        return [b"one", b"two"]

    middleware = wsgi.Middleware(app, registry=registry, clock=time.clock)
    result = middleware({"REQUEST_METHOD": "GET"}, lambda *_: None)
    together = b"".join(result)
    time.advance(10)
    result.close()

    assert together == b"onetwo"
    assert phases(registry)["response.send"] == 10


def test_a_body_that_nobody_closes_is_told_when_it_is_dropped(twin, registry, time):
    middleware = wsgi.Middleware(
        lambda _, start: start("200 OK", []) or [b"one"], registry=registry, clock=time.clock
    )
    result = middleware({"REQUEST_METHOD": "GET"}, lambda *_: None)
    next(iter(result))
    del result
    gc.collect()

    assert phases(registry) == {"response.processing": 0, "response.send": 0}


def test_a_servers_own_file_wrapper_stays_what_it_is(twin, registry, time):
    class Wrapper:
        def __init__(self, file):
            self.file = file

    def app(environ, start_response):
        time.advance(100)
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"one"))

    middleware = wsgi.Middleware(app, registry=registry, clock=time.clock)
    environ = {"REQUEST_METHOD": "GET", "wsgi.file_wrapper": Wrapper}

    assert type(middleware(environ, lambda *_: None)) is Wrapper
    assert phases(registry) == {"response.processing": 100, "response.send": 0}


def reads(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"one", b"two"]


@pytest.mark.parametrize(
    ("error", "timeouts"),
    [
        (ConnectionResetError(), {}),
        (TimeoutError(), {"TimeoutError": 1}),
        (eventlet.Timeout(None), {"Timeout": 1}),
        (gevent.Timeout(), {"Timeout": 1}),
        (OSError("timeout during read(16) on wsgi.input"), {"OSError": 1}),
        (OSError("error during read(16) on wsgi.input"), {}),
    ],
)
def test_a_body_that_cannot_be_read_is_an_error_and_a_timeout_both(
    served, time, error, timeouts
):
    told = served(reads, posted(time, error=error))

    more = {"request.receive.timeouts": timeouts} if timeouts else {}
    errors = {"request.receive.errors": {type(error).__name__: 1}}
    assert told == {"request.receive": 1, **errors, **more}


@pytest.mark.parametrize("way", ["read", "of a size", "piece by piece", "by readline"])
def test_a_body_that_ends_before_its_length_was_broken_off_by_the_client(served, time, way):
    read, _ = READINGS[way]

    def app(environ, start_response):
        read(environ["wsgi.input"])
        start_response("200 OK", [])
        return [b"one"]

    told = served(app, posted(time, body=b"one\n", announced=8))

    assert told["request.receive.errors"] == {"closed_early": 1}
    assert "response.send.errors" not in told


@pytest.mark.parametrize(
    ("error", "timeouts"),
    [
        (BrokenPipeError(), {}),
        (TimeoutError(), {"TimeoutError": 1}),
        (eventlet.Timeout(None), {"Timeout": 1}),
    ],
)
def test_a_response_that_cannot_be_sent_fails_by_what_its_server_met(
    served, time, error, timeouts
):
    told = served(reads, posted(time), error)

    more = {"response.send.timeouts": timeouts} if timeouts else {}
    assert told == {
        "request.receive": 1,
        "response.processing": 0,
        "response.send": 10,
        "response.send.errors": {type(error).__name__: 1},
        **more,
    }


def test_what_the_application_raises_is_no_fault_of_the_sending(served, time):
    def app(_environ, start_response):
        start_response("200 OK", [])
        yield b"one"
        raise RuntimeError("broken")

    told = served(app, {"REQUEST_METHOD": "GET", "PATH_INFO": "/"})
    assert told == {"response.processing": 0, "response.send": 10}


def test_a_server_that_closes_early_and_does_not_say_why_had_a_client_that_left(
    twin, registry, time
):
    middleware = wsgi.Middleware(reads, registry=registry, clock=time.clock)
    try:
        raise LookupError  # of the server's own, before: not why the sending ended
    except LookupError:
        result = middleware(posted(time), lambda *_: None)
        next(iter(result))
        assert sys.exception() is not None
        result.close()

    assert phases(registry)["response.send.errors"] == {"closed_early": 1}


# --- ASGI ------------------------------------------------------------------------------------


def asked(method="POST", **more):
    return {"type": "http", "method": method, "path": "/", "headers": [], **more}


@pytest.fixture
def called(twin, registry, triggers, time):
    """``called(app, scope, *messages)``: a message may be an error. The readings."""

    def call(app, scope, *messages, error=None, limit_s=None):
        waiting = list(messages)

        async def receive():
            time.advance(1)
            if not waiting:
                await asyncio.sleep(60)
            message = waiting.pop(0)
            if isinstance(message, BaseException):
                raise message
            return message

        async def send(message):
            if message["type"] != "http.response.start":
                time.advance(10)
                if error is not None:
                    raise error

        middleware = asgi.Middleware(
            app, triggers=triggers, registry=registry, clock=time.clock
        )

        async def main():
            async with asyncio.timeout(limit_s):
                await middleware(scope, receive, send)

        with suppress(Exception, asyncio.CancelledError):
            asyncio.run(main())
        return phases(registry)

    return call


def body(data=b"", more=False):
    return {"type": "http.request", "body": data, "more_body": more}


async def answer(send):
    await send(HEAD)
    await send({"type": "http.response.body", "body": b"one", "more_body": True})
    await send({"type": "http.response.body", "body": b"two"})


async def read(receive):
    while (await receive()).get("more_body"):
        pass


def test_an_asgi_request_goes_through_the_same_phases(called, time):
    async def app(_scope, receive, send):
        time.advance(100)
        await read(receive)
        await send(HEAD)
        time.advance(1000)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    time.advance(1)
    scope = asked(**{ARRIVED_KEY: time.clock.elapsed_ns()})
    time.advance(5)
    assert called(app, scope, body(b"a", True), body(b"b")) == {
        "dispatch": 5,
        "request.receive": 2,
        "response.processing": 1000,
        "response.send": 20,
    }
    assert ARRIVED_KEY not in scope


def test_the_last_part_is_sent_when_the_server_has_taken_it_and_not_after(called, time):
    async def app(_scope, _receive, send):
        await answer(send)
        time.advance(1000)  # a background task

    assert called(app, asked("GET")) == {"response.processing": 0, "response.send": 20}


def test_waiting_for_a_client_to_go_is_no_receiving_and_its_going_no_error(called):
    async def app(_scope, receive, send):
        await read(receive)
        await receive()
        await answer(send)
        await receive()

    told = called(app, asked(), body(b"a"), body(), {"type": "http.disconnect"})

    assert told == {"request.receive": 1, "response.processing": 1, "response.send": 20}


def test_a_client_that_leaves_in_the_midst_of_its_request_is_an_error_of_receiving(called):
    async def app(_scope, receive, _send):
        await read(receive)

    told = called(app, asked(), body(b"a", True), {"type": "http.disconnect"})

    assert told == {"request.receive": 2, "request.receive.errors": {"closed_early": 1}}


def test_a_client_that_leaves_in_the_midst_of_its_response_is_an_error_of_sending(called):
    async def app(_scope, receive, send):
        await read(receive)
        await send(HEAD)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await receive()

    told = called(app, asked(), body(b"a"), {"type": "http.disconnect"})

    assert told["response.send.errors"] == {"closed_early": 1}
    assert "request.receive.errors" not in told


@pytest.mark.parametrize(
    ("error", "timeouts"), [(OSError(), {}), (TimeoutError(), {"TimeoutError": 1})]
)
def test_what_receive_and_send_raise_is_counted_by_phase(called, error, timeouts):
    async def app(_scope, receive, send):
        await read(receive)
        await answer(send)

    kind = {type(error).__name__: 1}
    for phase, messages, fails in (
        ("request.receive", [error], None),
        ("response.send", [body(b"a")], error),
    ):
        told = called(app, asked(), *messages, error=fails)
        assert told[f"{phase}.errors"] == kind
        assert told.get(f"{phase}.timeouts", {}) == timeouts


def test_a_limit_that_the_application_sets_to_receiving_is_a_timeout(called):
    async def app(_scope, receive, send):
        try:
            async with asyncio.timeout(0.01):
                await read(receive)
        except TimeoutError:
            await answer(send)  # 408

    told = called(app, asked(), body(b"a", True))

    assert told["request.receive.errors"] == {"TimeoutError": 1}
    assert told["request.receive.timeouts"] == {"TimeoutError": 1}


def test_a_limit_that_ends_the_request_itself_is_a_timeout(called):
    async def app(_scope, receive, _send):
        await asyncio.wait_for(read(receive), 0.01)

    told = called(app, asked(), body(b"a", True))

    assert told["request.receive.timeouts"] == {"TimeoutError": 1}


def test_a_request_that_is_cancelled_itself_is_an_error_and_no_timeout(called):
    async def app(_scope, receive, _send):
        await read(receive)

    told = called(app, asked(), body(b"a", True), limit_s=0.01)

    assert told["request.receive.errors"] == {"CancelledError": 1}
    assert "request.receive.timeouts" not in told


# --- The level -------------------------------------------------------------------------------


def test_phases_are_watched_while_the_level_asks_for_one_of_them(served, registry, time):
    registry.set_level("http.server", "basic")
    assert served(reads, posted(time)) == {}
    registry.set_level("http.server.response.send", "detail")
    assert served(reads, posted(time)) == {"response.send": 20}
    registry.set_level("http.server.response.send", "basic")
    assert served(reads, posted(time)) == {}


def test_requests_are_attended_to_while_anybody_needs_it(registry, monkeypatch):
    said = []
    monkeypatch.setattr(attendance, "attend_all", said.append)
    wsgi.Middleware(reads, registry=registry)
    recorder = FlightRecorder()
    recorder.start()
    registry.set_level("http.server", "basic")
    assert said == [True, True, True]
    recorder.stop()
    assert said == [True, True, True, False]
