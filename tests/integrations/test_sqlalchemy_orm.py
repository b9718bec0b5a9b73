"""SQLAlchemy's ORM: queries with the loading of their objects, and writes, each timed once."""

import asyncio
import gc
import inspect
from contextlib import suppress
from importlib import import_module
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import StaticPool

from nilometer import trace
from nilometer.integrations import databases, sqlalchemy_orm
from nilometer.integrations.orm_pure import Model
from nilometer.model import Level
from tests.integrations.integration_kit import read, shape, traced_request

mappers = orm.registry()


@mappers.mapped
class User:
    __tablename__ = "users"
    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.String)
    posts = orm.relationship("Post")


@mappers.mapped
class Post:
    __tablename__ = "posts"
    id = sa.Column(sa.Integer, primary_key=True)
    user_id = sa.Column(sa.ForeignKey("users.id"))


@pytest.fixture
def engine():
    made = sa.create_engine("sqlite://", poolclass=StaticPool)
    mappers.metadata.create_all(made)
    with orm.Session(made) as session:
        session.add_all([User(id=n, posts=[Post()]) for n in range(1, 6)])
        session.commit()
    yield made
    made.dispose()


@pytest.fixture(params=["sql_pure", "_sql"], ids=["python", "c"])
def sql_twin(request, monkeypatch):
    """Every test runs once per twin."""
    module = import_module(f"nilometer.integrations.{request.param}")
    monkeypatch.setattr(databases, "Query", module.Query)
    monkeypatch.setattr(databases, "Results", module.Results)
    return module


@pytest.fixture(autouse=True)
def _installed(sql_twin, engine, registry):
    assert sqlalchemy_orm.install(registry=registry)
    yield
    sqlalchemy_orm.uninstall()


@pytest.fixture
def session(engine):
    with orm.Session(engine) as made:
        yield made


def queries(registry):
    return read(registry).get("db.client.orm.query", {})


@pytest.mark.parametrize(
    "ask",
    [
        lambda session: session.execute(sa.select(User)).all(),
        lambda session: session.execute(sa.select(User)).scalars().first(),
        lambda session: session.execute(sa.select(User.name)).all(),
        lambda session: session.execute(sa.select(User).limit(1)).scalar_one(),
        lambda session: session.scalar(sa.select(User)),
        lambda session: session.query(User).all(),
        lambda session: session.query(User).filter_by(id=2).one(),
        lambda session: session.query(User).count(),
        lambda session: session.get(User, 3),
        lambda session: list(session.execute(sa.select(User).execution_options(yield_per=2))),
        lambda session: list(session.query(User).yield_per(2)),
        lambda session: session.execute(sa.select(orm.aliased(User))).all(),
        lambda session: session.execute(
            sa.select(User).from_statement(sa.text("select * from users"))
        ).all(),
        lambda session: session.execute(sa.select(User)),  # which nobody reads
    ],
)
def test_each_query_of_the_orm_is_one_however_it_is_read(session, registry, ask):
    ask(session)

    (count,) = queries(registry).values()
    assert count == 1


def test_queries_are_told_apart_by_their_model_and_those_that_load_more_are_queries_too(
    session, registry
):
    users = session.execute(sa.select(User).options(orm.selectinload(User.posts))).scalars()
    assert [len(user.posts) for user in users] == [1] * 5
    session.expire_all()
    assert len(session.get(User, 1).posts) == 1
    session.execute(sa.text("select 1"))
    session.execute(sa.select(User.__table__)).all()

    assert queries(registry) == {"model=User": 2, "model=Post": 2}


def test_the_time_of_a_query_is_its_execution_and_its_loading_and_not_what_lies_in_between(
    session, registry, monkeypatch
):
    now = 0

    def spend(ns):
        nonlocal now
        now += ns

    def executed(*_):
        spend(7)

    def loaded(*_):
        spend(100)

    sqlalchemy_orm.uninstall()
    monkeypatch.setattr(sqlalchemy_orm, "elapsed_ns", lambda: now)
    sqlalchemy_orm.install(registry=registry)
    sa.event.listen(session.get_bind(), "before_cursor_execute", executed)
    sa.event.listen(User, "load", loaded)
    try:
        for _ in session.execute(sa.select(User).execution_options(yield_per=2)):
            spend(10_000)
    finally:
        sa.event.remove(session.get_bind(), "before_cursor_execute", executed)
        sa.event.remove(User, "load", loaded)
    (reading,) = (r for r in registry.collect()[0] if r.name == "db.client.orm.query")

    assert (reading.value.samples, reading.value.total) == (1, 7 + 5 * 100)


