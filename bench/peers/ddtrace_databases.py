"""ddtrace's integrations of databases."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from bench import databases, subjects
from bench.peers.ddtrace_library import off, tracer

if TYPE_CHECKING:
    from bench.pairs import Loop


def sqlite3_statements() -> tuple[Loop, Loop]:
    from ddtrace import patch

    bare = databases.sqlite3_statements(sqlite3.connect)
    patch(sqlite3=True)
    return bare, databases.sqlite3_statements(sqlite3.connect)


def psycopg_statements() -> tuple[Loop, Loop]:
    """Its cursor around psycopg's, as its connections give it."""
    from ddtrace import config, patch
    from ddtrace.contrib.internal.psycopg.cursor import Psycopg3TracedCursor

    patch(psycopg=True)
    cursors = databases.psycopg_cursor()
    traced = Psycopg3TracedCursor(cursors(), config.psycopg)
    return databases.psycopg_statements(cursors()), databases.psycopg_statements(traced)


def psycopg2_statements() -> tuple[Loop, Loop]:
    from ddtrace import config, patch
    from ddtrace.contrib.internal.psycopg.cursor import Psycopg2TracedCursor

    patch(psycopg=True)
    cursors = databases.psycopg2_cursor()
    traced = Psycopg2TracedCursor(cursors(), config.psycopg)
    return databases.psycopg_statements(cursors()), databases.psycopg_statements(traced)


def whole_orm_queries() -> tuple[Loop, Loop]:
    """It has nothing of its own for the ORM: what is measured is the statement."""
    from ddtrace.contrib.sqlalchemy import trace_engine

    bare, engine = subjects.sqlite_engine(), subjects.sqlite_engine()
    trace_engine(engine, tracer, "bench")
    return databases.whole_orm_queries(bare), databases.whole_orm_queries(engine)


CASES = {
    "sqlite3 untraced": off(sqlite3_statements),
    "sqlite3 traced": sqlite3_statements,
    "psycopg untraced, its call": off(psycopg_statements),
    "psycopg traced, its call": psycopg_statements,
    "psycopg2 untraced, its call": off(psycopg2_statements),
    "psycopg2 traced, its call": psycopg2_statements,
    "sql orm and statement untraced": off(whole_orm_queries),
    "sql orm and statement traced": whole_orm_queries,
}
