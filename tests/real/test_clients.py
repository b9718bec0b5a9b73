"""What real clients send arrives exactly: OpenTelemetry's SDK, statsd, datadog, monasca-statsd.

The collector is a process of its own with a flush interval that never ends, so that a test's
statsd lines are aggregated once, when it is asked to end, and whole readings can be compared.
"""

from __future__ import annotations

import logging
from collections import Counter

import datadog.dogstatsd.base
import monascastatsd
import pytest
import statsd
from deltalake import DeltaTable
from opentelemetry import trace as otel_trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Counter as OtelCounter
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
)
from opentelemetry.sdk.resources import Resource as OtelResource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from nilometer.model import Distribution, Kind, Resource, SpanKind, SpanRecord, Status
from nilometer.model import Event as OurEvent
from nilometer.model import Link as OurLink
from nilometer.store.query import Reader
from nilometer.store.rows import events_of, readings_of
from tests.collector import start

pytestmark = pytest.mark.real

WHO = {
    "service.name": "orders",
    "service.version": "1.2",
    "host.name": "c1",
    "process.pid": 42,
    "team": "red",
}
RESOURCE = Resource("orders", "c1", 42, "", "", "1.2", attributes=(("team", "red"),))


@pytest.fixture
def collector(tmp_path):
    with start(tmp_path, flush="1h") as running:
        yield running


def resource():
    return OtelResource(WHO)


def rows(collector, table, of):
    """All rows of a table, but for what the collector measured about itself."""
    path = collector.store / table
    if not path.exists():
        return []
    found = of(DeltaTable(str(path)).to_pyarrow_table().to_pylist())
    return [pair for pair in found if pair[0].service != "nilometer-collector"]


def told(collector):
    """Name, kind, dimensions, value and unit of every reading, in the order of their names."""
    assert collector.stop() == 0  # the last flush
    readings = [reading for _, reading in rows(collector, "readings", readings_of)]
    return in_order((r.name, r.kind, r.dimensions, r.value, r.unit) for r in readings)


def in_order(expected):
    """By what they look like: values of several types have no other order."""
    return sorted(expected, key=str)


def happened(collector):
    return [event for _, event in rows(collector, "events", events_of)]


# --- OpenTelemetry's SDK ------------------------------------------------------------------


def as_ours(span):
    """What the SDK holds of a span, in our words."""
    context, parent = span.get_span_context(), span.parent
    return SpanRecord(
        context.trace_id.to_bytes(16, "big"),
        context.span_id.to_bytes(8, "big"),
        parent.span_id.to_bytes(8, "big") if parent else b"",
        span.name,
        SpanKind[span.kind.name],
        span.start_time,
        span.end_time,
        dict(span.attributes),
        Status[span.status.status_code.name],
        span.status.description or "",
        tuple(OurEvent(e.name, e.timestamp, dict(e.attributes)) for e in span.events),
        tuple(
            OurLink(
                link.context.trace_id.to_bytes(16, "big"),
                link.context.span_id.to_bytes(8, "big"),
                dict(link.attributes),
            )
            for link in span.links
        ),
        span.instrumentation_scope.name,
    )


@pytest.mark.parametrize("compression", list(Compression), ids=lambda c: c.value)
def test_every_span_of_the_sdk_arrives_exactly(collector, compression):
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=resource())
    provider.add_span_processor(SimpleSpanProcessor(kept))
    exporter = OTLPSpanExporter(f"{collector.url}/v1/traces", compression=compression)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("shop")
    with tracer.start_as_current_span("order", kind=otel_trace.SpanKind.SERVER) as root:
        root.set_attributes({"n": -3, "share": 0.25, "paid": True, "text": "ü 'quoted' \x01"})
        root.add_event("paid", {"by": "card"})
        elsewhere = otel_trace.Link(root.get_span_context(), {"why": "retry"})
        with tracer.start_as_current_span("stock", links=[elsewhere]):
            pass
        with pytest.raises(KeyError), tracer.start_as_current_span("price"):
            raise KeyError("unknown")
    for n in range(1000):
        with tracer.start_as_current_span(f"bulk {n}"):
            pass
    provider.shutdown()

    sent = [as_ours(span) for span in kept.get_finished_spans()]
    reader = Reader(collector.store)
    pairs = [
        pair
        for trace_id in {span.trace_id.hex() for span in sent}
        for pair in reader.trace(trace_id)
    ]
    reader.close()
    by_id = {span.span_id: span for _, span in pairs}
    assert len(pairs) == len(sent) == 1003
    assert {resource for resource, _ in pairs} == {RESOURCE_OF_THE_SDK(pairs)}
    assert [by_id[span.span_id] for span in sent] == sent


