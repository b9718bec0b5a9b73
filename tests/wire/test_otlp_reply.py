"""Answers to OTLP requests, as OpenTelemetry's own classes read and write them."""

import pytest
from google.protobuf.json_format import Parse
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from nilometer.errors import WireError
from nilometer.wire import otlp_reply
from nilometer.wire.otlp_reply import Reply, Signal

RESPONSES = {
    Signal.TRACES: (ExportTraceServiceResponse, "rejected_spans"),
    Signal.METRICS: (ExportMetricsServiceResponse, "rejected_data_points"),
    Signal.LOGS: (ExportLogsServiceResponse, "rejected_log_records"),
}

replies = st.builds(
    Reply,
    st.integers(0, 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
)


@pytest.mark.parametrize("signal", Signal)
@given(reply=replies)
def test_a_partial_success_is_read_by_opentelemetry(signal, reply):
    kind, field = RESPONSES[signal]
    answers = [
        kind.FromString(otlp_reply.encode(signal, reply, json=False)),
        Parse(otlp_reply.encode(signal, reply, json=True), kind()),
    ]

    for answer in answers:
        partial = answer.partial_success
        assert Reply(getattr(partial, field), partial.error_message) == reply
    assert otlp_reply.decode(answers[0].SerializeToString()) == reply


@pytest.mark.parametrize("signal", Signal)
def test_full_success_says_nothing(signal):
    assert otlp_reply.encode(signal, Reply(), json=False) == b""
    assert otlp_reply.encode(signal, Reply(), json=True) == b"{}"
    assert otlp_reply.decode(b"") == Reply()


def test_an_error_is_a_status():
    expected = Status(code=3, message="not protobuf: \u00e9")
    body = otlp_reply.encode_error(400, expected.message, json=False)

    assert Status.FromString(body) == expected
    as_json = otlp_reply.encode_error(400, expected.message, json=True)
    assert Parse(as_json, Status()) == expected
    assert otlp_reply.decode_error(body) == expected.message


@given(st.binary(max_size=60))
def test_any_answer_is_read_or_refused(body):
    assert isinstance(otlp_reply.decode_error(body), str)
    try:
        assert isinstance(otlp_reply.decode(body), Reply)
    except WireError as error:
        reason = error.reason
        assert reason == "malformed"