def test_in_a_traced_request_executing_and_loading_are_spans_that_belong_to_it(session):
    with traced_request() as spans:
        result = session.execute(sa.select(User).options(orm.selectinload(User.posts)))
        with trace.span("between"):
            pass
        result.all()

    assert shape(spans) == [
        ("query User", "request", "UNSET"),
        ("between", "request", "UNSET"),
        ("query Post", "load User", "UNSET"),
        ("load Post", "load User", "UNSET"),
        ("load User", "request", "UNSET"),
        ("request", "", "UNSET"),
    ]


def test_a_query_that_a_listener_executes_in_its_own_way_is_one(session, registry):
    def again(state):
        return state.invoke_statement(execution_options={"populate_existing": True})

    sa.event.listen(session, "do_orm_execute", again)
    session.execute(sa.select(User)).all()

    assert queries(registry) == {"model=User": 1}


def test_a_query_that_fails_is_counted_and_ends_its_own_span(session, registry):
    session.execute(sa.text("drop table posts"))
    with (
        traced_request() as spans,
        trace.span("outer"),
        pytest.raises(sa.exc.OperationalError),
    ):
        session.execute(sa.select(Post)).all()

    assert shape(spans) == [
        ("query Post", "outer", "ERROR"),
        ("outer", "request", "UNSET"),
        ("request", "", "UNSET"),
    ]
    assert read(registry) == {
        "db.client.orm.query": {"model=Post": 1},
        "db.client.orm.query.errors": {"error.type=OperationalError,model=Post": 1},
    }


def test_a_query_whose_loading_fails_is_counted_with_its_error(session, registry):
    session.execute(sa.text("drop table posts"))
    asked = sa.select(User).options(orm.selectinload(User.posts))
    with pytest.raises(sa.exc.OperationalError):
        session.execute(asked).all()
    gc.collect()

    readings = read(registry)
    assert readings["db.client.orm.query"] == {"model=User": 1, "model=Post": 1}
    assert readings["db.client.orm.query.errors"] == {
        "error.type=OperationalError,model=Post": 1,
        "error.type=OperationalError,model=User": 1,
    }


def test_writes_are_flushes_that_have_something_to_write_and_what_is_written_in_bulk(
    session, registry
):
    session.flush()  # nothing to write
    session.add(User(name="a"))
    session.flush()
    session.query(User).filter_by(id=1).update({"name": "b"})
    session.execute(sa.delete(Post).where(Post.id == 1))
    session.bulk_insert_mappings(User, [{"name": "c"}, {"name": "d"}])
    session.add(User(id=1))
    with traced_request() as spans, pytest.raises(sa.exc.IntegrityError):
        session.commit()

    readings = read(registry)
    assert readings["db.client.orm.flush"] == {"": 2, "model=Post": 1, "model=User": 2}
    assert readings["db.client.orm.flush.errors"] == {"error.type=IntegrityError": 1}
    assert ("flush", "request", "ERROR") in shape(spans)


@pytest.mark.parametrize("mapper", [None, 7])
def test_what_has_no_model_is_refused_in_sqlalchemy_s_own_words(session, mapper):
    def refusal():
        with pytest.raises(Exception) as error:  # whichever it is
            session.bulk_insert_mappings(mapper, [{}])
        return type(error.value), str(error.value)

    measured = refusal()
    sqlalchemy_orm.uninstall()

    assert measured == refusal()


def test_async_sessions_are_measured_in_their_own_task_s_trace(registry):
    async def main():
        engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
        async with engine.begin() as connection:
            await connection.run_sync(mappers.metadata.create_all)
        async with AsyncSession(engine) as session:
            session.add(User(id=1))
            await session.commit()
            (await session.execute(sa.select(User))).all()
            (await session.stream(sa.select(User)))
        await engine.dispose()

    with traced_request() as spans:
        asyncio.run(main())

    assert [line for line in shape(spans) if "User" in line[0]] == [
        ("query User", "request", "UNSET"),
        ("load User", "request", "UNSET"),
        ("query User", "request", "UNSET"),
    ]
    gc.collect()
    assert read(registry)["db.client.orm.flush"] == {"": 1}
    assert queries(registry) == {}


def of_chunks(sql_twin, chunks, record, **model):
    """A query about no table, whose result has these chunks."""
    names = {"failed": record, "query": record, "load": record} | model
    known = {"OTHER": Model(record, **names)}
    results = sql_twin.Results(lambda metadata, chunks, *_: SimpleNamespace(chunks=chunks), int)
    return sql_twin.Query(
        lambda session, statement: results(None, chunks, 1, 2), known, None, None, int
    )


ORM = SimpleNamespace(_propagate_attrs={"compile_state_plugin": "orm"})


