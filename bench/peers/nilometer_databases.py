"""Nilometer's integrations of databases, in both twins."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import nilometer
from bench import databases, subjects
from bench.pairs import Pair
from bench.peers.nilometer_library import RING_SHARE, enter_a_trace
from nilometer.integrations import sqlalchemy, sqlalchemy_orm
from nilometer.integrations.databases import Instruments
from nilometer.measure import REGISTRY
from nilometer.trace import drain_spans

if TYPE_CHECKING:
    from bench.pairs import Loop


def paired(bare: Loop, measured: Loop, *, active: bool) -> Pair:
    """Both sides; all that follows happens inside one traced request, or in none."""
    if active:
        enter_a_trace()
        return Pair(bare, measured, drain_spans, RING_SHARE)
    return Pair(bare, measured)


def sqlite3_statements(*, active: bool = False, level: str = "basic") -> Pair:
    from nilometer.integrations import sqlite3 as ours

    bare = databases.sqlite3_statements(sqlite3.connect)
    ours.install()
    nilometer.set_level("integrations.sqlite3", level)
    return paired(bare, databases.sqlite3_statements(sqlite3.connect), active=active)


def psycopg_statements(
    name: str = "psycopg", *, active: bool = False, level: str = "basic"
) -> Pair:
    """Of psycopg 3, or 2: both are measured by a subclass of their cursors."""
    is_2 = name == "psycopg2"
    cursors: Any = databases.psycopg2_cursor() if is_2 else databases.psycopg_cursor()
    database = Instruments(name, REGISTRY).database("postgresql", {})
    measured = type("Cursor", (cursors,), {"execute": database.executing(cursors.execute)})
    nilometer.set_level(f"integrations.{name}", level)
    return paired(
        databases.psycopg_statements(cursors()),
        databases.psycopg_statements(measured()),
        active=active,
    )


def checkouts(*, level: str = "basic") -> Pair:
    bare, engine = databases.pooled_engine(), databases.pooled_engine()
    sqlalchemy.instrument(engine)
    nilometer.set_level("integrations.sqlalchemy", level)
    return Pair(databases.checkouts(bare), databases.checkouts(engine))


def orm_queries(*, active: bool = False, level: str = "basic", statement: bool = False) -> Pair:
    """All that is added to a query of the ORM, around one that does nothing but a statement."""
    models = sqlalchemy_orm.Models(REGISTRY)
    made = models.results(databases.OrmResult)
    before, engine = subjects.sqlite_engine(), subjects.sqlite_engine()
    sqlalchemy.instrument(engine)
    for integration in ("sqlalchemy", "sqlalchemy_orm"):
        nilometer.set_level(f"integrations.{integration}", level)

    def executing(engine: Any, result: Any) -> Any:
        cursor, execute = engine.raw_connection().cursor(), engine.dialect.do_execute

        def executed(session: object, query: object) -> Any:
            if statement:
                execute(cursor, "select 1", (), None)
            return result(None, databases.orm_chunks)

        return executed

    bare = executing(before, databases.OrmResult)
    executes = models.executing(executing(engine, made))
    return paired(databases.orm_queries(bare), databases.orm_queries(executes), active=active)


CASES = {
    "sqlite3 switched off": lambda: sqlite3_statements(level="off"),
    "sqlite3 untraced": sqlite3_statements,
    "sqlite3 traced": lambda: sqlite3_statements(active=True),
    "psycopg switched off, its call": lambda: psycopg_statements(level="off"),
    "psycopg untraced, its call": psycopg_statements,
    "psycopg traced, its call": lambda: psycopg_statements(active=True),
    "psycopg2 switched off, its call": lambda: psycopg_statements("psycopg2", level="off"),
    "psycopg2 untraced, its call": lambda: psycopg_statements("psycopg2"),
    "psycopg2 traced, its call": lambda: psycopg_statements("psycopg2", active=True),
    "sql pool switched off": lambda: checkouts(level="off"),
    "sql pool untraced": checkouts,
    "sql orm switched off, its call": lambda: orm_queries(level="off"),
    "sql orm untraced, its call": orm_queries,
    "sql orm traced, its call": lambda: orm_queries(active=True),
    "sql orm and statement switched off": lambda: orm_queries(level="off", statement=True),
    "sql orm and statement untraced": lambda: orm_queries(statement=True),
    "sql orm and statement traced": lambda: orm_queries(active=True, statement=True),
}
