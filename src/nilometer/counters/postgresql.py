"""PostgreSQL: its cumulative statistics, and statements where pg_stat_statements keeps them.

A read is a connection, a statement that asks the catalogue which views there are, and which
columns, and one that asks them; every number is a counter.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from nilometer.counters.backend import BackendError
from nilometer.counters.figures import Figures
from nilometer.counters.parts import Kept, bounded
from nilometer.counters.postgresql_facts import GAUGES, fact_of
from nilometer.counters.postgresql_options import OPTIONS, PORT, find, parameters
from nilometer.counters.postgresql_views import (
    CATALOGUE,
    EVICTIONS,
    HIDDEN,
    HIDDEN_TEXT,
    OURS,
    STATEMENTS,
    STATEMENTS_INFO,
    VIEWS,
    Catalogue,
    catalogue_of,
)
from nilometer.errors import to_install

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.counters.figures import Fact, Number, Series
    from nilometer.counters.libpq import Connection, PostgresError
    from nilometer.counters.target import Target
    from nilometer.model.dimensions import Dimensions

__all__ = ("MEANING", "connect", "find")

MEANING: Final = "PostgreSQL: databases, tables, WAL, I/O, and statements if it counts them"

CONNECT_S: Final = 2.0
READ_S: Final = 10.0

VERBS: Final = ("select", "insert", "update", "delete", "merge")
TEMPLATES: Final = frozenset({"template0", "template1"})
"""Databases that new ones are copied from: what is done in them autovacuum does, which comes to
one after another, and gathers statistics of what all share, as of databases that were made."""

OF_VERBS: Final = ("calls", "rows", "wal_bytes")
"""Of statements: what is told of those that begin with each verb, too. A SELECT writes to the
log when it tidies a page; what an INSERT writes is nearly the same each time."""

DOLLAR: Final = re.compile(r"\$(?!\d)")
QUOTED: Final = re.compile(
    r"""(?P<name>"(?:[^"]|"")*"?)"""
    r"""|(?P<text>[eE]'(?:[^'\\]|\\.|'')*'?|'(?:[^']|'')*'?"""
    r"""|\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z))"""
    r"""|(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))""",
    re.DOTALL,
)
"""Names in quotation marks; texts, with escapes or without, or between dollars; comments. What
was cut off goes to the end."""


# --- What it says --------------------------------------------------------------------------


def values_of(
    reply: Mapping[str, Any],
    columns: Mapping[str, Sequence[str]],
    databases: Mapping[str, str],
) -> dict[Series, Number]:
    """The counters of a reply: the total of each column and its parts; parts of 0 are left out.

    The total of a view with many rows is their sum; statements are totalled by verb, too.
    `databases` are the names of those that statements ran in, by `oid`; others have none. What
    happens in `TEMPLATES` is left out.
    """
    values: dict[Series, Number] = {}
    for view in VIEWS:
        names = [view.prefix + column for column in columns.get(view.name, ())]
        if not names:
            continue
        values.update({(name, ()): 0 for of in names for name in (of, *by_verb(of))})
        for row in reply.get(view.name) or ():
            labels = [str(label) for label in row[: len(view.labels)]]
            if view.name == "pg_stat_database" and labels[0] in TEMPLATES:
                continue
            if view.name == STATEMENTS:
                if OURS in labels[-1]:
                    continue
                labels = [databases.get(labels[0], ""), folded(labels[-1])]
            part = tuple(zip(view.labels, labels, strict=True))
            for name, value in zip(names, row[len(labels) :], strict=True):
                if isinstance(value, int | float) and value:
                    for total in totals_of(name, part):
                        values[total, ()] += value
                    if part:
                        values[name, part] = values.get((name, part), 0) + value
    return values


def by_verb(name: str) -> tuple[str, ...]:
    """The totals of a counter of statements by what these do, as MySQL has `Com_insert`.

    >>> by_verb("statement.rows")[:2]
    ('statement.select.rows', 'statement.insert.rows')
    """
    view, _, column = name.partition(".")
    if view != "statement" or column not in OF_VERBS:
        return ()
    return tuple(f"statement.{verb}.{column}" for verb in VERBS)


def totals_of(name: str, part: Dimensions) -> tuple[str, ...]:
    """The totals that a part of this counter goes into."""
    words = dict(part).get("query", "").split(None, 1) if name.startswith("statement.") else []
    verb = words[0].lower() if words else ""
    return (name, *(of for of in by_verb(name) if of.split(".")[1] == verb))


