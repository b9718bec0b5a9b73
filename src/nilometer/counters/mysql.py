"""MySQL and MariaDB: the server's global status, and statements by digest if it keeps them.

A read is a connection and three statements: one that tells when the server started,
``SHOW GLOBAL STATUS``, and one over the digests. They move `Questions` and its like by the
same number each time.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from nilometer.counters.backend import BackendError
from nilometer.counters.figures import Figures
from nilometer.counters.hang_up import until_ended
from nilometer.counters.link import bare
from nilometer.counters.mysql_facts import STATEMENTS, fact_of
from nilometer.counters.mysql_options import PORT, find
from nilometer.counters.parts import OVERFLOW, PARTS_MAX
from nilometer.errors import to_install

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nilometer.counters.figures import Fact, Number, Series
    from nilometer.counters.target import Target
    from nilometer.model.dimensions import Dimensions

__all__ = ("MEANING", "connect", "find")

MEANING: Final = "MySQL and MariaDB: global status, and statements by digest"

CONNECT_S: Final = 2
READ_S: Final = 10
OPTIONS: Final = ("socket", "tls", "ca", "cert", "key")
TLS: Final = ("prefer", "off", "require", "verify")

NOT_SET: Final = 2**64 - 1
"""What a number shows that has no value, such as those of a cluster that is not there."""

NUMBER: Final = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,9})?")

# UNIX_TIMESTAMP() and the uptimes are taken from one clock, read once for the statement: their
# difference is the second in which the server started, and the same each time, also when the
# clock was set meanwhile. Asked for in two statements it would flap by a second. A server may
# start twice within one: the fourth part of a UUID is drawn by lot at each start (RFC 4122).
BORN: Final = """\
SELECT VARIABLE_NAME, UNIX_TIMESTAMP() - VARIABLE_VALUE, @@performance_schema,
SUBSTRING_INDEX(SUBSTRING_INDEX(UUID(), '-', 4), '-', -1)
FROM {schema}.GLOBAL_STATUS WHERE VARIABLE_NAME IN ('UPTIME', 'UPTIME_SINCE_FLUSH_STATUS')"""

STATUS: Final = "SHOW GLOBAL STATUS"

OURS: Final = "read_by_nilometer"
"""By this word in its text the statement below leaves itself out: it costs a row per digest, so
that it is dearer after a run that brought new ones."""

DIGESTS: Final = f"""\
SELECT UNIX_TIMESTAMP(FIRST_SEEN) AS {OURS}, SCHEMA_NAME, DIGEST_TEXT, {", ".join(STATEMENTS)}
FROM performance_schema.events_statements_summary_by_digest"""  # noqa: S608 - our constants

OFF: Final = (
    "statements are not counted by digest: performance_schema is off; "
    "set performance_schema=ON under [mysqld] and start the server again"
)
UNCOUNTED: Final = (
    "statements are not counted by digest: UPDATE performance_schema.setup_consumers "
    "SET ENABLED='YES' WHERE NAME='statements_digest'"
)
DENIED: Final = (
    "statements by digest may not be read: GRANT SELECT ON "
    "performance_schema.events_statements_summary_by_digest TO this user"
)
FULL: Final = (
    "the server's digest table is full, and what came later is counted together: "
    "raise performance_schema_digests_size, or TRUNCATE "
    "performance_schema.events_statements_summary_by_digest before the run"
)
SUMMED: Final = f"digests beyond the first {PARTS_MAX} are counted together"


def connect(target: Target) -> MySQL:
    """The server there; nothing is sent before the first read. Raises ConfigError."""
    target.accepting(OPTIONS)
    if target.option("tls", "prefer") not in TLS:
        target.refuse(f"no tls {target.option('tls')!r}; choose from {', '.join(TLS)}")
    return MySQL(target)


class MySQL:
    """A server, read over a connection for each read.

    One that was kept would be cut by servers that hang up on the silent, and by whoever ends
    all connections before a test; and having it back costs another number than keeping it.
    """

    name = "mysql"
    settle_s = 0.0  # a statement is counted before, or some microseconds after, it is answered

    def __init__(self, target: Target) -> None:
        socket = target.option("socket")
        self.instance = socket or f"{target.host or '127.0.0.1'}:{target.port or PORT}"
        self._target = target
        self._connection: Any = None
        self._facts: dict[str, Fact] = {}
        self.servers: tuple[tuple[str, str], ...] = ()

    def read(self) -> Figures:
        """All its counters now. Raises BackendError."""
        connection = self._connected()
        try:
            return self._figures(connection)
        except BackendError:
            raise
        except Exception as error:
            raise self._failed("was not read", error) from error
        finally:
            self.close()

    def _figures(self, connection: Any) -> Figures:
        born = self._born(connection)
        values = status_values(self._rows(connection, STATUS))
        digests, notes = self._digests(connection, performance_schema=born[0][2])
        statements, more = statement_values(digests)
        values.update(statements)
        for name, _ in values:
            if name not in self._facts:
                self._facts[name] = fact_of(name)
        first = min((int(row[0]) for row in digests if row[0] is not None), default=0)
        # MariaDB shows itself to old replicas as MySQL 5.5.5.
        version = str(connection.server_version).removeprefix("5.5.5-")
        # Where they were not counted at first there is no earlier value to subtract.
        begun = f"counted since {_moment(first)}"
        incarnation = incarnation_of(born)
        self.servers = ((self.name, incarnation.partition(",")[0]),)
        return Figures(
            values,
            incarnation,
            version,
            (*notes, *more),
            dict.fromkeys(statements, begun),
        )

    def facts(self) -> Mapping[str, Fact]:
        """What is known of the counters that were read."""
        return self._facts

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connected = getattr(connection, "_sock", None)
            with suppress(Exception), until_ended(connected):  # it may be gone already
                connection.close()

    def _connected(self) -> Any:
        if self._connection is None:
            pymysql = self._driver()
            try:
                self._connection = pymysql.connect(**arguments(self._target))
            except Exception as error:
                raise self._failed("cannot be reached", error) from error
        return self._connection

    def _driver(self) -> Any:
        try:
            import pymysql
        except ImportError as error:
            raise BackendError(
                f"mysql at {self.instance}: PyMySQL is needed: {to_install('counters')}",
                slug="backend-needs-extra",
            ) from error
        return pymysql

    def _born(self, connection: Any) -> Sequence[Sequence[Any]]:
        schema = (
            "information_schema"
            if "mariadb" in str(connection.server_version).lower()
            else "performance_schema"
        )
        rows = self._rows(connection, BORN.format(schema=schema))
        if not rows:
            raise BackendError(f"mysql at {self.instance} does not tell when it was started")
        return rows

    def _digests(
        self, connection: Any, *, performance_schema: object
    ) -> tuple[Sequence[Sequence[Any]], tuple[str, ...]]:
        """The rows of the digest table, or why there are none."""
        if not performance_schema:
            return (), (OFF,)
        try:
            rows = self._rows(connection, DIGESTS)
        except self._driver().MySQLError as error:
            if _code(error) in _DENIALS:
                return (), (DENIED,)
            raise
        return rows, () if rows else (UNCOUNTED,)

    def _rows(self, connection: Any, statement: str) -> Sequence[Sequence[Any]]:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            rows: Sequence[Sequence[Any]] = cursor.fetchall()
        return rows

    def _failed(self, what: str, error: Exception) -> BackendError:
        return BackendError(
            f"mysql at {self.instance} (from {self._target.origin}) {what}: "
            f"{reason_of(error, self._target)}"
        )


# --- Getting in ----------------------------------------------------------------------------


def arguments(target: Target) -> dict[str, Any]:
    """What PyMySQL is called with."""
    socket = target.option("socket")
    given: dict[str, Any] = {
        "user": target.user or _login(),
        "password": str(target.password),
        "database": target.path.strip("/") or None,
        "connect_timeout": CONNECT_S,
        "read_timeout": READ_S,
        "write_timeout": READ_S,
        "autocommit": True,
        "charset": "utf8mb4",
        **_tls_arguments(target),
    }
    if socket:
        return given | {"unix_socket": socket}
    host = target.host or "127.0.0.1"
    if "ssl_disabled" in given:  # with TLS the name is checked, and has to be a text
        host = bare(host)
    return given | {"host": host, "port": target.port or PORT}


def _tls_arguments(target: Target) -> dict[str, Any]:
    mode = target.option("tls")
    files = {f"ssl_{k}": target.option(k) for k in ("ca", "cert", "key") if target.option(k)}
    here = bool(target.option("socket")) or target.host in ("", "localhost", "127.0.0.1", "::1")
    if mode == "off" or (not mode and not files and here):
        return {"ssl_disabled": True}  # preparing for it costs 20 ms, and nobody listens here
    if mode == "verify":
        return {"ssl_verify_cert": True, "ssl_verify_identity": True, **files}
    if mode == "require" and not files:
        return {"ssl": {"verify_mode": "none"}}
    return files


def _login() -> str:
    """The user who runs this, as MySQL's own clients take it."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())  # a container's user without a name


