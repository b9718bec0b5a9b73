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


def psycopg_statements(*, active: bool = False, level: str = "basic") -> Pair:
    cursors = databases.psycopg_cursor()
    database = Instruments("psycopg", REGISTRY).database("postgresql", {})
    measured = type("Cursor", (cursors,), {"execute": database.executing(cursors.execute)})
    nilometer.set_level("integrations.psycopg", level)
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


def whole_orm_queries(*, active: bool = False, level: str = "basic") -> Pair:
    """The query of the ORM with its statement; both sides look for results in one place."""
    from sqlalchemy.orm import loading

    plain = databases.whole_orm_queries(subjects.sqlite_engine())
    engine, before = subjects.sqlite_engine(), loading.ChunkedIteratorResult
    sqlalchemy.instrument(engine)
    sqlalchemy_orm.install()
    for integration in ("sqlalchemy", "sqlalchemy_orm"):
        nilometer.set_level(f"integrations.{integration}", level)
    ours, whole = loading.ChunkedIteratorResult, databases.whole_orm_queries(engine)

    def bare(times: int) -> None:
        loading.ChunkedIteratorResult = before
        plain(times)

    def measured(times: int) -> None:
        loading.ChunkedIteratorResult = ours
        whole(times)

    return paired(bare, measured, active=active)


def orm_queries(*, active: bool = False, level: str = "basic") -> Pair:
    """All that is added to a query of the ORM, around a query that does nothing."""
    models = sqlalchemy_orm.Models(REGISTRY)
    made = sqlalchemy_orm.results(databases.OrmResult)
    executes = models.executing(lambda session, statement: made(None, databases.orm_chunks))

    nilometer.set_level("integrations.sqlalchemy_orm", level)

    def bare(session: object, statement: object) -> Any:
        return databases.OrmResult(None, databases.orm_chunks)

    return paired(databases.orm_queries(bare), databases.orm_queries(executes), active=active)


CASES = {
    "sqlite3 switched off": lambda: sqlite3_statements(level="off"),
    "sqlite3 untraced": sqlite3_statements,
    "sqlite3 traced": lambda: sqlite3_statements(active=True),
    "psycopg switched off, its call": lambda: psycopg_statements(level="off"),
    "psycopg untraced, its call": psycopg_statements,
    "psycopg traced, its call": lambda: psycopg_statements(active=True),
    "sql pool switched off": lambda: checkouts(level="off"),
    "sql pool untraced": checkouts,
    "sql orm switched off, its call": lambda: orm_queries(level="off"),
    "sql orm untraced, its call": orm_queries,
    "sql orm traced, its call": lambda: orm_queries(active=True),
    "sql orm and statement switched off": lambda: whole_orm_queries(level="off"),
    "sql orm and statement untraced": whole_orm_queries,
    "sql orm and statement traced": lambda: whole_orm_queries(active=True),
}
