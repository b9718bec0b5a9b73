"""What a statement was given is in its span where somebody asks for it, and nowhere else."""

import asyncio
import sqlite3

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import create_async_engine

from nilometer.integrations import sqlalchemy
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


def test_of_a_batch_nothing_is_told():
    assert parameters_of(("cursor", "insert", [(1,), (2,)]), {}) == {}
    assert parameters_of(("cursor", "insert", [{"a": 1}]), {}) == {}


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
