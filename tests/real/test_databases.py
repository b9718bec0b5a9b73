"""Real PostgreSQL and MariaDB, by SQLAlchemy and by their drivers: each statement counts once.

The suite runs on SQLAlchemy 1.4, too, by test_sqlalchemy_14.py.
"""

import asyncio
import threading
from contextlib import closing, contextmanager
from importlib import import_module
from importlib.util import find_spec

import psycopg
import pymysql
import pytest
import sqlalchemy as sa
from oslo_db import api
from oslo_db.sqlalchemy import enginefacade
from pymysql.cursors import DictCursor, SSCursor
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import create_async_engine

from nilometer import trace
from nilometer.measure import Registry
from nilometer.trace import drain_spans
from tests.databases import mariadb, postgresql_15
from tests.integrations.integration_kit import read, shape, traced_request

pytestmark = pytest.mark.real

__all__ = ["mariadb", "postgresql_15"]

INTEGRATIONS = (
    *("sqlalchemy", "sqlalchemy_orm", "oslo_db", "oslo_db_engines"),
    *("psycopg", "psycopg2", "pymysql", "mysqlclient"),
)
HAS_2 = sa.__version__.startswith("2.")
DRIVERS = {
    "postgresql+psycopg": ("postgresql", HAS_2),
    "postgresql+psycopg2": ("postgresql", find_spec("psycopg2") is not None),
    "mysql+pymysql": ("mysql", True),
    "mysql+mysqldb": ("mysql", find_spec("MySQLdb") is not None),
}
THERE = [name for name, (_, there) in DRIVERS.items() if there]
KILL = {
    "postgresql": ("select pg_backend_pid()", "select pg_terminate_backend({})"),
    "mysql": ("select connection_id()", "kill {}"),
}


MODULES = {
    "psycopg": "psycopg",
    "psycopg2": "psycopg2",
    "pymysql": "pymysql",
    "mysqlclient": "MySQLdb",
}


@pytest.fixture
def registry():
    return Registry()


@pytest.fixture(autouse=True)
def _installed(registry):
    """All of them, since a statement must not count in two."""
    found = []
    for name in INTEGRATIONS:
        if name not in MODULES or find_spec(MODULES[name]):
            found.append(import_module(f"nilometer.integrations.{name}"))
    for integration in found:
        assert integration.install(registry=registry)
    drain_spans()
    yield
    for integration in found:
        integration.uninstall()


@pytest.fixture(params=THERE)
def url(request, mariadb, postgresql_15):
    if request.param.startswith("mysql"):
        return f"{request.param}://root@127.0.0.1:{mariadb.port}/mysql"
    rest = postgresql_15.url.partition("://")[2]
    return f"{request.param}://{rest}"


def system_of(url):
    return url.partition("+")[0]


def dialect_of(url):
    return {"mysql": "mysql"}.get(system_of(url), "postgresql")


def operations(readings):
    """How many statements of each operation were timed, in whatever database."""
    found = {}
    for key, count in readings.get("db.client.operation", {}).items():
        name = dict(part.split("=") for part in key.split(","))["db.operation.name"]
        found[name] = found.get(name, 0) + count
    return found


@contextmanager
def of(engine):
    """The engine, disposed of at the end; what it asked to know its server is taken already."""
    with engine.connect():
        pass
    yield engine
    engine.dispose()


def test_a_statement_of_an_engine_counts_once_and_not_in_its_driver_again(url, registry):
    engine = sa.create_engine(url)
    with of(engine):
        first = read(registry)
        with traced_request() as spans, engine.connect() as connection:
            assert connection.scalar(sa.text("select 7")) == 7
            with trace.span("outer"), pytest.raises(sa.exc.DBAPIError):
                connection.execute(sa.text("select * from nowhere where name = 'secret'"))
        readings = read(registry)

    assert first["db.client.connect"] == {f"db.system.name={dialect_of(url)}": 1}
    assert operations(readings) == {"SELECT": 2}
    assert "db.client.connect" not in readings
    assert shape(spans) == [
        ("SELECT", "request", "UNSET"),
        ("SELECT", "outer", "ERROR"),
        ("outer", "request", "UNSET"),
        ("request", "", "UNSET"),
    ]
    assert "secret" not in repr((spans, readings))
    assert "nile" not in repr((spans, first, readings))


