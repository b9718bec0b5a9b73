"""RPC and notifications go on in the trace of whoever sent them; the key does not travel."""

from __future__ import annotations

import threading

import oslo_messaging
import pytest
from oslo_config import cfg
from oslo_messaging import NoOpSerializer
from osprofiler import profiler

from nilometer.integrations import oslo_serializer
from nilometer.integrations import osprofiler as drop_in
from nilometer.trace import CURRENT, drain_spans, span, start_root
from nilometer.trace.trigger import Triggers
from tests.brokers import rabbitmq, reachable_folder  # noqa: F401  fixtures

KEY = "a key of the operator's"
OTHER = {"user": "me"}


class Profiled(NoOpSerializer):
    """As nova, cinder and others have written it into theirs."""

    def __init__(self):
        self.sent = []

    def serialize_context(self, ctxt):
        there = profiler.get()
        if there:
            told = {"hmac_key": there.hmac_key, "base_id": there.get_base_id()}
            ctxt = {**ctxt, "trace_info": {**told, "parent_id": there.get_id()}}
            self.sent.append(ctxt["trace_info"])
        return ctxt

    def deserialize_context(self, ctxt):
        told = ctxt.pop("trace_info", None)
        if told:
            profiler.init(**told)
        return ctxt


class Endpoint:
    """What a service offers; it remembers what it was given."""

    def __init__(self):
        self.contexts = []
        self.done = threading.Event()

    def work(self, ctxt, fail=False):
        self.contexts.append(ctxt)
        with span("work"):
            pass
        self.done.set()
        if fail:
            raise LookupError("gone")
        return "done"

    def info(self, ctxt, publisher_id, event_type, payload, metadata):
        self.work(ctxt)


class Bus:
    """A client, a server and a notifier on one transport."""

    def __init__(self, url, *, sending=None, receiving=None):
        conf = cfg.CONF  # in another one oslo.messaging misses options of its own
        conf([], default_config_files=[], default_config_dirs=[])
        self.transport = oslo_messaging.get_rpc_transport(conf, url)
        self.endpoint = Endpoint()
        self.target = oslo_messaging.Target(topic="work", server="here")
        self.server = oslo_messaging.get_rpc_server(
            self.transport, self.target, [self.endpoint], "threading", serializer=receiving
        )
        self.client = oslo_messaging.get_rpc_client(
            self.transport, self.target, serializer=sending, timeout=10
        )
        self.notifications = oslo_messaging.get_notification_transport(conf, url)
        self.listener = oslo_messaging.get_notification_listener(
            self.notifications,
            [oslo_messaging.Target(topic="told")],
            [self.endpoint],
            executor="threading",
            serializer=receiving,
        )
        self.notifier = oslo_messaging.Notifier(
            self.notifications, "here", "messaging", sending, topics=["told"]
        )

    def __enter__(self):
        self.server.start()
        self.listener.start()
        return self

    def __exit__(self, *left_by):
        for one in (self.server, self.listener):
            one.stop()
            one.wait()
        for one in (self.transport, self.notifications):
            one.cleanup()
        cfg.CONF.reset()

    def cast(self):
        self.endpoint.done.clear()
        self.client.cast(dict(OTHER), "work")
        assert self.endpoint.done.wait(10)

    def notify(self):
        self.endpoint.done.clear()
        self.notifier.info(dict(OTHER), "happened", {})
        assert self.endpoint.done.wait(10)


@pytest.fixture
def sender():
    """A door whose requests are signed by the key."""
    return Triggers([KEY])


@pytest.fixture
def carried(sender):
    """oslo.messaging with our integration."""
    assert oslo_serializer.install(triggers=Triggers([KEY]))
    yield sender
    oslo_serializer.uninstall()
    drop_in.uninstall()
    drain_spans()


def parents(root):
    """The spans `work`, as whether each is the request's child."""
    return [
        (one.name, one.trace_id.hex() == root.trace_id and one.parent_id.hex() == root.span_id)
        for one in drain_spans()
        if one.name == "work"
    ]


def everything(bus, sender):
    """A call, a cast and a notification within one traced request; its root."""
    with start_root("request", request=sender.begin()) as root:
        assert bus.client.call(dict(OTHER), "work") == "done"
        bus.cast()
        bus.notify()
    return root


