"""Budgets: what counts, whose it is, and what a failure shows."""

import asyncio
import contextvars
import re
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import aiohttp
import httpx
import pytest
import requests
import sqlalchemy as sa
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool

import nilometer
from nilometer.integrations.callers import show_files_from
from nilometer.measure import REGISTRY
from nilometer.pytest_plugin import budget, recording
from nilometer.pytest_plugin.budgets import TIMES, BudgetError, printable
from nilometer.pytest_plugin.listening import LISTENING
from nilometer.pytest_plugin.recording import CALLS_MAX, Call, Ledger
from nilometer.pytest_plugin.spent import sound
from nilometer.testing import capture


@pytest.fixture(autouse=True)
def _files_are_shown_from_here():
    show_files_from(str(Path(__file__).parent))


@pytest.fixture
def engine():
    """Made before anybody listens, as applications make theirs."""
    made = sa.create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )
    with made.begin() as connection:
        connection.execute(sa.text("create table items (a int, name text)"))
    yield made
    made.dispose()


@pytest.fixture
def server():
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302 if self.path == "/moved" else 204)
            if self.path == "/moved":
                self.send_header("Location", "/c")
            self.end_headers()

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def ask(engine, times=1):
    for i in range(times):
        with engine.connect() as connection:
            connection.execute(sa.text(f"select a from items where a = {i}")).all()


def failure_of(block):
    with pytest.raises(BudgetError) as failure:
        block()
    return str(failure.value)


def name_of(function):
    return function.__qualname__.replace(".<locals>", "")


def line_of(function, offset):
    return function.__code__.co_firstlineno + offset


def test_what_stays_within_its_budget_passes(engine):
    with budget(sql_statements=2, http_requests=0):
        ask(engine, 2)


def test_a_failure_shows_the_statements_folded_and_where_they_come_from(engine):
    def block():
        with budget(sql_statements=3):
            ask(engine, 25)
            with engine.connect() as connection:
                connection.execute(sa.text("select name from items where name = 'secret'"))

    assert failure_of(block) == (
        "26 SQL statements where sql_statements=3 allows 3\n"
        f"  {TIMES} 25  select a from items where a = ?\n"
        f"        test_budgets.py:{line_of(ask, 3)} in ask\n"
        f"  {TIMES}  1  select name from items where name = ?\n"
        f"        test_budgets.py:{line_of(block, 4)} in {name_of(block)}\n"
        " [budget-exceeded]"
    )


def test_a_failure_shows_so_many_and_counts_the_rest(engine):
    def block():
        with budget(sql_statements=0), engine.connect() as connection:
            for i in range(40):
                connection.execute(sa.text(f"select a as a{i}_ from items"))

    said = failure_of(block)

    assert said.count("select") == 30
    assert "  and 10 more, of 10 kinds\n" in said


def test_what_the_block_raises_passes_unchanged(engine):
    fault = KeyError("mine")

    def block():
        with budget(sql_statements=0):
            ask(engine)
            raise fault

    with pytest.raises(KeyError) as raised:
        block()

    assert raised.value is fault


def test_statements_that_fail_count(engine):
    def nonsense():
        with engine.connect() as connection:
            connection.execute(sa.text("select nothing from nowhere"))

    with budget() as spent, pytest.raises(sa.exc.OperationalError):
        nonsense()

    assert spent.counts["sql.statements"] == 1


def test_nested_budgets_each_count_what_is_inside_of_them(engine):
    with budget(sql_statements=3) as outer:
        ask(engine)
        with budget(sql_statements=2) as inner:
            ask(engine, 2)

    assert (outer.counts["sql.statements"], inner.counts["sql.statements"]) == (3, 2)


def test_the_inner_failure_is_the_one_that_is_told(engine):
    def block():
        with budget(sql_statements=0), budget(sql_statements=1):
            ask(engine, 2)

    assert failure_of(block).startswith("2 SQL statements where sql_statements=1 allows 1\n")


@pytest.mark.parametrize("carried", [True, False], ids=["carried", "plain"])
def test_threads_count_with_their_context_and_without(engine, carried):
    work = (
        contextvars.copy_context().run if carried else lambda function, *rest: function(*rest)
    )

    with budget() as spent:
        thread = threading.Thread(target=work, args=(ask, engine, 4))
        thread.start()
        thread.join()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: ask(engine), range(6)))

    assert spent.counts["sql.statements"] == 10


def test_tasks_side_by_side_each_count_their_own(engine):
    async def one(times):
        with budget() as spent:
            for _ in range(times):
                ask(engine)
                await asyncio.sleep(0)
        return spent.counts["sql.statements"]

    async def both():
        with budget() as outer:
            found = await asyncio.gather(one(2), one(5))
        return [*found, outer.counts["sql.statements"]]

    assert asyncio.run(both()) == [2, 5, 7]


