"""Drivers of databases (PEP 249): their cursors are measured where no SQLAlchemy is above them.

A connection becomes one of a subclass of its own class, whose cursors are of subclasses that
measure: nothing is a proxy, `isinstance` holds, and who asks for a cursor of another class gets
a measured one of it. The classes are made once for each database, since its name is in spans.
"""

from __future__ import annotations

from contextlib import nullcontext
from contextvars import ContextVar
from functools import partial
from types import MethodType, new_class
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.databases import Instruments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from nilometer.integrations.databases import Database
    from nilometer.measure import Registry

CONNECTING: Final[ContextVar[bool]] = ContextVar("nilometer.connecting", default=False)
"""While a pool of SQLAlchemy makes a connection: what it does is measured there, not here."""

CLASSES_MAX: Final = 200
"""Classes of one kind and database, 2 KiB each with their subclass. They stand in source code;
what makes more of them while it runs stays unmeasured beyond."""

PLACES_MAX: Final = 100
"""Databases of one driver that are told apart in spans, 10 KiB each with their classes."""


class Subclasses:
    """A subclass of each class that is asked for; ``fill(subclass)`` makes it ours, once.

    Of a class that is derived from `lowest`, ours lies next to that: methods that override
    those of `lowest` stay what they are, and what they call of it is ours. A class that lets
    nobody derive from it is its own, which `failed` is told.
    """

    __slots__ = ("_fill", "_lowest", "_failed", "_made")

    def __init__(
        self,
        fill: Callable[[type], object],
        lowest: type | None = None,
        failed: Callable[[Exception], object] = str,
    ) -> None:
        self._fill = fill
        self._lowest = lowest
        self._failed = failed
        self._made: dict[type, type] = {}

    def of(self, base: type) -> type:
        """The subclass of that class; a subclass of ours is its own."""
        try:
            found = self._made.get(base)
        except Exception as error:  # noqa: BLE001  its metaclass has no hash: it serves as it is
            self._failed(error)
            return base
        if found is not None:
            return found
        if len(self._made) >= CLASSES_MAX:
            return base
        try:
            made = self._derived(base)
        except Exception as error:  # noqa: BLE001  it serves all the same
            self._failed(error)
            made = base
        self._made[base] = self._made[made] = made
        return made

    def _derived(self, base: type) -> type:
        lowest = self._lowest
        if lowest is not None and base is not lowest and issubclass(base, lowest):
            return _subclass(base, self.of(lowest))
        made = _subclass(base)
        self._fill(made)
        return made


def _subclass(base: type, *others: type) -> type:
    return new_class(
        base.__name__, (base, *others), exec_body=lambda body: body.update(_named(base))
    )


def _named(base: type) -> dict[str, Any]:
    """What a class is called; without slots of its own, objects may change into it."""
    return {
        "__slots__": (),
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
    }


class Driver:
    """One driver: `fill` makes a class of its cursors measure, for one database.

    `fill_connections` makes a class of connections give such cursors; by default they are what
    its ``cursor`` gives, and change their class. `lowest` is that of `Subclasses`, of them.
    """

    __slots__ = ("instruments", "fill", "fill_connections", "lowest", "_system", "_places")

    def __init__(
        self,
        integration: str,
        system: str,
        fill: Callable[[Database, type], object],
        registry: Registry,
        *,
        fill_connections: Callable[[Place, type], object] | None = None,
        lowest: type | None = None,
        parameters: bool = False,
    ) -> None:
        self.instruments = Instruments(integration, registry, parameters=parameters)
        self.fill = fill
        self.fill_connections = fill_connections or Place.change_cursors
        self.lowest = lowest
        self._system = system
        self._places: dict[tuple[tuple[str, str], ...], Place] = {}

    def place(self, told: Mapping[str, object]) -> Place:
        """The database of these attributes; beyond `PLACES_MAX` they are left out."""
        key = tuple((name, str(value)) for name, value in told.items() if value)
        found = self._places.get(key)
        if found is None:
            if len(self._places) >= PLACES_MAX and key:
                return self.place({})
            database = self.instruments.database(self._system, dict(key))
            found = self._places[key] = Place(self, database)
        return found

    def connecting(self) -> AbstractContextManager[object]:
        """For a ``with`` statement around making a connection."""
        try:
            return self.place({}).database.connecting()
        except Exception as error:  # noqa: BLE001  it is made all the same
            self.instruments.failed("a connection", error)
            return nullcontext()

    def adopt(self, connection: Any, told: Mapping[str, object]) -> None:
        """Measure what this connection does; if that cannot be, it stays what it was."""
        try:
            place = self.place(told)
            connection.__class__ = place.connections.of(type(connection))
        except Exception as error:  # noqa: BLE001  it serves all the same
            self.instruments.failed("a connection", error)

    def end(self) -> None:
        """Put everything back; objects of our classes do what those of their own did."""
        self.instruments.end()


class Place:
    """The classes of one database."""

    __slots__ = ("database", "connections", "cursors", "_driver")

    def __init__(self, driver: Driver, database: Database) -> None:
        self.database = database
        failed = driver.instruments.failed
        self.connections = Subclasses(
            lambda made: driver.fill_connections(self, made),
            driver.lowest,
            partial(failed, "a connection"),
        )
        self.cursors = Subclasses(
            lambda made: driver.fill(database, made), failed=partial(failed, "a cursor")
        )
        self._driver = driver

    def change_cursors(self, made: type) -> None:
        """Let what ``cursor`` gives in this class of connections change its class."""

        def measured(original: Callable[..., Any]) -> Callable[..., Any]:
            def cursor(*args: Any, **named: Any) -> Any:
                given = original(*args, **named)
                try:
                    given.__class__ = self.cursors.of(type(given))
                except Exception as error:  # noqa: BLE001  it serves all the same
                    self._driver.instruments.failed("a cursor", error)
                return given

            return cursor

        self.database.patches.swap(made, "cursor", measured)


def executing(database: Database, made: type, *methods: str) -> None:
    """Measure these methods of a class of cursors."""
    for method in methods:
        database.patches.swap(made, method, database.executing)


def executing_many(database: Database, made: type) -> None:
    """Measure ``executemany`` where it calls ``execute``: what it calls is a part of it."""
    single = made.execute.original  # type: ignore[attr-defined]

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def many(cursor: Any, *args: Any, **named: Any) -> Any:
            cursor.execute = MethodType(single, cursor)
            try:
                return original(cursor, *args, **named)
            finally:
                del cursor.execute

        return database.executing(many)

    database.patches.swap(made, "executemany", measured)
