"""OTLP over real HTTP, decoded by the OpenTelemetry SDK's own classes."""

from __future__ import annotations

import logging
import socket
import ssl
import subprocess
import threading
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from nilometer.errors import ConfigError
from nilometer.export import Outlet, Pump, Undelivered, open_exporter, otlp
from nilometer.export.receipt import rejected_rows, retry_after_s

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def exporter(receiver):
    one = open_exporter(f"otlp://127.0.0.1:{receiver.port}?timeout_s=5")
    yield one
    one.close()


def test_all_three_signals_arrive_whole(make, receiver, exporter):
    batch = make.batch(readings=3, spans=2, events=1)

    exporter(batch._replace(readings=(*batch.readings, make.timer(5, 1_000, 0))))

    assert sorted(one.path for one in receiver.received) == [
        "/v1/logs",
        "/v1/metrics",
        "/v1/traces",
    ]
    assert [(s.trace_id, s.name) for s in receiver.spans()] == [
        (b"t" * 16, "s1"),
        (b"t" * 16, "s2"),
    ]
    points = [p for _, m in receiver.metrics() for p in m.sum.data_points]
    assert [(p.as_int, p.attributes[0].value.string_value) for p in points] == [
        (0, "0"),
        (1, "1"),
        (2, "2"),
    ]
    (boot,) = [p for _, m in receiver.metrics() for p in m.exponential_histogram.data_points]
    assert (boot.count, boot.sum, boot.min, boot.max, boot.zero_count) == (3, 1005, 0, 1000, 1)
    assert len(receiver.logs()) == 1
    told = {
        a.key: a.value.string_value or a.value.int_value
        for a in receiver.metrics()[0][0].attributes
    }
    assert told.items() >= {"service.name": "shop", "host.name": "c1", "process.pid": 7}.items()


def test_one_connection_for_each_signal_serves_all_batches(make, receiver, exporter):
    for _ in range(5):
        exporter(make.batch(readings=1, spans=1))

    assert len(receiver.received) == 10
    assert len({(one.path, one.client) for one in receiver.received}) == 2


def test_the_signals_of_a_batch_wait_for_the_receiver_together(make, receiver, exporter):
    receiver.together = threading.Barrier(3, timeout=5)  # one after the other, it would break

    exporter(make.batch(readings=1, spans=1, events=1))

    assert len(receiver.received) == 3


def test_answers_that_never_come_cost_one_timeout_together(make, receiver):
    receiver.hold = threading.Event()
    exporter, batch = (
        open_exporter(f"otlp://127.0.0.1:{receiver.port}?timeout_s=1"),
        make.batch(readings=1, spans=1, events=1),
    )
    waits = []
    for lane in exporter._lanes.values():
        hear = lane.hear
        lane.hear = lambda s, hear=hear: (waits.append(s), hear(s))[1]

    with pytest.raises(Undelivered) as state:
        exporter(batch)

    assert state.value.left == batch
    assert waits[0] > 0.9
    assert max(waits[1:]) < 0.1


def test_a_fault_between_requests_leaves_no_answer_for_the_next(
    make, receiver, exporter, monkeypatch
):
    spans, *others = otlp.SIGNALS
    batch = make.batch(readings=1, spans=1)
    exporter._lanes[others[0]].ask = lambda *_: 1 // 0

    with pytest.raises(ZeroDivisionError):
        exporter(batch)

    assert exporter._lanes[spans]._connection is None


def test_a_connection_that_the_receiver_closed_meanwhile_is_no_fault(make, receiver, exporter):
    receiver.hangs_up = True

    for _ in range(3):
        exporter(make.batch(readings=2))

    assert len({one.client for one in receiver.received}) == 3
    assert receiver.total("api.requests") == 3


