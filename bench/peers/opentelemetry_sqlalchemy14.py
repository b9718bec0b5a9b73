"""OpenTelemetry beside SQLAlchemy 1.4, which has an environment of its own."""

import sqlalchemy
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from bench.peers.opentelemetry_sdk import sql

assert sqlalchemy.__version__.startswith("1.4."), "run scripts/install-sqlalchemy14"

CASES = {
    "sql 1.4 untraced": lambda: sql(ALWAYS_OFF),
    "sql 1.4 traced": lambda: sql(ALWAYS_ON),
}
