"""Brackets on one server at one time are found, however they overlap; others never are."""

import json
import os
import subprocess
import sys

import pytest

from nilometer.clock import Clock
from nilometer.counters.overlap import KEPT_S, open_bracket
from nilometer.testing import FakeTime

MYSQL = ("mysql", "127.0.0.1:3306")
REDIS = ("redis", "127.0.0.1:6379")


def opened(directory, clock, run_id, *places):
    return open_bracket(directory, clock, run_id=run_id, suite="unit", places=places)


def met(run_id):
    return f"another run ({run_id}, unit) was measured on it meanwhile"


@pytest.fixture
def time():
    return FakeTime()


def test_brackets_that_cross_see_each_other(tmp_path, time):
    one = opened(tmp_path, time.clock, "one", MYSQL, REDIS)
    time.advance(1)
    two = opened(tmp_path, time.clock, "two", ("mysql", "localhost:3306"))
    time.advance(1)

    assert one.close() == {MYSQL: met("two")}
    time.advance(1)
    assert two.close() == {MYSQL: met("one")}


def test_a_bracket_inside_another_is_seen_by_both(tmp_path, time):
    outer = opened(tmp_path, time.clock, "outer", MYSQL)
    time.advance(1)
    inner = opened(tmp_path, time.clock, "inner", MYSQL)
    time.advance(1)
    inside = inner.close()
    time.advance(1)

    assert inside == {MYSQL: met("outer")}
    assert outer.close() == {MYSQL: met("inner")}


def test_brackets_one_after_the_other_are_alone(tmp_path, time):
    first = opened(tmp_path, time.clock, "first", MYSQL)
    time.advance(1)
    alone = first.close()
    time.advance(1)
    second = opened(tmp_path, time.clock, "second", MYSQL)

    assert alone == {}
    assert second.close() == {}


def test_brackets_on_other_servers_are_alone(tmp_path, time):
    one = opened(tmp_path, time.clock, "one", ("mysql", "10.0.0.1:3306"))
    two = opened(tmp_path, time.clock, "two", ("mysql", "10.0.0.2:3306"), REDIS)

    assert (one.close(), two.close()) == ({}, {})


def test_two_servers_of_one_kind_are_told_by_their_place(tmp_path, time):
    one = opened(tmp_path, time.clock, "one", ("mysql@10.0.0.1:3306", "10.0.0.1:3306"))
    two = opened(tmp_path, time.clock, "two", ("mysql", "10.0.0.1:3306"))

    assert two.close() == {("mysql", "10.0.0.1:3306"): met("one")}
    assert one.close() == {("mysql", "10.0.0.1:3306"): met("two")}


DIES = """
import os, sys
from pathlib import Path
from nilometer.clock import Clock
from nilometer.counters.overlap import open_bracket
places = [("mysql", "127.0.0.1:3306")]
kept = open_bracket(Path(sys.argv[1]), Clock(), run_id="dead", suite="unit", places=places)
os._exit(9)
"""


def die(directory):
    command = [sys.executable, "-c", DIES, str(directory)]
    assert subprocess.run(command, check=False).returncode == 9


def test_one_that_died_inside_ours_was_there_too(tmp_path):
    ours = opened(tmp_path, Clock(), "ours", MYSQL)
    die(tmp_path)

    assert ours.close() == {MYSQL: met("dead")}


def test_one_that_died_before_ours_is_gone(tmp_path):
    die(tmp_path)
    ours = opened(tmp_path, Clock(), "ours", MYSQL)

    assert ours.close() == {}


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"places": 7}', '{"places": [["mysql"]]}', "\x00" * 100_000]
)
def test_a_file_of_nonsense_is_nobody(tmp_path, time, content):
    (tmp_path / "odd.json").write_text(content)
    ours = opened(tmp_path, time.clock, "ours", MYSQL)

    assert ours.close() == {}


def test_a_bracket_of_an_earlier_boot_is_nobody(tmp_path, time):
    opened(tmp_path, time.clock, "old", MYSQL).close()
    file = tmp_path / "old.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "boot": "another"}))
    ours = opened(tmp_path, time.clock, "ours", MYSQL)

    assert ours.close() == {}


def test_old_brackets_are_forgotten(tmp_path, time):
    opened(tmp_path, time.clock, "old", MYSQL).close()
    long_ago_s = time.clock.wall_ns() / 1e9 - KEPT_S - 1
    os.utime(tmp_path / "old.json", (long_ago_s, long_ago_s))

    opened(tmp_path, time.clock, "new", MYSQL).close()

    assert [path.name for path in tmp_path.iterdir()] == ["new.json"]


SERVER = ("mysql", "started 2026-01-02T00:00:00Z as b00b")


@pytest.mark.parametrize("identified", [("one", "two"), ("two", "one")])
def test_brackets_on_one_server_by_two_urls_see_each_other(tmp_path, time, identified):
    brackets = {
        "one": opened(tmp_path, time.clock, "one", MYSQL, REDIS),
        "two": opened(tmp_path, time.clock, "two", ("mysql", "/run/mysqld.sock")),
    }
    for name in identified:
        time.advance(1)
        brackets[name].also([SERVER])
    time.advance(1)

    assert brackets["one"].close() == {SERVER: met("two")}
    time.advance(1)
    assert brackets["two"].close() == {SERVER: met("one")}


def test_what_is_learned_later_leaves_the_bracket_locked(tmp_path, time):
    one = opened(tmp_path, time.clock, "one", MYSQL)
    one.also([SERVER])
    time.advance(1)
    late = opened(tmp_path, time.clock, "late", SERVER)

    assert late.close() == {SERVER: met("one")}
    assert one.close() == {SERVER: met("late")}
