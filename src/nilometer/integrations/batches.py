"""Batches of commands (pipelines, transactions): one span each, and each name counted.

A batch is nearly always one that was there before: what is known of its shape, the batch's own
name and those of its commands in their order, is found by one look into a dict.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, Final, Protocol

from nilometer.integrations.batch_pure import Counted
from nilometer.integrations.standing import batched, chosen, shape_of
from nilometer.measure.decorate import kind_of
from nilometer.trace import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nilometer.integrations.batch_pure import Stack
    from nilometer.integrations.calls import Calls, Inside
    from nilometer.integrations.store_servers import Servers
    from nilometer.measure import Registry

    Read = Callable[[Any], tuple[str, list[object]]]

OTHER: Final = "OTHER"

SPELLINGS_MAX: Final = 1000
"""Spellings (GET, get, b"get") remembered at each place that is measured, 0.3 KiB each with
their wrappers; others are looked up anew each time."""

SHAPES_MAX: Final = 500
"""Shapes of batches remembered at each method that executes them; others are read anew each
time. With `SHAPE_COMMANDS_MAX` commands one takes 1.5 KiB, and as much for each server."""

SHAPE_COMMANDS_MAX: Final = 50
"""In a longer batch its own commands take so much that remembering it saves nothing."""

SHOWN_MAX: Final = 10  # names of a batch that its span shows

_current: Final = CURRENT.get


class BatchedCommands(Protocol):
    """What batches need of the commands that they are made of."""

    calls: Calls
    servers: Servers

    def name_of(self, given: object) -> str:
        """The command's name as it is shown."""

    def dimensions(self, name: str) -> dict[str, str]:
        """Those of a command, or of a batch of that name."""

    def unreadable(self, error: Exception) -> None:
        """Count that a client is built otherwise than we know."""

    def inside(
        self,
        client: Any,
        key: object | None,
        original: Callable[..., Any],
        name: str,
        attributes: Mapping[str, object],
    ) -> Inside:
        """What runs the original with a span of that name."""


class Shape:
    """What is known of batches that have the same names in the same order.

    `counts` adds to each name's number what is to be added, `run` has the original in the clock
    of the batch's name; `name` and `attributes` are its spans'.
    """

    __slots__ = ("counts", "run", "name", "attributes", "is_kept")

    def __init__(
        self,
        counts: tuple[tuple[Callable[[int], None], int], ...],
        run: Callable[..., Any],
        name: str,
        attributes: dict[str, object],
    ) -> None:
        self.counts = counts
        self.run = run
        self.name = name
        self.attributes = attributes
        self.is_kept = False


