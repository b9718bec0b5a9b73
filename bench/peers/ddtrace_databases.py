"""ddtrace's integrations of databases."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from bench import databases
from bench.peers.ddtrace_library import off

if TYPE_CHECKING:
    from bench.pairs import Loop


def sqlite3_statements() -> tuple[Loop, Loop]:
    from ddtrace import patch

    bare = databases.sqlite3_statements(sqlite3.connect)
    patch(sqlite3=True)
    return bare, databases.sqlite3_statements(sqlite3.connect)


CASES = {
    "sqlite3 untraced": off(sqlite3_statements),
    "sqlite3 traced": sqlite3_statements,
}
