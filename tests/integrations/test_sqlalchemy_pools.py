"""SQLAlchemy's pools: connections by state, who waits and in vain, dead connections."""

import asyncio
import gc
import threading
import weakref

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import (
    AssertionPool,
    AsyncAdaptedQueuePool,
    NullPool,
    QueuePool,
    SingletonThreadPool,
    StaticPool,
)

from nilometer.errors import InstrumentClashError
from nilometer.integrations import sqlalchemy as ours
from nilometer.integrations.sqlalchemy_pools import CONNECTING
from nilometer.measure import Registry
from nilometer.model import Level
from tests.integrations.integration_kit import read

POOL = "db.client.connection.pool.name"


@pytest.fixture(autouse=True)
def _installed(registry):
    ours.install(registry=registry)
    yield
    ours.uninstall()


def counts(registry):
    """Used and idle connections of the only pool there is."""
    by_state = {
        dimensions.rpartition("state=")[2]: value
        for dimensions, value in read(registry)["db.client.connection.count"].items()
    }
    return by_state["used"], by_state["idle"]


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (QueuePool, [(0, 0), (1, 0), (2, 0), (1, 1), (0, 2)]),
        (NullPool, [(0, 0), (1, 0), (2, 0), (1, 0), (0, 0)]),
        (StaticPool, [(0, 0), (1, 0), (1, 0), (0, 1), (0, 1)]),  # as it sees it itself
        (SingletonThreadPool, [(0, 0), (1, 0), (1, 0), (1, 0), (0, 1)]),
    ],
)
def test_connections_are_counted_by_state_whatever_the_pool(pool, expected, registry, tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/db", poolclass=pool)
    seen = [counts(registry)]
    one = engine.connect()
    seen.append(counts(registry))
    two = engine.connect()
    seen.append(counts(registry))
    one.close()
    seen.append(counts(registry))
    two.close()
    seen.append(counts(registry))

    assert seen == expected


def test_the_pool_that_lets_one_connection_out_is_counted_too(registry):
    engine = sa.create_engine("sqlite://", poolclass=AssertionPool)
    with engine.connect():
        assert counts(registry) == (1, 0)
        with pytest.raises(AssertionError):
            engine.connect()
    assert counts(registry) == (0, 1)


def test_the_pool_of_async_engines_is_counted_too(registry, tmp_path):
    async def main():
        engine = create_async_engine(
            f"sqlite+aiosqlite:///{tmp_path}/db", poolclass=AsyncAdaptedQueuePool
        )
        async with engine.connect(), engine.connect():
            during = counts(registry)
        after = counts(registry)
        await engine.dispose()
        return during, after, counts(registry)

    assert asyncio.run(main()) == ((2, 0), (0, 2), (0, 0))


def test_a_pool_is_called_as_somebody_named_it_or_where_it_leads_without_who(registry):
    engines = [
        sa.create_engine("sqlite://", poolclass=StaticPool, pool_logging_name="mine"),
        sa.create_engine("sqlite:///file.db"),
        sa.create_engine("mysql+pymysql://user:secret@10.0.0.7:3307/shop"),
        sa.create_engine("mysql+pymysql://user:secret@db/shop"),
        sa.create_engine("sqlite:///file.db"),
    ]
    names = [ours.pool_name(engine) for engine in engines]

    assert names == [
        "mine",
        "sqlite/file.db",
        "10.0.0.7:3307/shop",
        "db/shop",
        "sqlite/file.db",
    ]


def test_who_waits_in_vain_is_pending_then_a_timeout_and_timed(registry, tmp_path, wait_until):
    engine = sa.create_engine(
        f"sqlite:///{tmp_path}/db", poolclass=QueuePool, pool_size=1, max_overflow=0
    )
    engine.pool._timeout = 0.2
    name = f"{POOL}={ours.pool_name(engine)}"
    raised = []

    def ask():
        try:
            engine.connect()
        except sa.exc.TimeoutError as error:
            raised.append(error)

    pending = []
    with engine.connect():
        thread = threading.Thread(target=ask)
        thread.start()
        wait_until(
            lambda: pending.append(pending_now(registry, name)) or 1 in pending or raised,
            what="somebody waits",
        )
        thread.join()
    readings = registry.collect()[0]

    assert len(raised) == 1
    assert 1 in pending
    assert pending_now(registry, name) == 0
    (timeouts,) = (r.value for r in readings if r.name == "db.client.connection.timeouts")
    (waits,) = (r.value for r in readings if r.name == "db.client.connection.wait_time")
    assert (timeouts, waits.samples) == (1, 2)


def pending_now(registry, name):
    gauge = registry.gauge("db.client.connection.pending_requests", unit="{request}")
    return gauge.bind(**{POOL: name.partition("=")[2]}).take()


def test_disposing_makes_a_new_pool_that_is_measured_and_lets_the_old_one_go(
    registry, tmp_path
):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/db", poolclass=QueuePool)
    old = weakref.ref(engine.pool)
    held = engine.connect()
    engine.dispose()
    with engine.connect():
        both = counts(registry)
    held.close()
    del held
    gc.collect()

    assert both == (1, 0)  # what is out of the old pool belongs to none
    assert old() is None
    assert counts(registry) == (0, 1)


def test_an_engine_that_nobody_holds_goes_and_its_readings_with_it(registry, tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/db")
    with engine.connect() as connection:
        connection.execute(sa.text("select 1"))
    gone = weakref.ref(engine.dialect), weakref.ref(engine.pool)
    del engine, connection
    gc.collect()

    assert [ref() for ref in gone] == [None, None]
    assert "db.client.connection.count" not in read(registry)


@pytest.mark.parametrize("breaking", ["raises", "says so"])
def test_a_ping_without_an_answer_is_counted_and_the_connection_made_anew(
    breaking, registry, tmp_path
):
    engine = sa.create_engine(
        f"sqlite:///{tmp_path}/db", poolclass=QueuePool, pool_pre_ping=True
    )
    with engine.connect():
        pass
    original = engine.dialect.is_disconnect
    engine.dialect.is_disconnect = lambda *_: True
    (held,) = list(engine.pool._pool.queue)
    held.dbapi_connection.close()  # SQLite raises ProgrammingError from now on
    with engine.connect() as connection:
        assert connection.scalar(sa.text("select 7")) == 7
    engine.dialect.is_disconnect = original

    (errors,) = read(registry)["db.client.ping.errors"].items()
    assert errors[0].startswith("db.system.name=sqlite,error.type=") or errors[0].endswith(
        "db.system.name=sqlite"
    )
    assert errors[1] == 1


def test_connections_that_the_user_makes_himself_are_timed_too(registry):
    import sqlite3

    below = []

    def creator():
        below.append(CONNECTING.get())
        return sqlite3.connect(":memory:")

    with sa.create_engine("sqlite://", creator=creator).connect():
        pass

    assert (below, CONNECTING.get()) == ([True], False)
    assert read(registry)["db.client.connect"] == {"db.system.name=sqlite": 1}


def test_an_engine_switched_off_passes_on_and_is_measured_when_it_is_on_again(registry):
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)

    def use():
        with engine.connect() as connection:
            connection.execute(sa.text("select 1"))

    registry.set_level("integrations.sqlalchemy", Level.OFF)
    use()
    off = read(registry)
    registry.set_level("integrations.sqlalchemy", Level.BASIC)
    use()

    assert off == {}
    assert read(registry)["db.client.operation"] == {
        "db.operation.name=SELECT,db.system.name=sqlite": 1
    }


def test_where_an_instrument_of_ours_is_somebody_else_s_engines_are_made_without_us(registry):
    clashing = Registry()
    clashing.event_source("db.client.connect")
    ours.uninstall()
    with pytest.raises(InstrumentClashError):
        ours.install(registry=clashing)
    with sa.create_engine("sqlite://").connect() as connection:
        assert connection.execute(sa.text("select 1")).scalar() == 1

    assert ours.install(registry=registry)


def test_an_engine_that_cannot_be_measured_serves_all_the_same(registry, caplog, monkeypatch):
    from nilometer.integrations import faults

    monkeypatch.setattr(faults, "_known", {})
    monkeypatch.setattr(ours, "EXECUTING", ("do_execute", "do_what_is_not_there"))
    engines = [sa.create_engine("sqlite://") for _ in range(2)]
    for engine in engines:
        with engine.connect() as connection:
            assert connection.scalar(sa.text("select 7")) == 7

    assert read(registry) == {"nilometer.lost": {"reason=sqlalchemy,what=integration": 2}}
    (line,) = caplog.messages
    assert line.startswith("integration sqlalchemy fails, an engine runs unmeasured")
    assert "do_execute" not in vars(engines[0].dialect)


def test_uninstalling_leaves_nothing_in_the_pool(registry):
    bare_keys = set(vars(ours_less_engine().pool))
    engine = sa.create_engine("sqlite://")
    during = set(vars(engine.pool)) - bare_keys
    ours.uninstall()

    assert {"connect", "recreate"} <= during
    assert set(vars(engine.pool)) == bare_keys


def ours_less_engine():
    """An engine made while nothing is installed."""
    from nilometer.measure import Registry

    ours.uninstall()
    made = sa.create_engine("sqlite://")
    ours.install(registry=Registry())
    return made
