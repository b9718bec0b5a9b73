"""SQLAlchemy: what is timed and shown, what never is, and that nothing stays behind."""

import asyncio
import importlib
import os
import time
from unittest.mock import ANY

import greenlet
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import orm
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool

import nilometer.trace as trace
from nilometer.integrations import databases, statement
from nilometer.integrations import sqlalchemy as ours
from nilometer.integrations.statement import (
    NAMES_IN_DOUBLE_QUOTES,
    READ_CHARS_MAX,
    SHOWN_CHARS_MAX,
    normalised,
    operation_of,
)
from nilometer.model import Level, SpanKind
from nilometer.trace import Trace, drain_spans, start_root
from nilometer.trace.limits import described
from tests.integrations.integration_kit import read, shape

SELECT = "db.operation.name=SELECT,db.system.name=sqlite"


@pytest.fixture(params=["sql_pure", "_sql"], ids=["python", "c"], autouse=True)
def sql_twin(request, monkeypatch):
    """Every test runs once per twin."""
    module = importlib.import_module(f"nilometer.integrations.{request.param}")
    monkeypatch.setattr(databases, "Execute", module.Execute)


@pytest.fixture
def engine(registry):
    made = sa.create_engine("sqlite://")
    ours.instrument(made, registry=registry)
    yield made
    ours.uninstall()


@pytest.fixture
def root():
    span = start_root("request", request=Trace(os.urandom(16)))
    with span:
        yield span


def test_statements_are_timed_by_operation(engine, registry):
    with engine.begin() as connection:
        connection.execute(sa.text("create table t (a int)"))
        connection.execute(sa.text("insert into t values (:a)"), [{"a": 1}, {"a": 2}])
        for _ in range(3):
            connection.execute(sa.text("select a from t"))
        connection.exec_driver_sql("select 1")

    readings = read(registry)
    assert readings["db.client.operation"] == {
        "db.operation.name=CREATE,db.system.name=sqlite": 1,
        "db.operation.name=INSERT,db.system.name=sqlite": 1,
        SELECT: 4,
    }
    assert readings["db.client.connect"] == {"db.system.name=sqlite": 1}


def test_a_traced_statement_is_shown_without_its_values(engine, root):
    with engine.connect() as connection:
        connection.execute(
            sa.text("select 'secret in text', 42, :password"), {"password": "secret"}
        )
    connect, select = drain_spans()

    assert (connect.name, select.name, select.kind) == ("CONNECT", "SELECT", SpanKind.CLIENT)
    assert dict(select.attributes) == {
        "db.system.name": "sqlite",
        "db.operation.name": "SELECT",
        "db.query.text": "select ?, ?, ?",
    }
    assert select.parent_id.hex() == root.span_id
    assert "secret" not in repr((connect, select))


@pytest.fixture
def readings_of(monkeypatch):
    """How often each statement's first word, and its whole text, were read."""
    read_of = {"operation_of": [], "normalised": []}
    for name, texts in read_of.items():
        original = getattr(databases, name)

        def counted(text, *, original=original, texts=texts, **options):
            texts.append(text)
            return original(text, **options)

        monkeypatch.setattr(databases, name, counted)
    return read_of


def test_outside_a_request_no_statement_is_read_beyond_its_first_word(engine, readings_of):
    with engine.connect() as connection:
        connection.exec_driver_sql("select 1")
        connection.exec_driver_sql("select '" + "x" * READ_CHARS_MAX + "'")
        assert readings_of["normalised"] == []

        with start_root("request", request=Trace(os.urandom(16))):
            for _ in range(3):
                connection.exec_driver_sql("select 1")

    assert readings_of["normalised"] == ["select 1"]
    assert [span.name for span in drain_spans()] == ["SELECT"] * 3 + ["request"]


def test_a_statement_in_use_stays_known_however_many_others_pass_by(
    engine, registry, readings_of
):
    others = 3 * databases.STATEMENTS_KEPT_MAX
    with engine.connect() as connection:
        for n in range(others):
            connection.exec_driver_sql(f"select {n} as a")
        for n in range(others):
            connection.exec_driver_sql("select 'late' as a")
            connection.exec_driver_sql(f"select {n} as b")

    assert readings_of["operation_of"].count("select 'late' as a") == 1
    assert len(readings_of["operation_of"]) == 1 + 2 * others
    assert read(registry)["db.client.operation"] == {SELECT: 3 * others}


