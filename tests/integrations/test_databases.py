"""Statements and connects of drivers, where they are used without SQLAlchemy above them."""

import asyncio
import sqlite3
import sys
from sqlite3 import dbapi2

import aiosqlite
import pytest
import sqlalchemy as sa
from psycopg2 import sql

from nilometer import trace
from nilometer.integrations import databases, drivers, faults
from nilometer.integrations import sqlalchemy as above
from nilometer.integrations import sqlite3 as ours
from nilometer.integrations.drivers import Subclasses
from nilometer.integrations.statement import STATEMENT_NAMES, text_of
from nilometer.model import Level, SpanKind
from nilometer.pytest_plugin import budget
from nilometer.pytest_plugin.listening import LISTENING
from tests.integrations.integration_kit import read, shape, traced_request

SYSTEM = "db.system.name=sqlite"


@pytest.fixture(params=["sql_pure", "_sql"], ids=["python", "c"], autouse=True)
def _installed(request, monkeypatch, registry):
    """Every test runs once per twin."""
    from importlib import import_module

    module = import_module(f"nilometer.integrations.{request.param}")
    monkeypatch.setattr(databases, "Execute", module.Execute)
    monkeypatch.setattr(faults, "_known", {})
    ours.install(registry=registry)
    yield
    ours.uninstall()


def operations(registry):
    """How many statements of each operation were timed."""
    readings = read(registry).get("db.client.operation", {})
    return {
        dict(part.split("=") for part in key.split(","))["db.operation.name"]: count
        for key, count in readings.items()
    }


@pytest.mark.parametrize("module", [sqlite3, dbapi2])
def test_statements_are_timed_once_by_whatever_way_they_are_executed(module, registry):
    connection = module.connect(":memory:")
    connection.execute("create table t (a int)")
    connection.executemany("insert into t values (?)", [(1,), (2,)])
    connection.executescript("delete from t; select 1")
    cursor = connection.cursor()
    cursor.execute("select 1").execute("select 2")
    cursor.executemany("update t set a = ?", [(1,)])
    assert connection.execute("select 7").fetchone() == (7,)
    connection.close()

    readings = read(registry)
    assert readings["db.client.operation"] == {
        f"db.operation.name={name},{SYSTEM}": count
        for name, count in [
            ("CREATE", 1),
            ("DELETE", 1),
            ("INSERT", 1),
            ("SELECT", 3),
            ("UPDATE", 1),
        ]
    }
    assert readings["db.client.connect"] == {SYSTEM: 1}


def test_a_traced_statement_is_shown_without_its_values_and_an_error_ends_its_own_span(
    registry,
):
    with traced_request() as spans, trace.span("outer"):
        connection = sqlite3.connect(":memory:")
        connection.execute("select 'secret', ?", ("secret",))
        with pytest.raises(sqlite3.OperationalError):
            connection.execute("select * from nowhere")
        connection.close()

    assert shape(spans) == [
        ("CONNECT", "outer", "UNSET"),
        ("SELECT", "outer", "UNSET"),
        ("SELECT", "outer", "ERROR"),
        ("outer", "request", "UNSET"),
        ("request", "", "UNSET"),
    ]
    assert (spans[1].kind, dict(spans[1].attributes)) == (
        SpanKind.CLIENT,
        {
            "db.system.name": "sqlite",
            "db.namespace": ":memory:",
            "db.operation.name": "SELECT",
            "db.query.text": "select ?, ?",
        },
    )
    assert read(registry)["db.client.operation.errors"] == {
        f"{SYSTEM},error.type=OperationalError": 1
    }


@pytest.mark.parametrize(("failures", "measured"), [(1, {"SELECT": 1}), (2, {})])
def test_a_statement_whose_hash_fails_is_executed_all_the_same(registry, failures, measured):
    """SQLite asks for the hash, too: not before it is executed."""

    class Odd(str):
        __slots__ = ()
        left = failures

        def __hash__(self):
            Odd.left -= 1
            if Odd.left >= 0:
                raise ZeroDivisionError
            return str.__hash__(self)

    connection = sqlite3.connect(":memory:")
    assert connection.execute(Odd("select 7")).fetchone() == (7,)
    connection.close()

    assert operations(registry) == measured