def RESOURCE_OF_THE_SDK(pairs):
    """Ours, and whatever the SDK adds of its own accord."""
    added = dict(pairs[0][0].attributes)
    assert {key.split(".")[0] for key in added} <= {"team", "telemetry"}
    return RESOURCE._replace(attributes=tuple(sorted(added.items())))


def test_a_trace_of_the_sdk_is_a_tree_over_rest(collector):
    provider = TracerProvider(resource=resource())
    exporter = OTLPSpanExporter(f"{collector.url}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("shop")
    with tracer.start_as_current_span("order") as root:
        stock, select = (tracer.start_as_current_span(name) for name in ("stock", "select"))
        with stock, select:
            pass
        with tracer.start_as_current_span("price"):
            pass
    provider.shutdown()
    trace_id = f"{root.get_span_context().trace_id:032x}"

    (listed,) = collector.get("traces", service="orders", since="1h")["traces"]
    tree = collector.get("traces", trace_id)

    def shape(nodes):
        return [(node["name"], node["service"], shape(node["children"])) for node in nodes]

    assert (listed["id"], listed["root"], listed["spans"], listed["errors"]) == (
        trace_id,
        "order",
        4,
        0,
    )
    assert shape(tree["roots"]) == [
        (
            "order",
            "orders",
            [("stock", "orders", [("select", "orders", [])]), ("price", "orders", [])],
        )
    ]


DELTA = {
    OtelCounter: AggregationTemporality.DELTA,
    Histogram: AggregationTemporality.DELTA,
}


def metered(collector, *, temporality, aggregation, use):
    """Let the SDK measure twice, with an export after each."""
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(
            f"{collector.url}/v1/metrics",
            preferred_temporality=temporality,
            preferred_aggregation={Histogram: aggregation},
        ),
        export_interval_millis=3_600_000,
    )
    provider = MeterProvider(resource=resource(), metric_readers=[reader])
    meter = provider.get_meter("shop")
    for _ in range(2):
        use(meter)
        provider.force_flush()
    provider.shutdown()


VALUES = (1, 2, 3, 700, 1000, 0)


def use(meter):
    meter.create_counter("sold", unit="{item}", description="Sold.").add(3, {"kind": "book"})
    meter.create_counter("sold", unit="{item}", description="Sold.").add(2, {"kind": "pen"})
    meter.create_up_down_counter("open").add(5)
    meter.create_gauge("heat", unit="Cel").set(21.5)
    took = meter.create_histogram("took", unit="ms")
    for value in VALUES:
        took.record(value, {"route": "/"})


def statistics(collector, name, **asked):
    rows = collector.get("metrics", name, "statistics", since="1h", **asked)["statistics"]
    return [
        (tuple(row["group"].values()), row["count"], row["sum"], row["min"], row["max"])
        for row in rows
    ]


@pytest.mark.parametrize("temporality", [{}, DELTA], ids=["cumulative", "delta"])
@pytest.mark.parametrize(
    "aggregation",
    [
        ExplicitBucketHistogramAggregation(boundaries=(0, 5, 500, 5000)),
        ExponentialBucketHistogramAggregation(),
    ],
    ids=["explicit", "exponential"],
)
def test_the_sdks_metrics_add_up_whatever_their_temporality(
    collector, temporality, aggregation
):
    metered(collector, temporality=temporality, aggregation=aggregation, use=use)

    sold = statistics(collector, "sold", group_by="kind")
    took = statistics(collector, "took", group_by="route")
    heat = collector.get("metrics", "heat", "statistics", since="1h")["statistics"]
    open_ = collector.get("metrics", "open", "statistics", since="1h")["statistics"]

    assert [(group, total) for group, _, total, _, _ in sold] == [(("book",), 6), (("pen",), 4)]
    # Extremes that count from a start are those of any time that holds the start.
    assert took == [(("/",), 12, 2 * sum(VALUES), 0, 1000)]
    assert [row["last"] for row in heat] == [21.5]
    assert [row["last"] for row in open_] == [10]