def test_what_a_message_asks_for_is_the_sender_s_child(carried):
    with Bus("fake://") as bus:
        root = everything(bus, carried)

    assert parents(root) == [("work", True)] * 3


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.timeout(180)
def test_over_a_real_broker_it_is_so_too(carried, rabbitmq):  # noqa: F811
    with Bus(f"rabbit://guest:guest@127.0.0.1:{rabbitmq.port}/") as bus:
        root = everything(bus, carried)

    assert parents(root) == [("work", True)] * 3
    assert [KEY in str(ctxt) for ctxt in bus.endpoint.contexts] == [False] * 3


def test_endpoints_see_the_context_that_was_sent(carried):
    with Bus("fake://") as bus:
        everything(bus, carried)

    assert [oslo_serializer.KEY in ctxt for ctxt in bus.endpoint.contexts] == [False] * 3
    assert bus.endpoint.contexts[:2] == [OTHER] * 2  # of the third its notifier keeps less


def test_outside_a_traced_request_nothing_is_sent_and_nothing_taken_up(carried):
    assert oslo_serializer.with_trace(OTHER) is OTHER

    with Bus("fake://") as bus:
        bus.client.call(dict(OTHER), "work")
        bus.cast()

    assert drain_spans() == ()


def test_a_message_that_fails_leaves_nothing_to_the_next(carried):
    with Bus("fake://") as bus:
        with start_root("request", request=carried.begin()) as root, pytest.raises(LookupError):
            bus.client.call(dict(OTHER), "work", fail=True)
        bus.client.call(dict(OTHER), "work")

    assert parents(root) == [("work", True)]


def test_a_trace_that_nobody_of_ours_signed_is_not_taken_up():
    taken = oslo_serializer.take_up(
        Triggers([KEY]), {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    )
    with span("work"):
        pass
    taken.finish()

    assert (taken.recording, drain_spans(), CURRENT.get()) == (False, (), None)


@pytest.mark.parametrize("sent", [None, 7, "text", {}, {"traceparent": 7}])
def test_whatever_travels_in_the_place_of_a_trace_does_no_harm(sent):
    assert oslo_serializer.take_up(Triggers([KEY]), sent) is None
    assert CURRENT.get() is None


def test_the_serializer_does_it_by_hand(sender):
    ours = oslo_serializer.serializer(triggers=Triggers([KEY]))
    with Bus("fake://", sending=ours, receiving=ours) as bus:
        root = everything(bus, sender)
        bus.client.call(dict(OTHER), "work")

    assert parents(root) == [("work", True)] * 3
    assert [oslo_serializer.KEY in ctxt for ctxt in bus.endpoint.contexts] == [False] * 4


@pytest.mark.parametrize(("clear", "sent"), [(False, "nilo=1;"), (True, KEY)])
def test_osprofiler_s_convention_works_with_a_signature_and_in_clear_on_request(clear, sent):
    """The serializers of services as they are; each side with the drop-in."""
    door = Triggers([KEY], clear_key=clear)
    drop_in.install(triggers=door)
    oslo_serializer.install(triggers=Triggers())  # so that nothing but theirs is taken up
    theirs = Profiled()
    try:
        with Bus("fake://", sending=theirs, receiving=theirs) as bus:
            root = everything(bus, door)
            bus.client.call(dict(OTHER), "work")
    finally:
        oslo_serializer.uninstall()
        drop_in.uninstall()

    assert parents(root) == [("work", True)] * 3
    assert all(told["hmac_key"].startswith(sent) for told in theirs.sent)
    assert [KEY in str(theirs.sent)] == [clear]


def test_a_key_in_clear_is_not_believed_unasked():
    drop_in.install(triggers=Triggers([KEY]))
    try:
        profiler.init(KEY, base_id="b", parent_id="p")

        assert profiler.get() is None
    finally:
        drop_in.uninstall()


def test_many_messages_at_once_are_of_no_trace(carried):
    class Incoming:
        ctxt = {**OTHER, oslo_serializer.KEY: {}}  # noqa: RUF012

    seen = []

    def dispatch(dispatcher, incoming):
        seen.extend(one.ctxt for one in incoming)

    oslo_serializer._dispatching_many(dispatch)(None, [Incoming()])

    assert seen == [OTHER]


def test_it_is_taken_off_again(carried):
    from oslo_messaging.rpc.dispatcher import RPCDispatcher
    from oslo_messaging.transport import Transport

    assert not oslo_serializer.install()
    ours = RPCDispatcher.dispatch, Transport._send
    oslo_serializer.uninstall()

    assert RPCDispatcher.dispatch is not ours[0]
    assert Transport._send is not ours[1]