def test_an_error_ends_its_own_span_and_no_other(engine, registry, root):
    with trace.span("outer"):
        with engine.connect() as connection, pytest.raises(sa.exc.OperationalError):
            connection.execute(sa.text("select * from nowhere"))
        with trace.span("after"):
            pass

    assert shape(drain_spans()) == [
        ("CONNECT", "outer", "UNSET"),
        ("SELECT", "outer", "ERROR"),
        ("after", "outer", "UNSET"),
        ("outer", "", "UNSET"),
    ]
    assert read(registry)["db.client.operation.errors"] == {
        "db.system.name=sqlite,error.type=OperationalError": 1
    }


def test_a_failed_connect_leaves_the_span_around_it_alone(registry, root):
    engine = sa.create_engine("sqlite:////nonexistent/folder/file.db")
    ours.instrument(engine, registry=registry)
    with trace.span("outer"), pytest.raises(sa.exc.OperationalError):
        engine.connect()
    ours.uninstall()
    readings = read(registry)

    assert shape(drain_spans()) == [("CONNECT", "outer", "ERROR"), ("outer", "", "UNSET")]
    assert readings["db.client.connect"] == {"db.system.name=sqlite": 1}
    assert readings["db.client.connect.errors"] == {
        "db.system.name=sqlite,error.type=OperationalError": 1
    }


def test_async_engines_are_measured_in_their_own_task_s_trace(registry, root):
    async def main():
        engine = create_async_engine("sqlite+aiosqlite://")
        ours.instrument(engine, registry=registry)
        async with engine.connect() as connection:
            with trace.span("outer"):
                await connection.execute(sa.text("select 1"))
        await engine.dispose()

    asyncio.run(main())
    ours.uninstall()

    assert ("SELECT", "outer", "UNSET") in shape(drain_spans())
    assert read(registry)["db.client.operation"][SELECT] == 1


def test_deep_down_a_statement_says_where_in_the_user_s_code_it_was_executed(engine, registry):
    async def main():
        deep = create_async_engine("sqlite+aiosqlite://")
        ours.instrument(deep, registry=registry)
        async with deep.connect() as connection:
            await connection.execute(sa.text("select 2"))
        await deep.dispose()

    registry.set_level("integrations.sqlalchemy", Level.DEEP)
    with start_root("request", request=Trace(os.urandom(16))), engine.connect() as connection:
        connection.execute(sa.text("select 1"))
        asyncio.run(main())
        registry.set_level("integrations.sqlalchemy", Level.BASIC)
        connection.execute(sa.text("select 1"))
    told = [dict(span.attributes) for span in drain_spans() if span.name == "SELECT"]

    place = test_deep_down_a_statement_says_where_in_the_user_s_code_it_was_executed.__name__
    assert [one.get("code.function.name") for one in told] == [place, f"{place}.main", None]
    assert told[0]["code.file.path"] == "tests/integrations/test_sqlalchemy.py"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, greenlet.GreenletExit])
def test_whatever_ends_a_statement_ends_its_span_and_is_counted(error, registry, root):
    def killed(*_):
        raise error

    database = databases.Instruments("sqlalchemy", registry).database("sqlite", {})
    with trace.span("outer"), pytest.raises(error):
        database.executing(killed)(None, "select 1")

    assert ("SELECT", "outer", "ERROR") in shape(drain_spans())
    assert read(registry)["db.client.operation.errors"] == {
        f"db.system.name=sqlite,error.type={error.__name__}": 1
    }


def test_installing_measures_engines_made_later_and_once(registry):
    assert (ours.install(registry=registry), ours.install(registry=registry)) == (True, False)
    engine = sa.create_engine("sqlite://")
    again = ours.instrument(engine, registry=registry)
    with engine.connect() as connection:
        connection.execution_options(stream_results=True).execute(sa.text("select 1"))
    ours.uninstall()

    assert again is False
    assert read(registry)["db.client.operation"] == {SELECT: 1}


