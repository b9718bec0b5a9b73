"""What is measured of databases: drivers, a pool, and an ORM, the same for every peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.pairs import Loop


def sqlite3_statements(connect: Any) -> Loop:
    """A loop of ``select 1`` by one cursor of a connection in memory."""
    cursor = connect(":memory:").cursor()

    def many(times: int) -> None:
        for _ in range(times):
            cursor.execute("select 1")

    return many


def psycopg_cursor() -> type:
    """psycopg's cursor with no server behind it: a statement of its takes fifty microseconds.

    What instruments it wraps `execute`, and that does nothing here.
    """
    import psycopg

    class Cursor(psycopg.Cursor[Any]):
        def __init__(self) -> None:
            pass

        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            return self

        def close(self) -> None:
            pass

    return Cursor


def psycopg2_cursor() -> type:
    """The same of psycopg2's, whose class is C's."""
    from psycopg2.extensions import cursor

    class Cursor(cursor):
        def __init__(self) -> None:
            pass

        def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 (its name there)
            return None

    return Cursor


def psycopg_statements(cursor: Any) -> Loop:
    """A loop of one statement with one parameter."""

    def many(times: int) -> None:
        for _ in range(times):
            cursor.execute("select a from t where b = %s", (1,))

    return many


def pooled_engine() -> Any:
    """An engine whose pool keeps connections."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import QueuePool

    return create_engine("sqlite://", poolclass=QueuePool)


def checkouts(engine: Any) -> Loop:
    """A loop of taking a connection from the pool and giving it back."""
    engine.raw_connection().close()

    def many(times: int) -> None:
        for _ in range(times):
            engine.raw_connection().close()

    return many


def orm_session(engine: Any) -> Any:
    """A session, and a model with one object in its table."""
    import sqlalchemy as sa
    from sqlalchemy import orm

    mappers = orm.registry()
    table = sa.Table("items", mappers.metadata, sa.Column("id", sa.Integer, primary_key=True))
    item = type("Item", (), {})
    mappers.map_imperatively(item, table)
    mappers.metadata.create_all(engine)
    session = orm.Session(engine)
    session.add(item(id=7))
    session.commit()
    return session, item


def whole_orm_queries(engine: Any) -> Loop:
    """A loop of whole queries in one transaction: executed, read, and their object found."""
    import sqlalchemy as sa

    session, item = orm_session(engine)
    statement = sa.select(item)

    def many(times: int) -> None:
        for _ in range(times):
            session.scalars(statement).all()

    return many


def orm_chunks(size: Any) -> Iterator[list[int]]:
    """The objects that a query loads, in chunks."""
    yield [7]


class OrmResult:
    """A result of the ORM: what gives its chunks."""

    def __init__(self, metadata: Any, chunks: Any) -> None:
        self.chunks = chunks


def orm_queries(execute: Any) -> Loop:
    """A loop of executing a query and reading its result to the end.

    A whole one takes two hundred microseconds, and varies by more than is added to it.
    """
    import sqlalchemy as sa
    from sqlalchemy import orm

    mappers = orm.registry()
    table = sa.Table("items", mappers.metadata, sa.Column("id", sa.Integer, primary_key=True))
    item = type("Item", (), {})
    mappers.map_imperatively(item, table)
    statement = sa.select(item)

    def many(times: int) -> None:
        for _ in range(times):
            for _ in execute(None, statement).chunks(None):
                pass

    return many
