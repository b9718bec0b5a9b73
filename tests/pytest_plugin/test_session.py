"""`pytest --nilometer`: each test's own counts, whole, however the tests are run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nilometer.cli.run_file import digest_of, read_run_file
from nilometer.pytest_plugin import recording
from nilometer.pytest_plugin.budgets import TIMES
from nilometer.pytest_plugin.summary import together

pytest_plugins = "pytester"

SHOP = """
import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

engine = sa.create_engine(
    "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
)

def ask(times=1):
    for i in range(times):
        with engine.connect() as connection:
            connection.execute(sa.text(f"select {i} as a"))
"""
TESTS = """
import threading
import nilometer
import pytest
import shop

orders = nilometer.counter("orders.placed")

@pytest.fixture(scope="module")
def table():
    shop.ask(5)
    yield
    shop.ask(2)

@pytest.fixture
def row():
    shop.ask(1)
    yield
    shop.ask(1)

@pytest.fixture
def broken():
    shop.ask(4)
    raise ValueError

def test_one(row):
    shop.ask(3)
    orders.add(2)

def test_two(table, row):
    thread = threading.Thread(target=shop.ask, args=(6,))
    thread.start()
    thread.join()

def test_three(table):
    pass

def test_fails(table):
    shop.ask(1)
    assert False

def test_never_set_up(broken):
    pass

@pytest.MARK.skip
def test_skipped():
    pass

def test_skips_itself():
    shop.ask(1)
    pytest.SKIP()

@pytest.MARK.xfail
def test_expected_to_fail():
    shop.ask(1)
    assert False

@pytest.mark.parametrize("word", ["a\\x1b[2J", "\\n::error::", "\\u2028", "\\U0001f600", "]["])
def test_hostile(word):
    shop.ask(2)
""".replace("MARK", "mark").replace("SKIP", "skip")  # this suite leaves none of its own out
OWN = {
    "test_one": {"sql.statements": 5, "orders.placed": 2},
    "test_two": {"sql.statements": 8},
    "test_three": {},
    "test_fails": {"sql.statements": 1},
    "test_never_set_up": {"sql.statements": 4},
    "test_expected_to_fail": {"sql.statements": 1},
    "test_hostile[a\\x1b[2J]": {"sql.statements": 2},
    "test_hostile[\\n::error::]": {"sql.statements": 2},
    "test_hostile[\\u2028]": {"sql.statements": 2},
    "test_hostile[\\U0001f600]": {"sql.statements": 2},
    "test_hostile[][]": {"sql.statements": 2},
}


@pytest.fixture
def shop(pytester, monkeypatch):
    """A project of one module and its tests; modules of earlier projects are forgotten."""
    monkeypatch.delenv("NILOMETER_RUN_FILE", raising=False)
    monkeypatch.setenv("PYTHONPATH", f"{pytester.path}{os.pathsep}{SRC}")
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider -p no:timeout\n")
    pytester.makepyfile(shop=SHOP, test_shop=TESTS)
    return pytester


SRC = Path(__file__).parent.parent.parent / "src"


def counted(pytester, *flags):
    """The document of a run, by test."""
    result = pytester.runpytest_inprocess("--nilometer", "--nilometer-json=o.json", *flags)
    document = json.loads((pytester.path / "o.json").read_text())
    document["by_test"] = {
        one["test"].removeprefix("test_shop.py::"): one["counts"] for one in document["tests"]
    }
    return result, document


@pytest.mark.parametrize("flags", [(), ("-n2",)])
def test_every_test_has_its_own_counts_serial_and_in_parallel(shop, flags):
    result, document = counted(shop, *flags)

    assert document["by_test"] == OWN
    assert document["work"] == len(OWN)
    assert document["test_set"] == digest_of(f"test_shop.py::{name}" for name in OWN)
    result.assert_outcomes(passed=8, failed=1, errors=1, skipped=2, xfailed=1)


def test_shared_fixtures_pay_for_themselves(shop):
    _, document = counted(shop)

    fixtures = [(one["fixture"], one["counts"]) for one in document["fixtures"]]
    assert fixtures == [("test_shop.py::table", {"sql.statements": 7})]


def test_a_measured_command_tells_work_test_set_and_parts(shop, monkeypatch):
    monkeypatch.setenv("NILOMETER_RUN_FILE", str(shop.path / "run.json"))
    counted(shop, "-n2", "--dist=loadfile")

    told = read_run_file(shop.path / "run.json")
    totals = {count.counter: count.delta for count in told.counts if not count.dimensions}
    parts = {(c.counter, c.dimensions): c.delta for c in told.counts if c.dimensions}

    assert (told.because, told.notes) == ("", ())
    assert (told.work, told.test_set) == (11, digest_of(f"test_shop.py::{t}" for t in OWN))
    assert totals == {"sql.statements": 29, "orders.placed": 2, "fixtures.sql.statements": 7}
    asked = (("caller", "shop.py:11 in ask"), ("statement", "select ? as a"))
    assert parts["sql.statements", asked] == 29
    assert parts["fixtures.sql.statements", asked] == 7
    assert parts["sql.statements", (("test", "test_shop.py::test_two"),)] == 8
    assert parts["orders.placed", (("test", "test_shop.py::test_one"),)] == 2


def test_counts_of_modules_are_sums(shop, monkeypatch):
    monkeypatch.setenv("NILOMETER_RUN_FILE", str(shop.path / "run.json"))
    counted(shop, "--nilometer-by=module")

    told = read_run_file(shop.path / "run.json")

    by_module = {c.counter: c.delta for c in told.counts if c.dimensions[:1] == (MODULE,)}
    assert by_module == {"sql.statements": 29, "orders.placed": 2}


MODULE = ("module", "test_shop.py")


def test_several_sessions_of_one_command_are_added_up(shop, monkeypatch):
    monkeypatch.setenv("NILOMETER_RUN_FILE", str(shop.path / "run.json"))
    counted(shop, "-k", "test_one")
    counted(shop, "-k", "test_one or test_hostile")

    told = read_run_file(shop.path / "run.json")

    totals = {count.counter: count.delta for count in told.counts if not count.dimensions}
    assert (told.work, totals) == (7, {"orders.placed": 4, "sql.statements": 20})
    assert told.test_set not in ("", digest_of(["test_shop.py::test_one"]))


def test_a_program_that_a_test_starts_does_not_write_the_run_file(shop, monkeypatch):
    monkeypatch.setenv("NILOMETER_RUN_FILE", str(shop.path / "run.json"))
    shop.makepyfile(
        test_shop="import os\ndef test_it(): assert 'NILOMETER_RUN_FILE' not in os.environ"
    )
    result, _ = counted(shop)

    result.assert_outcomes(passed=1)


def test_a_process_that_dies_takes_only_its_own_test_along(shop):
    shop.makepyfile(
        test_shop="""
