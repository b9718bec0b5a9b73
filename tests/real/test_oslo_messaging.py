"""oslo.messaging over a real RabbitMQ: calls, casts, notifications, pools, and one trace."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import oslo_messaging
import pytest
from oslo_config import cfg
from oslo_messaging._drivers import amqpdriver, common
from oslo_messaging._drivers.pool import ConnectionPool
from oslo_messaging.rpc import client as rpc_client
from oslo_messaging.rpc import dispatcher as rpc_dispatcher
from oslo_messaging.rpc import server as rpc_server
from oslo_messaging.transport import NotificationTransport, RPCTransport

from nilometer.integrations import oslo_messaging as ours
from nilometer.integrations import oslo_messaging_amqp, oslo_serializer
from nilometer.measure import Registry
from nilometer.model import SpanKind, Status
from nilometer.trace import CURRENT, drain_spans, span, start_root
from nilometer.trace.trigger import Triggers
from tests.brokers import rabbitmq, reachable_folder  # noqa: F401
from tests.integrations.integration_kit import read

pytestmark = pytest.mark.real

KEY = "a key of the operator's"
SECRET = "hunter2"


class Endpoint:
    """What a service offers."""

    def __init__(self):
        self.done = threading.Event()
        self.slow = threading.Event()

    def build(self, ctxt, name):
        with span("work"):
            self.done.set()
        return name.upper()

    def fail(self, ctxt, name):
        raise LookupError(name)

    @oslo_messaging.expected_exceptions(PermissionError)
    def refuse(self, ctxt):
        raise PermissionError

    def echo(self, ctxt, context):
        return context

    def never(self, ctxt):
        self.slow.wait(5)

    def __getattr__(self, name):
        if name.startswith("made_up"):
            return lambda ctxt: name
        raise AttributeError(name)


class Contextual(oslo_messaging.NoOpSerializer):
    """As services have one of their own."""

    def serialize_context(self, ctxt):
        return dict(ctxt)


@pytest.fixture
def registry():
    registry = Registry()
    assert oslo_serializer.install(triggers=Triggers([KEY]))
    assert ours.install(registry=registry)
    assert oslo_messaging_amqp.install(registry=registry)
    drain_spans()
    yield registry
    for one in (oslo_messaging_amqp, ours, oslo_serializer):
        one.uninstall()


@contextmanager
def service(broker, **options):
    """A server and a client of it: (client, endpoint)."""
    conf = cfg.CONF
    conf([], default_config_files=[], default_config_dirs=[])
    url = f"rabbit://guest:guest@127.0.0.1:{broker.port}/"
    transport = oslo_messaging.get_rpc_transport(conf, url)
    endpoint = Endpoint()
    target = oslo_messaging.Target(topic="compute", server="here")
    server = oslo_messaging.get_rpc_server(
        transport, target, [endpoint], "threading", serializer=Contextual()
    )
    topic = oslo_messaging.Target(topic="compute")
    client = oslo_messaging.get_rpc_client(
        transport, topic, serializer=Contextual(), **{"timeout": 10, **options}
    )
    server.start()
    try:
        yield client, endpoint
    finally:
        endpoint.slow.set()
        server.stop()
        server.wait()
        transport.cleanup()
        conf.reset()


@pytest.fixture
def rpc(rabbitmq, registry):  # noqa: F811
    with service(rabbitmq) as both:
        yield both


def inside_request(action):
    """Do it in a request whose trace a key signed; all spans, oldest end first."""
    drain_spans()
    with start_root("request", request=Triggers([KEY]).begin()):
        action()
    return drain_spans()


def eventually(check, timeout_s=10):
    """What the check gives when it gives something; servers finish behind their reply."""
    give_up = time.monotonic() + timeout_s
    while not (said := check()) and time.monotonic() < give_up:
        time.sleep(0.01)
    return said


def counted(registry, *names):
    """The readings of these names, by the values of their dimensions."""
    values = read(registry)
    return {
        name: {
            tuple(part.split("=", 1)[1] for part in text.split(",") if part): value
            for text, value in values[name].items()
        }
        for name in names
        if name in values
    }


def test_an_argument_may_have_any_name(rpc):
    client, _ = rpc

    assert client.call({}, "echo", context="c") == "c"
    client.cast({}, "echo", context="c")


def test_a_call_is_measured_at_both_ends_and_so_is_all_in_between(rpc, registry):
    client, _ = rpc

    assert client.call({}, "build", name="a") == "A"

    assert counted(
        registry,
        *("rpc.client.call", "rpc.client.reply.wait", "rpc.server.request", "rpc.server.wait"),
        *("rpc.context.pack", "rpc.context.unpack", "rpc.client.call.errors"),
    ) == {
        "rpc.client.call": {("compute", "build"): 1},
        "rpc.client.reply.wait": {(): 1},
        "rpc.server.request": {("build",): 1},
        "rpc.server.wait": {(): 1},
        "rpc.context.pack": {("Contextual",): 1},
        "rpc.context.unpack": {("NoOpSerializer",): 1},
    }


def test_one_tree_spans_the_caller_and_the_server(rpc):
    client, _ = rpc

    spans = list(inside_request(lambda: client.call({}, "build", name=SECRET)))
    eventually(lambda: spans.extend(drain_spans()) or len(spans) == 4)

    by_name = {one.name: one for one in spans}
    request, call, server, work = (
        by_name[name] for name in ("request", "compute/build", "build", "work")
    )
    assert (call.kind, server.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
    assert {one.trace_id for one in spans} == {request.trace_id}
    assert [call.parent_id, server.parent_id, work.parent_id] == [
        *(request.span_id, call.span_id, server.span_id)
    ]
    assert SECRET not in repr(spans)
    assert KEY not in repr(spans)


def test_an_error_of_the_servers_is_one_at_both_ends(rpc, registry):
    client, _ = rpc

    def call():
        with pytest.raises(LookupError):
            client.call({}, "fail", name="a")

    spans = list(inside_request(call))
    eventually(lambda: spans.extend(drain_spans()) or len(spans) == 3)

    assert {one.name: one.status for one in spans if one.name != "request"} == {
        "compute/fail": Status.ERROR,
        "fail": Status.ERROR,
    }
    assert counted(
        registry,
        *("rpc.client.remote_errors", "rpc.client.call.errors", "rpc.server.request.errors"),
    ) == {
        "rpc.client.remote_errors": {("LookupError", "compute", "fail"): 1},
        "rpc.client.call.errors": {("LookupError", "compute", "fail"): 1},
        "rpc.server.request.errors": {("LookupError", "fail"): 1},
    }


def test_an_expected_error_is_called_by_its_own_name(rpc, registry):
    client, _ = rpc

    with pytest.raises(PermissionError):
        client.call({}, "refuse")

    assert counted(registry, "rpc.server.request.errors", "rpc.client.remote_errors") == {
        "rpc.server.request.errors": {("PermissionError", "refuse"): 1},
        "rpc.client.remote_errors": {("PermissionError", "compute", "refuse"): 1},
    }


def test_a_call_that_nobody_answers_in_time_is_a_timeout_and_ends(rpc, registry):
    client, _ = rpc

    def call():
        with pytest.raises(oslo_messaging.MessagingTimeout):
            client.prepare(timeout=1).call({}, "never")

    spans = inside_request(call)

    assert [(one.name, one.status) for one in spans] == [
        ("compute/never", Status.ERROR),
        ("request", Status.UNSET),
    ]
    assert counted(
        registry, "rpc.client.timeouts", "rpc.client.call.errors", "rpc.client.remote_errors"
    ) == {
        "rpc.client.timeouts": {("compute", "never"): 1},
        "rpc.client.call.errors": {("MessagingTimeout", "compute", "never"): 1},
    }
    assert CURRENT.get() is None


def test_what_no_endpoint_has_or_one_makes_up_is_no_name_of_a_series(rpc, registry):
    client, _ = rpc

    with pytest.raises(oslo_messaging.RemoteError):
        client.call({}, "missing")
    with pytest.raises(oslo_messaging.RemoteError):
        client.prepare(version="9.0").call({}, "build", name="a")
    assert client.call({}, "made_up_1") == "made_up_1"

    assert counted(registry, "rpc.server.request", "rpc.server.request.errors") == {
        "rpc.server.request": {("OTHER",): 3},
        "rpc.server.request.errors": {
            ("NoSuchMethod", "OTHER"): 1,
            ("UnsupportedVersion", "OTHER"): 1,
        },
    }


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "rpc.client.cast"),
        ({"fanout": True}, "rpc.client.fanout_cast"),
        ({"server": "here"}, "rpc.client.cast_to_server"),
        ({"server": "here", "fanout": True}, "rpc.client.fanout_cast_to_server"),
    ],
)
def test_each_kind_of_cast_has_a_timer_and_goes_on_in_the_trace(rpc, registry, given, name):
    client, endpoint = rpc

    spans = list(inside_request(lambda: client.prepare(**given).cast({}, "build", name="a")))
    assert endpoint.done.wait(10)
    eventually(lambda: spans.extend(drain_spans()) or len(spans) == 4)

    kinds = ("cast", "fanout_cast", "cast_to_server", "fanout_cast_to_server", "call")
    assert counted(registry, *(f"rpc.client.{kind}" for kind in kinds)) == {
        name: {("compute", "build"): 1}
    }
    assert len({one.trace_id for one in spans}) == 1
    assert {one.name for one in spans} == {"request", "compute/build", "build", "work"}


def test_a_notification_is_timed_and_a_swallowed_failure_counted(
    rabbitmq,  # noqa: F811
    registry,
    monkeypatch,
):
    conf = cfg.CONF
    conf([], default_config_files=[], default_config_dirs=[])
    url = f"rabbit://guest:guest@127.0.0.1:{rabbitmq.port}/"
    transport = oslo_messaging.get_notification_transport(conf, url)
    notifier = oslo_messaging.Notifier(transport, "here", "messagingv2", topics=["told"])
    try:
        spans = inside_request(lambda: notifier.info({}, "happened", {"password": SECRET}))

        def refuse(*args, **options):
            raise ConnectionRefusedError

        monkeypatch.setattr(transport._driver, "send_notification", refuse)
        failed = inside_request(lambda: notifier.info({}, "happened", {}))
    finally:
        transport.cleanup()
        conf.reset()

    assert [(one.name, one.status) for one in (spans[0], failed[0])] == [
        ("notify told.info", Status.UNSET),
        ("notify told.info", Status.ERROR),
    ]
    assert SECRET not in repr(spans)
    assert counted(registry, "notification.send", "notification.send.errors") == {
        "notification.send": {("told.info",): 2},
        "notification.send.errors": {("ConnectionRefusedError", "told.info"): 1},
    }


def test_the_pool_of_connections_says_what_is_used_and_idle(rpc, registry):
    client, _ = rpc

    client.call({}, "build", name="a")

    gauge = eventually(lambda: read(registry).get("messaging.connection.count"))
    ends = {text.rsplit("=", 1)[1]: value for text, value in gauge.items()}
    assert ends.keys() == {"used", "idle"}
    assert ends["used"] + ends["idle"] >= 1
    assert all("127.0.0.1:" in text for text in gauge)


def test_off_leaves_every_call_alone(rpc, registry):
    client, _ = rpc
    for name in ("oslo_messaging", "oslo_messaging_amqp"):
        registry.set_level(f"integrations.{name}", "off")

    spans = list(inside_request(lambda: client.call({}, "build", name="a")))
    eventually(lambda: spans.extend(drain_spans()) or len(spans) == 2)

    assert {one.name for one in spans} == {"request", "work"}
    assert read(registry) == {}


def test_uninstalling_leaves_nothing_behind(rabbitmq, registry):  # noqa: F811
    places = [
        *((rpc_client._BaseCallContext, name) for name in ("call", "cast")),
        *((rpc_dispatcher.RPCDispatcher, name) for name in ("_do_dispatch", "dispatch")),
        *((rpc_server.RPCServer, name) for name in ("_on_incoming", "_process_incoming")),
        *((one, "_send_notification") for one in (NotificationTransport, RPCTransport)),
        *((ConnectionPool, "create"), (amqpdriver.ReplyWaiter, "wait")),
        (common, "deserialize_remote_exception"),
        (Contextual, "serialize_context"),
        (oslo_messaging.NoOpSerializer, "deserialize_context"),
    ]
    with service(rabbitmq) as (client, _):
        client.call({}, "build", name="a")

    for one in (oslo_messaging_amqp, ours, oslo_serializer):
        one.uninstall()

    assert [vars(owner).get(name, getattr(owner, name)) for owner, name in places] == [
        getattr(owner, name) for owner, name in places
    ]
    kept = {getattr(owner, name).__code__.co_filename for owner, name in places}
    assert {file for file in kept if "nilometer" in file} == set()
    assert registry.followers == []


EVENTLET = """
import eventlet; eventlet.monkey_patch()
import warnings; warnings.simplefilter("ignore")
import sys
from tests.real import test_oslo_messaging as tests
from nilometer.integrations import oslo_messaging as ours, oslo_messaging_amqp, oslo_serializer
from nilometer.measure import Registry
import oslo_messaging
from oslo_config import cfg
registry = Registry()
oslo_serializer.install(triggers=tests.Triggers([tests.KEY]))
ours.install(registry=registry)
oslo_messaging_amqp.install(registry=registry)
cfg.CONF([], default_config_files=[], default_config_dirs=[])
transport = oslo_messaging.get_rpc_transport(cfg.CONF, sys.argv[1])
target = oslo_messaging.Target(topic="green", server="here")
server = oslo_messaging.get_rpc_server(transport, target, [tests.Endpoint()], "eventlet")
client = oslo_messaging.get_rpc_client(transport, target, timeout=10)
server.start()
spans = list(tests.inside_request(lambda: client.call({}, "build", name="a")))
tests.eventually(lambda: spans.extend(tests.drain_spans()) or len(spans) == 4)
server.stop(); server.wait(); transport.cleanup()
print(sorted(one.name for one in spans), len({one.trace_id for one in spans}))
names = ("rpc.client.call", "rpc.server.request", "rpc.server.wait")
said = tests.counted(registry, *names)
print({name: sum(said[name].values()) for name in names})
"""


def test_greenlets_are_measured_as_threads_are(rabbitmq):  # noqa: F811
    url = f"rabbit://guest:guest@127.0.0.1:{rabbitmq.port}/"

    ran = subprocess.run(
        [sys.executable, "-c", EVENTLET, url], capture_output=True, text=True, timeout=100
    )

    assert ran.stdout.splitlines() == [
        "['build', 'green/build', 'request', 'work'] 1",
        "{'rpc.client.call': 1, 'rpc.server.request': 1, 'rpc.server.wait': 1}",
    ], ran.stderr