def test_compression_is_for_other_machines_unless_asked_for(make, receiver):
    plain = open_exporter(f"otlp://127.0.0.1:{receiver.port}")
    packed = open_exporter(f"otlp://127.0.0.1:{receiver.port}/base?compression=gzip")

    for one in (plain, packed):
        one(make.batch(readings=1))
        one.close()

    assert [(one.path, one.headers.get("content-encoding")) for one in receiver.received] == [
        ("/v1/metrics", None),
        ("/base/v1/metrics", "gzip"),
    ]
    assert open_exporter("otlp://192.0.2.1:4318")._compress is True


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_receiver_that_is_busy_is_tried_again_with_what_it_did_not_take(
    make, receiver, exporter, status
):
    busy = (status, {"Retry-After": "7"}, b"")
    receiver.answers_to = {"/v1/metrics": deque([busy]), "/v1/logs": deque([busy])}
    batch = make.batch(readings=2, spans=1, events=3)

    with pytest.raises(Undelivered) as state:
        exporter(batch)

    assert state.value.left == batch._replace(spans=())
    assert (state.value.retry_after_s, state.value.refused) == (7.0, {})
    exporter(state.value.left)
    assert (len(receiver.spans()), receiver.total("api.requests"), len(receiver.logs())) == (
        1,
        1,
        3,
    )


def test_of_a_batch_of_many_requests_only_those_not_taken_are_left(
    make, receiver, exporter, monkeypatch
):
    monkeypatch.setattr(otlp, "ROWS_MAX", 10)
    receiver.answers_to["/v1/traces"] = deque([(200, {}, b"")] * 2 + [(503, {}, b"")])
    batch = make.batch(spans=55, readings=25)

    with pytest.raises(Undelivered) as state:
        exporter(batch)

    assert state.value.left == batch._replace(spans=batch.spans[20:], readings=())
    assert len(receiver.spans()) == 20


ROWS_OF = {"/v1/traces": "spans", "/v1/metrics": "readings", "/v1/logs": "events"}


@pytest.mark.parametrize("path", ROWS_OF)
@pytest.mark.parametrize("why_halved", ["by its rows", "by its bytes", "by a 413"])
def test_a_request_that_was_not_answered_comes_again_with_the_same_rows(
    make, receiver, exporter, monkeypatch, path, why_halved
):
    """The collector knows by its content what it has taken already."""
    monkeypatch.setattr(otlp, "ROWS_MAX", 13)
    if why_halved == "by its bytes":
        monkeypatch.setattr(otlp, "BYTES_MAX", 700)
    asked = []
    for lane in exporter._lanes.values():
        monkeypatch.setattr(
            lane, "ask", lambda *of, ask=lane.ask: (asked.append(of[1]), ask(*of))[1]
        )
    answers = deque([(413, {}, b"")] if why_halved == "by a 413" else [])
    for _ in range(3):
        answers += [(200, {}, b""), (503, {}, b"")]
    receiver.answers_to[path] = answers
    outlet = Outlet("otlp", exporter)

    outlet.offer(make.batch(**{ROWS_OF[path]: 100}))
    for _ in range(4):
        outlet.hurry()
        outlet.deliver()

    assert (outlet.is_empty, outlet.delivered, outlet.lost) == (True, 100, {})
    assert len(asked) - len(set(asked)) == receiver.refused - (why_halved == "by a 413") == 3


def test_a_fault_of_ours_between_two_requests_moves_no_border(
    make, receiver, exporter, monkeypatch
):
    monkeypatch.setattr(otlp, "ROWS_MAX", 10)
    receiver.answers += [(413, {}, b""), (400, {}, b"")]
    lane, outlet = exporter._lanes[otlp.SIGNALS[0]], Outlet("otlp", exporter)
    ask, asked = lane.ask, []

    def ask_or_fail(*of):
        asked.append(of[1])
        if len(asked) == 4:
            raise ZeroDivisionError
        ask(*of)

    monkeypatch.setattr(lane, "ask", ask_or_fail)
    outlet.offer(make.batch(spans=30))
    for _ in range(2):
        outlet.hurry()
        outlet.deliver()

    assert asked[3] == asked[4]
    assert len(set(asked)) == 1 + 2 + 2
    assert (outlet.delivered, outlet.lost) == (25, {("spans", "http_400"): 5})
    assert exporter._course is None


