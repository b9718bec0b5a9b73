"""MongoDB: pymongo's commands and pools, sync and asyncio, by its own monitoring events.

pymongo tells its listeners when a command starts, succeeds and fails, and nothing when one is
cancelled or interrupted: then its connection is closed or goes back to the pool, which they are
told, in the thread or task that ran the command; and there it ends here.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import elapsed_ns
from nilometer.integrations.calls import Call, Calls
from nilometer.integrations.mongo_words import COMMANDS, MANY, OF_COLLECTIONS
from nilometer.integrations.pools import POOLS_MAX, Pools
from nilometer.integrations.traffic import Traffic, size_of
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from nilometer.integrations.calls import Operation
    from nilometer.measure import Registry

SYSTEM: Final = "mongodb"
OTHER: Final = "OTHER"

_open: Final[ContextVar[Call | None]] = ContextVar("nilometer.mongodb", default=None)
"""The command that this thread or task runs: there is one at a time."""

_installed: list[Any] = []


class LeftError(Exception):
    """A command that ended, and nobody said how."""


class Heard:
    """What commands do; of clients made before `install` nothing is heard."""

    def __init__(self, registry: Registry) -> None:
        self.calls = Calls(
            "pymongo",
            "db.client.operation",
            description="Statements, from the call to their result.",
            registry=registry,
        )

    def started(self, event: Any) -> None:
        """A command goes out."""
        if not self.calls.depth.on:
            return
        self.left()
        given = event.command_name
        collection = _collection(event.command, given)
        key = (given, event.database_name, collection)
        call = Call(self.calls.known(key) or self._operation(key))
        call.__enter__()
        _open.set(call)
        if call.span is not None:
            host, port = event.connection_id
            call.span.set_attribute("server.address", host)
            if port is not None:
                call.span.set_attribute("server.port", port)
            sent = event.command.get(MANY.get(given, ""))
            if isinstance(sent, (list, tuple)) and len(sent) > 1:
                call.span.set_attribute("db.operation.batch.size", len(sent))

    def succeeded(self, event: Any) -> None:  # noqa: ARG002 - pymongo's form
        """It was answered."""
        self._end(None)

    def failed(self, event: Any) -> None:  # noqa: ARG002 - pymongo's form
        """It raised: we are told while that is being handled."""
        self._end(sys.exc_info()[1] or LeftError())

    def left(self) -> None:
        """If a command is still open, it was cancelled or interrupted."""
        if _open.get() is not None:
            self._end(sys.exc_info()[1] or LeftError())

    def _end(self, error: BaseException | None) -> None:
        call = _open.get()
        if call is not None:
            _open.set(None)
            call.__exit__(None, error, None)

    def _operation(self, key: tuple[str, str, str]) -> Operation:
        given, database, collection = key
        name = COMMANDS.get(given.lower(), OTHER)
        shown = {"db.namespace": database, "db.collection.name": collection}
        return self.calls.operation(
            key,
            f"{name} {collection}".rstrip(),
            {"db.system.name": SYSTEM, "db.operation.name": name},
            {attribute: value for attribute, value in shown.items() if value},
        )


def _collection(command: Any, name: str) -> str:
    """The collection's name, if the command has one; nothing else of it is looked at."""
    if name == "getMore":
        collection = command.get("collection")
    else:
        collection = command.get(name) if name in OF_COLLECTIONS else ""
    return collection if isinstance(collection, str) else ""


class Place:
    """The pools of all clients that lead to one server, as their events tell."""

    __slots__ = ("name", "total", "used", "opening", "pending", "waits", "__weakref__")

    def __init__(self, name: str, pools: Pools) -> None:
        self.name = name
        self.total = self.used = 0
        self.opening: dict[int, int] = {}
        self.pending, self.waits = pools.series(name)

    def counts(self) -> tuple[int, int]:
        """Used and idle connections."""
        return max(0, self.used), max(0, self.total - self.used)