import os, shop
def test_one(): shop.ask(1)
def test_dies(): os._exit(3)
def test_two(): shop.ask(2)
"""
    )
    _, document = counted(shop, "-n1")

    assert document["by_test"] == {
        "test_one": {"sql.statements": 1},
        "test_two": {"sql.statements": 2},
    }


def test_the_end_shows_what_costs_most(shop):
    result = shop.runpytest_inprocess("--nilometer", "--nilometer-report", "-q")

    result.stdout.fnmatch_lines(
        [
            "*= nilometer =*",
            "11 tests: 29 SQL statements, 0 HTTP requests",
            "*8 statements*0 requests  test_shop.py::test_two",
            "*5 statements*0 requests  test_shop.py::test_one",
            f"* {TIMES} select ? as a",
            "*shop.py:11 in ask",
        ]
    )


def test_nothing_is_shown_unless_asked_for(shop):
    result = shop.runpytest_inprocess("--nilometer", "-k", "test_one")

    result.stdout.no_fnmatch_line("*= nilometer =*")


def test_an_ini_file_switches_it_on(shop):
    result = shop.runpytest_inprocess("-o", "nilometer=true", "-v", "-k", "test_one")

    result.stdout.fnmatch_lines(["1 tests: 5 SQL statements, 0 HTTP requests"])


def test_switched_off_it_loads_nothing_of_ours_and_measures_nothing(shop):
    shop.makepyfile(
        test_shop="""
import sys
def test_it():
    ours = {name for name in sys.modules if name.startswith("nilometer")}
    assert ours == {"nilometer", "nilometer.pytest_plugin"}
"""
    )

    shop.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_budget_needs_no_flag_and_shows_the_block(shop):
    shop.makepyfile(
        test_shop="""
import shop
def test_it(nilometer_budget):
    with nilometer_budget(sql_statements=3):
        shop.ask(25)
"""
    )
    result = shop.runpytest_inprocess()

    result.assert_outcomes(failed=1)
    # Newer Pythons underline the place between the two.
    result.stdout.fnmatch_lines([">*with nilometer_budget(sql_statements=3):", "E*Budget*"])
    result.stdout.fnmatch_lines(
        [
            "E*BudgetError: 25 SQL statements where sql_statements=3 allows 3",
            f"E* {TIMES} 25  select ? as a",
            "E* shop.py:11 in ask",
        ],
        consecutive=True,
    )
    result.stdout.no_fnmatch_line("*budgets.py*def *")


def test_it_leaves_nothing_behind(shop):
    code = """