def test_uninstalling_leaves_nothing_behind(registry):
    hook = vars(Dialect)["engine_created"]
    bare = sa.create_engine("sqlite://")
    ours.install(registry=registry)
    engine = sa.create_engine("sqlite://")
    during = vars(engine.dialect).keys() - vars(bare.dialect).keys()
    ours.uninstall()
    for each in (bare, engine):
        with each.connect() as connection:
            connection.execute(sa.text("select 1"))

    assert vars(Dialect)["engine_created"] is hook
    assert during == {"do_execute", "do_executemany", "do_execute_no_params", "do_ping"}
    assert vars(engine.dialect).keys() == vars(bare.dialect).keys()
    assert "db.client.operation" not in read(registry)


def test_another_s_wrapper_around_ours_goes_on_working(registry):
    hook = vars(Dialect)["engine_created"]
    ours.install(registry=registry)
    theirs = classmethod(vars(Dialect)["engine_created"].__func__)
    Dialect.engine_created = theirs
    try:
        ours.uninstall()
        with sa.create_engine("sqlite://").connect() as connection:
            assert connection.scalar(sa.text("select 7")) == 7
        assert "db.client.operation" not in read(registry)
        assert vars(Dialect)["engine_created"] is theirs
    finally:
        Dialect.engine_created = hook


def test_an_engine_takes_the_parameters_that_it_takes(registry):
    ours.install(registry=registry)
    parameters = {
        "echo": False,
        "logging_name": "mine",
        "execution_options": {"isolation_level": "AUTOCOMMIT"},
        "hide_parameters": True,
    }
    engine = sa.create_engine("sqlite://", **parameters)
    ours.uninstall()

    assert (engine.logging_name, engine.hide_parameters) == ("mine", True)


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("SELECT * FROM t WHERE a IN (?, ?, ?)", "SELECT * FROM t WHERE a IN (?, ...)"),
        ("SELECT * FROM t WHERE a IN (1, 2)", "SELECT * FROM t WHERE a IN (?, ...)"),
        ("SELECT 'it''s', \"Name\" FROM t2", 'SELECT ?, "Name" FROM t2'),
        ("SELECT 1 /* secret */ + 2 -- secret", "SELECT ? + ?"),
        ("SELECT E'a\\'secret', 'x'", "SELECT ?"),
        ("SELECT 'C:\\', 'secret'", "SELECT ?"),
        ("SELECT $$secret$$, $t$sec'ret$t$ FROM a", "SELECT ?, ? FROM a"),
        ("SELECT 'unterminated secret", "SELECT ?"),
        ("SELECT $t1$secret$t1$, $é$secret$é$, $1, b$2$", "SELECT ?, ?, $1, b$2$"),
        ("SELECT $1$t$secret$t$", "SELECT $1?"),
        ("SELECT a$x$ 'secret $x$ secret', b", "SELECT a$x$ ?, b"),
        ("SELECT q'[O'Hara's secret]', nQ'!it's!' FROM t", "SELECT ?, ? FROM t"),
        ("SELECT /* a /* b */ secret */ 1", "SELECT"),
        ("SELECT a /* b * / c */ FROM t", "SELECT a FROM t"),
        ("SELECT .5, -.5, x=.5e3, 1_000, 0b01, 5.", "SELECT ?, -?, x=?, ?, ?, ?"),
        ("SELECT \"it's\" FROM t WHERE a = 'secret'", 'SELECT "it\'s" FROM t WHERE a = ?'),
        ("SELECT `it's` FROM t WHERE a = 'secret'", "SELECT `it's` FROM t WHERE a = ?"),
        ("SELECT [it's] FROM t WHERE a = 'secret'", "SELECT ?"),
        ("SELECT ARRAY['a', 'b'], a['x']", "SELECT ARRAY[?, ?], a[?]"),
        ('SELECT "open secret', "SELECT ?"),
        ("SELECT `open secret", "SELECT ?"),
        (
            "SELECT a FROM t WHERE b = -1.5e-7 AND c = 0xFF",
            "SELECT a FROM t WHERE b = ? AND c = ?",
        ),
        (
            "SELECT col1 FROM t1 WHERE a=$1 AND b=:b2",
            "SELECT col1 FROM t1 WHERE a=$1 AND b=:b2",
        ),
        ("SELECT\n\t1", "SELECT ?"),
        ("SELECT _utf8'secret', t.x'5EC2E7', a.q'[it's secret]'", "SELECT _utf8?, t.?, a.?"),
        ("SELECT 'secret\\", "SELECT ?"),
        ("SELECT 'a''secret\\", "SELECT ?"),
    ],
)
def test_no_value_is_shown(statement, shown):
    assert normalised(statement) == shown