@pytest.mark.parametrize("temporality", [{}, DELTA], ids=["cumulative", "delta"])
def test_the_sdks_readings_arrive_exactly(collector, temporality):
    bounds = (0, 5, 500, 5000)
    metered(
        collector,
        temporality=temporality,
        aggregation=ExplicitBucketHistogramAggregation(boundaries=bounds),
        use=use,
    )
    cumulative = temporality is not DELTA

    found = Counter(
        (r.name, r.kind, r.dimensions, r.value if r.kind is not Kind.DISTRIBUTION else None)
        for _, r in rows(collector, "readings", readings_of)
    )
    took = [r for _, r in rows(collector, "readings", readings_of) if r.name == "took"]

    second = 2 if cumulative else 1
    exported = [  # what the SDK exported, twice; a reading may come once more at its shutdown
        ("sold", Kind.COUNTER, (("kind", "book"),), 3),
        ("sold", Kind.COUNTER, (("kind", "book"),), 3 * second),
        ("sold", Kind.COUNTER, (("kind", "pen"),), 2),
        ("sold", Kind.COUNTER, (("kind", "pen"),), 2 * second),
        ("open", Kind.GAUGE, (), 5),
        ("open", Kind.GAUGE, (), 10),
        ("heat", Kind.GAUGE, (), 21.5),
    ]
    assert set(exported) | {("took", Kind.DISTRIBUTION, (("route", "/"),), None)} == set(found)
    buckets = {0: 1, 1: 3, 3: 2}
    once = Distribution(6, 1706, 0, 1000, buckets, bounds=bounds)
    assert {r.cumulative for r in took} == {cumulative}
    assert sorted(took, key=lambda r: r.ended_ns)[0].value == once
    assert {r.unit for r in took} == {"ms"}


def test_the_sdks_log_records_arrive_exactly(collector):
    provider = LoggerProvider(resource=resource())
    provider.add_log_record_processor(
        SimpleLogRecordProcessor(OTLPLogExporter(f"{collector.url}/v1/logs"))
    )
    logger = logging.getLogger("shop.orders")
    logger.propagate = False
    handler = LoggingHandler(logger_provider=provider)
    logger.addHandler(handler)
    try:
        logger.warning("order %d is late", 7, extra={"order": 7})
        logger.error("order lost")
    finally:
        logger.removeHandler(handler)
        provider.shutdown()

    found = sorted(happened(collector), key=lambda event: event.at_ns)

    assert [(e.body, e.severity, e.scope, e.attributes.get("order")) for e in found] == [
        ("order 7 is late", 13, "shop.orders", 7),
        ("order lost", 17, "shop.orders", None),
    ]


# --- statsd -------------------------------------------------------------------------------


def ms(*values):
    return Distribution.of([round(value * 1_000_000) for value in values])


def test_what_the_statsd_client_sends_arrives_exactly(collector):
    client = statsd.StatsClient("127.0.0.1", collector.statsd_port, prefix="shop")
    for _ in range(1000):
        client.incr("sold")
    client.incr("sold", 5, rate=1)
    client.decr("sold", 3)
    client.timing("took", 320)
    client.timing("took", 0.125)
    client.gauge("open", 10)
    client.gauge("open", 5, delta=True)
    client.gauge("open", -2, delta=True)
    client.gauge("debt", -7)
    for user in ("ann", "bob", "ann"):
        client.set("users", user)
    with client.pipeline() as pipe:
        for n in range(500):
            pipe.incr("piped")
            pipe.timing("piped.took", n)
    client.close()

    assert told(collector) == in_order(
        [
            ("shop.debt", Kind.GAUGE, (), -7, ""),
            ("shop.open", Kind.GAUGE, (), 13, ""),
            ("shop.piped", Kind.COUNTER, (), 500, ""),
            ("shop.piped.took", Kind.DISTRIBUTION, (), ms(*range(500)), "ns"),
            ("shop.sold", Kind.COUNTER, (), 1002, ""),
            ("shop.took", Kind.DISTRIBUTION, (), ms(320, 0.125), "ns"),
            ("shop.users", Kind.GAUGE, (), 2, ""),
        ]
    )


