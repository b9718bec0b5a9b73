"""sqlite3: statements and connects, where no SQLAlchemy is above it.

Its classes are C's and cannot be changed. But a connection may be of any subclass, and so may
its cursors; `connect` is asked for such a one.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.drivers import CONNECTING, Driver, executing
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from nilometer.integrations.databases import Database
    from nilometer.integrations.drivers import Place
    from nilometer.measure import Registry

EXECUTING: Final = ("execute", "executemany", "executescript")

IN_THREADS_OF_ITS_OWN: Final = ("aiosqlite",)
"""Whose connections are left alone: nobody can tell there what belongs to SQLAlchemy."""

FACTORY_POSITION: Final = (
    5  # connect(database, timeout, detect_types, isolation, thread, factory)
)

_patches: Final = Patches()
_driver: Final[list[Driver]] = []


def install(*, registry: Registry = REGISTRY, parameters: bool = False) -> bool:
    """Measure all connections that are made from now on; False if that is done already."""
    if _patches.active:
        return False
    import sqlite3

    driver = Driver(
        "sqlite3",
        "sqlite",
        _fill,
        registry,
        fill_connections=_fill_connections,
        lowest=sqlite3.Connection,
        parameters=parameters,
    )
    _driver.append(driver)

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(*args: Any, **named: Any) -> Any:
            if CONNECTING.get() or asker().startswith(IN_THREADS_OF_ITS_OWN):
                return original(*args, **named)
            try:
                args, named = _measured_arguments(driver, args, named)
            except Exception as error:  # noqa: BLE001  it serves all the same
                driver.instruments.failed("a connection", error)
            if not driver.instruments.depth.on:
                return original(*args, **named)
            with driver.connecting():
                return original(*args, **named)

        return connect

    for module in (sqlite3, sqlite3.dbapi2):
        _patches.replace(module, "connect", measured)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()
    while _driver:
        _driver.pop().end()


def asker() -> str:
    """The module that calls, beyond whoever replaced the function that is called."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if not name.startswith("nilometer."):
            return name
        frame = frame.f_back
    return ""


def with_factory(
    args: tuple[Any, ...], named: Mapping[str, Any], subclass: Callable[[type], type]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of ``connect``, for a subclass of the class that they ask for.

    A factory that is no class stays what it is.
    """
    from sqlite3 import Connection

    if len(args) > FACTORY_POSITION:
        factory = args[FACTORY_POSITION]
        if isinstance(factory, type):
            args = (
                *args[:FACTORY_POSITION],
                subclass(factory),
                *args[FACTORY_POSITION + 1 :],
            )
        return args, dict(named)
    factory = named.get("factory", Connection)
    if isinstance(factory, type):
        factory = subclass(factory)
    return args, {**named, "factory": factory}


def fill_connection(
    made: Any, cursors: Callable[[type], type], put: Callable[[Any, str, Any], object]
) -> None:
    """Let SQLite's class of connections make cursors of other classes: ``cursors(class)``.

    What is to become its methods is ``put(class, name, measured)``, as by `Patches.swap`.
    """
    from sqlite3 import Cursor

    def cursor_of(_: Callable[..., Any]) -> Callable[..., Any]:
        def cursor(connection: Any, /, factory: Any = Cursor, *rest: Any, **named: Any) -> Any:
            if isinstance(factory, type):
                factory = cursors(factory)
            return super(made, connection).cursor(factory, *rest, **named)

        return cursor

    def by_cursor(method: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def measured(_: Callable[..., Any]) -> Callable[..., Any]:
            def execute(connection: Any, /, *args: Any, **named: Any) -> Any:
                cursor = super(made, connection).cursor(cursors(Cursor))
                return getattr(cursor, method)(*args, **named)

            return execute

        return measured

    put(made, "cursor", cursor_of)
    for method in EXECUTING:
        # SQLite's own make a cursor of its own class, whatever anybody's `cursor` does.
        put(made, method, by_cursor(method))


def _fill(database: Database, made: type) -> None:
    executing(database, made, *EXECUTING)


def _fill_connections(place: Place, made: type) -> None:
    fill_connection(made, place.cursors.of, place.database.patches.swap)


def _measured_arguments(
    driver: Driver, args: tuple[Any, ...], named: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    file = args[0] if args else named.get("database")
    place = driver.place({"db.namespace": file if not isinstance(file, bytes) else None})
    return with_factory(args, named, place.connections.of)