_DENIALS: Final = (1142, 1143, 1044, 1227)
"""SELECT denied on a table, on a column, access denied to a schema, a privilege missing."""

_ADVICE: Final = {
    1045: "check user and password{tls}",
    1130: "the server does not let this host in",
    1044: "the user may not use this database; it may be left out of the URL",
    1049: "the database may be left out of the URL",
    1040: "the server has no connection left",
    3159: "the server insists on TLS: add ?tls=require",
    1835: "the server insists on TLS: add ?tls=require",
    1820: "the password has expired",
}


def _code(error: BaseException) -> int:
    code = error.args[0] if error.args else 0
    return code if isinstance(code, int) else 0


def reason_of(error: Exception, target: Target) -> str:
    """What a person can do something about, of an error of the client or the server."""
    original = getattr(error, "original_exception", None)
    if isinstance(error, TimeoutError) or isinstance(original, TimeoutError):
        return f"no answer within {CONNECT_S} s to connect or {READ_S} s to read"
    code = _code(error)
    if code == 2013 and "timed out" in str(error):
        return f"no answer within {READ_S} s"
    if original is not None:
        return str(original)
    text = str(error.args[1]) if len(error.args) > 1 and code else str(error)
    if "cryptography" in text:
        return f"{text}; over a socket or with ?tls=require it is not needed"
    unsafe = not {"tls", "socket"} & {name for name, _ in target.options}
    tls = ", or whether this user must use TLS (?tls=require)" if unsafe else ""
    advice = _ADVICE.get(code, "").format(tls=tls)
    return f"{text}; {advice}" if advice else text or type(error).__name__


