"""ddtrace's integrations of drivers of MySQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import mysql
from bench.peers.ddtrace_http import patched
from bench.peers.ddtrace_library import off

if TYPE_CHECKING:
    from bench.pairs import Loop


def pymysql() -> tuple[Loop, Loop]:
    return patched("pymysql", mysql.pymysql_statements)


def mysqlclient() -> tuple[Loop, Loop]:
    """Its connection around mysqlclient's, as ``MySQLdb.connect`` gives it."""
    from ddtrace import patch
    from ddtrace.contrib.internal.mysqldb.patch import patch_conn

    patch(mysqldb=True)
    traced = patch_conn(mysql.Connection(), **mysql.SERVER)
    bare = mysql.mysqlclient_statements(mysql.Connection())
    return bare, mysql.mysqlclient_statements(traced)


CASES = {
    "pymysql untraced": off(pymysql),
    "pymysql traced": pymysql,
    "mysqlclient untraced": off(mysqlclient),
    "mysqlclient traced": mysqlclient,
}