def test_what_was_started_before_a_budget_counts_in_it(engine):
    with budget():
        earlier = contextvars.copy_context()
        with budget() as spent:
            earlier.run(ask, engine, 2)

    assert spent.counts["sql.statements"] == 2


def test_a_generator_that_ends_elsewhere_leaves_nothing_behind(engine):
    def steps():
        with budget() as spent:
            yield spent
            ask(engine)
            yield spent

    with budget() as outer:
        left = steps()
        spent = next(left)
        ask(engine)
        next(left)
        contextvars.copy_context().run(left.close)
        ask(engine)

    assert (spent.counts["sql.statements"], outer.counts["sql.statements"]) == (2, 3)


def test_statements_of_async_engines_are_put_down_to_who_awaits_them():
    async def body():
        engine = create_async_engine("sqlite+aiosqlite://")
        with budget() as spent:
            async with engine.connect() as connection:
                await connection.execute(sa.text("select 1"))
        await engine.dispose()
        return spent.calls

    ((call, times),) = asyncio.run(body()).items()

    assert (call.text, times) == ("select ?", 1)
    assert re.fullmatch(
        r"test_budgets\.py:\d+ in test_statements_of_async_engines_\w+\.body", call.where
    )


def test_requests_of_both_clients_count_sync_and_async(server):
    async def asynchronously():
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"{server}/c?token=secret")

    with budget(http_requests=3) as spent:
        requests.get(f"{server}/a", proxies={"http": ""}, timeout=5)
        httpx.get(f"{server}/b", trust_env=False)
        asyncio.run(asynchronously())

    assert [(call.text, call.where.split(":")[0]) for call in spent.calls] == [
        ("GET 127.0.0.1/a", "test_budgets.py"),
        ("GET 127.0.0.1/b", "test_budgets.py"),
        ("GET 127.0.0.1/c", "test_budgets.py"),
    ]


def test_requests_of_python_s_own_client_and_of_aiohttp_count(server):
    """A redirect is a request more; what urllib3 sends by Python's client counts once."""
    port = int(server.rpartition(":")[2])

    async def asynchronously():
        async with aiohttp.ClientSession() as session, session.get(f"{server}/e?b=1"):
            pass

    def block():
        with budget(http_requests=0):
            connection = HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/a?token=secret")
            connection.getresponse().read()
            connection.close()
            urllib.request.build_opener().open(f"{server}/moved").read()
            urllib3.PoolManager().request("GET", f"{server}/d")
            asyncio.run(asynchronously())

    told = failure_of(block)

    assert told.startswith("5 HTTP requests where http_requests=0 allows 0\n")
    texts = re.findall(rf"{TIMES} (\d+)  GET (\S+)\n +test_budgets\.py:(\d+)", told)
    assert sorted(texts, key=lambda found: found[1]) == [
        ("1", "127.0.0.1/a", str(line_of(block, 3))),
        ("1", "127.0.0.1/c", str(line_of(block, 6))),
        ("1", "127.0.0.1/d", str(line_of(block, 7))),
        ("1", "127.0.0.1/e", str(line_of(asynchronously, 1))),
        ("1", "127.0.0.1/moved", str(line_of(block, 6))),
    ]


def test_what_our_own_exporters_send_is_nobody_s(server):
    ours = {"__name__": "nilometer.export.lane"}
    exec("def send(connection): connection.request('GET', '/a')", ours)
    connections = [HTTPConnection("127.0.0.1", int(server.rpartition(":")[2])) for _ in "ab"]

    with budget(http_requests=0), ThreadPoolExecutor(1) as pool:
        pool.submit(ours["send"], connections[0]).result()
        ours["send"](connections[1])

    for connection in connections:
        connection.close()


def test_a_client_that_cannot_be_heard_is_warned_of(server, monkeypatch):
    """One of a version that is built otherwise: its requests would pass any budget."""
    LISTENING.end()
    monkeypatch.delattr(aiohttp.ClientSession, "_request")

    told = "http_requests: requests of aiohttp are not counted: "
    with pytest.warns(UserWarning, match=told) as warned, budget(http_requests=0):
        pass
    with budget(sql_statements=0):
        pass

    assert [one.filename for one in warned] == [__file__]


def test_too_many_requests_fail_and_are_shown(server):
    def block():
        with budget(http_requests=0):
            httpx.get(f"{server}/a", trust_env=False)

    assert failure_of(block).startswith(
        "1 HTTP requests where http_requests=0 allows 0\n"
        f"  {TIMES} 1  GET 127.0.0.1/a\n"
        f"       test_budgets.py:{line_of(block, 2)} in {name_of(block)}\n"
    )


