"""docs/catalogue.md is what the code does: its instruments are made, and tests show them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nilometer.integrations import LIBRARIES
from tests.catalogue import Row, rows
from tests.house.declared import HERE
from tests.house.test_promises import assert_runs

ROOT = Path(__file__).parent.parent.parent

LINES = {
    "Endpoints of an API": 8,
    "Servers": 5,
    "Event loops": 2,
    "Databases": 7,
    "RPC": 14,
    "Pools": 6,
}
"""How many measurements the specification of instrumentation asks for, by its groups."""

MIDDLEWARE = {"wsgi", "asgi"}
SERVICES = {"monasca_persister"}  # whose instruments are made without them


ROWS = rows()
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.group}-{row.instrument}")


@pytest.fixture(scope="module")
def declared() -> dict[str, dict[str, list[str]]]:
    """What each integration makes: in a process of its own, as some patch what others use."""
    program = [sys.executable, "-W", "ignore", "-m", "tests.house.declared"]
    ran = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    made: dict[str, dict[str, list[str]]] = json.loads(ran.stdout)
    return made


def test_every_measurement_of_the_specification_has_its_instrument() -> None:
    named = {group: {row.measured for row in ROWS if row.group == group} for group in LINES}

    assert {group: len(measured) for group, measured in named.items()} == LINES


@each_row
def test_an_instrument_is_made_as_it_is_listed(
    row: Row, declared: dict[str, dict[str, list[str]]]
) -> None:
    assert row.integrations
    assert set(row.integrations) <= LIBRARIES.keys() | MIDDLEWARE
    for integration in set(row.integrations) & ({*HERE} | MIDDLEWARE | SERVICES):
        made = declared[integration].get(row.instrument)
        assert made == [row.kind, row.unit, row.level], f"by {integration}"


@each_row
def test_a_test_that_runs_shows_a_value_of_it(row: Row) -> None:
    assert_runs(row.test)
    text = (ROOT / row.test.partition("::")[0]).read_text()
    parts = row.instrument.split(".")
    ends = [".".join(parts[n:]) for n in range(len(parts) - 1)]
    group = ".".join(parts[:-1])  # tests that show several of one kind name what they share
    assert any(name in text for name in (*ends, group))


def test_no_instrument_of_an_integration_is_left_out(
    declared: dict[str, dict[str, list[str]]],
) -> None:
    """But for the errors that each timer has beside it."""
    listed = {row.instrument for row in ROWS}
    made = {name for instruments in declared.values() for name in instruments}

    assert {name for name in made - listed if not name.endswith(".errors")} == set()
