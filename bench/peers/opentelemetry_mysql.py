"""OpenTelemetry's instrumentations of drivers of MySQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.instrumentation.mysqlclient import MySQLClientInstrumentor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from bench import mysql
from bench.peers.opentelemetry_sdk import store, tracers

if TYPE_CHECKING:
    from bench.pairs import Loop

PYMYSQL = "pymysql:PyMySQLInstrumentor"


def mysqlclient(sampler: Sampler) -> tuple[Loop, Loop]:
    traced = MySQLClientInstrumentor().instrument_connection(
        mysql.Connection(), tracer_provider=tracers(sampler)
    )
    bare = mysql.mysqlclient_statements(mysql.Connection())
    return bare, mysql.mysqlclient_statements(traced)


CASES = {
    "pymysql untraced": lambda: store(PYMYSQL, mysql.pymysql_statements, ALWAYS_OFF),
    "pymysql traced": lambda: store(PYMYSQL, mysql.pymysql_statements, ALWAYS_ON),
    "mysqlclient untraced": lambda: mysqlclient(ALWAYS_OFF),
    "mysqlclient traced": lambda: mysqlclient(ALWAYS_ON),
}
