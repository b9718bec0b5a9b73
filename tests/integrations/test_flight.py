"""The flight recorder: what it keeps, what it forgets, and the bounds of both; both twins."""

import asyncio
import os
import threading

import gevent
import pytest

import nilometer.trace as trace
from nilometer.clock import Clock
from nilometer.integrations import asgi, wsgi
from nilometer.integrations.flight import GRANT, FlightRecorder
from nilometer.trace import CURRENT, RING, carry, drain_spans, greenlets
from nilometer.trace.trigger import Triggers
from tests.integrations.integration_kit import KEY, shape, trigger_headers
from tests.integrations.test_asgi import START
from tests.integrations.test_asgi import scope as asgi_scope
from tests.integrations.test_asgi import serve as serve_asgi
from tests.integrations.test_wsgi import Server, environ

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Time:
    """A clock that moves only when it is told to."""

    def __init__(self):
        self.ns = 0
        self.clock = Clock(elapsed_ns=lambda: self.ns)


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def on(twin, monkeypatch):
    """``on(slow_s=1)`` starts a recorder, which ends with the test."""
    started = []

    def start(**options):
        recorder = FlightRecorder(**options)
        recorder.start()
        started.append(recorder)
        return recorder

    yield start
    for recorder in started:
        recorder.stop()
    RING.take_losses()


class OfWsgi:
    """A WSGI application that does as it is told, behind our middleware."""

    def __init__(self, registry, triggers, time):
        self.given = {"triggers": triggers, "registry": registry, "clock": time.clock}

    def serve(self, work, status=200, headers=None):
        def app(env, start_response):
            with trace.span("work"):
                work()
            start_response(f"{status} Some Reason", [])
            return [b"x"]

        Server(wsgi.Middleware(app, **self.given)).serve(environ(headers=headers))


class OfAsgi(OfWsgi):
    """The same of ASGI."""

    def serve(self, work, status=200, headers=None):
        async def app(scope, receive, send):
            with trace.span("work"):
                work()
            await send({**START, "status": status})
            await send({"type": "http.response.body", "body": b"x"})

        serve_asgi(asgi.Middleware(app, **self.given), asgi_scope(headers=headers))


@pytest.fixture(params=[OfWsgi, OfAsgi])
def served(request, twin, registry, triggers, time):
    return request.param(registry, triggers, time)


def nothing():
    pass


def fail():
    raise LookupError("it is gone")


def reasons(spans):
    """Of each kept request why it was kept."""
    return [one.attributes["nilometer.flight"] for one in spans if one.name == "GET"]


# --- What is kept ---------------------------------------------------------------------------


def test_a_request_that_ends_well_leaves_nothing(served, on):
    on()
    served.serve(nothing)
    served.serve(nothing, status=404)

    assert (drain_spans(), len(RING), RING.take_losses()) == ((), 0, {})


def test_a_request_that_answers_5xx_is_kept_whole(served, on):
    on()
    served.serve(nothing, status=503)
    spans = drain_spans()

    assert shape(spans) == [("work", "GET", "UNSET"), ("GET", "", "ERROR")]
    assert reasons(spans) == ["5xx"]
    assert spans[1].attributes["http.response.status_code"] == 503


def test_a_request_that_raises_is_kept_whole(served, on):
    on()
    with pytest.raises(LookupError):
        served.serve(fail)
    spans = drain_spans()

    assert shape(spans) == [("work", "GET", "ERROR"), ("GET", "", "ERROR")]
    assert reasons(spans) == ["failed"]


@pytest.mark.parametrize(("took_ns", "kept"), [(999_999_999, []), (10**9, ["slow"])])
def test_a_request_that_takes_as_long_as_the_threshold_is_kept(served, on, time, took_ns, kept):
    on(slow_s=1.0)

    def work():
        time.ns += took_ns

    served.serve(work)

    assert reasons(drain_spans()) == kept


def test_without_a_threshold_no_request_is_too_slow(served, on, time):
    on()

    def work():
        time.ns += 10**12

    served.serve(work)

    assert drain_spans() == ()


