"""Where PostgreSQL is: what its own programs are told by the environment, else its sockets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from nilometer.counters.target import Secret, Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.counters.backend import Surroundings

SOCKETS: Final = (
    Path("/run/postgresql"),
    Path("/var/run/postgresql"),
    Path("/tmp"),  # noqa: S108 - where PostgreSQL's own builds put it
)
"""Where distributions let the server listen."""

PORT: Final = 5432

KEYWORDS: Final = ("host", "port", "service", "passfile", "sslmode", "sslrootcert", "sslcert")
OPTIONS: Final = (*KEYWORDS, "sslkey", "socket")
"""What may follow the question mark of a target: words of its connection strings."""

_VARIABLES: Final = {
    "PGSERVICE": "service",
    "PGHOST": "host",
    "PGPORT": "port",
    "PGDATABASE": "dbname",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGPASSFILE": "passfile",
    "PGSSLMODE": "sslmode",
    "PGSSLROOTCERT": "sslrootcert",
}


def find(surroundings: Surroundings) -> Sequence[Target]:
    """What PostgreSQL's own programs are told by the environment, else the servers' sockets.

    The service file and the password file are read by its library.
    """
    environment = surroundings.environment
    known = {word: environment[n] for n, word in _VARIABLES.items() if environment.get(n)}
    named = [
        n for n, word in _VARIABLES.items() if word in ("service", "host") and word in known
    ]
    if named:
        return [_target(known, ", ".join(named))]
    for place in SOCKETS:
        sockets = [p for p in sorted(place.glob(".s.PGSQL.*")) if p.is_socket()]
        if sockets:
            defaults = {"dbname": "postgres", **known}
            return [_target({**defaults, "socket": str(p)}, str(p)) for p in sockets]
    return []


def _target(known: Mapping[str, str], origin: str) -> Target:
    taken = ("user", "password", "dbname")
    options = {word: value for word, value in known.items() if word not in taken}
    if "socket" in options:
        options.pop("port", None)
    return Target(
        "postgresql",
        origin,
        user=known.get("user", ""),
        password=Secret(known.get("password", "")),
        path=f"/{known['dbname']}" if "dbname" in known else "",
        options=tuple(sorted(options.items())),
    )


def parameters(target: Target) -> dict[str, str]:
    """The words of a connection string; those left out are the library's to find."""
    socket = Path(target.option("socket"))
    host, port = target.host, str(target.port or "")
    if target.option("socket"):
        ours = socket.name.startswith(".s.PGSQL.")
        host = str(socket.parent if ours else socket)
        port = socket.name.removeprefix(".s.PGSQL.") if ours else port
    given = {
        **{k: v for k, v in target.options if k != "socket"},
        **({"host": host} if host else {}),
        **({"port": port} if port else {}),
        "user": target.user,
        "password": str(target.password),
        "dbname": target.path.strip("/"),
        "application_name": "nilometer",
        "client_encoding": "UTF8",
    }
    return {word: value for word, value in given.items() if value}