class Batches:
    """The batches of one integration's `commands`."""

    __slots__ = ("_commands", "_batched", "_counters", "_spellings")

    def __init__(self, commands: BatchedCommands, registry: Registry) -> None:
        self._commands = commands
        self._batched = registry.counter(
            "db.client.batch.operation",
            unit="{operation}",
            description="Operations that were sent in batches (pipelines, transactions).",
        )
        self._counters: dict[str, Counted] = {}
        self._spellings: dict[object, Counted] = {}

    def measured(
        self, original: Callable[..., Any], read: Read, stack: Stack | None
    ) -> Callable[..., Any]:
        """What stands for a method that executes a batch; see `Commands.batch`."""
        depth = self._commands.calls.depth
        runs: dict[str, Callable[..., Any]] = {}

        def spelt(client: object) -> tuple[object, ...]:
            name, given = read(client)
            return name, *given

        shape_is = spelt if stack is None else partial(shape_of, stack)
        choose = self._choosing(original, read, shape_is, runs)

        async def execute_async(*args: Any, **options: Any) -> Any:
            run = choose(*args) if depth.on else original
            return await run(*args, **options)

        if kind_of(original) == "coroutine":
            return update_wrapper(execute_async, original)
        if stack is None:
            return chosen(depth, original, choose)
        return batched(depth, original, choose, self._spellings, runs, stack)

    def _choosing(
        self,
        original: Callable[..., Any],
        read: Read,
        spelt: Callable[[Any], tuple[object, ...] | None],
        runs: dict[str, Callable[..., Any]],
    ) -> Callable[..., Callable[..., Any]]:
        """What gives for each batch what runs it; for an empty one, as if untouched.

        ``spelt(client)`` gives in one tuple what is read, if it can. `runs` has the original in
        the clock of each batch's name.
        """
        commands, depth = self._commands, self._commands.calls.depth
        servers, lasting = commands.servers.by_id, commands.servers.lasting
        shapes: dict[object, Shape] = {}

        def choose(*args: Any, **_: object) -> Callable[..., Any]:
            seen = None
            try:
                seen = spelt(args[0])
                shape = shapes[seen]
            except Exception:  # noqa: BLE001  new, with a name without a hash, or unreadable
                found = self._found(args, seen, read, shapes, runs, original)
                if found is None:
                    return original
                shape = found
            for add, count in shape.counts:
                add(count)
            if _current() is None:
                return shape.run
            client = args[0]
            try:
                server = servers[id(getattr(client, lasting, client) if lasting else client)]
                run = server.runs[shape]
            except Exception:  # noqa: BLE001  a new one, or one that cannot be read
                key = shape if shape.is_kept else None
                run = commands.inside(client, key, shape.run, shape.name, shape.attributes)
            return run[depth.deep]

        return choose

    def _found(
        self,
        args: tuple[Any, ...],
        seen: tuple[Any, ...] | None,
        read: Read,
        shapes: dict[object, Shape],
        runs: dict[str, Callable[..., Any]],
        original: Callable[..., Any],
    ) -> Shape | None:
        """What is to be known of a new batch; None if it is empty or cannot be read."""
        try:
            name, given = read(args[0]) if seen is None else (seen[0], list(seen[1:]))
            return self._shape(name, given, shapes, runs, original) if given else None
        except Exception as error:  # noqa: BLE001  another version's: it runs without us
            self._commands.unreadable(error)
            return None

    def _shape(
        self,
        name: str,
        given: list[object],
        shapes: dict[object, Shape],
        runs: dict[str, Callable[..., Any]],
        original: Callable[..., Any],
    ) -> Shape:
        """What is known of this batch; remembered if it can be, and is not too long."""
        counted = [self._counted(one) for one in given]
        names = name, *(one.name for one in counted)  # however they were spelt
        shape = shapes.get(names)
        if shape is None:
            shape = self._made(name, counted, runs, original)
        if len(given) <= SHAPE_COMMANDS_MAX and len(shapes) < SHAPES_MAX:
            shape.is_kept = True
            shapes[names] = shape
            with suppress(Exception):  # of objects, whose hash may raise
                if all(one in self._spellings for one in given):
                    shapes[name, *given] = shape
        return shape

    def _made(
        self,
        name: str,
        counted: list[Counted],
        runs: dict[str, Callable[..., Any]],
        original: Callable[..., Any],
    ) -> Shape:
        names = Counter(one.name for one in counted)
        dimensions = self._commands.dimensions(name)
        run = runs.get(name)
        if run is None:
            run = runs[name] = self._commands.calls.timed(dimensions)(original)
        attributes = {
            **dimensions,
            "db.operation.batch.size": len(counted),
            "db.query.summary": " ".join([name, *list(names)[:SHOWN_MAX]]),
        }
        counts = tuple((self._counters[one].add, number) for one, number in names.items())
        return Shape(counts, run, name, attributes)

    def _counted(self, given: object) -> Counted:
        """What counts a command that was sent in a batch, as it is spelt there."""
        try:
            return self._spellings[given]
        except (KeyError, TypeError):  # not spelt as before, or without a hash
            name = self._commands.name_of(given)
        found = self._counters.get(name)
        if found is None:
            add = self._batched.bind(**self._commands.dimensions(name)).add
            found = self._counters[name] = Counted(name, add)
        if name != OTHER and len(self._spellings) < SPELLINGS_MAX:
            self._spellings[given] = found
        return found
