"""Nilometer's integrations of drivers of MySQL, in both twins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nilometer
from bench import mysql
from bench.peers.nilometer_databases import paired
from bench.peers.nilometer_http import sent
from nilometer.integrations.mysql import Mysql
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from bench.pairs import Pair


def pymysql(*, active: bool = False, level: str = "basic") -> Pair:
    return sent("pymysql", mysql.pymysql_statements, active=active, level=level)


def mysqlclient(*, active: bool = False, level: str = "basic") -> Pair:
    bare = mysql.mysqlclient_statements(mysql.Connection())
    Mysql("mysqlclient").install(mysql.Connection, REGISTRY)
    nilometer.set_level("integrations.mysqlclient", level)
    measured = mysql.mysqlclient_statements(mysql.Connection(**mysql.SERVER))
    return paired(bare, measured, active=active)


CASES = {
    "pymysql switched off": lambda: pymysql(level="off"),
    "pymysql untraced": pymysql,
    "pymysql traced": lambda: pymysql(active=True),
    "mysqlclient switched off": lambda: mysqlclient(level="off"),
    "mysqlclient untraced": mysqlclient,
    "mysqlclient traced": lambda: mysqlclient(active=True),
}