def whole_pages(values: Mapping[Series, Number]) -> dict[Series, str]:
    """What the bytes of WAL hold that nobody wrote: told as an incarnation, so that a run in
    which there was more of it is not compared.

    The first change of a page after a checkpoint logs all of it, and checkpoints come by time.
    CREATE TABLE logs those of its indexes each time: that is no matter of what INSERTs log.
    """
    pages: dict[str, Number] = {"wal_bytes": values.get(("wal_fpi", ()), 0)}
    for (name, part), number in values.items():
        if name == "statement.wal_fpi" and part:
            for total in totals_of("statement.wal_bytes", part):
                pages[total] = pages.get(total, 0) + number
    return {
        (name, ()): f"it holds {pages.get(name, 0):,} whole pages, logged after checkpoints"
        for name, part in values
        if name.endswith("wal_bytes") and not part
    }


def folded(text: str) -> str:
    """A statement without the texts and comments in it.

    PostgreSQL replaces the values of queries itself, and leaves those of other statements,
    which may be passwords, and comments, which may be another each time.

    >>> folded("ALTER ROLE app PASSWORD 'it''s' /* traceparent=00-01 */")
    "ALTER ROLE app PASSWORD '?'"
    """
    if not any(sign in text for sign in ("'", "--", "/*")) and not DOLLAR.search(text):
        return text  # nearly all; looking at each letter takes a hundred times as long
    return QUOTED.sub(_fold, text).strip()


def _fold(match: re.Match[str]) -> str:
    return match[0] if match["name"] else "'?'" if match["text"] else ""


def incarnation_of(reply: Mapping[str, Any]) -> str:
    """When the server started, and when which of its figures were reset.

    >>> incarnation_of({"started": "2026-01-02", "resets": {"pg_stat_wal": "2026-01-03"}})
    'started 2026-01-02Z, pg_stat_wal since 2026-01-03Z'
    """
    resets = [f"{name} since {at}Z" for name, at in reply["resets"].items() if at]
    return ", ".join([f"started {reply['started']}Z", *resets])


def statements_begun(
    reply: Mapping[str, Any],
    columns: Mapping[str, Sequence[str]],
    values: Mapping[Series, Number],
) -> dict[Series, str]:
    """Since when statements are counted: those that were not at first have no earlier value.

    One that makes room for others takes its counts along, and begins at 0 when it comes again;
    one that comes and goes between two reads nobody sees.
    """
    since = f"counted since {reply['resets'].get(STATEMENTS_INFO) or 'the server started'}"
    names = [f"statement.{column}" for column in columns.get(STATEMENTS, ())]
    totals: list[Series] = [(name, ()) for of in names for name in (of, *by_verb(of))]
    if not (evictions := reply.get(EVICTIONS)):
        return dict.fromkeys(totals, since)
    since += f", but for {evictions:,} evictions: raise pg_stat_statements.max"
    parts = [(name, part) for name, part in values if part and name in names]
    return dict.fromkeys([*totals, *parts], since)


def together(*told: Mapping[Series, str]) -> dict[Series, str]:
    """What is told of each series by whichever."""
    found: dict[Series, str] = {}
    for one in told:
        for series, text in one.items():
            found[series] = f"{found[series]}; {text}" if series in found else text
    return found


class Losses:
    """Totals that are sums of parts, some of which went: their sum means nothing after that.

    A dropped table takes its counts along, and so does a statement that made room for another.
    """

    def __init__(self) -> None:
        self._before: Mapping[Series, Number] = {}
        self._ids: Mapping[tuple[str, str], str] = {}
        self._lost: dict[str, int] = {}

    def seen(
        self,
        values: Mapping[Series, Number],
        ids: Mapping[tuple[str, str], str],
        columns: Mapping[str, Sequence[str]],
    ) -> dict[Series, str]:
        """What has been lost so far of each total, told as its incarnation."""
        lost: set[tuple[str, Dimensions]] = set()
        for (name, part), earlier in self._before.items():
            if part and values.get((name, part), 0) < earlier:
                lost.update((total, part) for total in totals_of(name, part))
        # Also of what it had counted none by then: nobody knows what was done to it since.
        for pair, oid in self._ids.items():
            if ids.get(pair) != oid:
                view = next(one for one in VIEWS if one.oid and pair[0] in one.labels)
                names = (view.prefix + column for column in columns.get(view.name, ()))
                lost.update((name, (pair,)) for name in names)
        for total, _ in lost:
            if total not in GAUGES:
                self._lost[total] = self._lost.get(total, 0) + 1
        self._before, self._ids = values, ids
        return {
            (name, ()): f"{number} of its parts went, or began anew, since the first read"
            for name, number in self._lost.items()
        }


