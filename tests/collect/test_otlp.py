"""Laws of the OTLP door: 200 means committed, anything else says what to do, and is counted."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from nilometer.clock import wall_ns
from nilometer.collect import body as bodies
from nilometer.errors import StoreError
from nilometer.wire import otlp_reply
from nilometer.wire.otlp_metrics_in import BUCKETS_MAX
from tests.collect.doors import Tables, visit

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}


def request_of(*span_ids, trace_id=bytes(range(16))):
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for span_id in span_ids:
        scope.spans.add(trace_id=trace_id, span_id=span_id, name="work")
    return request.SerializeToString()


SPAN = request_of(b"12345678")


def post(tmp_path, content, headers=PROTOBUF, *, path="/v1/traces", tables=None):
    async def talk(client, _collector):
        return await client.post(path, content=content, headers=headers)

    return visit(tmp_path, talk, tables=tables)


def test_a_200_comes_only_after_the_commit(tmp_path):
    tables = Tables()
    tables.open.clear()

    async def talk(client, _collector):
        sending = asyncio.create_task(client.post("/v1/traces", content=SPAN, headers=PROTOBUF))
        await asyncio.sleep(0.1)
        answered_before = sending.done()
        tables.open.set()
        answer = await sending
        return answered_before, answer

    answered_before, answer = visit(tmp_path, talk, tables=tables)

    assert not answered_before
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert [span.span_id for span in tables.spans] == [b"12345678"]


def test_json_is_answered_in_json(tmp_path):
    tables = Tables()
    span = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331"}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})

    answer = post(
        tmp_path, body, {"content-type": "application/json; charset=utf-8"}, tables=tables
    )

    assert (answer.status_code, answer.json()) == (200, {})
    assert [span.span_id.hex() for span in tables.spans] == ["b7ad6b7169203331"]


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/metrics", "/v1/logs"])
def test_an_empty_request_is_a_success(tmp_path, path):
    answer = post(tmp_path, b"", path=path)

    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("members", [1, 3])
def test_gzip_of_one_or_more_members_is_unpacked(tmp_path, members):
    tables = Tables()
    parts = [SPAN[i::members] for i in range(members)] if members == 1 else None
    pieces = parts or [SPAN[:5], SPAN[5:9], SPAN[9:]]
    packed = b"".join(gzip.compress(piece) for piece in pieces)

    answer = post(tmp_path, packed, {**PROTOBUF, "content-encoding": "gzip"}, tables=tables)

    assert answer.status_code == 200
    assert len(tables.spans) == 1


def test_of_a_request_with_bad_spans_the_good_ones_are_kept_and_the_sender_is_told(tmp_path):
    tables = Tables()

    answer = post(tmp_path, request_of(b"12345678", b"short", bytes(8)), tables=tables)

    reply = ExportTraceServiceResponse.FromString(answer.content)
    assert answer.status_code == 200
    assert reply.partial_success.rejected_spans == 2
    assert reply.partial_success.error_message == "span-id: 2"
    assert [span.span_id for span in tables.spans] == [b"12345678"]
    assert tables.rejected == {("otlp", "item-span-id"): 2}


def metrics_of(*names):
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    for name in names:
        point = scope.metrics.add(name=name).gauge.data_points.add(as_int=1)
        point.time_unix_nano = 10**18
    return request.SerializeToString()


def test_readings_whose_name_nobody_could_ask_for_are_rejected_and_the_sender_is_told(tmp_path):
    tables = Tables()
    content = metrics_of("good", "a\0b", "", "x" * 255, "x" * 256)

    answer = post(tmp_path, content, path="/v1/metrics", tables=tables)

    reply = ExportMetricsServiceResponse.FromString(answer.content)
    assert answer.status_code == 200
    assert reply.partial_success.rejected_data_points == 3
    assert reply.partial_success.error_message == "metric-name: 3"
    assert [reading.name for reading in tables.readings] == ["good", "x" * 255]
    assert tables.rejected == {("otlp", "item-metric-name"): 3}


@pytest.mark.parametrize("path", ["/v1/traces/", "/v1/metrics/", "/v1/logs/"])
def test_a_slash_at_the_end_of_a_path_is_no_other_path(tmp_path, path):
    assert post(tmp_path, b"", path=path).status_code == 200


GZIP = {**PROTOBUF, "content-encoding": "gzip"}


@pytest.mark.parametrize(
    ("content", "headers", "status", "reason"),
    [
        (b"\xff" * 20, PROTOBUF, 400, "malformed"),
        (SPAN[:-1], PROTOBUF, 400, "malformed"),
        (b"{nonsense", JSON, 400, "json"),
        (b"[" * 100_000, JSON, 400, "too-deep"),
        (b'{"resourceSpans": 1}', JSON, 400, "field"),
        (SPAN, {"content-type": "text/plain"}, 415, "content-type"),
        (SPAN, {}, 415, "content-type"),
        (SPAN, {**PROTOBUF, "content-encoding": "br"}, 415, "content-encoding"),
        (SPAN, GZIP, 400, "bad-compression"),
        (gzip.compress(SPAN, mtime=0)[:-3], GZIP, 400, "bad-compression"),
        (b"", GZIP, 400, "bad-compression"),
        (gzip.compress(b"", mtime=0) * 2000, GZIP, 400, "bad-compression"),
        (gzip.compress(bytes(bodies.BODY_BYTES_MAX + 1), mtime=0), GZIP, 413, "too-large"),
        (bytes(bodies.BODY_BYTES_MAX + 1), PROTOBUF, 413, "too-large"),
    ],
)
def test_what_cannot_be_taken_is_answered_in_its_protocol_and_counted(
    tmp_path, content, headers, status, reason
):
    tables = Tables()

    answer = post(tmp_path, content, headers, tables=tables)

    if headers.get("content-type") == "application/x-protobuf":
        message = otlp_reply.decode_error(answer.content)
    else:
        message = answer.json()["message"]
    assert answer.status_code == status
    assert message
    assert tables.rejected == {("otlp", reason): 1}
    assert tables.batches == []


def test_a_request_of_too_many_buckets_is_answered_413_so_that_it_is_sent_in_parts(tmp_path):
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="many")
    data = metric.exponential_histogram
    data.aggregation_temporality = 1
    data.data_points.add(count=1).positive.bucket_counts.extend([1] * (BUCKETS_MAX + 1))
    tables = Tables()

    answer = post(tmp_path, request.SerializeToString(), tables=tables, path="/v1/metrics")

    assert (answer.status_code, tables.rejected) == (413, {("otlp", "too-large"): 1})


def test_a_request_of_millions_of_nothings_is_answered_413_in_its_encoding(tmp_path):
    spans = b"\x12\x00" * (2 << 20)
    body = b"\x0a\x85\x80\x80\x02\x12\x80\x80\x80\x02" + spans
    tables = Tables()

    answer = post(tmp_path, body, tables=tables)

    assert (answer.status_code, tables.rejected) == (413, {("otlp", "too-large"): 1})
    assert b"more than 1048576 spans, points, records and attributes" in answer.content


@pytest.mark.parametrize(
    ("method", "path", "status", "reason", "told"),
    [
        ("POST", "/v1/trace", 404, "path", b"\x08\x0c\x12\x09Not Found"),
        ("GET", "/api/v1/health/", 404, "path", b'{"detail": "Not Found"}'),
        ("GET", "/v1/traces", 405, "method", b"\x08\x0c\x12\x12Method Not Allowed"),
        ("POST", "/api/v1/health", 405, "method", b'{"detail": "Method Not Allowed"}'),
    ],
)
def test_a_path_or_method_that_is_not_served_is_told_and_counted(
    tmp_path, method, path, status, reason, told
):
    tables = Tables()

    async def talk(client, _collector):
        return await client.request(method, path, content=SPAN, headers=PROTOBUF)

    answer = visit(tmp_path, talk, tables=tables)

    kind = PROTOBUF["content-type"] if path.startswith("/v1/") else "application/json"
    assert (answer.status_code, answer.headers["content-type"]) == (status, kind)
    assert answer.content == told
    assert tables.rejected == {("rest", reason): 1}


def test_a_log_record_without_a_time_happened_when_it_came(tmp_path):
    records = [{"body": {"stringValue": "x"}}, {"timeUnixNano": "5"}]
    request = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    tables = Tables()
    before = wall_ns()

    answer = post(tmp_path, json.dumps(request), JSON, tables=tables, path="/v1/logs")

    undated, dated = tables.events
    assert answer.status_code == 200
    assert before <= undated.at_ns <= wall_ns()
    assert dated.at_ns == 5


def test_a_point_without_a_time_was_measured_when_it_came(tmp_path):
    """Kept as of 1970 it would be in no answer, and deleted by the next maintenance."""
    points = [{"asInt": "5"}, {"asInt": "6", "timeUnixNano": "7"}]
    metric = {"name": "m", "sum": {"aggregationTemporality": 1, "dataPoints": points}}
    request = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}
    tables = Tables()
    before = wall_ns()

    answer = post(tmp_path, json.dumps(request), JSON, tables=tables, path="/v1/metrics")

    undated, dated = tables.readings
    assert answer.status_code == 200
    assert before <= undated.started_ns == undated.ended_ns <= wall_ns()
    assert dated.ended_ns == 7


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path):
    squeeze = zlib.compressobj(9, wbits=31)
    bomb = b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(100)) + squeeze.flush()

    tracemalloc.start()
    answer = post(tmp_path, bomb, GZIP)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(bomb) < 110_000
    assert answer.status_code == 413
    assert peak < 64 << 20  # 16 MiB are let in, 100 are in the bomb


def test_a_body_without_a_length_is_cut_off_at_the_limit(tmp_path):
    sent = []

    async def endless():
        for _ in range(1000):
            sent.append(1)
            yield bytes(1 << 20)

    async def talk(client, _collector):
        return await client.post("/v1/traces", content=endless(), headers=PROTOBUF)

    answer = visit(tmp_path, talk)

    assert answer.status_code == 413


def test_a_body_that_trickles_is_refused_after_a_while(tmp_path, monkeypatch):
    async def trickle():
        yield b"\x0a"
        await asyncio.sleep(5)

    async def read():
        with bodies.Hold(bodies.Room()) as hold:
            await bodies.read_body({}, trickle(), hold, seconds_max=0.05)

    with pytest.raises(bodies.Refused) as refused:
        asyncio.run(read())

    assert (refused.value.status, refused.value.reason) == (408, "slow-body")


def test_all_bodies_together_have_a_bound_and_give_their_room_back():
    room = bodies.Room(bytes_max=10)

    async def chunks(*sizes):
        for size in sizes:
            yield bytes(size)

    async def read(hold, *sizes):
        return await bodies.read_body({}, chunks(*sizes), hold)

    with bodies.Hold(room) as first:
        asyncio.run(read(first, 3, 4))
        with bodies.Hold(room) as second, pytest.raises(bodies.Refused) as refused:
            asyncio.run(read(second, 2, 2))
    with bodies.Hold(room) as third:
        taken = asyncio.run(read(third, 10))

    assert (refused.value.status, refused.value.reason) == (503, "overloaded")
    assert len(taken) == 10
    assert room.bytes_taken == 0


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), StoreError("locked", slug="store-locked")]
)
def test_when_the_tables_fail_the_sender_is_told_to_retry_and_then_taken(tmp_path, error):
    tables = Tables()

    async def talk(client, _collector):
        tables.error = error
        failed = await client.post("/v1/traces", content=SPAN, headers=PROTOBUF)
        sick = (await client.get("/api/v1/health")).json()
        tables.error = None
        taken = await client.post("/v1/traces", content=SPAN, headers=PROTOBUF)
        well = (await client.get("/api/v1/health")).json()
        return failed, sick, taken, well

    failed, sick, taken, well = visit(tmp_path, talk, tables=tables)

    assert (failed.status_code, failed.headers["retry-after"]) == (503, "1")
    assert (sick["commits_failed"], sick["status"]) == (
        1,
        "commits of spans fail; senders retry",
    )
    assert (well["commits_failed"], well["status"]) == (0, "ok")
    assert taken.status_code == 200
    assert len(tables.spans) == 1


def test_what_can_never_be_stored_is_not_to_be_sent_again(tmp_path):
    tables = Tables()
    tables.error = ValueError("a poisoned row")

    answer = post(tmp_path, SPAN, tables=tables)

    assert (answer.status_code, "retry-after" in answer.headers) == (400, False)
    assert tables.rejected == {("otlp", "not-storable"): 1}


def test_more_rows_than_may_wait_are_told_to_come_again(tmp_path):
    tables = Tables()
    tables.open.clear()

    async def talk(client, collector):
        collector.group._pending_rows_max = 2
        first = asyncio.create_task(client.post("/v1/traces", content=SPAN, headers=PROTOBUF))
        await asyncio.sleep(0.1)
        refused = await client.post(
            "/v1/traces", content=request_of(b"abcdefgh", b"ABCDEFGH"), headers=PROTOBUF
        )
        tables.open.set()
        return refused, await first

    refused, first = visit(tmp_path, talk, tables=tables)

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert first.status_code == 200
    assert tables.rejected == {("otlp", "overloaded"): 1}


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    bodies_sent=st.lists(st.binary(max_size=400), min_size=1, max_size=5),
    headers=st.sampled_from([PROTOBUF, JSON, GZIP, {**JSON, "content-encoding": "gzip"}]),
    path=st.sampled_from(["/v1/traces", "/v1/metrics", "/v1/logs"]),
)
def test_any_bytes_at_any_path_get_an_answer_and_the_next_request_is_served(
    tmp_path, bodies_sent, headers, path
):
    tables = Tables()

    async def talk(client, _collector):
        answers = [
            await client.post(path, content=content, headers=headers) for content in bodies_sent
        ]
        good = await client.post("/v1/traces", content=SPAN, headers=PROTOBUF)
        return answers, good

    answers, good = visit(tmp_path, talk, tables=tables)

    assert {answer.status_code for answer in answers} <= {200, 400}
    assert good.status_code == 200
    assert b"12345678" in [span.span_id for span in tables.spans]


@pytest.mark.slow
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cut=st.integers(0, len(SPAN)), flipped=st.integers(0, len(SPAN) * 8 - 1))
def test_a_damaged_request_is_answered_and_nothing_else(tmp_path, cut, flipped):
    damaged = bytearray(SPAN)
    damaged[flipped // 8] ^= 1 << flipped % 8

    async def talk(client, _collector):
        return [
            (await client.post("/v1/traces", content=bytes(sent), headers=PROTOBUF)).status_code
            for sent in (damaged, SPAN[:cut])
        ]

    assert set(visit(tmp_path, talk)) <= {200, 400}
