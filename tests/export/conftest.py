"""Batches to send, and a receiver: real HTTP, decoded by OpenTelemetry's own classes."""

from __future__ import annotations

import gzip
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from nilometer.model import (
    Batch,
    Distribution,
    Event,
    Kind,
    Reading,
    Resource,
    SpanKind,
    SpanRecord,
)

NOW = 1_700_000_000 * 10**9
RESOURCE = Resource("shop", "c1", 7, "r1", "z1", "1.2", (("tier", "gold"),))
REQUESTS = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}


def a_reading(n: int, name: str = "api.requests") -> Reading:
    return Reading(name, Kind.COUNTER, (("n", str(n)),), n, NOW - 10**10, NOW, "1")


def a_timer(*values: int, name: str = "boot") -> Reading:
    return Reading(
        name, Kind.DISTRIBUTION, (), Distribution.of(values), NOW - 10**10, NOW, "ns"
    )


def a_span(n: int) -> SpanRecord:
    return SpanRecord(
        b"t" * 16, n.to_bytes(8, "big"), b"", f"s{n}", SpanKind.INTERNAL, NOW, NOW + n, {"n": n}
    )


def an_event(n: int) -> Event:
    return Event("vm.scheduled", NOW + n, {"n": n})


def a_batch(readings: int = 0, spans: int = 0, events: int = 0) -> Batch:
    return Batch(
        RESOURCE,
        tuple(a_reading(n) for n in range(readings)),
        tuple(a_span(n + 1) for n in range(spans)),
        tuple(an_event(n) for n in range(events)),
    )


class Received(NamedTuple):
    path: str
    headers: dict[str, str]
    message: Any
    client: tuple[str, int]


class Receiver:
    """An OTLP/HTTP receiver. `answers` are (status, headers, body), used up one by request;
    `answers_to` are those of a path. `together` lets requests be answered so many at a time."""

    def __init__(self, port: int = 0) -> None:
        self.received: list[Received] = []
        self.refused = 0
        self.hangs_up = False  # after each answer, without a word
        self.answers: deque[tuple[int, dict[str, str], bytes]] = deque()
        self.answers_to: dict[str, deque[tuple[int, dict[str, str], bytes]]] = {}
        self.together: threading.Barrier | None = None
        self.hold: threading.Event | None = None
        self.answers_after_s = 0.0
        self.entered = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.entered.set()
                if receiver.hold is not None:
                    receiver.hold.wait(20)
                time.sleep(receiver.answers_after_s)
                if receiver.together is not None:
                    receiver.together.wait(20)
                answers = receiver.answers_to.get(self.path) or receiver.answers
                status, headers, answer = answers.popleft() if answers else (200, {}, b"")
                if status == 200:
                    receiver.take(self, body)
                else:
                    receiver.refused += 1
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)
                self.close_connection = self.close_connection or receiver.hangs_up

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_: object) -> None:
                pass

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def take(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        message = REQUESTS[handler.path.removeprefix("/base")].FromString(body)
        self.received.append(Received(handler.path, headers, message, handler.client_address))

    def close(self) -> None:
        if self.hold is not None:
            self.hold.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def metrics(self) -> list[Any]:
        return [
            (resource.resource, metric)
            for one in self.received
            if one.path.endswith("metrics")
            for resource in one.message.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    def spans(self) -> list[Any]:
        return [
            span
            for one in self.received
            if one.path.endswith("traces")
            for resource in one.message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def logs(self) -> list[Any]:
        return [
            record
            for one in self.received
            if one.path.endswith("logs")
            for resource in one.message.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def total(self, name: str) -> int:
        """A counter's sum over everything received."""
        return sum(
            point.as_int
            for _, metric in self.metrics()
            if metric.name == name
            for point in metric.sum.data_points
        )

    def pids(self) -> set[int]:
        return {
            attribute.value.int_value
            for resource, _ in self.metrics()
            for attribute in resource.attributes
            if attribute.key == "process.pid"
        }


@pytest.fixture
def receiver():
    one = Receiver()
    yield one
    one.close()


@pytest.fixture(scope="session")
def make():
    """The makers of rows, for tests; conftest is not imported by name."""

    class Make:
        batch = staticmethod(a_batch)
        reading = staticmethod(a_reading)
        timer = staticmethod(a_timer)
        span = staticmethod(a_span)
        event = staticmethod(an_event)
        resource = RESOURCE
        Receiver = Receiver

    return Make
