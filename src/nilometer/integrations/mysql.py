"""What the drivers of MySQL have in common: their connections are made by ``__init__``.

One opens them by a method of its own, then or later, and again where they are gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nilometer.integrations.drivers import CONNECTING, Driver, executing, executing_many
from nilometer.integrations.patches import Patches

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.databases import Database
    from nilometer.measure import Registry


class Mysql:
    """One of them."""

    __slots__ = ("_integration", "_patches", "_opens_by")

    def __init__(self, integration: str, *, opens_by: str = "__init__") -> None:
        self._integration = integration
        self._opens_by = opens_by
        self._patches = Patches()

    def install(
        self,
        connections: type,
        registry: Registry,
        parameters: bool = False,
    ) -> bool:
        """Measure connections of this class from now on; False if that is done already."""
        if self._patches.active:
            return False
        driver = Driver(self._integration, "mysql", _fill, registry, parameters=parameters)

        def opening(original: Callable[..., Any]) -> Callable[..., Any]:
            def opened(connection: Any, /, *args: Any, **named: Any) -> Any:
                if CONNECTING.get() or not driver.instruments.depth.on:
                    return original(connection, *args, **named)
                with driver.connecting():
                    return original(connection, *args, **named)

            return opened

        def making(original: Callable[..., Any]) -> Callable[..., Any]:
            make = opening(original) if self._opens_by == "__init__" else original

            def init(connection: Any, /, *args: Any, **named: Any) -> None:
                make(connection, *args, **named)
                if not CONNECTING.get():
                    driver.adopt(
                        connection,
                        {
                            "server.address": named.get("host"),
                            "db.namespace": named.get("database") or named.get("db"),
                        },
                    )

            return init

        self._patches.also_end(driver)
        with self._patches as patches:
            patches.replace(connections, "__init__", making)
            if self._opens_by != "__init__":
                patches.replace(connections, self._opens_by, opening)
        return True

    def uninstall(self) -> None:
        """Leave nothing behind."""
        self._patches.undo()


def _fill(database: Database, made: type) -> None:
    executing(database, made, "execute")
    executing_many(database, made)