def test_a_connect_that_fails_is_timed_and_counted(registry, tmp_path):
    with pytest.raises(sqlite3.OperationalError):
        sqlite3.connect(tmp_path / "nowhere" / "db")

    readings = read(registry)
    assert readings["db.client.connect"] == {SYSTEM: 1}
    assert readings["db.client.connect.errors"] == {f"{SYSTEM},error.type=OperationalError": 1}


@pytest.mark.parametrize("position", [True, False])
def test_classes_of_the_user_s_own_stay_what_they_are_and_are_measured(position, registry):
    class MyCursor(sqlite3.Cursor):
        pass

    class Mine(sqlite3.Connection):
        label = None

    given = {} if position else {"factory": Mine}
    args = (":memory:", 5, 0, None, True, Mine) if position else (":memory:",)
    connection = sqlite3.connect(*args, **given)
    connection.label = "mine"
    cursor = connection.cursor(MyCursor)
    cursor.execute("select 1")
    connection.cursor(factory=MyCursor).execute("select 1")
    connection.execute("select 1")
    kinds = isinstance(connection, Mine), isinstance(cursor, MyCursor), type(cursor).__name__
    connection.close()

    assert kinds == (True, True, "MyCursor")
    assert operations(registry) == {"SELECT": 3}


class Plain(sqlite3.Cursor):
    """What these connections give, whoever asks."""


class WithoutParameters(sqlite3.Connection):
    def cursor(self):
        return super().cursor(Plain)


class WithItsOwnDefault(sqlite3.Connection):
    def cursor(self, factory=Plain):
        return super().cursor(factory)


class PassingOn(sqlite3.Connection):
    def cursor(self, *args, **named):
        self.asked = (args, named)
        return super().cursor(*args, **named)

    def execute(self, *args):
        return super().execute(*args)


@pytest.mark.parametrize("kind", [WithoutParameters, WithItsOwnDefault, PassingOn])
def test_a_connection_that_gives_cursors_of_its_own_is_asked_as_by_its_user(kind, registry):
    def used(connection):
        cursor = connection.cursor()
        cursor.execute("select 1")
        by_itself = connection.execute("select 2")
        connection.close()
        asked = getattr(connection, "asked", None)
        return isinstance(cursor, Plain), isinstance(by_itself, Plain), asked

    ours.uninstall()
    without_us = used(sqlite3.connect(":memory:", factory=kind))
    ours.install(registry=registry)
    with_us = used(sqlite3.connect(":memory:", factory=kind))

    assert with_us == without_us
    assert operations(registry) == {"SELECT": 2}


class OfAnother(sql.Composable):
    def as_string(self, context):
        raise ValueError


@pytest.mark.parametrize(
    ("composed", "shown"),
    [
        (sql.SQL("a {}").format(sql.Identifier("b", "c")), 'a "b"."c"'),
        (sql.SQL("{} = {}").format(sql.Identifier("a"), sql.Literal("secret")), '"a" = ?'),
        (sql.Identifier("a") + sql.Placeholder("b"), '"a"?'),
        (sql.Identifier("a") + OfAnother("b"), "(Composed)"),
        (OfAnother("b"), "(OfAnother)"),
    ],
)
def test_what_psycopg2_composes_is_shown_without_values_and_what_others_do_by_its_class(
    composed, shown
):
    assert text_of(composed) == shown


class Final(sqlite3.Cursor):
    def __init_subclass__(cls):
        raise TypeError("nobody may derive from it")


class Unhashable(type):
    __hash__ = None


class Unremembered(sqlite3.Cursor, metaclass=Unhashable):
    pass


def test_a_class_that_cannot_be_remembered_is_its_own_and_that_is_told():
    told = []
    classes = Subclasses(print, failed=told.append)

    assert classes.of(Unremembered) is Unremembered
    assert [type(error) for error in told] == [TypeError]


@pytest.mark.parametrize("asked", [(Final,), (dict,), (Plain, "more"), (Unremembered,)])
def test_whatever_class_of_cursors_is_asked_for_sqlite_answers_as_without_us(asked):
    def answer():
        try:
            return sqlite3.connect(":memory:").cursor(*asked).execute("select 1").fetchall()
        except TypeError as error:
            return type(error)

    measured = answer(), answer()
    ours.uninstall()

    assert measured == (answer(), answer())


