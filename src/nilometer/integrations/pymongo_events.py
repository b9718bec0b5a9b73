"""pymongo's commands and pools by its own monitoring events, the public way.

pymongo tells its listeners when a command starts, succeeds and fails, and nothing when one is
cancelled or interrupted: then its connection is closed or goes back to the pool, which they are
told, in the thread or task that ran the command; and there it ends here.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import elapsed_ns
from nilometer.integrations import client_costs
from nilometer.integrations.mongo_commands import SYSTEM, MongoCommands, place_of, tell_size
from nilometer.integrations.pools import POOLS_MAX, Pools

if TYPE_CHECKING:
    from nilometer.integrations.calls import Call
    from nilometer.measure import Registry

_open: Final[ContextVar[Call | None]] = ContextVar("nilometer.mongodb", default=None)
"""The command that this thread or task runs: there is one at a time."""


class LeftError(Exception):
    """A command that ended, and nobody said how."""


class Heard(MongoCommands):
    """What commands do; of clients made before `listen` nothing is heard."""

    def started(self, event: Any) -> None:
        """A command goes out."""
        if not self.calls.depth.on:
            return
        self.left()
        given, command = event.command_name, event.command
        call = self.call(given, command, event.database_name, event.connection_id)
        call.__enter__()
        _open.set(call)
        tell_size(call.span, given, command)

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
        super().__init__(registry, client_costs.mongo_event)
        self._pools = Pools(Place.counts, registry, self.connects.depth)
        self._places: dict[Any, Place] = {}
        self._connected = {"db.system.name": SYSTEM}
        self._record_connect = self.connects.record_for(self._connected)

    def end(self) -> None:
        """Hear nothing any more: clients keep their listeners as long as they live."""
        super().end()
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
        if duration is not None and self._pools.on:
            place.waits.record(int(duration * 1e9))

    def _opened(self, place: Place, number: int, error: BaseException | None) -> None:
        began = place.opening.pop(number, None)
        if began is None or not self.connects.depth.on:
            return
        self._record_connect(elapsed_ns() - began)
        if error is not None:
            self.connects.failed(self._connected, error)

    def _place(self, event: Any) -> Place:
        address = event.address
        place = self._places.get(address)
        if place is None:
            name = place_of(address)
            place = Place(name, self._pools)
            if len(self._places) < POOLS_MAX:
                self._places[address] = place
                self._pools.watch(name, place)
        return place


class Listener:
    """Registered with pymongo, for all clients that are made from now on."""

    def __init__(self, registry: Registry) -> None:
        from pymongo import monitoring

        kinds = (Pooled, monitoring.CommandListener, monitoring.ConnectionPoolListener)
        self.commands: Any = type("Listener", kinds, {})(registry)
        monitoring.register(self.commands)

    def end(self) -> None:
        """Leave nothing behind in pymongo; what its clients kept hears nothing any more."""
        from pymongo import monitoring

        self.commands.end()
        for listeners in monitoring._LISTENERS:
            if self.commands in listeners:
                listeners.remove(self.commands)