def test_chunks_are_given_as_they_were_asked_for_and_end_the_query_when_all_are_read(sql_twin):
    told, sizes = [], []

    def chunks(size):
        sizes.append(size)
        return [[1], [2], None, [3]]  # None ends them, too

    execute = of_chunks(sql_twin, chunks, told.append)
    by_size = execute(None, ORM).chunks(1)
    assert sizes == []  # not asked for before the first is wanted
    assert (next(by_size), next(by_size), told) == ([1], [2], [])
    assert (list(by_size), told) == ([], [0])
    assert (list(by_size), list(execute(None, ORM).chunks(None))) == ([], [[1]])
    assert (sizes, told) == ([1, None], [0, 0])


def test_a_chunk_is_given_also_when_the_last_was_asked_for_meanwhile(sql_twin):
    """As by another thread, to which Python says that the generator is executing."""
    asked = []

    class Chunks:
        def __iter__(self):
            return self

        def __next__(self):
            asked.append(1)
            if len(asked) > 1:
                raise StopIteration
            with suppress(ValueError, StopIteration):
                next(chunks)
            return [1]

    chunks = of_chunks(sql_twin, lambda size: Chunks(), int)(None, ORM).chunks(5)
    assert next(chunks) == [1]


def test_a_query_whose_result_is_forgotten_or_never_read_ends_all_the_same(sql_twin):
    told = []
    execute = of_chunks(sql_twin, lambda size: [[1], [2]], told.append)

    result = execute(None, ORM)
    half = result.chunks(1)
    next(half)
    del result
    assert told == []  # it can be read on
    del half
    execute(None, ORM)
    assert told == [0, 0]


def test_what_chunks_raise_is_counted_and_ends_them(sql_twin):
    told, errors = [], []

    def chunks(size):
        yield [1]
        raise OSError("gone")

    execute = of_chunks(
        sql_twin, chunks, told.append, failed=lambda error: errors.append(type(error))
    )
    read = execute(None, ORM).chunks(1)
    assert next(read) == [1]
    with suppress(OSError):  # which is kept nowhere: it leads to the query
        next(read)
    assert (list(read), errors) == ([], [OSError])
    del read
    assert told == [0]


@pytest.mark.parametrize(
    "statement",
    [
        None,
        SimpleNamespace(_propagate_attrs={}),
        SimpleNamespace(_propagate_attrs=None),
        SimpleNamespace(_propagate_attrs={"compile_state_plugin": "default"}),
    ],
)
def test_what_is_not_the_orm_s_is_passed_on(sql_twin, statement):
    query = sql_twin.Query(lambda *given, **named: (given, named), {}, None, None, int)

    assert query(1, statement, x=2) == ((1, statement), {"x": 2})
    assert query(1, ORM, _parent_execute_state=3)[1] == {"_parent_execute_state": 3}
    assert query() == ((), {})
    query.on = False
    assert query(1, ORM) == ((1, ORM), {})


def test_a_query_that_we_fail_to_know_is_executed_and_told_once(session, registry, monkeypatch):
    def broken(*_):
        raise MemoryError

    monkeypatch.setattr(sqlalchemy_orm.Models, "_model", broken)

    assert len(session.scalars(sa.select(User)).all()) == 5
    assert read(registry)["nilometer.lost"] == {"reason=sqlalchemy_orm,what=integration": 1}


def test_what_stands_in_the_orm_s_places_says_what_it_stands_for(sql_twin):
    name = "_execute_internal" if sa.__version__ >= "2" else "execute"
    standing = vars(orm.Session)[name]

    assert isinstance(standing, sql_twin.Query)
    assert standing.__name__ == name
    assert "statement" in inspect.signature(standing).parameters


def test_deep_down_a_query_says_where_it_was_asked(session, registry):
    registry.set_level("integrations.sqlalchemy_orm", Level.DEEP)
    with traced_request() as spans:
        session.execute(sa.select(User))

    told = dict(spans[0].attributes)
    assert told["code.file.path"] == "tests/integrations/test_sqlalchemy_orm.py"
    assert told["code.function.name"].startswith("test_deep_down")


def test_switched_off_or_taken_off_it_passes_everything_on(engine, registry):
    during = dict(vars(orm.Session))
    registry.set_level("integrations.sqlalchemy_orm", Level.OFF)
    with orm.Session(engine) as session:
        session.add(User(id=9))
        session.commit()
        assert session.get(User, 9).id == 9
    sqlalchemy_orm.uninstall()
    after = vars(orm.Session)
    names = {name for name, value in during.items() if value is not after[name]}
    with orm.Session(engine) as session:
        assert session.get(User, 9).id == 9

    assert read(registry) == {}
    assert names & {"execute", "_execute_internal"}
    assert names - {"execute", "_execute_internal"} == {"_flush", "_bulk_save_mappings"}