@pytest.mark.parametrize("with_sqlalchemy", [True, False])
def test_below_sqlalchemy_a_statement_counts_once_whichever_is_installed(
    with_sqlalchemy, registry
):
    if with_sqlalchemy:
        above.install(registry=registry)
    engines = [
        sa.create_engine("sqlite://"),
        sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(":memory:")),
    ]
    for engine in engines:
        with engine.connect() as connection:
            connection.execute(sa.text("select 1"))
        engine.dispose()
    above.uninstall()

    readings = read(registry)
    assert operations_of(readings)["SELECT"] == 2
    assert readings["db.client.connect"] == {SYSTEM: 2}


def operations_of(readings):
    return {
        dict(part.split("=") for part in key.split(","))["db.operation.name"]: count
        for key, count in readings["db.client.operation"].items()
    }


def test_threads_of_aiosqlite_are_left_alone(registry):
    async def body():
        async with aiosqlite.connect(":memory:") as connection:
            await connection.execute("select 1")

    asyncio.run(body())

    assert read(registry) == {}


def test_it_is_measured_and_heard_where_a_test_counts_statements_too(registry):
    LISTENING.begin()
    try:
        connection = sqlite3.connect(":memory:")
        with budget() as spent:
            connection.execute("select 1")
        connection.close()
    finally:
        LISTENING.end()

    assert (sum(spent.calls.values()), operations(registry)) == (1, {"SELECT": 1})


def test_levels_switch_what_is_open_already(registry):
    connection = sqlite3.connect(":memory:")

    def ask():
        with traced_request() as spans:
            connection.execute("select 1")
        return [dict(span.attributes).get("code.function.name") for span in spans[:-1]]

    registry.set_level("integrations.sqlite3", Level.OFF)
    off = ask()
    registry.set_level("integrations.sqlite3", Level.DEEP)
    deep = ask()
    registry.set_level("integrations.sqlite3", Level.BASIC)
    basic = ask()
    connection.close()

    assert (off, basic) == ([], [None])
    assert deep == ["test_levels_switch_what_is_open_already.ask"]
    assert operations(registry) == {"SELECT": 2}


def test_after_uninstalling_open_connections_do_what_sqlite_does(registry):
    connection = sqlite3.connect(":memory:")
    cursor = connection.cursor()
    ours.uninstall()
    assert cursor.execute("select 7").fetchone() == (7,)
    assert connection.execute("select 7").fetchone() == (7,)
    own = set(vars(type(connection))) | set(vars(type(cursor)))
    connection.close()

    assert own.isdisjoint({"execute", "executemany", "executescript", "cursor"})
    assert type(sqlite3.connect(":memory:")) is sqlite3.Connection
    assert operations(registry) == {}


class Composed:
    """As psycopg makes statements of objects: without a hash."""

    __hash__ = None

    def as_string(self, context):
        return "update t set a = 'secret'"


class Part:
    """As psycopg2's, which are quoted by a connection alone."""

    def __init__(self, **fields):
        vars(self).update(fields)

    def as_string(self, context):
        return context.encoding


BY_PARTS = Part(
    seq=[
        Part(string="select * from "),
        Part(strings=("public", "t")),
        Part(string=" where a = "),
        Part(wrapped="secret"),
    ]
)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (BY_PARTS, ("SELECT", 'select * from "public"."t" where a = ?')),
        ("select 'secret'", ("SELECT", "select ?")),
        (b"select 'secret'", ("SELECT", "select ?")),
        (Composed(), ("UPDATE", "update t set a = ?")),
        (7, ("OTHER", "(int)")),
    ],
)
def test_a_statement_need_not_be_text(statement, expected, registry):
    seen = []
    database = databases.Instruments("sqlite3", registry).database("postgresql", {})
    execute = database.executing(lambda cursor, given: seen.append(given))
    for _ in range(2):
        with traced_request() as spans:
            execute(None, statement)

    (told,) = [dict(span.attributes) for span in spans if span.name == expected[0]]
    assert told["db.query.text"] == expected[1]
    assert seen == [statement] * 2