@pytest.mark.parametrize("value", ["7", "'x'", "?", "%s", "%(a_1)s", ":a", "$1"])
def test_rows_of_one_column_are_one_however_many_they_are(value):
    one, many = (
        normalised("insert into t values " + ", ".join([f"({value})"] * rows) + " returning id")
        for rows in (1, 500)
    )

    assert many == one
    assert len(one) < 45


def test_in_mysql_double_quotes_hold_values():
    assert normalised('SELECT "secret" # why', double_quotes_strings=True) == "SELECT ?"
    assert (
        normalised("SELECT 1--'a\nsecret', `it's`, 'x' -- y", double_quotes_strings=True)
        == "SELECT ?--?, `it's`, ?"
    )


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        (
            'SELECT a FROM t WHERE b = "secret" OR c = b"secret"',
            "SELECT a FROM t WHERE b = ? OR c = b?",
        ),
        ("SELECT '''it's 'secret' ''', a", "SELECT ?"),
        ('SELECT """a "secret" """, a', "SELECT ?"),
        ("SELECT a FROM t # why\nWHERE b = 'secret'", "SELECT a FROM t WHERE b = ?"),
        ("SELECT a # it's\n'secret', b --it's\nsecret'", "SELECT a ?"),
        ("SELECT a --'a\nsecret'", "SELECT a ?"),
        ("SELECT $$secret$$", "SELECT ?"),
        ("SELECT `it's` FROM t", "SELECT `it's` FROM t"),
    ],
)
def test_in_a_dialect_that_is_not_known_nothing_is_shown_that_may_be_a_value(statement, shown):
    assert normalised(statement, double_quotes_strings=None) == shown


@pytest.mark.parametrize(
    ("dialect", "shown"),
    [("bigquery", "select ?"), ("postgresql", 'select "secret"'), ("sqlite", "select ?")],
)
def test_what_double_quotes_are_is_the_dialect_s(dialect, shown, registry, root):
    engine = sa.create_engine("sqlite://")
    engine.dialect.name = dialect
    ours.instrument(engine, registry=registry)
    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError):
        connection.exec_driver_sql('select "secret" from nowhere')
    ours.uninstall()

    (found,) = [span for span in drain_spans() if span.name == "SELECT"]
    assert found.attributes["db.query.text"] == f"{shown} from nowhere"


QUOTABLE = st.text(st.characters(exclude_characters="\x00"), max_size=30)


@given(QUOTABLE, QUOTABLE, st.sampled_from([False, True, None]))
def test_no_quoted_text_gets_through(one, other, mysql):
    def quoted(text):
        return "'" + text.replace("'", "''") + "'"

    one, other = f"\N{SNOWMAN}{one}", f"\N{COMET}{other}"
    shown = normalised(f"SELECT {quoted(one)}, {quoted(other)}", double_quotes_strings=mysql)

    assert "\N{SNOWMAN}" not in shown
    assert "\N{COMET}" not in shown


@given(st.text())
def test_any_text_is_read_and_bounded(text):
    assert len(normalised(text * 50)) <= SHOWN_CHARS_MAX
    assert operation_of(text).isupper()


@pytest.mark.parametrize("part", ["'", "(", "/*", "--", "$$", "1,", "(?,", " ", "'\\", "$a"])
def test_hostile_statements_take_no_time_and_no_room(part):
    hostile = part * READ_CHARS_MAX

    assert len(normalised(hostile, double_quotes_strings=True)) <= SHOWN_CHARS_MAX
    assert operation_of(hostile) == "OTHER"


