"""Clients of message buses whose broker takes all at once: only their calls are measured.

What is made before a peer instruments the library stays bare: its class keeps the functions of
that moment.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.pairs import Loop


class Broker:
    """Stands for all that is below a blocking channel of pika's."""

    host, port = "127.0.0.1", 5672

    def __init__(self) -> None:
        self.params = self._impl = self

    def basic_publish(self, **given: Any) -> None:
        return None


class Consumer:
    """What a channel remembers of a consumer."""

    def __init__(self, on_message_callback: Any) -> None:
        self.on_message_callback = on_message_callback


def pika_channel() -> Any:
    """A channel that leaves out all behind the calls that are instrumented."""
    from pika.adapters.blocking_connection import BlockingChannel

    class Channel(BlockingChannel):
        basic_publish = BlockingChannel.basic_publish
        basic_consume = BlockingChannel.basic_consume

        def __init__(self) -> None:
            self._connection = self._impl = Broker()
            self._delivery_confirmation = False
            self._consumer_infos = {}

        def _flush_output(self, *waiters: Any) -> None:
            return None

        def _basic_consume_impl(self, **given: Any) -> None:
            self._consumer_infos["consumer"] = Consumer(given["on_message_callback"])

    return Channel()


def publishes(channel: Any) -> Loop:
    """A loop of messages to one queue."""

    def many(times: int) -> None:
        for _ in range(times):
            channel.basic_publish("", "orders", b"x")

    return many


def processes(channel: Any) -> Loop:
    """A loop of messages as they are given to a consumer that does nothing."""
    from pika.spec import Basic, BasicProperties

    channel.basic_consume("orders", lambda channel, method, properties, body: None)
    consumer = channel._consumer_infos["consumer"]
    method = Basic.Deliver("consumer", 1, False, "", "orders")

    def many(times: int) -> None:
        for _ in range(times):
            consumer.on_message_callback(channel, method, BasicProperties(headers={}), b"x")

    return many


class KombuChannel:
    """Stands for a channel of kombu's, its connection and all below, which take all at once."""

    driver_type, hostname, port, virtual_host, userid = "amqp", "127.0.0.1", 5672, "/", ""

    def __init__(self) -> None:
        self.connection = self.client = self.transport = self
        self.host = f"{self.hostname}:{self.port}"
        self.is_open = True

    def prepare_message(self, body: Any, *given: Any) -> Any:
        return body

    def basic_publish(self, message: Any, **given: Any) -> None:
        return None


def kombu_publishes() -> Loop:
    """A loop of messages to one queue, by the call that all of kombu's ways to publish make."""
    from kombu import Exchange, Producer

    class Bare(Producer):  # type: ignore[misc]
        _publish = Producer._publish

    producer = Bare(KombuChannel(), Exchange(""), auto_declare=False)
    given = b"x", 0, "text/plain", "utf-8", {}, {}, "orders", False, False, "", []

    def many(times: int) -> None:
        for _ in range(times):
            producer._publish(*given)

    return many


class Transport:
    """Stands for one of oslo.messaging's whose servers have answered already."""

    def __init__(self, conf: Any) -> None:
        self.conf = conf

    def _send(self, *args: Any, **options: Any) -> str:
        return "done"


def oslo_conf(**enabled: str) -> Any:
    """oslo.messaging's own settings; of the groups that are named, an option is switched on."""
    warnings.simplefilter("ignore")  # oslo.messaging imports what is deprecated
    from oslo_config import cfg
    from oslo_messaging._metrics.client import oslo_messaging_metrics
    from oslo_messaging._tracing.client import oslo_messaging_tracing

    conf = cfg.ConfigOpts()
    conf.register_opts(oslo_messaging_metrics, group="oslo_messaging_metrics")
    conf.register_opts(oslo_messaging_tracing, group="oslo_messaging_tracing")
    conf([], default_config_files=[], default_config_dirs=[])
    for group, option in enabled.items():
        conf.set_override(option, True, group=group)
    return conf


def rpc_calls(conf: Any) -> Loop:
    """A loop of RPC calls by oslo.messaging's client."""
    import oslo_messaging
    from oslo_messaging.rpc.client import _CallContext

    class Context(_CallContext):
        call = _CallContext.call

    target = oslo_messaging.Target(topic="compute", version="1.0")
    context = Context(Transport(conf), target, oslo_messaging.NoOpSerializer(), timeout=10)

    def many(times: int) -> None:
        for _ in range(times):
            context.call({}, "build", name="a")

    return many


class Endpoint:
    """What a server offers."""

    def build(self, ctxt: Any, name: str) -> str:
        return name


class Incoming:
    """One request, as a driver gives it to a server."""

    client_timeout = None

    def __init__(self) -> None:
        self.ctxt: dict[str, Any] = {}
        self.message = {"method": "build", "args": {"name": "a"}, "version": "1.0"}


def rpc_requests() -> Loop:
    """A loop of requests that oslo.messaging's server dispatches."""
    import oslo_messaging
    from oslo_messaging.rpc.dispatcher import RPCDispatcher

    class Dispatcher(RPCDispatcher):
        dispatch = RPCDispatcher.dispatch
        _do_dispatch = RPCDispatcher._do_dispatch

    dispatcher = Dispatcher([Endpoint()], oslo_messaging.NoOpSerializer())

    def many(times: int) -> None:
        for _ in range(times):
            dispatcher.dispatch(Incoming())

    return many
