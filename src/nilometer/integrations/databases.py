"""Databases: what is measured of statements and connects, whoever executes and makes them.

A statement is known by its text: in which series it counts, how it runs in a traced request.
"""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakSet

from nilometer.clock import elapsed_ns
from nilometer.integrations import costs, faults
from nilometer.integrations.callers import where
from nilometer.integrations.calls import Call, Calls, Operation
from nilometer.integrations.patches import Patches
from nilometer.integrations.statement import (
    NAMES_IN_DOUBLE_QUOTES,
    READ_CHARS_MAX,
    named_statement,
    normalised,
    operation_of,
    text_of,
)
from nilometer.integrations.statement_parameters import parameters_of, takes_batches
from nilometer.model import SpanKind
from nilometer.trace import CURRENT
from nilometer.trace.steps import awaited
from nilometer.trace.twin import wrapped
from nilometer.twin import choose

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from nilometer.integrations.sql_pure import Asked as Asked
    from nilometer.integrations.sql_pure import Connecting as Connecting
    from nilometer.integrations.sql_pure import Execute as Execute
    from nilometer.integrations.sql_pure import Query as Query
    from nilometer.integrations.sql_pure import Results as Results
    from nilometer.measure import Registry

if not TYPE_CHECKING:
    _twin = choose("nilometer.integrations.sql_pure", "nilometer.integrations._sql")
    Asked = _twin.Asked
    Connecting = _twin.Connecting
    Execute = _twin.Execute
    Query = _twin.Query
    Results = _twin.Results

STATEMENTS_KEPT_MAX: Final = 500
"""Statements remembered in each of two generations, as many as SQLAlchemy keeps compiled per
engine; at most 8 kB each with their text: 8 MB at the worst, 0.3 MB as applications are. Once
the younger is full the older one goes; what was used meanwhile has become young again."""

SYSTEMS: Final = {"oracle": "oracle.db", "mssql": "microsoft.sql_server"}
"""OpenTelemetry's names for databases where they are not the dialect's."""

_STRINGS_IN_DOUBLE_QUOTES: Final = frozenset(["mysql", "mariadb", "sqlite"])


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

    def find(self, statement: object) -> Known:
        """What is known of a statement that is not young; it need not be text."""
        text = text_of(statement)
        found = self.young.get(text) or self._old.get(text) or self._read(text)
        self._keep(text, found)
        return found

    def forget(self) -> None:
        """Read all anew: they are to be shown otherwise."""
        self._old = {}
        self.young.clear()

    def _read(self, text: str) -> Known:
        operation = operation_of(text)
        record = self._record(operation)

        def first_inside(*args: Any, **named: Any) -> Any:
            inside = self._shown(operation, text)
            self._keep(text, Known(record, inside))
            return inside(*args, **named)

        return Known(record, first_inside)

    def _keep(self, text: str, found: Known) -> None:
        if len(text) > READ_CHARS_MAX:
            return
        if len(self.young) >= STATEMENTS_KEPT_MAX:
            self._old = dict(self.young)
            self.young.clear()
        self.young[text] = found


class Instruments:
    """What one integration measures of databases in one registry, as deep as its level says.

    With `parameters` spans tell what statements were given, too.
    """

    __slots__ = (
        *("integration", "parameters", "registry", "depth", "connects", "timer", "errors"),
        *("_all", "__weakref__"),
    )

    def __init__(
        self, integration: str, registry: Registry, *, parameters: bool = False
    ) -> None:
        self.integration = integration
        self.parameters = parameters
        self.registry = registry
        self.connects = Calls(
            integration,
            "db.client.connect",
            description="Making new connections to databases.",
            registry=registry,
            rests=True,
        )
        self.depth = self.connects.depth
        self.timer = registry.timer(
            "db.client.operation", description="Statements, from the call to their result."
        )
        registry.costs_also("db.client.operation", costs.statement)
        self.errors = registry.counter(
            "db.client.operation.errors", unit="{error}", description="Statements that raised."
        )
        self._all: WeakSet[Database] = WeakSet()
        registry.followers.append(self._follow)
        _every.add(self)

    def database(
        self, system: str, attributes: Mapping[str, str], dialect: str = ""
    ) -> Database:
        """One more database, of this system; `attributes` say which, in spans."""
        made = Database(self, system, attributes, dialect or system)
        self._all.add(made)
        return made

    def show_parameters(self, shown: bool) -> None:
        """From now on spans tell what statements were given, or do not."""
        self.parameters = shown
        self._follow()

    def failed(self, what: str, error: Exception) -> None:
        """Tell that we failed, and left this unmeasured."""
        faults.ours(self.integration, what, error, self.registry)

    def end(self) -> None:
        """Put everything back, and follow the levels no more."""
        for database in list(self._all):
            database.patches.undo()
        if self._follow in self.registry.followers:
            self.registry.followers.remove(self._follow)
        self.depth.end()

    def _follow(self) -> None:
        for database in list(self._all):
            database.follow()


_every: Final[WeakSet[Instruments]] = WeakSet()