# --- What it says --------------------------------------------------------------------------


def incarnation_of(born: Iterable[Sequence[Any]]) -> str:
    """When the server started, and when its status was flushed.

    >>> flushed = ("UPTIME_SINCE_FLUSH_STATUS", 7.0, 1, "b4")
    >>> incarnation_of([("UPTIME", 5.0, 1, "b4"), flushed])
    'started 1970-01-01T00:00:05Z as b4, status since 1970-01-01T00:00:07Z'
    """
    seconds = {str(row[0]).upper(): int(float(row[1])) for row in born}
    lots = {str(row[3]) for row in born}
    said = [f"started {_moment(seconds.get('UPTIME', 0))} as {', '.join(sorted(lots))}"]
    if "UPTIME_SINCE_FLUSH_STATUS" in seconds:  # Percona's forks lack it in some versions
        said.append(f"status since {_moment(seconds['UPTIME_SINCE_FLUSH_STATUS'])}")
    return ", ".join(said)


def _moment(wall_s: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(wall_s, UTC):%Y-%m-%dT%H:%M:%SZ}"


def status_values(rows: Iterable[Sequence[Any]]) -> dict[Series, Number]:
    """The numbers of ``SHOW GLOBAL STATUS``; texts and what is not set are left out.

    >>> unset = "18446744073709551615"
    >>> status_values([("Com_select", "7"), ("Ssl_cipher", ""), ("wsrep_local_index", unset)])
    {('Com_select', ()): 7}
    """
    values: dict[Series, Number] = {}
    for row in rows:
        name, text = str(row[0]), str(row[1])
        if NUMBER.fullmatch(text):
            value = float(text) if "." in text else int(text)
            if value != NOT_SET:
                values[name, ()] = value
    return values


def statement_values(
    rows: Sequence[Sequence[Any]],
) -> tuple[dict[Series, Number], tuple[str, ...]]:
    """What the digest table says, by digest and schema and in total, and what must be known.

    The digests that were there first are told apart, so that one which is a part of its own in
    one read is so in the next. A part that is zero is left out.
    """
    values: dict[Series, Number] = {}
    if rows:
        values = {(name, ()): 0 for name in STATEMENTS.values()}
    notes: list[str] = []
    kept: set[Dimensions] = set()
    for _, schema, digest, *counted in sorted(rows, key=_age):
        part = OVERFLOW
        if digest is None:
            notes.append(FULL)
        elif OURS in digest:
            continue
        else:
            own = (("db", str(schema or "")), ("digest", str(digest).strip()))
            if own in kept or len(kept) < PARTS_MAX:
                kept.add(own)
                part = own
            elif SUMMED not in notes:
                notes.append(SUMMED)
        for name, value in zip(STATEMENTS.values(), counted, strict=True):
            if value:
                values[name, ()] += int(value)
                values[name, part] = values.get((name, part), 0) + int(value)
    return values, tuple(notes)


def _age(row: Sequence[Any]) -> tuple[float, str, str]:
    return float(row[0] or 0), str(row[1] or ""), str(row[2] or "")
