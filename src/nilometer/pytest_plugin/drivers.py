"""Hears what is asked of databases without SQLAlchemy: by Django, or by a driver itself."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.callers import caller
from nilometer.integrations.drivers import Subclasses
from nilometer.integrations.sqlite3 import EXECUTING, asker, fill_connection, with_factory
from nilometer.integrations.statement import text_of
from nilometer.pytest_plugin.recording import STATEMENTS, Call, heard
from nilometer.pytest_plugin.statements import NAMES_STRINGS, shown_statement

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.patches import Patches

CURSORS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "django.db.backends.utils": (("CursorWrapper", ""),),
    "psycopg.cursor": (("Cursor", "postgresql"),),
    "psycopg.cursor_async": (("AsyncCursor", "postgresql"),),
    "pymysql.cursors": (("Cursor", "mysql"),),
    "MySQLdb.cursors": (("BaseCursor", "mysql"),),
}
"""The module, and in it the classes that execute, with the database they are for."""

HEARD_ABOVE: Final = ("sqlalchemy.", "django.")
"""Whose statements are heard where they execute them, and not again in the driver below."""

NOT_THE_USERS: Final = (*HEARD_ABOVE, "aiosqlite", "coverage")
"""Whose connections to SQLite are left alone. aiosqlite executes in a thread of its own, where
nobody can tell SQLAlchemy's statements from others; coverage keeps its results in one."""

METHODS: Final[dict[str, tuple[str, ...]]] = {
    "django.db.backends.utils": ("execute", "executemany", "callproc"),
    "psycopg.cursor": ("execute", "executemany", "stream", "copy"),
    "psycopg.cursor_async": ("execute", "executemany", "stream", "copy"),
    "pymysql.cursors": ("execute", "executemany", "callproc"),
    "MySQLdb.cursors": ("execute", "executemany", "callproc"),
}
"""What of them asks one statement. Those of psycopg return what asks it once it is used."""

REQUIRED: Final = ("execute", "executemany")

FIRST: Final = ("query", "sql", "statement", "procname")
"""What the drivers call the statement, if it is given by its name."""

_inside: Final[ContextVar[bool]] = ContextVar("nilometer.inside_driver", default=False)


def listen_to_cursors(module: Any, patches: Patches) -> None:
    """Hear all cursors of this driver, those that exist already too."""
    for class_name, system in CURSORS[module.__name__]:
        for method in METHODS[module.__name__]:
            if method not in REQUIRED and not hasattr(getattr(module, class_name), method):
                continue  # an older one has it not
            verb = "call " if method == "callproc" else ""
            patches.replace(getattr(module, class_name), method, _measured(system, verb))


def _measured(system: str, verb: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def execute(cursor: Any, /, *args: Any, **named: Any) -> Any:
            if _inside.get():  # executemany, which calls execute for each row
                return original(cursor, *args, **named)
            statement = args[0] if args else next((named[n] for n in FIRST if n in named), None)
            _hear(cursor, statement, system, verb)
            token = _inside.set(True)
            try:
                return original(cursor, *args, **named)
            finally:
                _inside.reset(token)

        return execute

    return measured


def _hear(cursor: Any, statement: Any, system: str, verb: str = "") -> None:
    def call() -> Call | None:
        above = HEARD_ABOVE if system else HEARD_ABOVE[:1]
        where = caller(not_through=above)
        if where is None:
            return None
        vendor = system or cursor.db.vendor  # Django's wrapper says which
        text = verb + text_of(statement)
        return Call(STATEMENTS, shown_statement(text, vendor in NAMES_STRINGS), where)

    heard(STATEMENTS, call)


def listen_to_sqlite(module: Any, patches: Patches) -> None:
    """Hear connections that are made from now on: SQLite's own classes cannot be changed."""
    cursors = Subclasses(_fill_heard_cursor)
    connections = Subclasses(
        lambda made: fill_connection(made, cursors.of, _put), module.Connection
    )

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(*args: Any, **named: Any) -> Any:
            if not asker().startswith(NOT_THE_USERS):
                args, named = with_factory(args, named, connections.of)
            return original(*args, **named)

        return connect

    patches.replace(module, "connect", measured)


def _fill_heard_cursor(made: type) -> None:
    for method in EXECUTING:
        _put(made, method, _heard_method)


def _heard_method(original: Callable[..., Any]) -> Callable[..., Any]:
    def execute(cursor: Any, statement: Any, /, *rest: Any) -> Any:
        _hear(cursor, statement, "sqlite")
        return original(cursor, statement, *rest)

    return execute


def _put(owner: Any, name: str, measured: Callable[..., Any]) -> None:
    setattr(owner, name, measured(getattr(owner, name)))
