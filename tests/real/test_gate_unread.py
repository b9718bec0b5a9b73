"""What a real server stops telling is unknown, with its reason; the rest is judged as ever."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import psycopg
import pytest

from nilometer.clock import Clock
from nilometer.counters.backend import connect
from nilometer.counters.bracket import Bracket
from nilometer.counters.gather import Gatherer
from nilometer.gate.verdict import Outcome, judge
from nilometer.model.run import Run
from tests.databases import postgresql_15
from tests.gate.histories import SECOND

if TYPE_CHECKING:
    from examples.servers.databases import PostgreSQL

pytestmark = pytest.mark.real
__all__ = ("postgresql_15",)  # the fixture

LEARN = 7


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        for statement in statements:
            session.execute(statement)


@pytest.fixture
def shop(postgresql_15: PostgreSQL) -> str:
    """The URL of a new database in which statements are counted."""
    url: str = postgresql_15.url
    execute(url, "DROP DATABASE IF EXISTS unread WITH (FORCE)", "CREATE DATABASE unread")
    own = url.removesuffix("postgres") + "unread"
    execute(own, "CREATE EXTENSION pg_stat_statements", "CREATE TABLE orders (n integer)")
    return own


def measured(shop: str, number: int, rows: int = 40) -> Run:
    """A bracketed run of so many inserts of a row."""
    with closing(connect(shop, origin="test")) as backend:
        bracket = Bracket(Gatherer([backend], Clock()), Clock(), idle_s=0)
        bracket.open()
        execute(shop, *[f"INSERT INTO orders VALUES ({at})" for at in range(rows)])
        backends, counts = bracket.close()
    at_ns = number * 60 * SECOND
    return Run(f"r{number}", "pg", at_ns, at_ns + 1, 1, counts, backends, "t1", 10)


def test_statements_that_are_no_more_counted_are_unknown_and_nothing_else_is(shop) -> None:
    history = [measured(shop, at) for at in range(LEARN)]

    execute(shop, "DROP EXTENSION pg_stat_statements")
    without = judge(measured(shop, 7), history)
    more_without = judge(measured(shop, 8, rows=60), history)
    execute(shop, "CREATE EXTENSION pg_stat_statements")
    back = judge(measured(shop, 9), history)
    more = judge(measured(shop, 10, rows=60), history)

    assert without.outcome is Outcome.UNKNOWN
    assert "statement.calls" in without.because
    assert "CREATE EXTENSION pg_stat_statements in this database" in without.because
    assert not [one for one in without.improved if "statement" in one.key.counter]
    assert (without.findings, back.findings, back.outcome) == ((), (), Outcome.PASS)
    found, whole = ({one.key.counter for one in said.findings} for said in (more_without, more))
    assert {"n_tup_ins"} <= found
    assert {"statement.calls", "statement.rows"} <= whole
    assert found == {name for name in whole if not name.startswith("statement.")}