def test_a_connection_that_the_server_ended_is_a_ping_without_an_answer(url, registry):
    ask, kill = KILL[system_of(url)]
    engine = sa.create_engine(url, pool_pre_ping=True, pool_size=2)
    with of(engine):
        with engine.connect() as connection:
            ours = connection.scalar(sa.text(ask))
        with closing(other(engine)) as theirs, closing(theirs.cursor()) as cursor:
            cursor.execute(kill.format(ours))
        with engine.connect() as connection:
            assert connection.scalar(sa.text(ask)) != ours
        readings = read(registry)

    (count,) = readings["db.client.ping.errors"].values()
    assert count == 1
    assert readings["db.client.connect"][f"db.system.name={dialect_of(url)}"] >= 2


def other(engine):
    """A connection past the engine's pool and past all that measures."""
    arguments, named = engine.dialect.create_connect_args(engine.url)
    module = getattr(engine.dialect, "loaded_dbapi", None) or engine.dialect.dbapi
    connection = module.connect(*arguments, **named)
    if hasattr(type(connection), "autocommit") and system_of(str(engine.url)) == "postgresql":
        connection.autocommit = True
    return connection


def test_a_connect_in_vain_is_timed_and_counted_and_leaves_the_span_around_it(
    url, registry, free_port
):
    engine = sa.create_engine(sa.engine.make_url(url).set(port=free_port()))
    with (
        traced_request() as spans,
        trace.span("outer"),
        pytest.raises(sa.exc.OperationalError),
    ):
        engine.connect()
    readings = read(registry)

    assert list(readings["db.client.connect"].values()) == [1]
    assert readings["db.client.connect.errors"] == {
        f"db.system.name={dialect_of(url)},error.type=OperationalError": 1
    }
    assert shape(spans)[:2] == [("CONNECT", "outer", "ERROR"), ("outer", "request", "UNSET")]


def test_connections_of_a_pool_are_counted_and_who_waits_in_vain(url, registry):
    engine = sa.create_engine(url, pool_size=1, max_overflow=1, pool_timeout=0.1)
    with of(engine):
        with engine.connect(), engine.connect(), pytest.raises(sa.exc.TimeoutError):
            engine.connect()
        held = engine.connect()
        readings = read(registry)
        held.close()

    parsed = engine.url
    name = f"db.client.connection.pool.name={parsed.host}:{parsed.port}/{parsed.database}"
    assert readings["db.client.connection.count"] == {
        f"{name},db.client.connection.state=used": 1,
        f"{name},db.client.connection.state=idle": 0,
    }
    assert readings["db.client.connection.timeouts"] == {name: 1}
    assert readings["db.client.connection.wait_time"] == {name: 5}
    assert readings["db.client.connection.pending_requests"] == {name: 0}


mappers = orm.registry()


@mappers.mapped
class Boat:
    __tablename__ = "boats"
    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.String(20))


def test_models_are_read_and_written(url, registry):
    engine = sa.create_engine(url)
    with of(engine):
        mappers.metadata.create_all(engine)
        try:
            read(registry)
            with orm.Session(engine) as session:
                session.add_all([Boat(name="secret"), Boat(name="nile")])
                session.commit()
                boats = session.execute(sa.select(Boat)).scalars().all()
            readings = read(registry)
        finally:
            mappers.metadata.drop_all(engine)

    assert len(boats) == 2
    assert readings["db.client.orm.query"] == {"model=Boat": 1}
    assert readings["db.client.orm.flush"] == {"": 1}
    assert operations(readings)["SELECT"] == 1


# --- asyncio -------------------------------------------------------------------------------