@pytest.mark.parametrize("buffered", [False, True])
def test_what_the_datadog_client_sends_arrives_exactly(collector, buffered):
    client = datadog.dogstatsd.base.DogStatsd(
        host="127.0.0.1",
        port=collector.statsd_port,
        namespace="shop",
        constant_tags=["env:prod"],
        disable_telemetry=True,
        disable_buffering=not buffered,
    )
    for n in range(1000):
        client.increment("sold", tags=["kind:book", "url:http://x/y:z"] if n % 2 else ["pen"])
    client.decrement("sold", 3, tags=["pen"])
    client.gauge("open", 12.5)
    client.histogram("size", 10)
    client.histogram("size", 30)
    client.distribution("wait", 0.5)
    client.timing("took", 320)
    client.set("users", "ann")
    client.set("users", "bob")
    client.gauge_with_timestamp("then", 3, 1700000000)
    client.count_with_timestamp("thens", 4, 1700000000)
    client.event("deployed", "version 1.2\nby ann", alert_type="warning", tags=["team:red"])
    client.service_check("db", 2, tags=["db:main"], message="no answer")
    client.flush()
    client.close_socket()
    env = ("env", "prod")
    book = (env, ("kind", "book"), ("url", "http://x/y:z"))

    assert told(collector) == in_order(
        [
            ("db", Kind.GAUGE, (("db", "main"), env), 2, ""),
            ("shop.open", Kind.GAUGE, (env,), 12.5, ""),
            ("shop.size", Kind.DISTRIBUTION, (env,), Distribution.of([10, 30]), ""),
            ("shop.sold", Kind.COUNTER, book, 500, ""),
            ("shop.sold", Kind.COUNTER, (env, ("pen", "")), 497, ""),
            ("shop.then", Kind.GAUGE, (env,), 3, ""),
            ("shop.thens", Kind.COUNTER, (env,), 4, ""),
            ("shop.took", Kind.DISTRIBUTION, (env,), ms(320), "ns"),
            ("shop.users", Kind.GAUGE, (env,), 2, ""),
            ("shop.wait", Kind.DISTRIBUTION, (env,), Distribution.of([0.5]), ""),
        ]
    )
    assert [(e.name, e.body, e.severity, dict(e.attributes)) for e in happened(collector)] == [
        ("db", "no answer", 17, {"db": "main", "env": "prod", "status": 2}),
        (
            "deployed",
            "version 1.2\nby ann",
            13,
            {"alert_type": "warning", "env": "prod", "team": "red"},
        ),
    ]


def test_sampled_counts_of_the_datadog_client_stand_for_what_was_counted(
    collector, monkeypatch
):
    monkeypatch.setattr(
        datadog.dogstatsd.base, "random", lambda: 0.0
    )  # every line is in the sample
    client = datadog.dogstatsd.base.DogStatsd(
        host="127.0.0.1", port=collector.statsd_port, disable_telemetry=True
    )
    client.increment("sold", 5, sample_rate=0.1)
    client.increment("sold", 1, sample_rate=0.3)
    client.increment("sold", 1, sample_rate=0.3)
    client.increment("sold", 1, sample_rate=0.3)
    client.histogram("size", 10, sample_rate=0.5)
    client.flush()
    client.close_socket()

    assert told(collector) == in_order(
        [
            ("size", Kind.DISTRIBUTION, (), Distribution.of([10], weight=2), ""),
            ("sold", Kind.COUNTER, (), 60, ""),
        ]
    )


def test_what_the_monasca_client_sends_arrives_exactly(collector):
    connection = monascastatsd.Connection("127.0.0.1", collector.statsd_port)
    client = monascastatsd.Client(
        "persister", connection=connection, dimensions={"service": "monitoring", "z": 1}
    )
    sold = client.get_counter("sold")
    with connection:
        for _ in range(100):
            sold += 2
        sold.decrement(3, dimensions={"url": "http://x|y, 'quoted'"})
    client.get_gauge("queue").send("depth", 7, dimensions={"b": "2", "a": "1"})
    client.get_gauge("queue").send("depth", 8, dimensions={"a": "1", "b": "2"})
    client.get_timer("flush").timing("took", 0.25)
    who = (("service", "monitoring"), ("z", "1"))

    assert told(collector) == in_order(
        [
            ("persister.flush.took", Kind.GAUGE, who, 0.25, ""),
            (
                "persister.queue.depth",
                Kind.GAUGE,
                (("a", "1"), ("b", "2"), *who),
                8,
                "",
            ),
            ("persister.sold", Kind.COUNTER, who, 200, ""),
            (
                "persister.sold",
                Kind.COUNTER,
                (who[0], ("url", "http://x|y, 'quoted'"), who[1]),
                -3,
                "",
            ),
        ]
    )
