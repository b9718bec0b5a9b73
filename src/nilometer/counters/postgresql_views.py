"""What there is to read of a PostgreSQL server, by its own catalogue, and how it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LAG_S: Final = 10.5
"""A session reports what it did when it is idle for 10 s, unless it did so a second before."""

QUERY_CHARS_MAX: Final = 1000
"""Of a statement's text: as much as MySQL keeps; even an ORM's SELECT differs before that."""

OURS: Final = "read_by_nilometer"
"""By this word in its text our own statement is left out of those that are counted."""


class View(NamedTuple):
    """A view of the statistics, the prefix of its counters, and what tells its rows apart.

    `only` are the columns read of it; all that are numbers, if empty. `oid` is what another
    thing of the same name does not have.
    """

    name: str
    prefix: str = ""
    labels: Mapping[str, str] = {}  # never written to
    only: tuple[str, ...] = ()
    oid: str = ""


STATEMENTS: Final = "pg_stat_statements"
STATEMENTS_INFO: Final = "pg_stat_statements_info"
EVICTIONS: Final = "dealloc"
"""Its column that says how often some statements made room for others."""

VIEWS: Final = (
    View("pg_stat_database", "", {"db": "coalesce(v.datname, '')"}, oid="datid"),
    View("pg_stat_user_tables", "", {"table": "v.schemaname || '.' || v.relname"}, oid="relid"),
    View("pg_stat_wal"),
    View("pg_stat_bgwriter", "bgwriter."),
    View("pg_stat_checkpointer", "checkpointer."),
    View(
        "pg_stat_io",
        "io.",
        {"backend": "v.backend_type", "context": "v.context", "object": "v.object"},
    ),
    View(
        STATEMENTS,
        "statement.",
        {"db": "v.dbid", "query": f"left(v.query, {QUERY_CHARS_MAX})"},
        (
            *("calls", "rows", "plans", "wal_records", "wal_fpi", "wal_bytes"),
            *("shared_blks_hit", "shared_blks_read", "shared_blks_dirtied"),
            *("shared_blks_written", "temp_blks_read", "temp_blks_written"),
        ),
    ),
)

NUMBERS: Final = ("int2", "int4", "int8", "numeric", "float4", "float8")
RESETS: Final = (
    *("pg_stat_wal", "pg_stat_bgwriter", "pg_stat_checkpointer", "pg_stat_io"),
    STATEMENTS_INFO,
)
"""Views of the whole server that say when they were reset."""

_EXTENSION: Final = f"FROM pg_catalog.pg_extension WHERE extname = '{STATEMENTS}'"
_KNOWN: Final = ", ".join(
    f"'{name}'" for name in sorted({*(view.name for view in VIEWS), *RESETS})
)
CATALOGUE: Final = f"""\
SELECT 1 AS {OURS}, json_build_object(
'columns', (SELECT json_agg(json_build_array(c.relname, a.attname, t.typname)
    ORDER BY c.relname, a.attnum)
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  WHERE c.relname IN ({_KNOWN}) AND (c.relnamespace = 'pg_catalog'::regnamespace
    OR c.relnamespace = (SELECT extnamespace {_EXTENSION}))),
'extension', (SELECT extnamespace::regnamespace::text {_EXTENSION}),
'plpgsql', (SELECT has_language_privilege(oid, 'usage')
  FROM pg_catalog.pg_language WHERE lanname = 'plpgsql'),
'flush', to_regproc('pg_catalog.pg_stat_force_next_flush') IS NOT NULL)"""  # noqa: S608 - ours

# Sessions that did something lately may not have reported it; those of others do not show when.
LAGGING: Final = f"""\
(SELECT max(CASE WHEN state = 'idle' THEN {LAG_S} - extract(epoch FROM
  clock_timestamp() - state_change) ELSE {LAG_S} END) AS {OURS} FROM pg_catalog.pg_stat_activity
  WHERE pid <> pg_backend_pid() AND coalesce(backend_type, 'client backend') = 'client backend'
  AND datid IS NOT NULL)"""  # noqa: S608 - ours

# A session reports as it ends, which takes some milliseconds after its client is gone. Those
# that are about to are waited for, up to a tenth of a second, rather than 10 s for those that
# stay. Both statements go together, and are one transaction however often the first one looks.
FAREWELL: Final = f"""\
DO $$ BEGIN -- {OURS}
FOR turn IN 1..10 LOOP
  EXIT WHEN coalesce({LAGGING}, 0) <= 0;
  PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
