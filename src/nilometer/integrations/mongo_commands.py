"""MongoDB's commands as they are measured, whoever tells of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.calls import Call, Calls
from nilometer.integrations.mongo_words import COMMANDS, MANY, OF_COLLECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.calls import Operation
    from nilometer.measure import Registry

SYSTEM: Final = "mongodb"
OTHER: Final = "OTHER"


class MongoCommands:
    """The commands of pymongo: timed by name; their spans have the collection, and no value."""

    def __init__(self, registry: Registry, costs: Callable[[], float] | None = None) -> None:
        self.calls = Calls(
            "pymongo",
            "db.client.operation",
            description="Statements, from the call to their result.",
            registry=registry,
            costs=costs,
        )
        self.connects = Calls(
            "pymongo",
            "db.client.connect",
            description="Making new connections to databases.",
            registry=registry,
        )

    def end(self) -> None:
        """Pass everything on from now on."""
        self.calls.depth.end()
        self.connects.depth.end()

    def call(self, given: str, command: Any, database: str, address: Any) -> Call:
        """One command, not begun yet."""
        return Call(self.operation((given, database, collection_of(command, given), address)))

    def operation(self, key: tuple[str, str, str, Any]) -> Operation:
        """Commands of that name, to that database, collection and address."""
        known = self.calls.known(key)
        if known is not None:
            return known
        given, database, collection, (host, port) = key
        shown = {
            "db.namespace": database or None,
            "db.collection.name": collection or None,
            "server.address": host,
            "server.port": port,
        }
        return self.calls.operation(
            key,
            f"{name_of(given)} {collection}".rstrip(),
            dimensions_of(given),
            {attribute: value for attribute, value in shown.items() if value is not None},
        )


def name_of(given: str) -> str:
    """A command's name as it is shown; OTHER if nobody knows it."""
    return COMMANDS.get(given.lower(), OTHER)


def dimensions_of(given: str) -> dict[str, str]:
    """The series of a command."""
    return {"db.system.name": SYSTEM, "db.operation.name": name_of(given)}


def place_of(address: Any) -> str:
    """How the pools that lead to a server are named; of a socket, its path."""
    host, port = address
    return str(host) if port is None else f"{host}:{port}"


def tell_size(span: Any, given: str, command: Any) -> None:
    """Let the span of a command that does several things say how many."""
    if span is not None and given in MANY:
        sent = command.get(MANY[given])
        if isinstance(sent, (list, tuple)) and len(sent) > 1:
            span.set_attribute("db.operation.batch.size", len(sent))


def collection_of(command: Any, name: str) -> str:
    """The collection's name, if the command has one; nothing else of it is looked at."""
    if name == "getMore":
        collection = command.get("collection")
    else:
        collection = command.get(name) if name in OF_COLLECTIONS else ""
    return collection if isinstance(collection, str) else ""
