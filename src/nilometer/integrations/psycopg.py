"""psycopg 3, sync and async: statements and connects, where no SQLAlchemy is above it."""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.drivers import CONNECTING, Driver, executing
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY
from nilometer.measure.decorate import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.databases import Database
    from nilometer.measure import Registry

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY, parameters: bool = False) -> bool:
    """Measure all connections that are made from now on; False if that is done already.

    AttributeError if this psycopg is built otherwise; then it is left as it was.
    """
    if _patches.active:
        return False
    import psycopg

    driver = Driver("psycopg", "postgresql", _fill, registry, parameters=parameters)
    _patches.also_end(driver)
    with _patches:
        for connections in (psycopg.Connection, psycopg.AsyncConnection):
            _patches.swap(connections, "connect", _connecting(driver))
        _patches.replace(psycopg, "connect", lambda _: _connect)  # made of the class's before
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


def _connect(*args: Any, **named: Any) -> Any:
    from psycopg import Connection

    return Connection.connect(*args, **named)


def _fill(database: Database, made: type) -> None:
    if kind_of(made.execute) != "coroutine":  # type: ignore[attr-defined]
        executing(database, made, "execute", "executemany")
        return
    for method in ("execute", "executemany"):
        database.patches.swap(made, method, database.awaiting)


def _connecting(driver: Driver) -> Callable[[Any], Any]:
    """For the place of a class's ``connect``."""

    def is_ours() -> bool:
        return driver.instruments.depth.on and not CONNECTING.get()

    def adopted(connection: Any) -> Any:
        if not CONNECTING.get():
            told = connection.info
            driver.adopt(connection, {"server.address": told.host, "db.namespace": told.dbname})
        return connection

    def measured(bound: Any) -> Any:
        original = bound.__func__

        def connect(*args: Any, **named: Any) -> Any:
            if not is_ours():
                return adopted(original(*args, **named))
            with driver.connecting():
                return adopted(original(*args, **named))

        async def connect_async(*args: Any, **named: Any) -> Any:
            if not is_ours():
                return adopted(await original(*args, **named))
            with driver.connecting():
                return adopted(await original(*args, **named))

        made = connect_async if kind_of(original) == "coroutine" else connect
        return classmethod(update_wrapper(made, original))

    return measured
