"""oslo.db: engines of its facade, what it tries again, what it finds dead when it pings."""

import pytest
import sqlalchemy as sa
from oslo_db import api, exception
from oslo_db.sqlalchemy import enginefacade, engines

from nilometer.integrations import oslo_db, oslo_db_engines
from nilometer.integrations import sqlalchemy as ours
from nilometer.model import Level
from tests.integrations.integration_kit import read

SELECT = "db.operation.name=SELECT,db.system.name=sqlite"


@pytest.fixture(autouse=True)
def _installed(registry):
    for integration in (oslo_db, oslo_db_engines, ours):
        integration.install(registry=registry)
    yield
    for integration in (oslo_db, oslo_db_engines, ours):
        integration.uninstall()


@enginefacade.transaction_context_provider
class Context:
    """What a service's requests have."""


def test_statements_of_a_facade_are_measured(registry, tmp_path):
    facade = enginefacade.transaction_context()
    facade.configure(connection=f"sqlite:///{tmp_path}/db")
    with facade.reader.using(Context()) as session:
        assert session.execute(sa.text("select 7")).scalar() == 7
        readings = read(registry)

    assert readings["db.client.operation"][SELECT] >= 1
    assert set(readings["db.client.connection.count"].values()) == {0, 1}


def failing(times):
    """A function of a service that a database refuses so many times."""
    left = [exception.DBDeadlock()] * times

    @api.wrap_db_retry(max_retries=3, retry_interval=0, retry_on_deadlock=True)
    def book(seat):
        if left:
            raise left.pop()
        return seat

    return book


def test_what_is_tried_again_is_counted_by_its_function(registry):
    assert [failing(times)(seat=7) for times in (0, 1, 3)] == [7, 7, 7]
    with pytest.raises(exception.DBDeadlock):
        failing(9)(7)

    assert read(registry) == {
        "db.client.retries": {"code.function.name=failing.<locals>.book": 0 + 1 + 3 + 3}
    }


def test_a_function_within_another_counts_its_own_tries(registry):
    inner = failing(1)

    @api.wrap_db_retry(max_retries=3, retry_interval=0, retry_on_deadlock=True)
    def outer():
        return inner(7)

    assert (outer(), outer.__name__) == (7, "outer")
    assert read(registry) == {
        "db.client.retries": {"code.function.name=failing.<locals>.book": 1}
    }


def test_switched_off_or_taken_off_nothing_is_counted(registry):
    registry.set_level("integrations.oslo_db", Level.OFF)
    assert failing(1)(7) == 7
    oslo_db.uninstall()
    assert failing(1)(7) == 7

    assert "wrapper" not in vars(api.wrap_db_retry)["__call__"].__name__
    assert read(registry) == {}


def test_a_connection_that_its_ping_finds_dead_is_counted(registry):
    engine = engines.create_engine("sqlite://")
    engine.dialect.is_disconnect = lambda *_: True
    with engine.connect() as connection:
        driver = connection.connection.dbapi_connection
    driver.close()  # SQLite raises from now on
    with engine.connect() as connection:
        assert connection.scalar(sa.text("select 7")) == 7

    (count,) = read(registry)["db.client.ping.errors"].values()
    assert count == 1
