"""pika without a broker: what its channels do where ours cannot tell whose they are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.callback import CallbackManager
from pika.channel import Channel
from pika.exceptions import ChannelWrongStateError

from nilometer.integrations import pika as ours
from tests.integrations.integration_kit import read, traced_request


def test_a_channel_of_a_connection_that_says_nothing_publishes_as_without_us(registry):
    channel = Channel(SimpleNamespace(callbacks=CallbackManager()), 1, print)
    assert ours.install(registry=registry)
    try:
        with traced_request(), pytest.raises(ChannelWrongStateError):  # which is pika's own
            channel.basic_publish("", "queue", b"body")
    finally:
        ours.uninstall()


def test_what_a_closed_blocking_channel_refuses_counts_once(registry):
    connection = SimpleNamespace(callbacks=CallbackManager(), params=None)
    assert ours.install(registry=registry)
    try:
        inner = Channel(connection, 1, print)
        blocking = BlockingChannel(inner, connection)
        inner._set_cookie(blocking)  # as BlockingConnection.channel() does
        inner._cleanup()
        with pytest.raises(ChannelWrongStateError):
            blocking.basic_publish("", "queue", b"body")
    finally:
        ours.uninstall()

    assert sum(read(registry)["messaging.publish.errors"].values()) == 1