import sys, pytest, sqlalchemy, httpx, urllib3
from nilometer.integrations import http_client
from nilometer.measure import REGISTRY
before = httpx.HTTPTransport.handle_request, list(sys.meta_path)
pytest.main(["--nilometer", "-q", "-k", "test_one"])
assert (httpx.HTTPTransport.handle_request, list(sys.meta_path)) == before
assert http_client.watcher is None and "collect" not in vars(REGISTRY)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", [".", "no/such/folder/o.json"])
def test_a_file_that_cannot_be_written_is_refused_before_any_test(shop, file):
    result = shop.runpytest_inprocess(f"--nilometer-json={file}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --nilometer-json*: no file can be written there"])


def test_a_file_is_written_where_pytest_was_started_wherever_tests_go(shop):
    shop.makepyfile(test_shop="import os\ndef test_one(): os.chdir('/')")
    _, document = counted(shop)

    assert document["by_test"] == {"test_one": {}}


def test_a_file_that_becomes_unwritable_is_said_and_is_no_crash(shop):
    shop.makepyfile(test_shop="import os\ndef test_one(): os.mkdir('o.json')")
    result = shop.runpytest_inprocess("--nilometer-json=o.json")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["--nilometer-json *o.json: Is a directory"])


def test_an_interrupt_leaves_no_turn_open(shop):
    shop.makepyfile(
        test_shop="""
import shop
def test_one(): shop.ask(2)
def test_two():
    shop.ask(3)
    raise KeyboardInterrupt
"""
    )
    shop.inline_run("--nilometer-json=o.json", no_reraise_ctrlc=True)
    document = json.loads((shop.path / "o.json").read_text())

    assert [(one["test"], one["counts"]) for one in document["tests"]] == [
        ("test_shop.py::test_one", {"sql.statements": 2})
    ]
    assert recording._open == []


def test_a_marker_holds_the_whole_test_to_its_budget(shop):
    shop.makepyfile(
        test_shop="""
import pytest, shop
@pytest.fixture
def stocked():
    shop.ask(9)
@pytest.mark.nilometer_budget(sql_statements=3)
def test_within(stocked):
    shop.ask(3)
@pytest.mark.nilometer_budget(sql_statements=3, http_requests=0)
def test_beyond(stocked):
    shop.ask(4)
@pytest.mark.nilometer_budget(sql_statements=1)
class TestNearest:
    @pytest.mark.nilometer_budget(sql_statements=2)
    def test_near(self):
        shop.ask(2)
    def test_far(self):
        shop.ask(2)
@pytest.mark.nilometer_budget(sql_statements=1)
def test_that_fails_by_itself():
    shop.ask(2)
    raise LookupError("its own")
@pytest.mark.nilometer_budget(3)
def test_without_a_name():
    pass
@pytest.mark.nilometer_budget
def test_without_a_limit():
    pass
@pytest.mark.nilometer_budget(sql_statement=3)
def test_misspelt():
    pass
@pytest.mark.nilometer_budget(sql_statements="3")
def test_no_number():
    pass
"""
    )
    result = shop.runpytest_inprocess("--strict-markers", "-rf")

    result.assert_outcomes(passed=2, failed=7)
    result.stdout.fnmatch_lines_random(
        [
            "*BudgetError: 4 SQL statements where sql_statements=3 allows 3",
            "*shop.py:11 in ask",
            "*BudgetError: 2 SQL statements where sql_statements=1 allows 1",
            "*LookupError: its own",
            "*BudgetError: the marker nilometer_budget takes its limits by name*",
            "*BudgetError: nothing that can be counted is called 'sql_statement'*",
            "*BudgetError: sql_statements='3': a budget is a whole number, 0 or more*",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_plugin*")


def test_a_child_that_a_test_forks_counts_nothing_and_does_not_hang(shop):
    shop.makepyfile(
        test_shop="""
import os, threading, shop
from nilometer.pytest_plugin import recording
def test_one(nilometer_budget):
    with nilometer_budget(sql_statements=1):
        with recording._lock:  # as another thread may
            child = os.fork()
            if not child:
                try:
                    shop.ask(7)
                finally:
                    os._exit(0)
        os.waitpid(child, 0)
        shop.ask(1)
"""
    )
    result, document = counted(shop)

    result.assert_outcomes(passed=1)
    assert document["by_test"] == {"test_one": {"sql.statements": 1}}


def test_what_an_earlier_session_wrote_may_be_anything():
    later = {"work": 1, "test_set": "x", "counts": []}

    assert together("nonsense", later) == later
    assert together({"counts": 5}, later) == later
