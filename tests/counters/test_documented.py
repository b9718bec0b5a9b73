"""What the docs say of brokers, caches and endpoints, against their files."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nilometer.counters import kafka, memcached, mongodb, prometheus, queues, rabbitmq, redis
from nilometer.counters import telegraf as telegraf_backend
from nilometer.counters.backend import SCHEMES, connect
from nilometer.errors import ConfigError
from nilometer.model.scopes import Scopes

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "counters.md").read_text()
MODULES = {
    module.__name__.rpartition(".")[2]: module
    for module in (kafka, memcached, mongodb, prometheus, queues, rabbitmq, redis)
} | {"telegraf": telegraf_backend}


def row_of(backend: str) -> list[str]:
    (line,) = [row for row in PAGE.splitlines() if row.startswith(f"| `{backend}` |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("backend", MODULES)
def test_the_options_in_the_table_are_those_that_are_taken(backend: str) -> None:
    host = "" if backend == "telegraf" else "h"
    with pytest.raises(ConfigError) as caught:
        connect(f"{backend}://{host}?no_such_option=x", origin="test")
    choice = re.search(r"choose from ([^\[]*) \[|\((.*)\) \[", str(caught.value))
    assert choice is not None
    taken = set((choice[1] or choice[2]).split(", "))

    assert set(re.findall(r"`(\w+)`", row_of(backend)[3])) == taken


@pytest.mark.parametrize("backend", MODULES)
def test_the_urls_in_the_table_are_of_that_backend(backend: str) -> None:
    schemes = re.findall(r"`([\w+]+)://", row_of(backend)[1])

    assert schemes
    assert {SCHEMES[scheme] for scheme in schemes} == {backend}


@pytest.mark.parametrize("backend", MODULES)
def test_the_variables_in_the_table_stand_in_the_file(backend: str) -> None:
    source = inspect.getsource(MODULES[backend]) + inspect.getsource(
        sys.modules["nilometer.counters.rabbitmq_api"]
    )

    for variable in re.findall(r"`([A-Z]{2}[A-Z_]+)`", row_of(backend)[2]):
        assert f'"{variable}"' in source


def test_the_scopes_in_the_table_are_told_so() -> None:
    table = PAGE.partition("## Names and their scopes")[2]
    rows = re.findall(r"^\| (`.*`) \| `?([\w.-]+?)`? \| .* \|$", table, re.MULTILINE)
    scopes = Scopes()

    assert len(rows) == 11
    for names, scope in rows:
        for name in re.findall(r"`([^`]+)`", names):
            assert scopes.of(name) == (name if scope == "themselves" else scope)


def test_the_page_of_counters_is_what_the_source_makes() -> None:
    made = subprocess.check_output([sys.executable, ROOT / "scripts" / "counters.py"])

    assert (ROOT / "docs" / "counter-tables.md").read_text() == made.decode(), "run `make docs`"
