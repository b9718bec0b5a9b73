"""Budgets on real MariaDB, PostgreSQL and RabbitMQ, by their clients and by SQLAlchemy."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import amqp
import MySQLdb
import pika
import psycopg
import pymysql
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from nilometer.pytest_plugin import budget
from nilometer.pytest_plugin.instruments import let_go
from nilometer.pytest_plugin.listening import LISTENING
from tests.brokers import rabbitmq, reachable_folder
from tests.databases import mariadb, postgresql_15

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nilometer.pytest_plugin.budgets import Budget

pytestmark = pytest.mark.real
__all__ = ("mariadb", "postgresql_15", "rabbitmq", "reachable_folder")  # the fixtures

ROWS = [(1, "secret"), (2, "x"), (3, "y")]


@pytest.fixture(autouse=True)
def _nothing_listens() -> Iterator[None]:
    yield
    LISTENING.end()
    let_go()


def texts(spent: Budget) -> dict[str, int]:
    """How often each was executed, from wherever."""
    found: Counter[str] = Counter()
    for call, times in spent.calls.items():
        found[call.text] += times
    return found


def work(connection) -> None:
    cursor = connection.cursor()
    cursor.execute("create temporary table shop_items (a int, name varchar(9))")
    cursor.executemany("insert into shop_items (a, name) values (%s, %s)", ROWS)
    for _ in range(3):
        cursor.execute("select a from shop_items where name = 'secret'")
        assert cursor.fetchall() in (((1,),), [(1,)])
    cursor.close()


WORK = {
    "create temporary table shop_items (a int, name varchar(?))": 1,
    "insert into shop_items (a, name) values (?, ...)": 1,
    "select a from shop_items where name = ?": 3,
}


def mysql(server) -> pymysql.Connection:
    return pymysql.connect(host="127.0.0.1", port=server.port, user="root", database="mysql")


def test_statements_of_pymysql_count_once_however_it_sends_them(mariadb) -> None:
    with closing(mysql(mariadb)) as connection, budget() as spent:
        work(connection)

    assert texts(spent) == WORK


def test_statements_of_psycopg_count_once(postgresql_15) -> None:
    with psycopg.connect(postgresql_15.url) as connection, budget() as spent:
        work(connection)
        connection.execute(psycopg.sql.SQL("select {}").format("secret"))
        connection.execute(b"select 7")

    assert texts(spent) == WORK | {"select ?": 2}


def mysqlclient(server) -> MySQLdb.Connection:
    return MySQLdb.connect(host="127.0.0.1", port=server.port, user="root", database="mysql")


@pytest.mark.parametrize("connect", [mysql, mysqlclient])
def test_a_procedure_is_one_statement_whatever_it_takes_to_call_it(mariadb, connect) -> None:
    with closing(connect(mariadb)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("create or replace procedure shop_twice(a int) select a + a")
        with budget() as spent:
            cursor.callproc("shop_twice", (21,))
            assert cursor.fetchall() == ((42,),)

    assert texts(spent) == {"call shop_twice": 1}


def test_what_psycopg_streams_and_copies_counts_once_each(postgresql_15) -> None:
    with psycopg.connect(postgresql_15.url) as connection, connection.cursor() as cursor:
        cursor.execute("create temporary table shop_items (a int)")
        with budget() as spent:
            with cursor.copy("copy shop_items from stdin") as copy:
                for row in ROWS:
                    copy.write_row(row[:1])
            assert len(list(cursor.stream(query="select a from shop_items"))) == len(ROWS)
            cursor.execute(query="select 1")

    assert texts(spent) == {
        "copy shop_items from stdin": 1,
        "select a from shop_items": 1,
        "select ?": 1,
    }


def test_what_tasks_stream_and_copy_by_psycopg_counts_once_each(postgresql_15) -> None:
    async def body() -> Budget:
        connecting = psycopg.AsyncConnection.connect(postgresql_15.url)
        async with await connecting as connection, connection.cursor() as cursor:
            await cursor.execute("create temporary table shop_items (a int)")
            with budget() as spent:
                async with cursor.copy("copy shop_items from stdin") as copy:
                    await copy.write_row((1,))
                assert [row async for row in cursor.stream("select a from shop_items")]
        return spent

    assert texts(asyncio.run(body())) == {
        "copy shop_items from stdin": 1,
        "select a from shop_items": 1,
    }


def test_statements_of_psycopg_in_tasks_are_put_down_to_their_line(postgresql_15) -> None:
    async def body() -> Budget:
        async with await psycopg.AsyncConnection.connect(postgresql_15.url) as connection:
            with budget() as spent:
                async with connection.cursor() as cursor:
                    await cursor.execute("select 1")
                    await cursor.executemany("select %s", [(1,), (2,)])
        return spent

    calls = asyncio.run(body()).calls

    assert [(c.text, n, c.where.split("_")[-1]) for c, n in calls.items()] == [
        ("select ?", 1, "line.body"),
        ("select %s", 1, "line.body"),
    ]


@pytest.mark.parametrize("kind", ["mysql+pymysql", "postgresql+psycopg"])
def test_statements_of_an_engine_count_once_and_none_of_its_connecting(
    kind, mariadb, postgresql_15
) -> None:
    mine = mariadb.url + "/mysql" if "mysql" in kind else postgresql_15.url
    engine = sa.create_engine(mine.replace(kind.partition("+")[0], kind, 1))

    with budget() as spent, engine.connect() as connection:
        for _ in range(3):
            connection.execute(sa.text("select 1"))
    engine.dispose()

    assert texts(spent) == {"select ?": 3}


def test_statements_of_an_async_engine_count_once(postgresql_15) -> None:
    async def body() -> Budget:
        engine = create_async_engine(
            postgresql_15.url.replace("postgresql", "postgresql+psycopg")
        )
        with budget() as spent:
            async with engine.connect() as connection:
                await connection.execute(sa.text("select 1"))
        await engine.dispose()
        return spent

    assert texts(asyncio.run(body())) == {"select ?": 1}


def by_pika(broker) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(broker.amqp_url))
    channel = connection.channel()
    channel.exchange_declare("news", "fanout")
    for _ in range(3):
        channel.basic_publish("news", "", b"secret")
    channel.basic_publish("", "nowhere", b"x")
    connection.close()


def by_amqp(broker, *, confirm: bool = False) -> None:
    where = f"127.0.0.1:{broker.port}"
    with amqp.Connection(where, "guest", "guest", confirm_publish=confirm) as connection:
        channel = connection.channel()
        channel.exchange_declare("news", "fanout", auto_delete=False)
        for _ in range(3):
            channel.basic_publish(amqp.Message("secret"), exchange="news")
        channel.basic_publish(amqp.Message("x"), "", "nowhere")


def by_amqp_confirmed(broker) -> None:
    by_amqp(broker, confirm=True)


@pytest.mark.parametrize("publish", [by_pika, by_amqp, by_amqp_confirmed])
def test_messages_count_once_by_exchange_and_line(rabbitmq, publish) -> None:
    with budget(messages_published=4) as spent:
        publish(rabbitmq)

    assert spent.counts["messages.published"] == 4
    assert texts(spent) == {"to news": 3, "to (default)": 1}
    assert all("tests/real/test_budgets.py:" in call.where for call in spent.calls)
