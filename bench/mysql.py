"""Drivers of MySQL whose server answers at once, the same for every peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.pairs import Loop

SERVER = {"host": "127.0.0.1", "port": 3306, "user": "bench", "database": "shop"}


def statements(cursor: Any) -> Loop:
    """A loop of ``select 1`` by one cursor."""

    def many(times: int) -> None:
        for _ in range(times):
            cursor.execute("select 1")

    return many


def pymysql_statements() -> Loop:
    """Of PyMySQL; a connection that is deferred asks no server."""
    import pymysql
    from pymysql.cursors import Cursor

    class Answered(Cursor):
        def _query(self, q: Any) -> int:
            return 1

    connection = pymysql.connect(**SERVER, cursorclass=Answered, defer_connect=True)
    return statements(connection.cursor())


class Connection:
    """Stands for mysqlclient's connection, which is made by its library in C."""

    encoding = "utf8"
    port = 3306

    def __init__(self, **named: Any) -> None:
        pass

    def cursor(self) -> Any:
        """One of mysqlclient's, which gets as far as to the query that it sends."""
        from MySQLdb.cursors import Cursor

        class Answered(Cursor):
            def _query(self, q: Any) -> int:
                return 1

        return Answered(self)

    def next_result(self) -> int:
        return -1


def mysqlclient_statements(connection: Any) -> Loop:
    """Of mysqlclient."""
    return statements(connection.cursor())