def test_instruments_have_budgets_by_either_name():
    REGISTRY.lost("test", "on purpose")
    placed, taken = nilometer.counter("test.orders"), nilometer.timer("test.took")
    placed.add(7)  # before the block: not its own

    spent = budget(test_orders=2, test_took=1, instruments={"test.orders": 1})

    def block():
        with spent:
            placed.bind(kind="big").add()
            placed.add()
            taken.record(5)

    assert failure_of(block) == (
        "2 test.orders where test.orders=1 allows 1\n [budget-exceeded]"
    )
    assert spent.counts["test.took.samples"] == 1
    assert [name for name in spent.counts if name.startswith("nilometer.")] == []
    REGISTRY.collect()


def test_what_is_read_for_budgets_is_taken_from_nobody():
    made = nilometer.counter("test.kept")

    with capture() as captured:
        made.add(2)
        with budget(test_kept=3):
            made.add(3)
        made.add(4)

    assert captured.total("test.kept") == 9


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sql_statment": 3}, "is called 'sql_statment'; did you mean 'sql_statements'? ("),
        ({"instruments": {"no.such": 1}}, "is called 'no.such'; choose from "),
    ],
)
def test_a_name_that_is_none_fails_with_the_nearest(given, said):
    with pytest.raises(BudgetError, match=re.escape(said)), budget(**given):
        pass


@pytest.mark.parametrize("limit", [-1, 1.5, True, "3"])
def test_a_budget_is_a_whole_number(limit):
    with pytest.raises(BudgetError, match="whole number"):
        budget(sql_statements=limit)


def test_one_budget_serves_again_but_not_within_itself(engine):
    one = budget(sql_statements=1)
    for _ in range(2):
        with one:
            ask(engine)

    with one, pytest.raises(BudgetError, match="in use already"), one:
        pass


def test_an_engine_that_connects_first_pays_nothing_for_it():
    """Else the test that comes first would pay for what its dialect asks the server."""
    engine = sa.create_engine("sqlite://")
    asked = []

    def initialize(connection):
        asked.append(connection.exec_driver_sql("select 'version'").scalar())

    engine.dialect.initialize = initialize
    with budget(sql_statements=1):
        ask_nothing = sa.text("select 1")
        with engine.connect() as connection:
            connection.execute(ask_nothing)

    assert asked == ["version"]


def test_a_statement_that_cannot_be_told_counts_and_disturbs_nobody(engine, monkeypatch):
    monkeypatch.setattr("nilometer.pytest_plugin.listening.shown_statement", None)

    with budget() as spent:
        ask(engine, 2)

    assert [(call.text, times) for call, times in spent.calls.items()] == [("(others)", 2)]


STEPS = st.lists(st.sampled_from(["open", "close", "call"]), max_size=40)


@given(STEPS)
def test_a_ledger_counts_what_is_called_between_its_open_and_its_close(steps):
    opened, expected, ended = [], [], []
    for step in steps:
        if step == "open":
            opened.append(Ledger())
            expected.append(0)
            opened[-1].open()
        elif step == "close" and opened:
            opened[-1].close()
            ended.append((opened.pop(), expected.pop()))
        elif step == "call":
            expected = [n + 1 for n in expected]
            recording.heard("x", lambda: Call("x", "text", ""))
    while opened:
        opened[-1].close()
        ended.append((opened.pop(), expected.pop()))

    assert [ledger.counts.get("x", 0) for ledger, _ in ended] == [n for _, n in ended]
    assert recording._open == []
    assert recording._INNERMOST.get() is None


@given(st.integers(CALLS_MAX + 1, CALLS_MAX + 50))
def test_calls_beyond_those_told_apart_are_counted_together(different):
    ledger = Ledger(takes_all=True)
    ledger.open()
    for i in range(different):
        recording.heard("x", lambda: Call("x", str(i), ""))  # noqa: B023
    ledger.close()

    assert ledger.counts == {"x": different}
    assert ledger.calls[Call("x", "(others)", "")] == different - CALLS_MAX
    assert len(ledger.calls) == CALLS_MAX + 1


@given(st.text(st.characters()))
def test_what_is_printed_moves_no_cursor_and_what_is_written_can_be_encoded(text):
    assert printable(text).isprintable()
    assert sound(text).encode("utf-8").decode("utf-8") == sound(text)


def test_after_a_budget_statements_are_as_before(engine):
    with budget() as spent:
        ask(engine)
    ask(engine, 3)

    assert spent.counts["sql.statements"] == 1
