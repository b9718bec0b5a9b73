"""What wrappers of clients of data stores and brokers cost a call, untraced: see `costs`.

Each integration's calls are counted by itself, since several of them share a timer.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from nilometer.measure.overhead import extra_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

    Made = Callable[[Registry], Callable[..., object]]

_CLIENT: Final = SimpleNamespace(connection=None, _cookie=None)
_COMMAND: Final = {"find": "calibration"}
_TARGET: Final = SimpleNamespace(topic="calibration", fanout=None, server=None)
_ADDRESS: Final = "localhost", 1
_EVENT: Final = SimpleNamespace(
    command_name="find", command=_COMMAND, database_name="c", connection_id=_ADDRESS
)


def command() -> float:
    """One command of Redis' or memcached's clients."""
    commands = import_module("nilometer.integrations.commands").Commands

    def made(registry: Registry) -> Callable[..., object]:
        of = commands("calibration", "x", frozenset({"GET"}), told=_told, registry=registry)
        measured: Callable[..., object] = of.by_argument()(_nothing)
        return measured

    return _extra(made, _CLIENT, "GET", "key")


def mongo_command() -> float:
    """One command of pymongo where it runs them."""
    runner = import_module("nilometer.integrations.pymongo_runner")
    return _extra(
        lambda registry: runner.running(runner.MongoCommands(registry), _nothing),
        *(_CLIENT, _COMMAND, "calibration", 1, b""),
        listeners=_CLIENT,
        session=None,
    )


def mongo_event() -> float:
    """One command of pymongo that its events tell of, without what it takes to tell."""
    heard = import_module("nilometer.integrations.pymongo_events").Heard

    def made(registry: Registry) -> Callable[..., object]:
        listener = heard(registry)

        def told() -> None:
            listener.started(_EVENT)
            listener.succeeded(_EVENT)

        return told

    return _extra(made)


def pika_publish() -> float:
    """One message that pika publishes."""
    return _extra(
        _publishing("pika"),
        _CLIENT,
        "",
        "calibration",
        b"",
        None,
        False,
    )


def kombu_publish() -> float:
    """One message that kombu publishes."""
    transport = SimpleNamespace(driver_type="amqp")
    connection = SimpleNamespace(transport=transport, hostname="localhost", port=1)
    producer = SimpleNamespace(__connection__=connection)
    return _extra(
        _publishing("kombu"), *(producer, b"", 0, "", "", {}, {}, "calibration", 0, 0, "")
    )


def process() -> float:
    """One message that a consumer's function is given."""
    messages = import_module("nilometer.integrations.messages").Messages

    def made(registry: Registry) -> Callable[..., object]:
        of = messages("calibration", registry=registry, triggers=None)
        measured: Callable[..., object] = of.processing(_nothing, "x", "calibration", _told)
        return measured

    return _extra(made, _CLIENT, _CLIENT, _CLIENT, b"")


def rpc_call() -> float:
    """One call, or cast, by oslo.messaging's client."""
    client = import_module("nilometer.integrations.oslo_messaging").Client
    context = SimpleNamespace(target=_TARGET, serializer=None)
    contexts = SimpleNamespace(of=_told)
    return _extra(
        lambda registry: client(contexts, registry).calling(_nothing),
        *(context, {}, "calibration"),
        argument=1,
    )


def rpc_request() -> float:
    """One request that oslo.messaging's server dispatches to an endpoint."""
    server = import_module("nilometer.integrations.oslo_messaging").Server
    contexts = SimpleNamespace(of=_told)
    dispatcher = SimpleNamespace(serializer=None)
    return _extra(
        lambda registry: server(contexts, registry).doing(_nothing),
        *(dispatcher, _CLIENT, "connection", {}, {}),
    )


def _publishing(integration: str) -> Made:
    """What publishes in the place of a client's function."""
    module = import_module(f"nilometer.integrations.{integration}")

    def made(registry: Registry) -> Callable[..., object]:
        messages = module.Messages("calibration", registry=registry, triggers=None)
        measured: Callable[..., object] = module._publishing(_nothing, messages)
        return measured

    return made


def _extra(made: Made, *args: object, **named: object) -> float:
    """What is added to a call with these arguments of a function that does nothing."""
    return extra_ns(
        lambda registry: partial(made(registry), *args, **named),
        partial(_nothing, *args, **named),
    )


def _told(*_: Any, **__: Any) -> dict[str, object]:
    return {}


def _nothing(*_: object, **__: object) -> None:
    """Do nothing."""
