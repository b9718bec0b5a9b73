"""SQLAlchemy: each statement timed, and shown without its values in a traced request.

    from nilometer.integrations import sqlalchemy

    sqlalchemy.install()             # every engine made from now on
    sqlalchemy.instrument(engine)    # this one, an AsyncEngine too

The three methods by which a dialect executes are replaced on the engine's own dialect object.
Event listeners would be the documented way, and cost 3.4 us a statement even when empty, and
2.7 after they have been removed. For the same reason an error here ends the span of its own
statement and no other: there is nothing to pair up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from nilometer.clock import Clock
from nilometer.integrations import costs
from nilometer.integrations.patches import Patches
from nilometer.integrations.statement import (
    NAMES_IN_DOUBLE_QUOTES,
    READ_CHARS_MAX,
    normalised,
    operation_of,
)
from nilometer.measure import REGISTRY
from nilometer.model import SpanKind
from nilometer.trace import span
from nilometer.trace.twin import wrapped
from nilometer.twin import choose

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.sql_pure import Execute
    from nilometer.measure import Registry

if not TYPE_CHECKING:
    _twin = choose("nilometer.integrations.sql_pure", "nilometer.integrations._sql")
    Execute = _twin.Execute

STATEMENTS_KEPT_MAX: Final = 500
"""Statements remembered in each of two generations, as many as SQLAlchemy keeps compiled per
engine; at most 8 kB each with their text: 8 MB at the worst, 0.3 MB as applications are. Once
the younger is full the older one goes; what was used meanwhile has become young again."""

SYSTEMS: Final = {"oracle": "oracle.db", "mssql": "microsoft.sql_server"}
"""OpenTelemetry's names for databases where they are not the dialect's."""


class Known(NamedTuple):
    """What is known of one statement: its series, and how it is executed inside a request."""

    record: Callable[[int], None]
    inside: Callable[..., Any]


class Statements:
    """What is known of statements, by their text; `young` is what the twins look into.

    A statement is read as far as its first word. What may be shown of it takes up to 0.1 ms, so
    that is found when it is first executed inside a request.
    """

    __slots__ = ("young", "_old", "_record", "_shown")

    def __init__(
        self,
        record: Callable[[str], Callable[[int], None]],
        shown: Callable[[str, str], Callable[..., Any]],
    ) -> None:
        self.young: dict[str, Known] = {}
        self._old: dict[str, Known] = {}
        self._record = record
        self._shown = shown

    def find(self, statement: str) -> Known:
        """What is known of a statement that is not young."""
        found = self._old.get(statement) or self._read(statement)
        self._keep(statement, found)
        return found

    def _read(self, statement: str) -> Known:
        operation = operation_of(statement)
        record = self._record(operation)

        def first_inside(cursor: Any, text: str, *rest: Any, **named: Any) -> Any:
            inside = self._shown(operation, text)
            self._keep(text, Known(record, inside))
            return inside(cursor, text, *rest, **named)

        return Known(record, first_inside)

    def _keep(self, statement: str, found: Known) -> None:
        if len(statement) > READ_CHARS_MAX:
            return
        if len(self.young) >= STATEMENTS_KEPT_MAX:
            self._old = dict(self.young)
            self.young.clear()
        self.young[statement] = found


class Database:
    """The instruments and the remembered statements of one dialect object."""

    __slots__ = (
        *(
            "system",
            "patches",
            "_attributes",
            "_connects",
            "_errors",
            "_double_quotes_strings",
            "_now",
        ),
        *("_timer",),
    )

    def __init__(self, engine: Any, registry: Registry, clock: Clock) -> None:
        name = engine.dialect.name
        self.system = SYSTEMS.get(name, name)
        self.patches = Patches()
        self._double_quotes_strings: bool | None = None
        if name in ("mysql", "mariadb", "sqlite"):
            self._double_quotes_strings = True
        elif name in NAMES_IN_DOUBLE_QUOTES:
            self._double_quotes_strings = False
        self._timer = registry.timer(
            "db.client.operation", description="Statements, from the call to their result."
        )
        registry.costs_also("db.client.operation", costs.statement)
        self._connects = registry.timer(
            "db.client.connect", description="Making new connections to databases."
        ).bind(**{"db.system.name": self.system})
        self._errors = registry.counter(
            "db.client.operation.errors", unit="{error}", description="Statements that raised."
        )
        self._now = clock.elapsed_ns
        self._attributes = {"db.system.name": self.system}
        if engine.url.host:
            self._attributes["server.address"] = engine.url.host
        if engine.url.database:
            self._attributes["db.namespace"] = str(engine.url.database)

    def begin(self, dialect: Any) -> None:
        """Replace what executes and what connects."""
        for method in ("do_execute", "do_executemany", "do_execute_no_params"):
            self.patches.swap(dialect, method, self._executing)
        self.patches.swap(dialect, "connect", self._connecting)

    def _executing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def shown(operation: str, statement: str) -> Callable[..., Any]:
            attributes = {
                **self._attributes,
                "db.operation.name": operation,
                "db.query.text": normalised(
                    statement, double_quotes_strings=self._double_quotes_strings
                ),
            }
            return wrapped(original, operation, attributes, None, SpanKind.CLIENT)

        known = Statements(self._record, shown)
        return Execute(original, known.young, known.find, self._failed, self._now)

    def _connecting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(*args: Any, **kwargs: Any) -> Any:
            with span("CONNECT", **self._attributes) as its_span:
                if its_span.recording:
                    its_span.kind = SpanKind.CLIENT  # type: ignore[union-attr]
                with self._connects.lap():
                    return original(*args, **kwargs)

        return connect

    def _failed(self, error: BaseException) -> None:
        self._errors.bind(
            **{"db.system.name": self.system, "error.type": type(error).__name__}
        ).add()

    def _record(self, operation: str) -> Callable[[int], None]:
        series = {"db.system.name": self.system, "db.operation.name": operation}
        return self._timer.bind(**series).record


_databases: WeakKeyDictionary[Any, Database] = WeakKeyDictionary()
_patches: Final = Patches()


def instrument(
    engine: Any, *, registry: Registry = REGISTRY, clock: Clock | None = None
) -> bool:
    """Measure this engine, an AsyncEngine too; False if it is measured already."""
    engine = getattr(engine, "sync_engine", engine)
    dialect = engine.dialect
    if dialect in _databases:
        return False
    database = Database(engine, registry, clock or Clock())
    database.begin(dialect)
    _databases[dialect] = database
    return True


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure every engine that is made from now on; False if that is done already."""
    if _patches.active:
        return False
    from sqlalchemy.engine.base import Engine

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def init(engine: Any, *args: Any, **kwargs: Any) -> None:
            original(engine, *args, **kwargs)
            instrument(engine, registry=registry)

        return init

    _patches.replace(Engine, "__init__", measured)
    return True


def uninstall() -> None:
    """Leave nothing behind: neither in SQLAlchemy nor in any engine."""
    _patches.undo()
    for database in list(_databases.values()):
        database.patches.undo()
    _databases.clear()
