"""pika and kombu against a real RabbitMQ: published, processed, one trace over both ends."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from types import SimpleNamespace

import kombu
import pika
import pytest
from amqp.exceptions import NotFound
from kombu.messaging import Consumer, Producer
from pika.adapters.blocking_connection import BlockingChannel
from pika.channel import Channel

from nilometer.integrations import http_client
from nilometer.integrations import kombu as our_kombu
from nilometer.integrations import pika as our_pika
from nilometer.measure import Registry
from nilometer.model import SpanKind, Status
from nilometer.trace import CURRENT, drain_spans, span, start_root
from nilometer.trace.trigger import Triggers
from tests.brokers import rabbitmq, reachable_folder  # noqa: F401
from tests.integrations.integration_kit import read

pytestmark = pytest.mark.real

KEY = "a key of the operator's"
SECRET = "hunter2"


@pytest.fixture
def registry():
    registry = Registry()
    for ours in (our_pika, our_kombu):
        assert ours.install(registry=registry, triggers=Triggers([KEY]))
    drain_spans()
    yield registry
    for ours in (our_pika, our_kombu):
        ours.uninstall()
    http_client.send_to([])


class Pika:
    """Publishes to a queue and processes what is in it, with one blocking connection."""

    def __init__(self, broker):
        self.connection = pika.BlockingConnection(pika.URLParameters(broker.amqp_url))
        self.channel = self.connection.channel()

    def publish(self, queue, *, headers=None):
        self.channel.queue_declare(queue)
        properties = pika.BasicProperties(headers=headers) if headers is not None else None
        self.channel.basic_publish("", queue, SECRET.encode(), properties)

    def process(self, queue, work):
        """Give the next message's headers to the work, and return when it is done."""

        def on_message(channel, method, properties, body):
            channel.stop_consuming()
            work(properties.headers)

        self.channel.basic_consume(queue, on_message, auto_ack=True)
        try:
            self.channel.start_consuming()
        finally:
            self.channel.cancel()

    def refused(self):
        self.channel.confirm_delivery()
        self.channel.basic_publish("missing", "orders", b"")

    def close(self):
        self.connection.close()


class Kombu:
    """The same with kombu."""

    def __init__(self, broker):
        confirming = {"confirm_publish": True}
        self.connection = kombu.Connection(broker.amqp_url, transport_options=confirming)
        self.producer = self.connection.Producer()

    def publish(self, queue, *, headers=None):
        kombu.Queue(queue, durable=False, channel=self.connection.default_channel).declare()
        self.producer.publish({"password": SECRET}, routing_key=queue, headers=headers)

    def process(self, queue, work):
        def on_message(message):
            message.ack()
            work(message.headers)

        queues = [kombu.Queue(queue, durable=False)]
        with kombu.Consumer(self.connection, queues, on_message=on_message):
            self.connection.drain_events(timeout=10)

    def refused(self):
        self.producer.publish("", exchange="missing", routing_key="orders")

    def close(self):
        self.connection.release()


@pytest.fixture(params=[Pika, Kombu])
def client(request, rabbitmq, registry):  # noqa: F811
    with closing(request.param(rabbitmq)) as client:
        yield client
    with closing(Pika(rabbitmq)) as other:
        other.channel.queue_delete("orders")


def inside_request(action):
    """Do it in a request whose trace a key signed; its spans, the oldest end first."""
    with start_root("request", request=Triggers([KEY]).begin()):
        action()
    return drain_spans()


def passed(client, queue, work=lambda headers: None, *, headers=None):
    """Publish in a request and process outside of it: (the sender's spans, the consumer's)."""
    sent = inside_request(lambda: client.publish(queue, headers=headers))
    client.process(queue, work)
    return sent, drain_spans()


def counted(registry):
    """The readings of messages, by name, destination and error."""
    return {
        (name, *sorted(text.split("=")[1] for text in dimensions.split(","))): value
        for name, by_dimensions in read(registry).items()
        for dimensions, value in by_dimensions.items()
        if name.startswith("messaging.")
    }


def test_each_message_is_timed_where_it_is_published_and_where_it_is_processed(
    client, registry
):
    client.publish("orders")
    client.process("orders", lambda headers: None)

    assert counted(registry) == {
        ("messaging.publish", "orders", "rabbitmq"): 1,
        ("messaging.process", "orders", "rabbitmq"): 1,
    }
    assert drain_spans() == ()


def test_one_tree_spans_the_sender_and_the_consumer(client):
    def work(headers):
        with span("work"):
            pass

    sent, done = passed(client, "orders", work)

    publish, request = sent
    inner, process = done
    assert [publish.name, process.name, inner.name] == [
        *("publish orders", "process orders", "work")
    ]
    assert [publish.kind, process.kind] == [SpanKind.PRODUCER, SpanKind.CONSUMER]
    assert {one.trace_id for one in (*sent, *done)} == {request.trace_id}
    assert [publish.parent_id, process.parent_id, inner.parent_id] == [
        *(request.span_id, publish.span_id, process.span_id)
    ]
    assert CURRENT.get() is None


def test_what_travels_is_a_signature_that_expires_and_nothing_of_the_message_is_kept(client):
    came = {}

    sent, done = passed(client, "orders", came.update, headers={"mine": "1"})

    assert came.pop("mine") == "1"
    assert came.keys() == {"traceparent", "tracestate"}
    assert KEY not in repr(came)
    assert SECRET not in repr([sent, done])


def test_nothing_is_sent_outside_of_a_request(client):
    came = []

    client.publish("orders")
    client.process("orders", came.append)

    assert not came[0]


def test_nothing_is_sent_to_a_broker_that_is_no_neighbour(client, monkeypatch):
    came = []
    strangers = SimpleNamespace(admit=lambda host: False)
    monkeypatch.setattr(http_client, "hosts", strangers)

    passed(client, "orders", came.append)

    assert not came[0]


