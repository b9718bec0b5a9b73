"""Statements that no engine of SQLAlchemy makes: Django's, and those of drivers themselves."""

import asyncio
import sqlite3
import subprocess
import sys
import types
from collections import Counter

import aiosqlite
import pytest
import sqlalchemy as sa

from nilometer.integrations.patches import Patches
from nilometer.pytest_plugin import budget, drivers
from nilometer.pytest_plugin.listening import LISTENING

DJANGO = """
import django
from django.conf import settings

settings.configure(DATABASES={"default": {
    "ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()
from django.db import connection, models

class Item(models.Model):
    name = models.CharField(max_length=9)

    class Meta:
        app_label = "shop"
        db_table = "item"

with connection.schema_editor() as editor:
    editor.create_model(Item)

def listed():
    return list(Item.objects.filter(name="secret"))

from nilometer.pytest_plugin import budget

# What Django asks a server when it connects; on SQLite it asks nothing.
setting_up = {}
exec('''
def init_connection_state():
    with connection.cursor() as cursor:
        cursor.execute("select 'setting up'")
''', {"connection": connection}, setting_up)
connection.init_connection_state = setting_up["init_connection_state"]

with budget() as connecting:
    connection.connect()
print(len(connecting.calls))
with connection.schema_editor() as editor:
    editor.create_model(Item)

with budget(sql_statements=5) as spent:
    listed()
    listed()
    with connection.cursor() as cursor:
        cursor.execute("select 1")
        cursor.executemany("insert into item (name) values (%s)", [("a",), ("b",)])
for call, times in spent.calls.items():
    print(times, call.text.replace('"', ""), call.where)
"""


def texts(spent):
    """How often each was executed, from wherever."""
    found = Counter()
    for call, times in spent.calls.items():
        found[call.text] += times
    return found


def test_statements_of_django_count_once_whatever_is_below_it(tmp_path):
    file = tmp_path / "shop.py"
    file.write_text(DJANGO)
    done = subprocess.run(
        [sys.executable, file], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert done.stdout.splitlines() == [
        "0",
        "2 SELECT item.id, item.name FROM item WHERE item.name = %s shop.py:21 in listed",
        "1 select ? shop.py:44 in <module>",
        "1 insert into item (name) values (%s) shop.py:45 in <module>",
    ], done.stderr


def test_statements_of_sqlite_count_by_whatever_way_they_are_executed():
    LISTENING.begin()
    with sqlite3.connect(":memory:") as connection, budget() as spent:
        connection.execute("create table t (a int)")
        connection.executemany("insert into t values (?)", [(1,), (2,)])
        connection.executescript("select 1; select 2;")
        cursor = connection.cursor()
        assert cursor.execute("select a from t where a > 1").fetchall() == [(2,)]
    connection.close()

    assert texts(spent) == {
        "create table t (a int)": 1,
        "insert into t values (?)": 1,
        "select ?; select ?;": 1,
        "select a from t where a > ?": 1,
    }


def test_a_connection_with_a_class_of_its_own_stays_of_it_and_is_heard():
    class Mine(sqlite3.Connection):
        pass

    LISTENING.begin()

    for given in ({"factory": Mine}, {}):
        args = () if given else (":memory:", 5, 0, None, True, Mine)
        connection = sqlite3.connect(*(args or (":memory:",)), **given)
        with budget() as spent:
            connection.execute("select 1")
        assert isinstance(connection, Mine)
        assert texts(spent) == {"select ?": 1}
        connection.close()


def test_what_sqlalchemy_executes_is_not_counted_again_in_the_driver():
    LISTENING.begin()
    engine = sa.create_engine("sqlite://")
    with budget() as spent, engine.connect() as connection:
        connection.execute(sa.text("select 1"))
    engine.dispose()

    assert texts(spent) == {"select ?": 1}


def test_sqlite_in_a_thread_of_aiosqlite_is_left_alone():
    async def body():
        async with aiosqlite.connect(":memory:") as connection:
            with budget() as spent:
                await connection.execute("select 1")
        return spent

    LISTENING.begin()

    assert texts(asyncio.run(body())) == {}


class Composed:
    def as_string(self, context):
        return "select 1 from composed"


class Broken:
    def as_string(self, context):
        raise ValueError


@pytest.fixture
def driver(monkeypatch):
    """A driver like PyMySQL: what executes many calls what executes one."""

    class Cursor:
        def execute(self, statement, values=()):
            return [statement]

        def executemany(self, statement, rows):
            return [self.execute(statement, row) for row in rows]

    module = types.ModuleType("pymysql.cursors")
    module.Cursor = Cursor
    return module


def test_a_driver_below_sqlalchemy_is_not_heard_again(driver, monkeypatch):
    patches = Patches()
    drivers.listen_to_cursors(driver, patches)
    engine = {"__name__": "sqlalchemy.engine.default"}
    exec("def do_execute(cursor): cursor.execute('select 1')", engine)
    with budget() as spent:
        engine["do_execute"](driver.Cursor())
        driver.Cursor().execute("select 2 from here")
    patches.undo()

    assert texts(spent) == {"select ? from here": 1}


def test_executing_many_is_one_statement(driver):
    patches = Patches()
    drivers.listen_to_cursors(driver, patches)
    with budget() as spent:
        assert driver.Cursor().executemany('insert "a"', [1, 2, 3]) == [['insert "a"']] * 3
        driver.Cursor().execute(b"select '\xff'")
        driver.Cursor().execute(Composed())
        driver.Cursor().execute(Broken())
    patches.undo()

    assert texts(spent) == {
        "insert ?": 1,
        "select ?": 1,
        "select ? from composed": 1,
        "(Broken)": 1,
    }


def test_nothing_stays_patched(driver):
    before = sqlite3.connect
    LISTENING.begin()
    assert sqlite3.connect is not before
    LISTENING.end()

    assert sqlite3.connect is before