def show_parameters(shown: bool, integrations: Collection[str]) -> None:
    """From now on spans of these integrations tell what statements were given, or do not."""
    for one in list(_every):
        if one.integration in integrations:
            one.show_parameters(shown)


class Switch:
    """Whether something measures."""

    __slots__ = ("on",)

    def __init__(self) -> None:
        self.on = True


class Database:
    """The series and the remembered statements of one database, and what was put in for it."""

    __slots__ = (
        *("system", "patches", "connect", "_of", "_attributes", "_double_quotes_strings"),
        *("_switches", "__weakref__"),
    )

    def __init__(
        self, of: Instruments, system: str, attributes: Mapping[str, str], dialect: str
    ) -> None:
        self.system = SYSTEMS.get(system, system)
        self.patches = Patches()
        self._of = of
        self._attributes = {"db.system.name": self.system, **attributes}
        self._double_quotes_strings: bool | None = None
        if dialect in _STRINGS_IN_DOUBLE_QUOTES:
            self._double_quotes_strings = True
        elif dialect in NAMES_IN_DOUBLE_QUOTES:
            self._double_quotes_strings = False
        self._switches: list[tuple[Any, Statements]] = []
        self.connect = Operation(
            of.connects, "CONNECT", {"db.system.name": self.system}, {**self._attributes}
        )

    def executing(self, original: Callable[..., Any]) -> Execute:
        """What executes statements as `original` does, which takes a cursor and a statement."""
        statements, find = self._known(original, None)
        execute = Execute(original, statements.young, find, self.failed, elapsed_ns)
        self._follow(execute, statements)
        return execute

    def awaiting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The same of a coroutine function."""
        statements, find = self._known(original, awaited)
        young, current, switch = statements.young, CURRENT.get, Switch()
        self._follow(switch, statements)

        async def execute(*args: Any, **named: Any) -> Any:
            if not switch.on:
                return await original(*args, **named)
            statement = args[1] if len(args) > 1 else named_statement(named)
            found = (type(statement) is str and young.get(statement)) or find(statement)
            run = original if current() is None else found.inside
            started = elapsed_ns()
            try:
                return await run(*args, **named)
            except BaseException as error:
                self.failed(error)
                raise
            finally:
                found.record(elapsed_ns() - started)

        return update_wrapper(execute, original)

    def connecting(self) -> Call:
        """For a ``with`` statement around making a connection."""
        return Call(self.connect)

    def follow(self) -> None:
        """Take over what the levels say now."""
        for switch, statements in self._switches:
            switch.on = self._of.depth.on
            statements.forget()

    def failed(self, error: BaseException) -> None:
        """Count what a statement raised."""
        self._of.errors.bind(
            **{"db.system.name": self.system, "error.type": type(error).__name__}
        ).add()

    def _follow(self, switch: Any, statements: Statements) -> None:
        switch.on = self._of.depth.on
        self._switches.append((switch, statements))

    def _known(
        self, original: Callable[..., Any], driver: Callable[..., Any] | None
    ) -> tuple[Statements, Callable[[object], Known]]:
        """What is known of statements, and what finds it and never fails."""

        def shown(operation: str, text: str) -> Callable[..., Any]:
            return self._shown(original, driver, operation, text)

        statements = Statements(self._record, shown)
        unknown = Known(_nothing, original)

        def find(statement: object) -> Known:
            try:
                return statements.find(statement)
            except Exception as error:  # noqa: BLE001  it is executed all the same
                self._of.failed("a statement", error)
                return unknown

        return statements, find

    def _record(self, operation: str) -> Callable[[int], None]:
        series = {"db.system.name": self.system, "db.operation.name": operation}
        return self._of.timer.bind(**series).record

    def _shown(
        self,
        original: Callable[..., Any],
        driver: Callable[..., Any] | None,
        operation: str,
        text: str,
    ) -> Callable[..., Any]:
        """The original with a span around it; DEEP down, with the place of the caller, and with
        the parameters where they are asked for.

        `driver` runs the coroutines that it makes, if it makes some.
        """
        try:
            shown = normalised(text, double_quotes_strings=self._double_quotes_strings)
        except Exception as error:  # noqa: BLE001  it is executed all the same, without text
            self._of.failed("the text of a statement", error)
            shown = ""
        attributes: dict[str, Any] = {
            **self._attributes,
            "db.operation.name": operation,
            "db.query.text": shown,
        }
        deep = self._of.depth.deep
        parameters = self._of.parameters and not takes_batches(original)
        if not deep and not parameters:
            return wrapped(original, operation, attributes, driver, SpanKind.CLIENT)

        def told_more(*args: Any, **named: Any) -> Any:
            here = {**attributes, **(where() if deep else {})}
            if parameters:
                here.update(self._parameters(args, named))
            return wrapped(original, operation, here, driver, SpanKind.CLIENT)(*args, **named)

        return told_more

    def _parameters(self, args: tuple[Any, ...], named: dict[str, Any]) -> dict[str, str]:
        try:
            return parameters_of(args, named)
        except Exception as error:  # noqa: BLE001  it is executed all the same, without them
            self._of.failed("the parameters of a statement", error)
            return {}


def _nothing(_elapsed_ns: int) -> None:
    """Record nothing."""
