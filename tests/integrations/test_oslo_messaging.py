"""Requests to a server of oslo.messaging's, whatever packs and unpacks their contexts."""

from __future__ import annotations

import oslo_messaging
import pytest
from oslo_config import cfg

from nilometer.integrations import oslo_messaging as ours
from nilometer.measure import REGISTRY
from tests.integrations.integration_kit import read


@pytest.fixture(autouse=True)
def _installed(registry):
    assert ours.install(registry=registry)
    yield
    ours.uninstall()


class Endpoint:
    def more(self, ctxt, x):
        return x + 1


class ForServers:
    """What a server calls, and no more."""

    def deserialize_context(self, ctxt):
        return ctxt

    def deserialize_entity(self, ctxt, entity):
        return entity

    def serialize_entity(self, ctxt, entity):
        return entity


class Unbound(ForServers):
    """As somebody may write who needs nothing of the object."""

    @staticmethod
    def deserialize_context(ctxt):
        return ctxt


class Closed(type):
    def __setattr__(cls, name, value):
        raise AttributeError(name)


class Unchangeable(ForServers, metaclass=Closed):
    def deserialize_context(self, ctxt):
        return ctxt


class ByOtherName(ForServers):
    def deserialize_context(self, context, *, depth=0):
        return context if depth else self.deserialize_context(context=context, depth=1)


class Unhashable(type):
    __hash__ = None


class Unremembered(ForServers, metaclass=Unhashable):
    def deserialize_context(self, ctxt):
        return ctxt


class OfInstances:
    """A method that no class gives out."""

    def __init__(self, function):
        self.function = function

    def __get__(self, instance, owner=None):
        if instance is None:
            raise RuntimeError("only of an instance")
        return self.function.__get__(instance, owner)


class Bound:
    @OfInstances
    def more(self, ctxt, x):
        return x + 1


class Hiding:
    """An endpoint that makes its methods up, and does not say which."""

    def __getattribute__(self, name):
        if name == "__dict__":
            raise RuntimeError(name)
        return (
            (lambda ctxt, x: x + 1) if name == "more" else object.__getattribute__(self, name)
        )


class OfUnhashable(Endpoint, metaclass=Unhashable):
    pass


def asked(serializer, endpoint=Endpoint):
    """What a server with this serializer and endpoint answers twice."""
    conf = cfg.CONF
    conf([], default_config_files=[], default_config_dirs=[])
    transport = oslo_messaging.get_rpc_transport(conf, "fake:")
    target = oslo_messaging.Target(topic="shop", server="here")
    server = oslo_messaging.get_rpc_server(
        transport,
        target,
        [endpoint()],
        "threading",
        serializer=serializer,
        access_policy=oslo_messaging.LegacyRPCAccessPolicy,
    )
    server.start()
    try:
        client = oslo_messaging.get_rpc_client(
            transport, oslo_messaging.Target(topic="shop"), timeout=10
        )
        return [client.call({}, "more", x=1), client.call({}, "more", x=2)]
    finally:
        server.stop()
        server.wait()
        transport.cleanup()
        conf.reset()


@pytest.mark.parametrize(
    ("serializer", "unpacked"),
    [
        (ForServers, {"serializer=ForServers": 2}),
        (Unbound, None),
        (Unchangeable, None),
        (Unremembered, None),
        (ByOtherName, {"serializer=ByOtherName": 4}),
    ],
)
def test_a_server_answers_whatever_serializer_it_has(registry, serializer, unpacked):
    assert asked(serializer()) == [2, 3]
    found = read(registry)
    assert found["rpc.server.request"] == {"rpc.method=more": 2}
    assert found.get("rpc.context.unpack") == unpacked


@pytest.mark.parametrize(
    ("endpoint", "served"),
    [(Bound, {"rpc.method=more": 2}), (Hiding, None), (OfUnhashable, None)],
)
def test_a_server_answers_whatever_endpoint_it_has(registry, endpoint, served):
    read(REGISTRY)
    assert asked(ForServers(), endpoint) == [2, 3]
    assert read(registry).get("rpc.server.request") == served
    lost = read(REGISTRY).get("nilometer.lost", {}).get("reason=unreadable,what=attributes", 0)
    assert lost >= (0 if served else 2)