def test_a_body_that_fails_while_it_is_sent_keeps_the_request(twin, on, registry, triggers):
    on()

    def app(env, start_response):
        start_response("200 OK", [])
        with trace.span("part"):
            yield b"x"
        raise LookupError

    middleware = wsgi.Middleware(app, registry=registry, triggers=triggers)
    with pytest.raises(LookupError):
        Server(middleware).serve(environ())
    spans = drain_spans()

    assert shape(spans) == [("part", "GET", "UNSET"), ("GET", "", "ERROR")]
    assert reasons(spans) == ["failed"]


def test_off_nothing_is_recorded(served, on):
    on().stop()
    served.serve(lambda: trace.span("more").__enter__(), status=500)

    assert (drain_spans(), CURRENT.get()) == ((), None)


def test_without_triggers_nothing_is_recorded(served, on):
    """So are calibrations and whoever measures without tracing."""
    on()
    served.given["triggers"] = None
    served.serve(nothing, status=500)

    assert drain_spans() == ()


# --- Whose trace it is ----------------------------------------------------------------------


def test_a_signed_request_is_traced_as_without_the_recorder(served, on):
    on()
    served.serve(nothing, headers=trigger_headers())
    served.serve(nothing, headers=trigger_headers(), status=500)
    spans = drain_spans()

    assert [one.name for one in spans] == ["work", "GET", "work", "GET"]
    assert [one for one in spans if "nilometer.flight" in one.attributes] == []


def test_a_request_whose_signature_is_refused_is_recorded(served, on):
    on()
    forged = {**trigger_headers(), "X-Trace-HMAC": "0" * 40, "tracestate": ""}
    served.serve(nothing, headers=forged, status=500)

    assert reasons(drain_spans()) == ["5xx"]


@pytest.mark.parametrize("flags", ["00", "01"])
def test_an_unsigned_request_keeps_the_ids_it_came_with(served, on, flags):
    on()
    sent = {}

    def work():
        sent.update(trace.headers())

    came = {
        "traceparent": f"00-{TRACE_ID}-{PARENT_ID}-{flags}",
        "tracestate": "other=1",
    }
    served.serve(work, headers=came, status=500)
    work_span, root = drain_spans()

    assert (root.trace_id.hex(), root.parent_id.hex()) == (TRACE_ID, PARENT_ID)
    assert sent == {
        "traceparent": f"00-{TRACE_ID}-{work_span.span_id.hex()}-{flags}",
        "tracestate": "other=1",
    }


def test_onward_a_request_without_ids_is_nobody_s_sample_and_signed_by_nobody(served, on):
    on()
    sent = {}

    def work():
        sent.update(trace.headers())

    served.serve(work, status=500)
    work_span, root = drain_spans()

    assert root.parent_id == b""
    assert sent == {
        "traceparent": f"00-{root.trace_id.hex()}-{work_span.span_id.hex()}-00",
    }
    assert not isinstance(Triggers([KEY], join=True).accept(sent.get), trace.Trace)


def test_inside_of_a_traced_request_there_is_no_second_record(served, on):
    on()
    with trace.start_root("outer", request=trace.Trace(bytes(range(16)))):
        served.serve(nothing, status=500)

    assert [one.name for one in drain_spans()] == ["work", "outer"]


# --- What comes after, and beside -----------------------------------------------------------


@pytest.mark.parametrize(("status", "kept"), [(200, []), (500, ["work", "GET", "later"])])
def test_what_a_request_left_behind_shares_its_fate(served, on, status, kept):
    on()
    left = []
    served.serve(lambda: left.append(carry(later)), status=status)
    left[0]()

    assert [one.name for one in drain_spans()] == kept


def later():
    with trace.span("later"):
        pass


@pytest.mark.parametrize("status", [200, 500])
def test_only_of_a_kept_request_what_it_left_behind_is_still_traced(served, on, status):
    on()
    left = []
    served.serve(lambda: left.append(carry(trace.current_trace_id)), status=status)
    of_kept = {root.trace_id.hex() for root in drain_spans()}

    assert left[0]() == (of_kept.pop() if of_kept else None)