UNITS = [
    *("a", "_", "1", "$", "'", "''a", "[", "[a", "[]", "a.", "a ", "a$", ". ", "/*", "/", "*"),
    *("-", "--", "(", "(?,", "(?),", "(?, ", "(1),", "(1,2),", "q'", "q'x ", "e'", "\\", "'\\"),
    *("`", '"', '"a', "0x", "1e", "+", "+1", ".1", "1.", "$a$", "$a ", "\n", " ", ":a ", "%s,"),
    *("( %s ,", "(:a,", "é", "x'", "? , ", "( ? ", "/**/", "%(a)s,", "$1$", "['", "a'"),
]


def cpu_ns(statement, double_quotes_strings):
    began_ns = time.thread_time_ns()
    normalised(statement, double_quotes_strings=double_quotes_strings)
    return time.thread_time_ns() - began_ns


@pytest.mark.parametrize("double_quotes_strings", [False, True, None])
@pytest.mark.parametrize("end", ["", "'", "\\", '"', "]", "$"])
def test_the_time_that_a_statement_takes_is_its_length_s(
    end, double_quotes_strings, monkeypatch
):
    """Eight times as long: 8 times the time, and 64 if it were its length's square.

    The least of several times, so that a busy machine decides nothing.
    """
    monkeypatch.setattr(statement, "READ_CHARS_MAX", 1 << 20)

    def worst_ratio(unit):
        short, long = ("select " + (unit * chars)[:chars] + end for chars in (2_000, 16_000))
        shorts, longs = [], []
        for _ in range(9):
            shorts.append(cpu_ns(short, double_quotes_strings))
            longs.append(cpu_ns(long, double_quotes_strings))
            if min(longs) < 20 * min(shorts):
                break
        return min(longs) / min(shorts)

    assert [unit for unit in UNITS if worst_ratio(unit) >= 20] == []


def test_no_value_is_in_the_span_of_what_fails_nor_in_those_around_it(registry):
    ours.install(registry=registry)
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    statements = [
        (sa.text("insert into users values (:p)"), {"p": "secret"}),
        (sa.text("insert into u values (:p)"), {"p": ["secret"]}),
        (sa.text("insert into u values ('secret')"), {}),
        (sa.text("insert into u values ('secret'')"), {}),
        (sa.text('select * from u where email = "secret" and x'), {}),
    ]
    trace.drain_spans()
    with engine.begin() as connection:
        connection.execute(sa.text("create table u(email text unique)"))
        connection.execute(sa.text("insert into u values ('secret')"))
    with trace.start_root("request", request=Trace(bytes(range(16)))):
        for statement, parameters in statements:
            with (
                pytest.raises(sa.exc.StatementError),
                trace.span("around"),
                engine.begin() as connection,
            ):
                connection.execute(statement, parameters)
    ours.uninstall()
    spans = drain_spans()

    assert "secret" not in repr(spans)
    assert [span.status_message for span in spans if span.name == "around"] == [
        "SQLITE_ERROR: no such table: users",
        ANY,  # the driver tells of the type, by different words in each Python
        "SQLITE_CONSTRAINT_UNIQUE: UNIQUE constraint failed: u.email",
        "SQLITE_ERROR: unrecognized token",
        "SQLITE_ERROR: no such column: x",
    ]


class DatabaseError(Exception):
    """As PEP 249 has one in every driver."""


class Coded(DatabaseError):
    sqlstate = "23505"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            DatabaseError(1062, "Duplicate entry 'secret' for key 'u.email'"),
            "1062: Duplicate entry",
        ),
        (DatabaseError("23000", "[23000] The key is (secret)"), "23000"),
        (
            Coded('duplicate key "u"\nDETAIL: Key (email)=(secret) is there'),
            "23505: duplicate key",
        ),
        (DatabaseError("wrong date: 1971-03-05"), "wrong date"),
        (DatabaseError("no such table: users"), "no such table: users"),
        (DatabaseError(("secret",), "secret"), ""),
        (DatabaseError(), ""),
        (ValueError("it's 5"), "it's 5"),
        (
            sa.exc.PendingRollbackError("This Session's over: 'secret' [SQL: x = 'secret']"),
            "This Session's over",
        ),
        (ValueError("it failed [SQL: x = 'secret']"), "it failed "),
    ],
)
def test_of_a_database_s_error_the_code_and_no_value_is_told(error, told):
    assert described(error)[1] == told