@pytest.mark.parametrize("name", STATEMENT_NAMES)
def test_a_statement_that_is_given_by_its_name_is_known_as_one_in_its_place(name, registry):
    database = databases.Instruments("sqlite3", registry).database("postgresql", {})
    seen = []
    execute = database.executing(lambda cursor, **named: seen.append(named))
    given = {"args": "secret", name: "select 'secret'"}
    execute(None, **given)
    with traced_request() as spans:
        execute(None, **given)
    (told,) = [dict(span.attributes) for span in spans if span.name == "SELECT"]

    assert seen == [given] * 2
    assert operations(registry) == {"SELECT": 2}
    assert told["db.query.text"] == "select ?"
    assert "secret" not in repr(spans)


def test_an_awaited_statement_may_be_given_by_its_name(registry):
    database = databases.Instruments("sqlite3", registry).database("postgresql", {})
    seen = []

    async def original(cursor, **named):
        seen.append(named)

    execute = database.awaiting(original)
    asyncio.run(execute(None, query="select 1", params=()))

    assert seen == [{"query": "select 1", "params": ()}]
    assert operations(registry) == {"SELECT": 1}


def test_a_call_without_a_statement_is_timed_and_shown_as_nothing_known(registry):
    database = databases.Instruments("sqlite3", registry).database("postgresql", {})
    execute = database.executing(lambda cursor, **named: None)
    with traced_request() as spans:
        execute(None, args="secret", other="select 'secret'")

    assert operations(registry) == {"OTHER": 1}
    assert "secret" not in repr(spans)


def test_what_we_fail_at_is_executed_all_the_same_and_said_once(registry, monkeypatch, caplog):
    def broken(text):
        raise ValueError(f"cannot read {text}")

    monkeypatch.setattr(databases, "operation_of", broken)
    connection = sqlite3.connect(":memory:")
    for n in range(2):
        with traced_request():
            assert connection.execute(f"select {n} as secret").fetchone() == (n,)
    connection.close()

    assert read(registry)["nilometer.lost"] == {"reason=sqlite3,what=integration": 2}
    (line,) = caplog.messages
    assert line.startswith(
        "integration sqlite3 fails, a statement runs unmeasured: ValueError in"
    )
    assert "secret" not in line


def test_cancelling_a_statement_ends_its_span_and_counts(registry):
    database = databases.Instruments("psycopg", registry).database("postgresql", {})

    async def forever(cursor, statement):
        await asyncio.sleep(60)

    execute = database.awaiting(forever)

    async def main():
        task = asyncio.create_task(execute(None, "select 1"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with traced_request() as spans:
        asyncio.run(main())

    assert ("SELECT", "request", "ERROR") in shape(spans)
    assert read(registry)["db.client.operation.errors"] == {
        "db.system.name=postgresql,error.type=CancelledError": 1
    }
    assert operations(registry) == {}  # read above


def test_classes_and_databases_are_bounded(monkeypatch, registry, tmp_path):
    monkeypatch.setattr(drivers, "CLASSES_MAX", 4)
    subclasses = Subclasses(lambda made: None)
    bases = [type(f"Cursor{n}", (), {}) for n in range(4)]
    made = [subclasses.of(base) for base in bases]
    assert [cls is base for cls, base in zip(made, bases, strict=True)] == [
        False,
        False,
        True,
        True,
    ]
    assert [subclasses.of(cls) for cls in made] == made

    monkeypatch.setattr(drivers, "PLACES_MAX", 2)
    driver = drivers.Driver("sqlite3", "sqlite", lambda *_: None, registry)
    places = [driver.place({"db.namespace": str(n)}) for n in range(5)]
    assert len({id(place) for place in places}) == 3


def test_statements_of_django_are_the_driver_s(registry, tmp_path):
    program = tmp_path / "shop.py"
    program.write_text(DJANGO)
    import subprocess

    done = subprocess.run(
        [sys.executable, program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert done.stdout.split() == ["7", "SELECT", "1"], done.stderr


DJANGO = """
import django
from django.conf import settings

settings.configure(DATABASES={"default": {
    "ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()
from nilometer.integrations import sqlite3
from nilometer.measure import REGISTRY

sqlite3.install()
from django.db import connection

with connection.cursor() as cursor:
    REGISTRY.collect()
    cursor.execute("select %s", [7])
    print(cursor.fetchone()[0])
(reading,) = [r for r in REGISTRY.collect()[0] if r.name == "db.client.operation"]
print(dict(reading.dimensions)["db.operation.name"], reading.value.samples)
"""
