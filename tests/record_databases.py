"""Record what real databases answer, as test data: ``python -m tests.record_databases``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pymysql

from examples.servers.databases import MariaDB, folder
from nilometer.counters.mysql import BORN, DIGESTS, STATUS

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


def write(name: str, replies: dict[str, Any]) -> None:
    text = json.dumps(replies, default=str, separators=(",", ":"))
    (DATA / name).write_text(text.replace("],[", "],\n[") + "\n")


if __name__ == "__main__":
    record_mariadb()