KEY_IS_THERE = "duplicate key\nDETAIL:  Key (email)=(secret) is there."
SYNTAX = sa.exc.ProgrammingError(
    "select 'secret'", {"p": "secret"}, DatabaseError('at "secret"')
)


@pytest.mark.parametrize(
    ("error", "words", "told"),
    [
        (Coded(KEY_IS_THERE), "failed: {0}", "failed: duplicate key\n23505: duplicate key"),
        (Coded(KEY_IS_THERE), "Key (email)=(secret) is there", "23505: duplicate key"),
        (Coded(KEY_IS_THERE), "{0!r}", "Coded('duplicate key\\n23505: duplicate key"),
        (DatabaseError(1062, "Entry 'secret' again"), "no: {0.args[1]}", "no: 1062: Entry"),
        (SYNTAX, "it was {0.statement}", "it was at"),
        (SYNTAX, "it was {0}", "it was at"),
        (SYNTAX, "it was {0.orig}", "it was at"),
        (DatabaseError("no such table: users"), "{0}, really", "no such table: users, really"),
        (ValueError("not 'secret' of a database"), "{0}", "not 'secret' of a database"),
    ],
)
@pytest.mark.parametrize("deep", [0, 3])
def test_who_quotes_a_database_s_error_tells_no_more_than_it(error, words, told, deep):
    def failing():
        try:
            raise error
        except Exception as raised:
            raise RuntimeError(words.format(raised)) from raised

    def again(times):
        try:
            again(times - 1) if times else failing()
        except Exception as raised:
            raise LookupError(str(raised)) from None  # its context is still known

    with pytest.raises(LookupError) as caught:
        again(deep)

    assert described(caught.value)[1] == told


def test_exceptions_that_led_to_each_other_end():
    first, second = ValueError("first"), DatabaseError("'secret'")
    first.__context__, second.__context__ = second, first

    assert described(first)[1] == "first"


def test_a_session_that_was_not_rolled_back_tells_no_value(registry):
    metadata = sa.MetaData()
    users = sa.Table("u", metadata, sa.Column("email", sa.String, primary_key=True))
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)

    class User:
        def __init__(self, email):
            self.email = email

    orm.registry().map_imperatively(User, users)
    trace.drain_spans()

    def flushed_and_went_on():
        with (
            start_root("request", request=Trace(bytes(range(16)))),
            orm.Session(engine) as session,
        ):
            session.execute(sa.insert(users), {"email": "secret"})
            session.add(User("secret"))
            with pytest.raises(sa.exc.IntegrityError):
                session.flush()
            session.execute(sa.select(users))

    with pytest.raises(sa.exc.PendingRollbackError, match="secret"):
        flushed_and_went_on()
    (span,) = drain_spans()

    assert span.status_message == (
        "This Session's transaction has been rolled back due to a previous exception during "
        "flush. To begin a new transaction with this Session, first issue Session.rollback"
    )
    assert "secret" not in repr(span)


def test_what_may_be_a_comment_of_two_slashes_turns_no_quoting_inside_out():
    """Snowflake's; elsewhere they divide, or are nothing."""
    text = "SELECT * FROM t // it's theirs\nWHERE mail = 'SECRET@x.org'"

    assert "SECRET" not in normalised(text, double_quotes_strings=None)
    assert "snowflake" not in NAMES_IN_DOUBLE_QUOTES


@pytest.mark.parametrize("quotes", [False, True, None])
@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("select 1 from t where id%4111111111111111=1", "select ? from t where id%?=?"),
        ("select id%.5, id%%4111", "select id%?, id%%?"),
        ("select a[1:4111], a[:4111], a[b:4111]", "select a[?:?], a[:?], a[b:?]"),
        ("select @4111, @-4111", "select @?, @?"),
        ("select $4111111111111111", "select $?"),
        ("select a where b=:1 or c = $2 or d between :3 and ?4 limit :5", None),
        ("select a::int where b = %s or c = %(name)s or d = :name", None),
    ],
)
def test_a_number_behind_an_operator_is_a_value_and_that_of_a_place_is_none(
    statement, shown, quotes
):
    assert normalised(statement, double_quotes_strings=quotes) == (shown or statement)
