"""Operations of pymongo's for which no server was found in time.

No command is sent then and no event is told, so neither of the ways to hear of commands hears
of these: while a database is away they are all that there is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import elapsed_ns
from nilometer.integrations.mongo_commands import MongoCommands, dimensions_of
from nilometer.integrations.patches import Patches
from nilometer.integrations.standing import switched
from nilometer.measure.decorate import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

MODULES: Final = ("pymongo.synchronous.topology", "pymongo.asynchronous.topology")
OLDER: Final = "pymongo.topology"


class Selection:
    """Counts them, and times how long they waited, in the series of their operation."""

    def __init__(self, commands: MongoCommands) -> None:
        from pymongo.errors import ServerSelectionTimeoutError

        self._commands = commands
        self._error = ServerSelectionTimeoutError
        self._patches = Patches()
        try:
            found = [import_module(name) for name in MODULES]
        except ImportError:
            found = [import_module(OLDER)]
        with self._patches:  # in all of them, or in none
            for module in found:
                self._patches.swap(module.Topology, "_select_servers_loop", self._selecting)

    def end(self) -> None:
        """Leave nothing behind in pymongo."""
        self._patches.undo()

    def _selecting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        error = self._error

        def select(*given: Any, **named: Any) -> Any:
            began_ns = elapsed_ns()
            try:
                return original(*given, **named)
            except error as none:
                self._missed(given, named, began_ns, none)
                raise

        async def select_async(*given: Any, **named: Any) -> Any:
            began_ns = elapsed_ns()
            try:
                return await original(*given, **named)
            except error as none:
                self._missed(given, named, began_ns, none)
                raise

        measured = select_async if kind_of(original) == "coroutine" else select
        return switched(self._commands.calls.depth, original, measured)

    def _missed(
        self, given: tuple[Any, ...], named: dict[str, Any], began_ns: int, error: Exception
    ) -> None:
        # The fourth, after the topology itself, what is looked for and how long.
        operation = named.get("operation", given[3] if len(given) > 3 else "")
        dimensions = dimensions_of(str(getattr(operation, "value", operation)))  # of an enum
        self._commands.calls.record_for(dimensions)(elapsed_ns() - began_ns)
        self._commands.calls.failed(dimensions, error)
