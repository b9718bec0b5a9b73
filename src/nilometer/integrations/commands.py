"""Commands of data stores (Redis, memcached): timed by name, with a span where traced.

What a store is told has a name that may come from anybody: only the names that the store is
known to have become dimensions, all others are "OTHER". Of keys and values nothing is kept.
Where there is C, all is C that runs at each command outside of traced requests.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import elapsed_ns
from nilometer.integrations import client_costs, databases, faults
from nilometer.integrations.batches import OTHER, SPELLINGS_MAX, Batches
from nilometer.integrations.callers import where
from nilometer.integrations.calls import Calls
from nilometer.integrations.store_servers import Late, Servers
from nilometer.measure.decorate import kind_of
from nilometer.trace import CURRENT, span

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from nilometer.integrations.batch_pure import Stack
    from nilometer.integrations.batches import Read
    from nilometer.integrations.calls import Inside
    from nilometer.integrations.store_servers import Told
    from nilometer.measure import Registry

    Kind = tuple[Callable[..., Any], Callable[..., Any]]
    """How a command is run outside of a traced request, and inside of one."""

    Executed = tuple[Callable[[int], None], Callable[..., Any], Callable[[BaseException], None]]
    """What times a command, runs it inside of a traced request, and counts its errors."""

    Found = TypeVar("Found", Kind, Executed)

_NAME_CHARS_MAX: Final = 40  # of the longest known name, twice


class Commands:
    """The commands of one integration.

    `system` is OpenTelemetry's name of the store; `names` are all that may be shown, spelt as
    `fold` spells them. ``told(client, ended=...)`` gives the attributes that the client knows:
    where its server is; None if it is not `ended` and only the command's end will tell. That is
    asked once of each client or, if clients come and go, of each client's attribute `lasting`.
    """

    __slots__ = (
        *("calls", "servers", "_names", "_fold", "_system", "_batches", "_registry"),
        "_integration",
    )

    def __init__(
        self,
        integration: str,
        system: str,
        names: frozenset[str],
        *,
        told: Told,
        registry: Registry,
        fold: Callable[[str], str] = str.upper,
        lasting: str = "",
    ) -> None:
        self.calls = Calls(
            integration,
            "db.client.operation",
            description="Statements, from the call to their result.",
            registry=registry,
            costs=client_costs.command,
            rests=True,
        )
        self._integration = integration
        self._names = names
        self._fold = fold
        self._system = {"db.system.name": system}
        self.servers = Servers(told, lasting, self.unreadable)
        self._batches = Batches(self, registry)
        self._registry = registry

    def name_of(self, given: object) -> str:
        """The command's name as it is shown; of one with a subcommand, the first word."""
        if isinstance(given, bytes):
            given = given[:_NAME_CHARS_MAX].decode("latin-1")
        if not isinstance(given, str):
            return OTHER
        words = given[:_NAME_CHARS_MAX].split(maxsplit=1)
        name = self._fold(words[0]) if words else ""
        return name if name in self._names else OTHER

    def by_argument(
        self, position: int = 1
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """To replace a function that is given the command's name at this position."""

        def measured(original: Callable[..., Any]) -> Callable[..., Any]:
            if position == 1 and kind_of(original) != "coroutine":
                return self._executing(original)
            known: dict[Any, Kind] = {}
            find = self._finding(known, partial(self._kind, original))

            def found(args: tuple[Any, ...]) -> Kind:
                return find(args[position] if len(args) > position else None)

            return self._measured(original, known, position, found)

        return measured

    def _executing(self, original: Callable[..., Any]) -> databases.Execute:
        """To stand for a function whose second argument is the command's name."""

        def kind(name: str) -> Executed:
            series = self.dimensions(name)
            failed = partial(self.calls.failed, series)
            return self.calls.record_for(series), self._inside(original, name), failed

        known: dict[Any, Executed] = {}
        find = self._finding(known, kind)
        made = databases.Execute(original, known, find, _nothing, elapsed_ns)
        self.calls.depth.switch(made)
        return made

    def _finding(
        self, known: dict[Any, Found], kind: Callable[[str], Found]
    ) -> Callable[[object], Found]:
        """What finds what is known of a spelling, and puts it into `known`."""
        by_name: dict[str, Found] = {}

        def find(given: object) -> Found:
            name = self.name_of(given)
            found = by_name.get(name)
            if found is None:
                found = by_name[name] = kind(name)
            if name != OTHER and len(known) < SPELLINGS_MAX:
                with suppress(Exception):  # of objects, whose hash may raise
                    known[given] = found
            return found

        return find

    def by_name(self, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """To replace a function that is one command."""

        def measured(original: Callable[..., Any]) -> Callable[..., Any]:
            kind = self._kind(original, name)
            return self._measured(original, {}, 0, lambda _: kind)

        return measured

    def batch(
        self, read: Read, stack: Stack | None = None
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """To replace a method that executes a batch: one span, one duration, each name counted.

        ``read(owner)`` gives the batch's own name and the names of its commands. With the
        `stack` that it reads, nothing of it runs in Python outside of traced requests.
        """

        return partial(self._batches.measured, read=read, stack=stack)

    def end(self) -> None:
        """Pass everything on from now on, also where somebody has wrapped our wrappers."""
        self.calls.depth.end()

    def _measured(
        self,
        original: Callable[..., Any],
        known: Mapping[Any, Kind],
        position: int,
        find: Callable[[tuple[Any, ...]], Kind],
    ) -> Callable[..., Any]:
        depth, current = self.calls.depth, CURRENT.get

        def command(*args: Any, **options: Any) -> Any:
            if not depth.on:
                return original(*args, **options)
            try:
                kind = known[args[position]]
            except Exception:  # noqa: BLE001  a new spelling, none, or one that has no hash
                kind = find(args)
            return kind[current() is not None](*args, **options)

        async def command_async(*args: Any, **options: Any) -> Any:
            if not depth.on:  # said twice: one call less for each command
                return await original(*args, **options)
            try:
                kind = known[args[position]]
            except Exception:  # noqa: BLE001
                kind = find(args)
            return await kind[current() is not None](*args, **options)

        made = command_async if kind_of(original) == "coroutine" else command
        return update_wrapper(made, original)

    def _kind(self, original: Callable[..., Any], name: str) -> Kind:
        timed = self.calls.timed(self.dimensions(name))
        return timed(original), timed(self._inside(original, name))

    def dimensions(self, name: str) -> dict[str, str]:
        """Those of a command, or of a batch of that name."""
        return {**self._system, "db.operation.name": name}

    def _inside(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The original with a span around it."""
        attributes = self.dimensions(name)
        key, depth = object(), self.calls.depth
        servers, lasting = self.servers.by_id, self.servers.lasting

        def inside(*args: Any, **options: Any) -> Any:
            client = args[0]
            try:  # all in one function: it runs at each command
                server = servers[id(getattr(client, lasting, client) if lasting else client)]
                run = server.runs[key]
            except Exception:  # noqa: BLE001  a new one, or one that cannot be read
                run = self.inside(client, key, original, name, attributes)
            return run[depth.deep](*args, **options)

        async def inside_async(*args: Any, **options: Any) -> Any:
            return await inside(*args, **options)

        return inside_async if kind_of(original) == "coroutine" else inside

    def inside(
        self,
        client: Any,
        key: object | None,
        original: Callable[..., Any],
        name: str,
        attributes: Mapping[str, object],
    ) -> Inside:
        """What runs the original with a span of that name, with these and the server's
        attributes: without and with the caller's place.

        Made once for each server and key; anew if that is None or the server is not known.
        """
        server = self.servers.ask(client)
        if server is None:
            late = self._late(original, name, attributes)
            return late, late
        run = server.runs.get(key)
        if run is None:
            said = {**attributes, **server.attributes}
            run = self.calls.inside(original, name, said)
            if key is not None:
                server.runs[key] = run
        return run

    def _late(
        self, original: Callable[..., Any], name: str, attributes: Mapping[str, Any]
    ) -> Callable[..., Any]:
        """The same where only the command's end tells of the server."""

        def late(*args: Any, **options: Any) -> Any:
            with self._span(name, attributes, args[0]):
                return original(*args, **options)

        async def late_async(*args: Any, **options: Any) -> Any:
            with self._span(name, attributes, args[0]):
                return await original(*args, **options)

        return late_async if kind_of(original) == "coroutine" else late

    def _span(self, name: str, attributes: Mapping[str, Any], client: object) -> Any:
        made: Any = span(name, **attributes)
        if not made.recording:
            return made
        made.kind = self.calls.kind
        if self.calls.depth.deep:
            made.set_attributes(where())
        return Late(made, self.servers, client)

    def unreadable(self, error: Exception) -> None:
        """Count that a client is built otherwise than we know; it is served all the same."""
        faults.ours(self._integration, "what a client knows", error, self._registry)


def _nothing(_error: BaseException) -> None:
    """Count nothing: each command has what counts its errors."""
