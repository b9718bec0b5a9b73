"""Record what real databases answer, as test data: ``python -m tests.record_databases``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pymysql

from examples.servers.databases import MariaDB, PostgreSQL, folder
from nilometer.counters.libpq import Connection
from nilometer.counters.mysql import BORN, DIGESTS, STATUS
from nilometer.counters.postgresql_views import CATALOGUE, catalogue_of

DATA = Path(__file__).parent / "data" / "counters"


def record_mariadb() -> None:
    """A server that took three INSERT and one SELECT."""
    with folder() as place, MariaDB(place) as server:
        connection = pymysql.connect(host="127.0.0.1", port=server.port, user="root")
        replies: dict[str, Any] = {}
        with connection.cursor() as cursor:
            for statement in (
                "CREATE DATABASE shop",
                "CREATE TABLE shop.orders (id INT PRIMARY KEY, item VARCHAR(20))",
                *(f"INSERT INTO shop.orders VALUES ({i}, 'paper')" for i in range(3)),
                "SELECT * FROM shop.orders WHERE item = 'pa\\'per'",
            ):
                cursor.execute(statement)
            for name, statement in (
                ("born", BORN.format(schema="information_schema")),
                ("status", STATUS),
                ("digests", DIGESTS),
            ):
                cursor.execute(statement)
                replies[name] = cursor.fetchall()
        write("mysql/mariadb-10.11.json", replies)


def record_postgresql(version: int) -> None:
    """The same of a server that counts statements; what the catalogue says comes first."""
    with folder() as place, PostgreSQL(place, version=version) as server:
        words = {"host": str(place), "port": str(server.port), "user": server.user}
        connection = Connection({**words, "dbname": "postgres"}, timeout_s=10)
        for statement in (
            "CREATE EXTENSION pg_stat_statements",
            "CREATE TABLE orders (id INT PRIMARY KEY, item TEXT)",
            *(f"INSERT INTO orders VALUES ({i}, 'paper')" for i in range(3)),
            "SELECT * FROM orders WHERE item = 'pa''per'",
            "SELECT pg_stat_force_next_flush()",
        ):
            connection.ask(statement, timeout_s=10)
        catalogue = json.loads(connection.ask(CATALOGUE, timeout_s=10)[0][1] or "")
        statement = catalogue_of(catalogue).statement
        connection.ask(statement, timeout_s=10)
        reply = json.loads(connection.ask(statement, timeout_s=10)[0][1] or "")
        connection.close()
        write(f"postgresql/{version}.json", {"catalogue": catalogue, "reply": reply})


def write(name: str, replies: dict[str, Any]) -> None:
    text = json.dumps(replies, default=str, separators=(",", ":"))
    (DATA / name).write_text(text.replace("],[", "],\n[") + "\n")


if __name__ == "__main__":
    record_mariadb()
    for version in (15, 18):
        record_postgresql(version)
