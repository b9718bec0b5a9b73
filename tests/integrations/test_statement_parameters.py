"""What a statement was given is in its span where somebody asks for it, and nowhere else."""

import asyncio
import sqlite3

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import create_async_engine

from nilometer.integrations import Chosen, faults, sqlalchemy
from nilometer.integrations import sqlite3 as ours
from nilometer.integrations.statement_parameters import (
    CHARS_MAX,
    PARAMETERS_MAX,
    parameters_of,
)
from tests.integrations.integration_kit import traced_request

ASKED = pytest.mark.parametrize("asked", [True, False])


def parameters(spans):
    """Those of the first SELECT, by their keys."""
    span = next(one for one in spans if one.name == "SELECT")
    begin = "db.query.parameter."
    told = dict(span.attributes).items()
    return {key.removeprefix(begin): text for key, text in told if key.startswith(begin)}


@ASKED
def test_a_driver_s_parameters_are_told_to_those_who_ask(registry, asked):
    assert ours.install(registry=registry, parameters=asked)
    with traced_request() as spans:
        connection = sqlite3.connect(":memory:")
        connection.execute("select ?, ?", ("red", 7))
        connection.close()
    ours.uninstall()

    assert parameters(spans) == ({"0": "red", "1": "7"} if asked else {})


@ASKED
def test_an_engine_s_parameters_are_told_to_those_who_ask(registry, asked):
    assert sqlalchemy.install(registry=registry, parameters=asked)
    engine = sa.create_engine("sqlite://")
    with traced_request() as spans, engine.connect() as connection:
        connection.execute(sa.text("select :colour"), {"colour": "red"})
    sqlalchemy.uninstall()

    assert parameters(spans) == ({"0": "red"} if asked else {})


def test_what_is_measured_already_shows_them_from_when_somebody_asks():
    names = ["sqlite3", "sqlalchemy"]
    first = Chosen(names, parameters=False)
    first.begin()
    connection, engine = sqlite3.connect(":memory:"), sa.create_engine("sqlite://")

    def shown():
        with traced_request() as spans, engine.connect() as checked_out:
            checked_out.execute(sa.text("select :colour"), {"colour": "red"})
        with traced_request() as also:
            connection.execute("select ?", (7,))
        return parameters(spans), parameters(also)

    seen = [shown()]
    for asked in (True, False):
        second = Chosen(names, parameters=asked)
        second.begin(first)
        seen.append(shown())
        first = second
    first.end()
    connection.close()
    engine.dispose()

    assert seen == [({}, {}), ({"0": "red"}, {"0": "7"}), ({}, {})]


@ASKED
def test_an_asynchronous_engine_s_parameters_are_told_to_those_who_ask(registry, asked):
    async def ask():
        engine = create_async_engine("sqlite+aiosqlite://")
        async with engine.connect() as connection:
            await connection.execute(sa.text("select :colour"), {"colour": "red"})
        await engine.dispose()

    assert sqlalchemy.install(registry=registry, parameters=asked)
    with traced_request() as spans:
        asyncio.run(ask())
    sqlalchemy.uninstall()

    assert parameters(spans) == ({"0": "red"} if asked else {})


def traced_statements(registry, run):
    """The spans of what ``run(connection)`` executes, with parameters."""
    assert ours.install(registry=registry, parameters=True)
    connection = sqlite3.connect(":memory:")
    connection.execute("create table colours (name)")
    with traced_request() as spans:
        run(connection)
    connection.close()
    ours.uninstall()
    return spans


def test_of_a_batch_nothing_is_told(registry):
    def run(connection):
        connection.executemany("insert into colours values (?)", [("red",), ("blue",)])

    inserted = next(one for one in traced_statements(registry, run) if one.name == "INSERT")
    assert not any(name.startswith("db.query.parameter.") for name in inserted.attributes)


def test_of_an_engine_s_batch_nothing_is_told(registry):
    assert sqlalchemy.install(registry=registry, parameters=True)
    engine = sa.create_engine("sqlite://")
    with traced_request() as spans, engine.connect() as connection:
        connection.execute(sa.text("create table colours (name)"))
        statement = sa.text("insert into colours values (:name)")
        connection.execute(statement, [{"name": "red"}, {"name": "blue"}])
    sqlalchemy.uninstall()

    inserted = next(one for one in spans if one.name == "INSERT")
    assert not any(name.startswith("db.query.parameter.") for name in inserted.attributes)


def test_an_array_or_a_document_is_one_parameter():
    told = parameters_of(("cursor", "select = any(%s), %s", ([1, 2], {"a": 1})), {})

    assert told == {"db.query.parameter.0": "[1, 2]", "db.query.parameter.1": "{'a': 1}"}


class NoText(str):
    __slots__ = ()

    def __str__(self):
        raise ValueError("no")


def test_parameters_that_cannot_be_told_stop_no_statement(registry, monkeypatch, caplog):
    monkeypatch.setattr(faults, "_known", {})
    rows = []

    def run(connection):
        rows.extend(connection.execute("select :colour", {NoText("colour"): "red"}))

    spans = traced_statements(registry, run)

    assert (rows, parameters(spans)) == ([("red",)], {})
    assert [one.getMessage().partition(":")[0] for one in caplog.records] == [
        "integration sqlite3 fails, the parameters of a statement runs unmeasured"
    ]


@pytest.mark.parametrize("kind", [bytes, bytearray, list, tuple])
def test_no_more_of_a_long_value_is_made_text_than_is_told(kind):
    class Long(kind):
        def __repr__(self):
            raise AssertionError("all of it was made text")

    told = parameters_of(("cursor", "insert", (Long(bytes(CHARS_MAX + 1)),)), {})

    assert list(told.values()) == [repr(kind(bytes(CHARS_MAX)))[:CHARS_MAX]]


@pytest.mark.parametrize("name", ["params", "args", "parameters", "vars"])
def test_parameters_may_be_named(name):
    told = parameters_of(("cursor", "select"), {name: {"colour": "red"}})

    assert told == {"db.query.parameter.colour": "red"}


class Unshown:
    def __repr__(self):
        raise ValueError("no")


def test_what_cannot_be_shown_stops_nobody():
    told = parameters_of(("cursor", "select", (Unshown(), "x" * (CHARS_MAX + 1))), {})

    assert list(told.values()) == ["<Unshown>", "x" * CHARS_MAX]


@given(st.lists(st.none() | st.integers() | st.text() | st.binary()))
def test_any_parameters_are_bounded(values):
    told = parameters_of(("cursor", "select", values), {})

    assert len(told) == min(len(values), PARAMETERS_MAX)
    assert all(isinstance(one, str) and len(one) <= CHARS_MAX for one in told.values())
