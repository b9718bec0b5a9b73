"""Which backends need a client library, and whether it is here, found without importing it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Client(NamedTuple):
    """A library that a backend is read with, and the extra that brings it."""

    library: str
    extra: str
    module: str


CLIENTS: Final[Mapping[str, Client]] = {
    "mysql": Client("PyMySQL", "counters", "pymysql"),
    "postgresql": Client("libpq", "counters", "psycopg"),
    "mongodb": Client("pymongo", "mongodb", "pymongo"),
    "kafka": Client("confluent-kafka", "kafka", "confluent_kafka"),
}
"""Of each backend that has one. All others speak their protocol by the standard library."""


def is_here(client: Client) -> bool:
    """Whether the library can be loaded; PostgreSQL's may be the system's own."""
    if client.library == "libpq":
        from nilometer.counters.libpq import MissingError, library

        try:
            library()
        except MissingError:
            return False
        return True
    return find_spec(client.module) is not None