class Pooled(Heard):
    """The same, and what pools do."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self._registry = registry
        self._pools = Pools(Place.counts, registry)
        self._places: dict[Any, Place] = {}
        connects = Calls(
            "pymongo",
            "db.client.connect",
            description="Making new connections to databases.",
            registry=registry,
        )
        self._connects = connects
        self._connected = {"db.system.name": SYSTEM}
        self._record_connect = connects.record_for(self._connected)

    def end(self) -> None:
        """Hear nothing any more: clients keep their listeners as long as they live."""
        self.calls.depth.end()
        self._connects.depth.end()
        self._pools.end()

    def connection_created(self, event: Any) -> None:
        """A pool begins to connect."""
        place = self._place(event)
        place.total += 1
        place.opening[event.connection_id] = elapsed_ns()

    def connection_ready(self, event: Any) -> None:
        """It is connected, and has said who it is."""
        self._opened(self._place(event), event.connection_id, None)

    def connection_closed(self, event: Any) -> None:
        """It is no more, or never was."""
        self.left()
        place = self._place(event)
        place.total -= 1
        self._opened(place, event.connection_id, sys.exc_info()[1] or LeftError())

    def connection_check_out_started(self, event: Any) -> None:
        """Somebody asks for a connection."""
        self._place(event).pending.add(1)

    def connection_checked_out(self, event: Any) -> None:
        """He has one."""
        place = self._place(event)
        place.used += 1
        self._waited(place, event)

    def connection_check_out_failed(self, event: Any) -> None:
        """He got none."""
        place = self._place(event)
        if event.reason == "timeout":
            self._pools.timed_out(place.name)
        self._waited(place, event)

    def connection_checked_in(self, event: Any) -> None:
        """He gives it back."""
        self.left()
        self._place(event).used -= 1

    def pool_created(self, event: Any) -> None:
        """A client knows of a server."""
        self._place(event)

    def pool_ready(self, event: Any) -> None:
        """Nothing that is measured."""

    pool_cleared = pool_closed = pool_ready

    def _waited(self, place: Place, event: Any) -> None:
        place.pending.add(-1)
        duration = getattr(event, "duration", None)  # before pymongo 4.7 there was none
        if duration is not None:
            place.waits.record(int(duration * 1e9))

    def _opened(self, place: Place, number: int, error: BaseException | None) -> None:
        began = place.opening.pop(number, None)
        if began is None:
            return
        self._record_connect(elapsed_ns() - began)
        if error is not None:
            self._connects.failed(self._connected, error)

    def _place(self, event: Any) -> Place:
        address = event.address
        place = self._places.get(address)
        if place is None:
            host, port = address
            name = host if port is None else f"{host}:{port}"
            place = Place(name, self._pools)
            if len(self._places) < POOLS_MAX:
                self._places[address] = place
                self._pools.watch(name, place)
        return place


def _count_bytes(traffic: Traffic) -> None:
    from pymongo.asynchronous.pool import AsyncConnection
    from pymongo.synchronous.pool import Connection

    for connection in (Connection, AsyncConnection):
        traffic.patches.swap(connection, "send_message", traffic.writing(size_of))
        traffic.patches.swap(connection, "receive_message", traffic.reading(id, _size_of_reply))


def _size_of_reply(_connection: Any, _mark: object, reply: Any) -> int:
    """With its head, as the wire protocol has it; of a compressed one, what it unpacked to."""
    if reply is None:
        return 0
    document = getattr(reply, "payload_document", None)
    if document is not None:
        return 16 + 4 + 1 + len(document)  # OP_MSG: head, flags, kind of its section
    return 16 + 20 + len(reply.documents)  # OP_REPLY: head, flags and cursor


def install(*, registry: Registry = REGISTRY) -> bool:
    """Listen to every client that is made from now on; False if that is done already."""
    if _installed:
        return False
    from pymongo import monitoring

    kinds = (Pooled, monitoring.CommandListener, monitoring.ConnectionPoolListener)
    listener: Any = type("Listener", kinds, {})(registry)
    monitoring.register(listener)
    _installed[:] = [listener, Traffic("pymongo", SYSTEM, _count_bytes, registry)]
    return True


def uninstall() -> None:
    """Leave nothing behind in pymongo; what its clients kept hears nothing any more."""
    from pymongo import monitoring

    for one in _installed:
        one.end()
        for listeners in monitoring._LISTENERS:
            if one in listeners:
                listeners.remove(one)
    _installed.clear()
