"""OpenTelemetry's instrumentations of databases; that of sqlite3 is the one of DB-API."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.psycopg import _new_cursor_factory
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from bench import databases, subjects
from bench.peers.opentelemetry_sdk import meters, tracers

if TYPE_CHECKING:
    from bench.pairs import Loop


def sqlite3_statements(sampler: Sampler) -> tuple[Loop, Loop]:
    bare = databases.sqlite3_statements(sqlite3.connect)
    SQLite3Instrumentor().instrument(tracer_provider=tracers(sampler))
    return bare, databases.sqlite3_statements(sqlite3.connect)


def psycopg_statements(sampler: Sampler) -> tuple[Loop, Loop]:
    bare = databases.psycopg_cursor()
    traced = _new_cursor_factory(base_factory=bare, tracer_provider=tracers(sampler))
    return databases.psycopg_statements(bare()), databases.psycopg_statements(traced())


def psycopg2_statements(sampler: Sampler) -> tuple[Loop, Loop]:
    from opentelemetry.instrumentation import psycopg2

    bare = databases.psycopg2_cursor()
    traced = psycopg2._new_cursor_factory(base_factory=bare, tracer_provider=tracers(sampler))
    return databases.psycopg_statements(bare()), databases.psycopg_statements(traced())


def checkouts() -> tuple[Loop, Loop]:
    bare, engine = databases.pooled_engine(), databases.pooled_engine()
    instrument(engine, ALWAYS_OFF)
    return databases.checkouts(bare), databases.checkouts(engine)


def whole_orm_queries(sampler: Sampler) -> tuple[Loop, Loop]:
    """It has nothing of its own for the ORM: what is measured is the statement."""
    bare, engine = subjects.sqlite_engine(), subjects.sqlite_engine()
    instrument(engine, sampler)
    return databases.whole_orm_queries(bare), databases.whole_orm_queries(engine)


def instrument(engine: Any, sampler: Sampler) -> None:
    SQLAlchemyInstrumentor().instrument(
        engine=engine,
        tracer_provider=tracers(sampler),
        meter_provider=meters(),
        skip_dep_check=True,
    )


CASES = {
    "sqlite3 untraced": lambda: sqlite3_statements(ALWAYS_OFF),
    "sqlite3 traced": lambda: sqlite3_statements(ALWAYS_ON),
    "psycopg untraced, its call": lambda: psycopg_statements(ALWAYS_OFF),
    "psycopg traced, its call": lambda: psycopg_statements(ALWAYS_ON),
    "psycopg2 untraced, its call": lambda: psycopg2_statements(ALWAYS_OFF),
    "psycopg2 traced, its call": lambda: psycopg2_statements(ALWAYS_ON),
    "sql pool untraced": checkouts,
    "sql orm and statement untraced": lambda: whole_orm_queries(ALWAYS_OFF),
    "sql orm and statement traced": lambda: whole_orm_queries(ALWAYS_ON),
}
