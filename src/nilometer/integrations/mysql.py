"""What the drivers of MySQL have in common: their connections are made by ``__init__``."""

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

    __slots__ = ("_integration", "_patches")

    def __init__(self, integration: str) -> None:
        self._integration = integration
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

        def measured(original: Callable[..., Any]) -> Callable[..., Any]:
            def init(connection: Any, /, *args: Any, **named: Any) -> None:
                if CONNECTING.get():
                    original(connection, *args, **named)
                    return
                if driver.instruments.depth.on:
                    with driver.connecting():
                        original(connection, *args, **named)
                else:
                    original(connection, *args, **named)
                driver.adopt(
                    connection,
                    {
                        "server.address": named.get("host"),
                        "db.namespace": named.get("database") or named.get("db"),
                    },
                )

            return init

        self._patches.also_end(driver)
        self._patches.replace(connections, "__init__", measured)
        return True

    def uninstall(self) -> None:
        """Leave nothing behind."""
        self._patches.undo()


def _fill(database: Database, made: type) -> None:
    executing(database, made, "execute")
    executing_many(database, made)