END LOOP; END $$; """

MISSING: Final = (
    "statements are not counted: set shared_preload_libraries = 'pg_stat_statements', start "
    "the server again, and CREATE EXTENSION pg_stat_statements in this database"
)
NOT_LOADED: Final = (
    "statements are not counted: pg_stat_statements is installed and not loaded; set "
    "shared_preload_libraries = 'pg_stat_statements' and start the server again"
)
HIDDEN: Final = (
    "the statements of other users are counted without their text: GRANT pg_read_all_stats TO "
    "this user"
)
HIDDEN_TEXT: Final = "<insufficient privilege>"


class Catalogue(NamedTuple):
    """What this server has: the columns to read of each view, and the statement for it."""

    columns: Mapping[str, tuple[str, ...]]
    statement: str
    notes: tuple[str, ...] = ()


def catalogue_of(reply: Mapping[str, Any], *, loaded: bool = True) -> Catalogue:
    """What to read, from what the server's catalogue says it has."""
    types: dict[str, dict[str, str]] = {}
    for view, column, kind in reply["columns"] or ():
        types.setdefault(view, {})[column] = kind
    columns = {
        view.name: tuple(
            name
            for name, kind in types[view.name].items()
            if kind in NUMBERS and (not view.only or name in view.only)
        )
        for view in VIEWS
        if view.name in types and (view.name != STATEMENTS or loaded)
    }
    resets = [
        name
        for name in RESETS
        if "stats_reset" in types.get(name, {}) and (loaded or STATEMENTS not in name)
    ]
    notes: tuple[str, ...] = ()
    if STATEMENTS not in columns:
        notes = (NOT_LOADED,) if reply["extension"] else (MISSING,)
    schema = reply["extension"] or ""
    can = {
        "flush": bool(reply["flush"]),
        "farewell": bool(reply["plpgsql"]),
        "evicted": loaded and EVICTIONS in types.get(STATEMENTS_INFO, {}),
    }
    statement = _statement(columns, resets, schema, **can)
    return Catalogue(columns, statement, notes)


def _statement(
    columns: Mapping[str, Sequence[str]],
    resets: Iterable[str],
    schema: str,
    *,
    flush: bool,
    farewell: bool,
    evicted: bool,
) -> str:
    """The statement that reads it all, and lets what it costs itself be seen by the next."""

    def relation(name: str) -> str:
        return f"{schema if STATEMENTS in name else 'pg_catalog'}.{name}"

    database = "pg_catalog.pg_stat_database WHERE datname = current_database()"
    views = [("pg_stat_database", database), *((name, relation(name)) for name in resets)]
    reset = "max(stats_reset) AT TIME ZONE 'UTC'"  # in a zone's own, DST would move it
    since = [f"'{name}', (SELECT {reset} FROM {where})" for name, where in views]  # noqa: S608
    pieces = [
        "'started', pg_postmaster_start_time() AT TIME ZONE 'UTC'",
        f"'lagging', {LAGGING}",
        f"'resets', json_build_object({', '.join(since)})",
    ]
    for view in VIEWS:
        if view.name in columns:
            read = [*view.labels.values(), *(f'v."{name}"' for name in columns[view.name])]
            row = f"json_build_array({', '.join(read)})"
            rows = f"SELECT json_agg({row}) FROM {relation(view.name)} v"  # noqa: S608 - ours
            pieces.append(f"'{view.name}', ({rows})")
            if view.oid:
                named = f"json_object_agg({read[0]}, v.{view.oid})"
                oids = f"SELECT {named} FROM {relation(view.name)} v"  # noqa: S608 - ours
                pieces.append(f"'{view.oid}', ({oids})")
    if evicted:
        times = f"SELECT {EVICTIONS} FROM {relation(STATEMENTS_INFO)}"  # noqa: S608 - ours
        pieces.append(f"'{EVICTIONS}', ({times})")
    last = ", pg_stat_force_next_flush()" if flush else ""
    first = FAREWELL if farewell else ""
    return f"{first}SELECT 1 AS {OURS}, json_build_object({', '.join(pieces)}){last}"