def test_headers_of_the_caller_are_left_as_they_are(client):
    came = []
    mine = {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-00"}
    before = dict(mine)

    passed(client, "orders", came.append, headers=mine)

    assert came == [before]
    assert mine == before


def test_a_trace_that_nobody_signed_is_not_recorded(client):
    forged = {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01", "tracestate": "x=1"}

    client.publish("orders", headers=forged)
    client.process("orders", lambda headers: span("work").start().finish())

    assert drain_spans() == ()
    assert CURRENT.get() is None


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, SystemExit])
def test_work_that_fails_or_is_killed_closes_what_it_opened(client, registry, error):
    def fail(headers):
        raise error(SECRET)

    sent = inside_request(lambda: client.publish("orders"))
    with pytest.raises(error):
        client.process("orders", fail)

    (process,) = drain_spans()
    assert (process.status, process.parent_id) == (Status.ERROR, sent[0].span_id)
    key = ("messaging.process.errors", *sorted((error.__name__, "orders", "rabbitmq")))
    assert counted(registry)[key] == 1
    assert CURRENT.get() is None


def test_names_are_told_without_what_is_random_in_them(client, registry):
    for number in range(2):
        client.publish(f"reply_{number}{'a7' * 15}")

    assert counted(registry) == {("messaging.publish", "rabbitmq", "reply"): 2}


def test_off_passes_messages_on_untouched(client, registry):
    for name in ("pika", "kombu"):
        registry.set_level(f"integrations.{name}", "off")
    came = []

    sent, done = passed(client, "orders", came.append)

    assert not came[0]
    assert [one.name for one in (*sent, *done)] == ["request"]
    assert counted(registry) == {}


def test_a_message_that_the_broker_refuses_is_an_error_where_it_is_published(client, registry):
    def publish():
        with pytest.raises((pika.exceptions.ChannelClosedByBroker, NotFound)):
            client.refused()

    publish_span, _ = inside_request(publish)

    assert (publish_span.name, publish_span.status) == ("publish missing", Status.ERROR)
    (errors,) = (key for key in counted(registry) if key[0] == "messaging.publish.errors")
    assert set(errors) & {"NotFound", "ChannelClosedByBroker"}
    assert CURRENT.get() is None


def test_a_message_of_a_loop_lasts_until_the_next_is_asked_for(rabbitmq, registry):  # noqa: F811
    with closing(Pika(rabbitmq)) as client:
        sent = [inside_request(lambda: client.publish("looped")) for _ in range(2)]

        for number, _ in enumerate(client.channel.consume("looped", auto_ack=True)):
            span("work").start().finish()
            if number:
                break

    first_work, first, second_work, second = drain_spans()
    assert [first.parent_id, second.parent_id] == [one[0].span_id for one in sent]
    assert [first_work.parent_id, second_work.parent_id] == [first.span_id, second.span_id]
    told = counted(registry)
    assert told["messaging.process", "looped", "rabbitmq"] == 2
    assert [key for key in told if key[0] == "messaging.process.errors"] == []
    assert CURRENT.get() is None


def test_a_channel_that_is_not_blocking_is_measured_too(rabbitmq, registry):  # noqa: F811
    sent = []

    def opened(connection):
        connection.channel(on_open_callback=lambda channel: declared(connection, channel))

    def declared(connection, channel):
        channel.queue_declare("later", callback=lambda frame: begin(connection, channel))

    def begin(connection, channel):
        channel.basic_consume("later", lambda *_: connection.close(), auto_ack=True)
        sent.extend(inside_request(lambda: channel.basic_publish("", "later", b"")))

    parameters = pika.URLParameters(rabbitmq.amqp_url)
    pika.SelectConnection(
        parameters,
        on_open_callback=opened,
        on_close_callback=lambda connection, reason: connection.ioloop.stop(),
    ).ioloop.start()

    (process,) = drain_spans()
    assert (process.name, process.parent_id) == ("process later", sent[0].span_id)
    assert counted(registry) == {
        ("messaging.publish", "later", "rabbitmq"): 1,
        ("messaging.process", "later", "rabbitmq"): 1,
    }


def test_uninstalling_leaves_nothing_behind(rabbitmq, registry):  # noqa: F811
    places = [
        *((one, name) for one in (BlockingChannel, Channel) for name in ("basic_publish",)),
        *((one, "basic_consume") for one in (BlockingChannel, Channel)),
        *((BlockingChannel, "consume"), (Producer, "_publish")),
        (Consumer, "_receive_callback"),
    ]
    wrapped = [getattr(owner, name) for owner, name in places]

    our_pika.uninstall()
    our_kombu.uninstall()

    assert [getattr(owner, name).__module__ for owner, name in places] == [
        owner.__module__ for owner, _ in places
    ]
    assert all(getattr(*place) is not one for place, one in zip(places, wrapped, strict=True))
    assert registry.followers == []


ARRIVING = """
import warnings; warnings.simplefilter("ignore")
from nilometer.integrations import Chosen, automatic
ours = ["kombu", "oslo_messaging", "oslo_messaging_amqp", "oslo_serializer", "pika"]
chosen = Chosen(automatic())
chosen.begin()
import kombu.messaging, oslo_messaging, pika
import oslo_messaging._drivers.impl_rabbit
print(sorted(set(ours) & set(chosen.installed)) == ours, chosen.failed)
"""


@pytest.mark.slow
def test_each_arrives_with_its_library_in_a_fresh_process():
    ran = subprocess.run([sys.executable, "-c", ARRIVING], capture_output=True, text=True)

    assert ran.stdout == "True {}\n", ran.stderr
