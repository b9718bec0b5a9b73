"""psycopg2: statements and connects, where no SQLAlchemy is above it.

Its classes are C's and cannot be changed. But a connection may be of any subclass, and so may
its cursors; `connect` is asked for such a one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.drivers import CONNECTING, Driver, executing
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.databases import Database
    from nilometer.integrations.drivers import Place
    from nilometer.measure import Registry

NOT_OF_THE_SERVER: Final = ("async", "async_")
"""Arguments of ``connect`` that say nothing of where the database is."""

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY, parameters: bool = False) -> bool:
    """Measure all connections that are made from now on; False if that is done already."""
    if _patches.active:
        return False
    import psycopg2
    from psycopg2.extensions import connection as plain

    driver = Driver(
        "psycopg2",
        "postgresql",
        _fill,
        registry,
        fill_connections=_fill_connections,
        lowest=plain,
        parameters=parameters,
    )
    _patches.also_end(driver)

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(
            dsn: Any = None,
            connection_factory: Any = None,
            cursor_factory: Any = None,
            **named: Any,
        ) -> Any:
            given = dsn, connection_factory, cursor_factory
            if CONNECTING.get():
                return original(*given, **named)
            made = plain if connection_factory is None else connection_factory
            if isinstance(made, type):  # a function makes what it will
                try:
                    place = driver.place(_told(dsn, named))
                    given = dsn, place.connections.of(made), cursor_factory
                except Exception as error:  # noqa: BLE001  it serves all the same
                    driver.instruments.failed("a connection", error)
            if not driver.instruments.depth.on:
                return original(*given, **named)
            with driver.connecting():
                return original(*given, **named)

        return connect

    _patches.replace(psycopg2, "connect", measured)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


def _told(dsn: Any, named: dict[str, Any]) -> dict[str, object]:
    """Where the database is, as far as it is said; what is said in vain `connect` refuses."""
    from psycopg2 import Error
    from psycopg2.extensions import make_dsn, parse_dsn

    parts = {name: one for name, one in named.items() if name not in NOT_OF_THE_SERVER}
    try:
        said = parse_dsn(make_dsn(dsn, **parts))
    except (Error, TypeError, ValueError):
        said = {}
    return {"server.address": said.get("host"), "db.namespace": said.get("dbname")}


def _fill(database: Database, made: type) -> None:
    executing(database, made, "execute", "executemany")


def _fill_connections(place: Place, made: Any) -> None:
    from psycopg2.extensions import cursor as plain

    def cursor_of(_: Callable[..., Any]) -> Callable[..., Any]:
        def cursor(
            connection: Any,
            name: Any = None,
            cursor_factory: Any = None,
            *args: Any,
            **named: Any,
        ) -> Any:
            factory = cursor_factory or connection.cursor_factory or plain
            if isinstance(factory, type):
                factory = place.cursors.of(factory)
            return super(made, connection).cursor(name, factory, *args, **named)

        return cursor

    place.database.patches.swap(made, "cursor", cursor_of)