def test_async_engines_count_once_and_each_task_has_its_own_trace(postgresql_15, registry):
    url = "postgresql+psycopg://" + postgresql_15.url.partition("://")[2]

    async def ask(engine, name):
        with trace.span(name):
            async with engine.connect() as connection:
                await connection.execute(sa.text("select pg_sleep(0.05)"))

    async def main():
        engine = create_async_engine(url)
        async with engine.connect():
            read(registry)
        with traced_request() as spans:
            await asyncio.gather(ask(engine, "one"), ask(engine, "two"))
        await engine.dispose()
        return spans

    spans = asyncio.run(main())

    selects = sorted(line for line in shape(spans) if line[0] == "SELECT")
    assert selects == [("SELECT", "one", "UNSET"), ("SELECT", "two", "UNSET")]
    assert operations(read(registry)) == {"SELECT": 2}


async def asked(connection):
    """One statement by each way, by an asynchronous connection."""
    await connection.execute("create temporary table t (a int)")
    async with connection.cursor() as cursor:
        await cursor.executemany("insert into t values (%s)", [(1,), (2,)])
        await cursor.execute(psycopg.sql.SQL("select {}").format("secret"))
        await (await cursor.execute(b"select 7")).fetchone()
    async with connection.cursor(name="at_the_server") as cursor:
        await cursor.execute("select 1")
    await psycopg.AsyncClientCursor(connection).execute("select 'unmeasured'")


def test_statements_of_psycopg_s_async_connections_are_measured(postgresql_15, registry):
    async def main():
        connection = await psycopg.AsyncConnection.connect(postgresql_15.url)
        with traced_request() as spans:
            await asked(connection)
        await connection.close()
        return spans

    spans = asyncio.run(main())

    readings = read(registry)
    assert operations(readings) == {"CREATE": 1, "INSERT": 1, "SELECT": 3}
    assert readings["db.client.connect"] == {"db.system.name=postgresql": 1}
    assert {span.name for span in spans} == {"CREATE", "INSERT", "SELECT", "request"}
    assert "secret" not in repr(spans)
    told = dict(spans[0].attributes)
    assert (told["server.address"], told["db.namespace"]) == ("127.0.0.1", "postgres")


def test_a_statement_that_is_cancelled_ends_its_own_span(postgresql_15, registry):
    async def main():
        connection = await psycopg.AsyncConnection.connect(postgresql_15.url)
        with traced_request() as spans, trace.span("outer"), pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await connection.execute("select pg_sleep(60)")
        await connection.close()
        return spans

    spans = asyncio.run(main())

    assert shape(spans)[:2] == [("SELECT", "outer", "ERROR"), ("outer", "request", "UNSET")]
    (errors,) = read(registry)["db.client.operation.errors"].items()
    assert errors == ("db.system.name=postgresql,error.type=CancelledError", 1)


