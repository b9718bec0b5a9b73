"""Nilometer beside SQLAlchemy 1.4, which has an environment of its own."""

import sqlalchemy

from bench.peers.nilometer_library import sql, sql_call

assert sqlalchemy.__version__.startswith("1.4."), "run scripts/install-sqlalchemy14"

CASES = {
    "sql 1.4 untraced, its call": sql_call,
    "sql 1.4 untraced": lambda: sql(active=False),
    "sql 1.4 traced": lambda: sql(active=True),
}