@pytest.mark.parametrize("status", [301, 400, 401, 404, 500])
def test_a_refusal_is_final_counted_and_leaves_the_other_signals_alone(
    make, receiver, exporter, status
):
    receiver.answers_to["/v1/traces"] = deque([(status, {}, b"no \x00 such\nthing")])

    with pytest.raises(Undelivered) as state:
        exporter(make.batch(readings=2, spans=3))

    assert (state.value.left, state.value.refused) == (None, {("spans", f"http_{status}"): 3})
    assert state.value.because.isprintable()
    assert receiver.total("api.requests") == 1


@pytest.mark.parametrize("status", [302, 400, 500])
def test_flush_and_the_end_say_that_it_was_not_taken(make, receiver, exporter, status):
    receiver.answers_to["/v1/metrics"] = deque([(status, {}, b""), (200, {}, b"")] * 2)
    outlet = Outlet("otlp", exporter)
    pump = Pump(lambda _: make.batch(readings=2, spans=3), [outlet])
    pump.start()

    assert [pump.flush(5), pump.flush(5), pump.stop(5)] == [False, True, False]
    assert outlet.lost == {("readings", f"http_{status}"): 2 * 2}


def test_what_the_receiver_rejected_of_a_request_is_counted(make, receiver, exporter):
    partial = ExportMetricsPartialSuccess(rejected_data_points=2, error_message="old")
    answer = ExportMetricsServiceResponse(partial_success=partial).SerializeToString()
    receiver.answers.append((200, {}, answer))

    with pytest.raises(Undelivered) as state:
        exporter(make.batch(readings=5))

    assert (state.value.left, state.value.refused) == (None, {("readings", "rejected"): 2})


def test_a_batch_is_split_to_what_a_request_may_hold(make, receiver, exporter, monkeypatch):
    monkeypatch.setattr(otlp, "BYTES_MAX", 2_000)
    monkeypatch.setattr(otlp, "ROWS_MAX", 300)

    exporter(make.batch(spans=1_000))

    assert sorted(int.from_bytes(s.span_id, "big") for s in receiver.spans()) == list(
        range(1, 1_001)
    )
    assert len(receiver.received) > 20


def test_a_request_that_the_receiver_finds_too_large_is_halved(make, receiver, exporter):
    receiver.answers.append((413, {}, b""))

    exporter(make.batch(spans=10))

    assert [
        len(one.message.resource_spans[0].scope_spans[0].spans) for one in receiver.received
    ] == [5, 5]


def test_one_row_beyond_all_bounds_is_lost_alone(make, receiver, exporter, monkeypatch):
    monkeypatch.setattr(otlp, "BYTES_MAX", 2_000)
    huge = make.span(9)._replace(attributes={"a": "x" * 3_000})

    with pytest.raises(Undelivered) as state:
        exporter(make.batch(spans=3)._replace(spans=(make.span(1), huge, make.span(2))))

    assert state.value.refused == {("spans", "too_large"): 1}
    assert [s.name for s in receiver.spans()] == ["s1", "s2"]


def test_a_receiver_that_is_down_and_comes_back_loses_nothing(make, free_port, caplog):
    port = free_port()
    outlet = Outlet("otlp", open_exporter(f"otlp://127.0.0.1:{port}"))
    for n in range(10):
        outlet.offer(make.batch(readings=n + 1))
        outlet.hurry()
        outlet.deliver()
    receiver = make.Receiver(port)
    try:
        outlet.hurry()
        outlet.deliver()

        assert receiver.total("api.requests") == sum(sum(range(n + 1)) for n in range(10))
        assert (outlet.delivered, outlet.is_empty, outlet.lost) == (55, True, {})
        assert [r.levelno for r in caplog.records] == [logging.WARNING, logging.WARNING]
    finally:
        outlet.close()
        receiver.close()


def test_a_receiver_that_never_answers_costs_at_most_the_timeout(make, receiver):
    receiver.hold = threading.Event()
    exporter = open_exporter(f"otlp://127.0.0.1:{receiver.port}?timeout_s=0.1")

    with pytest.raises(Undelivered, match="TimeoutError") as state:
        exporter(make.batch(readings=1))

    assert state.value.left == make.batch(readings=1)