@pytest.mark.parametrize(("status", "kept"), [(200, []), (500, ["work", "GET", "early"])])
def test_a_span_that_ends_after_its_request_shares_its_fate(served, on, status, kept):
    on()
    open_ones = []

    def work():
        open_ones.append(trace.span("early").start())

    served.serve(work, status=status)
    open_ones[0].finish()

    assert [one.name for one in drain_spans()] == kept


def test_requests_at_once_are_recorded_apart(served, on):
    on()
    both_are_in = threading.Barrier(2)

    def serve(status):
        served.serve(lambda: both_are_in.wait(10), status=status)

    threads = [threading.Thread(target=serve, args=(status,)) for status in (200, 500)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert shape(drain_spans()) == [("work", "GET", "UNSET"), ("GET", "", "ERROR")]


def test_a_task_that_outlives_its_request_shares_its_fate(twin, on, registry, triggers):
    on()

    async def app(scope, receive, send):
        async def behind():
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            with trace.span("behind"):
                pass

        tasks.append(asyncio.create_task(behind()))
        await send({**START, "status": int(scope["path"])})
        await send({"type": "http.response.body", "body": b"x"})

    async def serve(path):
        async def send(message):
            pass

        await asgi.Middleware(app, registry=registry, triggers=triggers)(
            asgi_scope(path=path), None, send
        )
        await tasks.pop()

    tasks = []
    asyncio.run(serve("200"))
    asyncio.run(serve("500"))

    assert shape(drain_spans()) == [("GET", "", "ERROR"), ("behind", "GET", "UNSET")]


@pytest.mark.parametrize(("status", "kept"), [(200, []), (500, ["work", "GET", "later"])])
def test_a_greenlet_that_outlives_its_request_shares_its_fate(served, on, status, kept):
    on()
    left = []
    greenlets.install_gevent()
    try:
        served.serve(lambda: left.append(gevent.spawn(later)), status=status)
        left[0].join()
    finally:
        greenlets.uninstall_gevent()

    assert [one.name for one in drain_spans()] == kept


# --- Bounds ---------------------------------------------------------------------------------


def spans_of(number):
    def work():
        for _ in range(number):
            with trace.span("one"):
                pass

    return work


def test_a_request_has_as_many_spans_as_a_traced_one_and_the_rest_is_counted(served, on):
    on(spans_per_trace=40)
    served.serve(spans_of(50), status=500)  # one is the root, one "work"

    assert len(RING.drain()) == 40
    assert RING.take_losses() == {("spans", "budget_spans"): 12}


def test_what_a_forgotten_request_had_no_room_for_is_no_loss(served, on):
    on(spans_per_trace=40)
    served.serve(spans_of(50))

    assert (RING.drain(), RING.take_losses()) == ((), {})


def test_all_requests_in_flight_share_one_store_and_give_back_what_they_took(served, on):
    recorder = on(spans_max=3 * GRANT)
    left = []

    def inner():
        served.serve(lambda: (spans_of(GRANT)(), left.append(len(recorder.store))), status=500)

    def outer():
        spans_of(GRANT)()  # with the root and "work" more than one grant
        thread = threading.Thread(target=inner)
        thread.start()
        thread.join()

    served.serve(outer, status=500)

    assert (left, len(recorder.store)) == ([0], 3)
    assert len(RING.drain()) == (2 + GRANT) + GRANT
    assert RING.take_losses() == {("spans", "budget_spans"): 2}


def test_a_request_of_many_spans_doubles_what_it_has_as_long_as_there_is_room(served, on):
    recorder = on(spans_max=12 * GRANT)
    left = []

    def work():
        for _ in range(3):
            spans_of(3 * GRANT)()
            left.append(len(recorder.store))

    served.serve(work, status=500)

    assert (left, len(recorder.store)) == ([12 - 4, 12 - 8, 0], 12)
    assert len(RING.drain()) == 2 + 9 * GRANT


def huge_texts(number):
    def work():
        for _ in range(number):
            with trace.span("one", text="x" * 10**6):
                pass

    return work


def test_huge_texts_take_no_more_than_a_request_s_bytes_and_the_rest_is_counted(served, on):
    """2 * 16 KiB: of 4,096 characters and 356 bytes a span each, seven have room."""
    on(spans_per_trace=2 * GRANT)
    served.serve(huge_texts(20), status=500)
    names = [one.name for one in RING.drain()]

    assert names == ["one"] * 7 + ["work", "GET"]
    assert RING.take_losses() == {("spans", "budget_bytes"): 13}


def test_all_requests_in_flight_share_the_bytes_and_give_back_what_they_took(served, on):
    recorder = on(spans_max=8 * GRANT, bytes_max=8 * 16_384)
    left = []

    def inner():
        served.serve(lambda: (huge_texts(40)(), left.append(len(recorder.store))), status=500)

    def outer():
        huge_texts(4)()
        left.append(len(recorder.store))
        thread = threading.Thread(target=inner)
        thread.start()
        thread.join()

    served.serve(outer, status=500)
    texts = [one for one in RING.drain() if one.name == "one"]
    lost = RING.take_losses()

    assert (left, len(recorder.store)) == ([6, 0], 8)
    assert 6 * 16_384 - 4_452 < 4_452 * (len(texts) - 4) <= 6 * 16_384
    assert lost == {("spans", "budget_bytes"): 44 - len(texts)}


def test_what_ends_after_its_request_counts_no_more(served, on):
    recorder = on(spans_max=GRANT, bytes_max=1_000)
    open_ones = []
    served.serve(
        lambda: open_ones.append(trace.span("late", text="x" * 2_000).start()), status=500
    )
    open_ones[0].finish()

    assert [one.name for one in RING.drain()] == ["work", "GET", "late"]
    assert (RING.take_losses(), len(recorder.store)) == ({}, 1)


def test_two_that_give_back_at_once_give_each_grant_back_once(twin, on):
    """Its end, and a thread that took more just then: the second finds all given back."""
    recorder = on(spans_max=4 * GRANT)
    recording = recorder.begin(None)
    assert recording is not None
    assert recording.trace.more()

    class Overtaken(list):
        def pop(self):
            if not self.overtaken:
                self.overtaken = True
                recording._give_back()
            return super().pop()

        overtaken = False

    recording._taken = Overtaken(recording._taken)
    recording.end(is_kept=False)

    assert (recording._taken, len(recorder.store)) == ([], 4)


def test_a_request_for_which_there_is_no_room_is_served_and_counted(served, on):
    recorder = on(spans_max=GRANT)
    room = recorder.store.pop()
    served.serve(nothing, status=500)
    recorder.store.append(room)

    assert RING.drain() == ()
    assert RING.take_losses() == {("requests", "flight_spans"): 1}


def test_of_an_outage_only_so_many_requests_a_second_are_kept_and_the_rest_counted(served, on):
    on(requests_per_second=3)
    for _ in range(10):
        served.serve(nothing, status=500)
    kept = len(reasons(RING.drain()))

    assert 3 <= kept < 10
    assert RING.take_losses() == {("requests", "flight_budget"): 10 - kept}


def test_what_is_kept_takes_nothing_of_the_budget_of_signed_requests(served, on):
    on(requests_per_second=1)
    served.serve(nothing, status=500)
    served.serve(nothing, headers=trigger_headers())

    assert len(drain_spans()) == 4


def test_a_fork_in_a_request_sends_nothing_twice(served, on):
    recorder = on()
    said, say = os.pipe()

    def work():
        with trace.span("before"):
            pass
        child = os.fork()
        if not child:
            recorder.reset_after_fork()
            pids.append(0)
        else:
            pids.append(child)

    pids = []
    served.serve(work, status=500)
    names = [one.name for one in RING.drain()]
    if pids == [0]:
        os.write(say, f"{names} {len(recorder.store) * GRANT}".encode())
        os._exit(0)
    os.waitpid(pids[0], 0)

    assert names == ["before", "work", "GET"]
    assert os.read(said, 1000) == b"[] 16384"


def test_a_request_that_is_never_finished_gives_back_what_it_took(twin, on, registry, triggers):
    recorder = on()

    def app(env, start_response):
        yield b"x"

    body = wsgi.Middleware(app, registry=registry, triggers=triggers)(environ(), print)
    next(iter(body))
    before = len(recorder.store)
    del body

    assert (before, len(recorder.store)) == (1023, 1024)