# --- drivers -------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", [psycopg, psycopg.Connection])
def test_statements_of_psycopg_s_connections_are_measured(owner, postgresql_15, registry):
    with owner.connect(postgresql_15.url, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("create temporary table t (a int)")
        cursor = connection.cursor()
        cursor.executemany("insert into t values (%s)", [(1,), (2,)])
        assert cursor.execute("select count(*) from t").fetchone() == (2,)
        assert connection.cursor("at_the_server").execute("select 7").fetchone() == (7,)
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("select * from nowhere")
        connection.rollback()
        connection.cursor_factory = psycopg.RawCursor
        assert connection.execute("select $1::int", (7,)).fetchone() == (7,)
    readings = read(registry)

    assert isinstance(cursor, psycopg.ClientCursor)
    assert operations(readings) == {"CREATE": 1, "INSERT": 1, "SELECT": 4}
    assert readings["db.client.operation.errors"] == {
        "db.system.name=postgresql,error.type=UndefinedTable": 1
    }


def psycopg2_module():
    return [import_module("psycopg2")] if find_spec("psycopg2") else []


@pytest.fixture(params=psycopg2_module(), ids=lambda module: module.__name__)
def psycopg2(request):
    import_module("psycopg2.extras")
    import_module("psycopg2.sql")
    return request.param


def test_statements_of_psycopg2_s_connections_are_measured(psycopg2, postgresql_15, registry):
    connection = psycopg2.connect(postgresql_15.url)
    cursor = connection.cursor()
    cursor.execute("create temporary table t (a int)")
    cursor.executemany("insert into t values (%s)", [(1,), (2,)])
    cursor.execute(
        psycopg2.sql.SQL("select count(*) from {}").format(psycopg2.sql.Identifier("t"))
    )
    assert cursor.fetchone() == (2,)
    with connection.cursor("at_the_server") as named:
        named.execute(b"select 7")
        assert named.fetchall() == [(7,)]
    with traced_request() as spans, pytest.raises(psycopg2.errors.UndefinedTable):
        cursor.execute("select * from nowhere where a = 'secret'")
    connection.close()
    readings = read(registry)

    assert (isinstance(cursor, psycopg2.extensions.cursor), spans[0].name) == (True, "SELECT")
    assert operations(readings) == {"CREATE": 1, "INSERT": 1, "SELECT": 3}
    assert readings["db.client.connect"] == {"db.system.name=postgresql": 1}
    assert readings["db.client.operation.errors"] == {
        "db.system.name=postgresql,error.type=UndefinedTable": 1
    }
    told = dict(spans[0].attributes)
    assert told["db.query.text"] == "select * from nowhere where a = ?"
    where = psycopg2.extensions.parse_dsn(postgresql_15.url)
    assert (told["server.address"], told["db.namespace"]) == (where["host"], where["dbname"])
    assert "secret" not in repr(spans)


def test_connections_and_cursors_of_psycopg2_s_extras_stay_what_they_are(
    psycopg2, postgresql_15, registry
):
    extras = psycopg2.extras
    where = psycopg2.extensions.parse_dsn(postgresql_15.url)
    one = psycopg2.connect(connection_factory=extras.RealDictConnection, **where)
    with one, one.cursor() as cursor:
        cursor.execute("select 7 as a")
        assert cursor.fetchone() == {"a": 7}
        assert isinstance(cursor, extras.RealDictCursor)
    two = psycopg2.connect(postgresql_15.url, None, extras.NamedTupleCursor)
    with two, two.cursor() as cursor:
        cursor.execute("select %s as a", vars=("x",))
        assert cursor.fetchone().a == "x"
    with two, two.cursor("held", extras.DictCursor) as cursor:
        cursor.execute("select 8 as a")
        assert cursor.fetchone()["a"] == 8
    three = psycopg2.connect(postgresql_15.url, lambda dsn, *_: extras.DictConnection(dsn))
    with three, three.cursor() as cursor:
        cursor.execute("select 'unmeasured'")
    for connection in (one, two, three):
        connection.close()

    assert isinstance(one, extras.RealDictConnection)
    assert operations(read(registry)) == {"SELECT": 3}


def test_psycopg2_is_left_as_it_was(psycopg2, postgresql_15, registry):
    from nilometer.integrations import psycopg2 as ours

    before = psycopg2.connect(postgresql_15.url)
    ours.uninstall()
    after = psycopg2.connect(postgresql_15.url)
    for connection in (before, after):
        connection.cursor().execute("select 7")
        connection.close()

    assert type(after) is psycopg2.extensions.connection
    assert operations(read(registry)) == {}
    ours.install(registry=registry)


def mysql_modules():
    return [pymysql, *([import_module("MySQLdb")] if find_spec("MySQLdb") else [])]


@pytest.mark.parametrize("module", mysql_modules(), ids=lambda module: module.__name__)
def test_statements_of_mysql_s_drivers_are_measured(module, mariadb, registry):
    connection = module.connect(
        host="127.0.0.1", port=mariadb.port, user="root", database="mysql"
    )
    cursor = connection.cursor()
    cursor.execute("create temporary table t (a int, b int)")
    cursor.executemany("insert into t values (%s, %s)", [(1, 1), (2, 2)])
    cursor.executemany("update t set a = %s where b = %s", [(1, 1), (2, 2)])  # one by one
    cursor.execute("select count(*) from t")
    assert cursor.fetchone() == (2,)
    with traced_request() as spans, pytest.raises(module.Error):
        cursor.execute("select * from nowhere where a = %s", ("secret",))
    connection.close()

    readings = read(registry)
    assert operations(readings) == {"CREATE": 1, "INSERT": 1, "UPDATE": 1, "SELECT": 2}
    assert readings["db.client.connect"] == {"db.system.name=mysql": 1}
    told = dict(spans[0].attributes)
    assert told["db.query.text"] == "select * from nowhere where a = %s"
    assert (told["server.address"], told["db.namespace"]) == ("127.0.0.1", "mysql")
    assert "secret" not in repr(spans)


@pytest.mark.parametrize("name", [name for name in INTEGRATIONS if name in MODULES])
def test_parameters_of_real_drivers_are_told_to_those_who_ask(
    name, mariadb, postgresql_15, registry
):
    if not find_spec(MODULES[name]):
        return  # told of by the header of the suite; there is nothing to ask
    integration = import_module(f"nilometer.integrations.{name}")
    integration.uninstall()
    integration.install(registry=registry, parameters=True)
    module = import_module(MODULES[name])
    if name.startswith("psycopg"):
        connection = module.connect(postgresql_15.url)
    else:
        connection = module.connect(host="127.0.0.1", port=mariadb.port, user="root")
    with traced_request() as spans, closing(connection):
        connection.cursor().execute("select %s", ("red",))
        connection.cursor().execute("select %(colour)s", {"colour": "blue"})

    told = [dict(span.attributes) for span in spans if span.name == "SELECT"]
    assert [one.get("db.query.parameter.0") for one in told] == ["red", None]
    assert [one.get("db.query.parameter.colour") for one in told] == [None, "blue"]


@pytest.mark.parametrize("name", [name for name in INTEGRATIONS if name in MODULES])
def test_deep_down_a_real_driver_s_spans_say_where_they_began(
    name, mariadb, postgresql_15, registry
):
    if not find_spec(MODULES[name]):
        return  # told of by the header of the suite; there is nothing to ask
    registry.set_level(f"integrations.{name}", "deep")
    module = import_module(MODULES[name])
    with traced_request() as spans:
        if name.startswith("psycopg"):
            connection = module.connect(postgresql_15.url)
        else:
            connection = module.connect(host="127.0.0.1", port=mariadb.port, user="root")
        connection.cursor().execute("select 1")
        connection.close()
    files = {span.attributes.get("code.file.path") for span in spans if span.name != "request"}

    assert {"CONNECT", "SELECT"} <= {span.name for span in spans}
    assert files == {"tests/real/test_databases.py"}


@pytest.mark.parametrize("name", [name for name in INTEGRATIONS if name in MODULES])
def test_a_statement_may_be_given_to_a_real_driver_by_its_name(
    name, mariadb, postgresql_15, registry
):
    if not find_spec(MODULES[name]):
        return  # told of by the header of the suite; there is nothing to ask
    module = import_module(MODULES[name])
    if name.startswith("psycopg"):
        connection = module.connect(postgresql_15.url)
    else:
        connection = module.connect(host="127.0.0.1", port=mariadb.port, user="root")
    with traced_request() as spans, closing(connection):
        cursor = connection.cursor()
        cursor.execute(query="select 'secret'")
        cursor.execute(query="set @one = 1" if "mysql" in name else "set timezone = 'UTC'")
    told = [dict(span.attributes) for span in spans if span.name == "SELECT"]

    assert operations(read(registry)) == {"SELECT": 1, "SET": 1}
    assert [one["db.query.text"] for one in told] == ["select ?"]


def test_cursors_of_another_class_are_measured_and_stay_of_it(mariadb, registry):
    connection = pymysql.connect(host="127.0.0.1", port=mariadb.port, user="root")
    with connection.cursor(DictCursor) as one, connection.cursor(SSCursor) as two:
        one.execute("select 7 as a")
        assert one.fetchone() == {"a": 7}
        two.execute("select 8")
        assert two.fetchall() == [(8,)]
    connection.close()

    assert (isinstance(one, DictCursor), isinstance(two, SSCursor)) == (True, True)
    assert operations(read(registry)) == {"SELECT": 2}


@pytest.mark.parametrize(
    "module", [psycopg, *mysql_modules(), *psycopg2_module()], ids=lambda m: m.__name__
)
def test_a_driver_s_connect_in_vain_is_counted(module, registry, free_port):
    with pytest.raises(module.Error):
        module.connect(host="127.0.0.1", port=free_port(), user="root", password="nile")

    (errors,) = read(registry)["db.client.connect.errors"].values()
    assert errors == 1


# --- oslo.db -------------------------------------------------------------------------------


@enginefacade.transaction_context_provider
def test_pymysql_counts_a_connect_when_it_opens_then_or_later_and_again(mariadb, registry):
    given = {"host": "127.0.0.1", "port": mariadb.port, "user": "root"}
    connects = lambda: read(registry).get("db.client.connect")  # noqa: E731
    later = pymysql.connect(**given, defer_connect=True)
    before = connects()
    later.connect()
    opened = connects()
    later.close()
    later.ping(reconnect=True)
    with pymysql.connect(**given), later.cursor() as cursor:
        cursor.execute("select 7")
    later.close()
    afterwards = read(registry)

    assert before is None
    assert opened == {"db.system.name=mysql": 1}
    assert afterwards["db.client.connect"] == {"db.system.name=mysql": 2}
    assert operations(afterwards)["SELECT"] == 1


class Context:
    """What a service's requests have."""


@pytest.fixture
def facade(mariadb):
    made = enginefacade.transaction_context()
    made.configure(connection=f"mysql+pymysql://root@127.0.0.1:{mariadb.port}/mysql")
    return made


def test_oslo_db_pings_what_the_server_has_ended(facade, mariadb, registry):
    def number():
        with facade.reader.using(Context()) as session:
            return session.execute(sa.text("select connection_id()")).scalar()

    ours = number()
    with closing(
        pymysql.connect(host="127.0.0.1", port=mariadb.port, user="root")
    ) as connection:
        connection.cursor().execute(f"kill {ours}")
    assert number() != ours

    assert list(read(registry)["db.client.ping.errors"].values()) == [1]


def test_what_a_deadlock_makes_oslo_db_do_again_is_counted(facade, registry):
    with facade.writer.using(Context()) as session:
        session.execute(sa.text("create table seats (id int primary key, who int)"))
        session.execute(sa.text("insert into seats values (1, 0), (2, 0)"))
    both = threading.Barrier(2)

    @api.wrap_db_retry(max_retries=5, retry_interval=0, retry_on_deadlock=True)
    def book(first, second, tries):
        tries.append(None)
        with facade.writer.using(Context()) as session:
            session.execute(sa.text(f"update seats set who = 1 where id = {first}"))
            if len(tries) == 1:
                both.wait(20)  # each holds what the other wants
            session.execute(sa.text(f"update seats set who = 1 where id = {second}"))

    tries = [[], []]
    threads = [
        threading.Thread(target=book, args=(1, 2, tries[0])),
        threading.Thread(target=book, args=(2, 1, tries[1])),
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        with facade.writer.using(Context()) as session:
            session.execute(sa.text("drop table seats"))

    again = sum(len(each) - 1 for each in tries)
    assert again >= 1
    ((name, count),) = read(registry)["db.client.retries"].items()
    assert name.endswith("book")
    assert count == again