def ids_of(reply: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """What tells tables and databases from others that had, or will have, the same name."""
    return {
        (label, name): str(oid)
        for view in VIEWS
        if view.oid
        for label in view.labels
        for name, oid in (reply.get(view.oid) or {}).items()
    }


def connect(target: Target) -> PostgreSQL:
    """The server there; nothing is sent before the first read. Raises ConfigError."""
    return PostgreSQL(target.accepting(OPTIONS))


class PostgreSQL:
    """A server, and one database of it, read over a connection for each read.

    While one is open, nobody can drop that database, or make another after its pattern, as
    test suites do; and servers hang up on the silent.
    """

    name = "postgresql"

    def __init__(self, target: Target) -> None:
        words = parameters(target)
        where = (
            words.get("service")
            or f"{words.get('host', 'localhost')}:{words.get('port', PORT)}"
        )
        self.instance = where + target.path.rstrip("/")
        self.settle_s = 0.0
        self._target = target
        self._connection: Connection | None = None
        self._catalogue = Catalogue({}, "")
        self._losses = Losses()
        self._kept = Kept()
        self._databases: dict[str, str] = {}
        self._facts: dict[str, Fact] = {}
        self.servers: tuple[tuple[str, str], ...] = ()

    def read(self) -> Figures:
        """All its counters now. Raises BackendError."""
        from nilometer.counters.libpq import PostgresError

        try:
            connection = self._connected()
            reply = self._asked(connection, self._catalogue.statement)
            version = connection.version
        except PostgresError as error:
            raise self._failed("cannot be read", error) from error
        finally:
            self.close()
        self.servers = ((self.name, f"started {reply['started']}Z"),)
        ids = ids_of(reply)
        # Statements stay when their database is dropped, and remain those of its name.
        self._databases |= {oid: name for (label, name), oid in ids.items() if label == "db"}
        raw = values_of(reply, self._catalogue.columns, self._databases)
        values, notes = bounded(raw, gauges=GAUGES, kept=self._kept)
        incarnations = together(
            statements_begun(reply, self._catalogue.columns, values),
            self._losses.seen(raw, ids, self._catalogue.columns),
            whole_pages(raw),
        )
        for name, _ in values:
            if name not in self._facts:
                self._facts[name] = fact_of(name)
        self.settle_s = max(0.0, float(reply["lagging"] or 0))
        hidden = any(("query", HIDDEN_TEXT) in part for _, part in raw)
        return Figures(
            values,
            incarnation_of(reply),
            version,
            (*self._catalogue.notes, *notes, *((HIDDEN,) if hidden else ())),
            incarnations,
            ids={pair: ids[pair] for _, part in raw for pair in part if pair in ids},
        )

    def facts(self) -> Mapping[str, Fact]:
        """What is known of the counters that were read."""
        return self._facts

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> Connection:
        from nilometer.counters.libpq import Connection, MissingError

        if self._connection is None:
            try:
                connection = Connection(parameters(self._target), timeout_s=CONNECT_S)
            except MissingError as error:
                raise BackendError(
                    f"postgresql at {self.instance}: its client library is needed: "
                    f"{to_install('counters')}: {error}",
                    slug="backend-needs-extra",
                ) from error
            self._connection = connection
            self.instance = connection.place
            self._catalogue = self._look(connection)
        return self._connection

    def _look(self, connection: Connection) -> Catalogue:
        from nilometer.counters.libpq import PostgresError

        reply = self._asked(connection, CATALOGUE)
        try:
            if reply["extension"]:
                probe = f"SELECT 1 AS {OURS} FROM {reply['extension']}.{STATEMENTS} LIMIT 1"  # noqa: S608 - as the server quoted it
                connection.ask(probe, timeout_s=READ_S)
        except PostgresError as error:
            if error.state == "":
                raise
            return catalogue_of(reply, loaded=False)
        return catalogue_of(reply)

    def _asked(self, connection: Connection, statement: str) -> dict[str, Any]:
        rows = connection.ask(statement, timeout_s=READ_S)
        reply: dict[str, Any] = json.loads(rows[0][1] or "")
        return reply

    def _failed(self, what: str, error: PostgresError) -> BackendError:
        return BackendError(
            f"postgresql at {self.instance} (from {self._target.origin}) {what}: "
            f"{reason_of(error)}"
        )


_ADVICE: Final = (
    ("password authentication failed", "check user and password"),
    ("no password supplied", "give a password, in ~/.pgpass for instance"),
    ("no encryption", "it may want TLS: add ?sslmode=require"),
    ("permission denied", "the user may not see this: GRANT pg_read_all_stats TO this user"),
    ('database "', "name a database that is there, as in postgresql://user@host/database"),
)


def reason_of(error: PostgresError) -> str:
    """What was said, and what a person can do about it."""
    text = str(error)
    advice = next((said for sign, said in _ADVICE if sign in text), "")
    return f"{text}; {advice}" if advice else text