@pytest.mark.parametrize("answer", [b"", b"hello\r\n\r\n", b"\xff" * 100_000, b"HTTP/1.1 \r\n"])
def test_a_receiver_that_speaks_something_else_is_a_failure_like_any_other(make, answer):
    listening = socket.create_server(("127.0.0.1", 0))

    def speak():
        with suppress(OSError):  # closed under us: the exporter need not come twice
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    exporter = open_exporter(f"otlp://127.0.0.1:{listening.getsockname()[1]}?timeout_s=2")

    with pytest.raises(Undelivered) as state:
        exporter(make.batch(readings=1))

    assert state.value.left == make.batch(readings=1)
    listening.close()


def test_the_token_goes_with_each_request_is_read_anew_and_never_shown(
    make, receiver, tmp_path
):
    file = tmp_path / "token"
    file.write_text("# ours\nfirst-token-abcdef\n")
    file.chmod(0o600)
    exporter = open_exporter(
        f"otlp://127.0.0.1:{receiver.port}?token_file={file}&header=X-Tenant:%20acme"
    )
    exporter(make.batch(readings=1))
    file.write_text("second-token-abcdef\n")
    exporter(make.batch(readings=1))
    exporter.close()

    assert [one.headers["authorization"] for one in receiver.received] == [
        "Bearer first-token-abcdef",
        "Bearer second-token-abcdef",
    ]
    assert receiver.received[0].headers["x-tenant"] == "acme"
    assert "token-abcdef" not in repr(exporter)


def test_a_token_file_open_to_everybody_is_refused(tmp_path):
    file = tmp_path / "token"
    file.write_text("abcdef")
    file.chmod(0o644)

    with pytest.raises(ConfigError, match="chmod 600") as refused:
        open_exporter(f"otlp://127.0.0.1?token_file={file}")

    assert "abcdef" not in str(refused.value)


def test_tls_is_verified_against_the_given_authority(make, receiver, tmp_path, program):
    openssl = program("openssl", install="apt-get install openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out",
         certificate],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    trusting = open_exporter(f"otlps://localhost:{receiver.port}?ca_file={certificate}")
    strict = open_exporter(f"otlps://localhost:{receiver.port}")

    trusting(make.batch(readings=2))
    with pytest.raises(Undelivered, match="CERTIFICATE_VERIFY_FAILED"):
        strict(make.batch(readings=2))
    trusting.close()

    assert receiver.total("api.requests") == 1


# --- What the answer says --------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_any_answer_is_read_as_some_count(body):
    assert rejected_rows(body) >= 0


@given(st.integers(0, 2**63 - 1), st.text(max_size=20))
def test_the_rejected_count_is_read_as_the_sdk_writes_it(rejected, message):
    partial = ExportMetricsPartialSuccess(rejected_data_points=rejected, error_message=message)
    body = ExportMetricsServiceResponse(partial_success=partial).SerializeToString()

    assert rejected_rows(body) == rejected


@given(st.none() | st.text(max_size=40))
def test_any_retry_after_is_a_wait_or_nothing(text):
    wait_s = retry_after_s(text, 0)

    assert wait_s is None or wait_s >= 0


def test_retry_after_may_be_a_date():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    text = format_datetime(now + timedelta(seconds=90), usegmt=True)

    assert retry_after_s(text, int(now.timestamp() * 1e9)) == 90.0


def test_rows_whose_answer_has_not_come_at_the_end_are_not_said_to_be_undelivered(
    make, receiver, caplog
):
    receiver.hold = threading.Event()
    outlet = Outlet("otlp", open_exporter(f"otlp://127.0.0.1:{receiver.port}?timeout_s=5"))
    source = iter([make.batch(readings=3), make.batch(readings=2)])
    pump = Pump(lambda _: next(source, make.batch()), [outlet])
    pump.start()
    pump.flush(0.0)
    receiver.entered.wait(5)

    whole = pump.stop(0.2)

    assert (whole, outlet.lost) == (
        False,
        {("readings", "unanswered"): 3, ("readings", "shutdown"): 2},
    )
    assert caplog.messages[-1] == (
        "5 rows were not delivered before the end, or not for certain: of 3 the answer has not "
        "come yet, they may have arrived [rows-not-delivered]"
    )
