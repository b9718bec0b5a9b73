"""Commands of data stores (Redis, memcached): timed by name, with a span where traced.

What a store is told has a name that may come from anybody: only the names that the store is
known to have become dimensions, all others are "OTHER". Of keys and values nothing is kept.
Where there is C, all is C that runs at each command outside of traced requests.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from nilometer.clock import elapsed_ns
from nilometer.integrations import client_costs, databases, faults
from nilometer.integrations.batch_pure import Counted
from nilometer.integrations.callers import where
from nilometer.integrations.calls import Calls
from nilometer.integrations.standing import batched, chosen
from nilometer.measure.decorate import kind_of
from nilometer.trace import CURRENT, span

_current: Final = CURRENT.get

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from nilometer.integrations.batch_pure import Stack
    from nilometer.measure import Registry

    Told = Callable[..., Mapping[str, object] | None]

    Kind = tuple[Callable[..., Any], Callable[..., Any]]
    """How a command is run outside of a traced request, and inside of one."""

    Executed = tuple[Callable[[int], None], Callable[..., Any], Callable[[BaseException], None]]
    """What times a command, runs it inside of a traced request, and counts its errors."""

    Found = TypeVar("Found", Kind, Executed)

    Read = Callable[[Any], tuple[str, list[object]]]

SPELLINGS_MAX: Final = 1000
"""Spellings (GET, get, b"get") remembered at each place that is measured, 0.3 KiB each with
their wrappers; others are looked up anew each time."""

OTHER: Final = "OTHER"
SHOWN_MAX: Final = 10  # names of a batch that its span shows
_NAME_CHARS_MAX: Final = 40  # of the longest known name, twice


class Commands:
    """The commands of one integration.

    `system` is OpenTelemetry's name of the store; `names` are all that may be shown, spelt as
    `fold` spells them. ``told(client, ended=...)`` gives the attributes that the client knows:
    where its server is; None if it is not `ended` and only the command's end will tell. That is
    asked once of each client or, if clients come and go, of each client's attribute `lasting`.
    """

    __slots__ = (
        *("calls", "_names", "_fold", "_told", "_system", "_batched", "_registry"),
        *("_servers", "_integration", "_counters", "_spellings", "_lasting"),
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
        self._told = told
        self._lasting = lasting
        self._system = {"db.system.name": system}
        self._batched = registry.counter(
            "db.client.batch.operation",
            unit="{operation}",
            description="Operations that were sent in batches (pipelines, transactions).",
        )
        self._registry = registry
        self._counters: dict[str, Counted] = {}
        self._spellings: dict[object, Counted] = {}
        self._servers: dict[ref[Any], Mapping[str, object]] = {}

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
            series = self._dimensions(name)
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

        def measured(original: Callable[..., Any]) -> Callable[..., Any]:
            depth = self.calls.depth
            runs: dict[str, Callable[..., Any]] = {}
            is_async = kind_of(original) == "coroutine"
            within = _within_async if is_async else _within
            choose = partial(self._batch, original, read, runs, within)

            async def execute_async(*args: Any, **options: Any) -> Any:
                run = choose(*args) if depth.on else original
                return await run(*args, **options)

            if is_async:
                return update_wrapper(execute_async, original)
            if stack is None:
                return chosen(depth, original, choose)
            return batched(depth, original, choose, self._spellings, runs, stack)

        return measured

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
        timed = self.calls.timed(self._dimensions(name))
        return timed(original), timed(self._inside(original, name))

    def _dimensions(self, name: str) -> dict[str, str]:
        return {**self._system, "db.operation.name": name}

    def _inside(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The original with a span around it."""
        attributes: dict[str, Any] = dict(self._dimensions(name))
        begun = partial(self._span, name, attributes)

        def inside(*args: Any, **options: Any) -> Any:
            with begun(args[0]):
                return original(*args, **options)

        async def inside_async(*args: Any, **options: Any) -> Any:
            with begun(args[0]):
                return await original(*args, **options)

        return inside_async if kind_of(original) == "coroutine" else inside

    def _span(self, name: str, attributes: Mapping[str, Any], client: object) -> Any:
        """A span for a ``with`` statement around what a client does."""
        lasting = getattr(client, self._lasting, client) if self._lasting else client
        server: Any
        try:
            server = self._servers[ref(lasting)]
        except Exception:  # noqa: BLE001  a new one, or one of which there are no references
            server = self._server_of(client, lasting)
        made: Any = span(name, **attributes, **(server or {}))
        if made.recording:
            made.kind = self.calls.kind
            if self.calls.depth.deep:
                made.set_attributes(where())
            if server is None:
                return _Late(made, self, client)
        return made

    def _server_of(self, client: Any, lasting: Any) -> Mapping[str, object] | None:
        """Where a client's server is, asked once; None if only the command's end tells."""
        try:
            known = self._told(client, ended=False)
            if known is not None:
                self._servers[ref(lasting, self._forget)] = known
        except Exception as error:  # noqa: BLE001  built otherwise: its command goes on
            self._unreadable(error)
            return {}
        return known

    def _forget(self, gone: ref[Any]) -> None:
        self._servers.pop(gone, None)

    def tell(self, made: Any, client: Any) -> None:
        """Let a span that ends say where the client's server is."""
        try:
            made.set_attributes(self._told(client, ended=True))
        except Exception as error:  # noqa: BLE001  built otherwise: its command goes on
            self._unreadable(error)

    def _unreadable(self, error: Exception) -> None:
        faults.ours(self._integration, "what a client knows", error, self._registry)

    def _batch(
        self,
        original: Callable[..., Any],
        read: Read,
        runs: dict[str, Callable[..., Any]],
        within: Callable[..., Callable[..., Any]],
        *args: Any,
        **_: object,
    ) -> Callable[..., Any]:
        """What runs a batch, with its span where one is traced; an empty one, as if untouched.

        `runs` has the original in the clock of each batch's name; ``within(span, run)`` puts it
        into the span.
        """
        try:
            name, commands = read(args[0])
            names: dict[str, int] = {}  # a Counter takes five times as long to be made
            for given in commands:
                known = self._spellings.get(given) if type(given) is str else None
                one = (known or self._counted(given)).name
                names[one] = names.get(one, 0) + 1
        except Exception as error:  # noqa: BLE001  another version's: it runs without us
            self._unreadable(error)
            return original
        if not names:
            return original
        for one, count in names.items():
            self._counters[one].add(count)
        run = runs.get(name)
        if run is None:
            run = runs[name] = self.calls.timed(self._dimensions(name))(original)
        if _current() is None:
            return run
        attributes = {
            **self._dimensions(name),
            "db.operation.batch.size": len(commands),
            "db.query.summary": " ".join([name, *list(names)[:SHOWN_MAX]]),
        }
        return within(self._span(name, attributes, args[0]), run)

    def _counted(self, given: object) -> Counted:
        """What counts a command that was sent in a batch, as it is spelt there."""
        try:
            return self._spellings[given]
        except (KeyError, TypeError):  # not spelt as before, or without a hash
            name = self.name_of(given)
        found = self._counters.get(name)
        if found is None:
            add = self._batched.bind(**self._dimensions(name)).add
            found = self._counters[name] = Counted(name, add)
        if name != OTHER and len(self._spellings) < SPELLINGS_MAX:
            self._spellings[given] = found
        return found


def _within(made: Any, run: Callable[..., Any]) -> Callable[..., Any]:
    """What runs a batch within its span."""

    def inside(*args: Any, **options: Any) -> Any:
        with made:
            return run(*args, **options)

    return inside


def _within_async(made: Any, run: Callable[..., Any]) -> Callable[..., Any]:
    """The same of a coroutine function."""

    async def inside(*args: Any, **options: Any) -> Any:
        with made:
            return await run(*args, **options)

    return inside


def _nothing(_error: BaseException) -> None:
    """Count nothing: each command has what counts its errors."""


class _Late:
    """A span whose client finds its server while the command runs."""

    __slots__ = ("_made", "_commands", "_client")

    def __init__(self, made: Any, commands: Commands, client: object) -> None:
        self._made = made
        self._commands = commands
        self._client = client

    def __enter__(self) -> None:
        self._made.__enter__()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._commands.tell(self._made, self._client)
        self._made.__exit__(kind, error, traceback)
