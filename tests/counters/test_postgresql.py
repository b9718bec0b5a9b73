"""What PostgreSQL says, as recorded of 15 and 18; and where its programs are told to go."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.counters.backend import Surroundings, connect
from nilometer.counters.postgresql import (
    Losses,
    ids_of,
    incarnation_of,
    statements_begun,
    values_of,
    whole_pages,
)
from nilometer.counters.postgresql_facts import EXACT, GAUGES, INEXACT, fact_of
from nilometer.counters.postgresql_options import OPTIONS, find, parameters
from nilometer.counters.postgresql_views import (
    MISSING,
    NOT_LOADED,
    OURS,
    STATEMENTS,
    VIEWS,
    catalogue_of,
)
from nilometer.counters.target import Secret, Target
from nilometer.errors import ConfigError
from nilometer.model.reading import Kind

DATA = Path(__file__).parents[1] / "data/counters"
RECORDED = {v: json.loads((DATA / f"postgresql/{v}.json").read_text()) for v in (15, 18)}
MEASURED = json.loads((DATA / "postgres.json").read_text())
INSERT = (("db", "postgres"), ("query", "INSERT INTO orders VALUES ($1, $2)"))
each_version = pytest.mark.parametrize("version", RECORDED)


def recorded(version: int) -> tuple[dict, dict]:
    catalogue = catalogue_of(RECORDED[version]["catalogue"])
    reply = RECORDED[version]["reply"]
    databases = {oid: name for (label, name), oid in ids_of(reply).items() if label == "db"}
    return values_of(reply, catalogue.columns, databases), dict(catalogue.columns)


# --- What it says --------------------------------------------------------------------------


@each_version
def test_rows_are_counted_by_database_table_and_statement(version: int) -> None:
    values, _ = recorded(version)

    assert values["n_tup_ins", ()] == values["n_tup_ins", (("table", "public.orders"),)] == 3
    assert values["tup_inserted", (("db", "postgres"),)] >= 3
    assert values["statement.calls", INSERT] == 3
    assert values["statement.rows", INSERT] == 3
    assert values["wal_records", ()] > 3


@each_version
def test_what_we_asked_ourselves_is_no_statement(version: int) -> None:
    said = json.dumps(RECORDED[version]["reply"])
    values, _ = recorded(version)

    assert OURS in said
    assert not [s for s in values if any(OURS in label for _, label in s[1])]
    parts = [v for (name, part), v in values.items() if name == "statement.calls" and part]
    assert values["statement.calls", ()] == sum(parts) == 7


def test_each_version_is_read_for_what_it_has() -> None:
    names = {v: {name for name, _ in recorded(v)[0]} for v in RECORDED}

    assert {"wal_write", "wal_sync", "bgwriter.checkpoints_timed"} <= names[15] - names[18]
    assert {"io.hits", "io.reads", "checkpointer.num_timed"} <= names[18] - names[15]
    assert {"xact_commit", "n_tup_ins", "wal_bytes", "statement.calls"} <= names[15] & names[18]


def test_a_catalogue_that_has_little_is_read_for_that() -> None:
    bare = {
        "columns": [["pg_stat_database", "datid", "oid"], ["pg_stat_database", "hits", "int8"]],
        "extension": None,
        "flush": False,
        "plpgsql": None,
    }

    catalogue = catalogue_of(bare)

    assert catalogue.columns == {"pg_stat_database": ("hits",)}
    assert catalogue.notes == (MISSING,)
    assert "force_next_flush" not in catalogue.statement
    assert "DO $$" not in catalogue.statement


def test_what_happens_in_templates_is_nobody_s_doing() -> None:
    rows = [["", 1], ["shop", 40], ["template0", 2], ["template1", 3], ["postgres", 5]]
    reply = {"pg_stat_database": rows}

    values = values_of(reply, {"pg_stat_database": ("tup_updated",)}, {})

    assert values == {
        ("tup_updated", ()): 46,
        ("tup_updated", (("db", ""),)): 1,
        ("tup_updated", (("db", "shop"),)): 40,
        ("tup_updated", (("db", "postgres"),)): 5,
    }


def test_an_extension_that_is_not_loaded_is_left_out_and_told() -> None:
    catalogue = catalogue_of(RECORDED[15]["catalogue"], loaded=False)

    assert STATEMENTS not in catalogue.statement.replace(OURS, "")
    assert catalogue.notes == (NOT_LOADED,)


@pytest.mark.parametrize(
    "change",
    [
        {"started": "2030-01-01"},
        {"resets": {"pg_stat_database": "2030-01-01"}},
        {"resets": {"pg_stat_statements_info": "2030-01-01"}},
    ],
)
def test_a_server_is_known_by_its_start_and_its_resets(change: dict) -> None:
    reply = RECORDED[15]["reply"]

    assert incarnation_of({**reply, **change}) != incarnation_of(reply)


def test_statements_that_were_not_counted_at_first_have_no_earlier_value() -> None:
    reply = RECORDED[15]["reply"]

    assert statements_begun(reply, {}, {}) == {}
    begun = statements_begun(reply, {STATEMENTS: ("plans",)}, {})
    assert begun == {
        ("statement.plans", ()): (f"counted since {reply['resets']['pg_stat_statements_info']}")
    }
    columns = {STATEMENTS: ("rows",)}
    assert ("statement.insert.rows", ()) in statements_begun(reply, columns, {})


def test_a_total_that_lost_a_part_says_so_from_then_on() -> None:
    a, b = ("n_tup_ins", (("table", "a"),)), ("n_tup_ins", (("table", "b"),))
    losses = Losses()

    said = [
        losses.seen(values, {}, {})
        for values in ({a: 1, b: 1}, {a: 2, b: 1}, {a: 9}, {a: 9}, {a: 3, b: 1})
    ]

    went = "of its parts went, or began anew, since the first read"
    one, two = ({("n_tup_ins", ()): f"{n} {went}"} for n in (1, 2))
    assert said == [{}, {}, one, one, two]


COLUMNS = {"pg_stat_user_tables": ("n_tup_ins", "n_tup_del", "n_live_tup")}


@pytest.mark.parametrize("now", [{("table", "public.a"): "8"}, {}])
def test_a_table_that_went_or_was_made_anew_is_lost_to_all_that_is_told_of_tables(
    now: dict,
) -> None:
    """Also to what it had counted none of: nobody knows what was done to it since."""
    table = ("table", "public.a")
    losses = Losses()

    losses.seen({("n_tup_ins", (table,)): 250}, {table: "7"}, COLUMNS)
    said = losses.seen({("n_tup_ins", (table,)): 300} if now else {}, now, COLUMNS)

    because = "1 of its parts went, or began anew, since the first read"
    assert said == {("n_tup_ins", ()): because, ("n_tup_del", ()): because}


def test_statements_of_a_database_that_was_made_anew_are_not_lost() -> None:
    """They stay, under no database's name, and so does their total."""
    database = ("db", "a")
    calls = ("statement.calls", (database, ("query", "SELECT 1")))
    losses = Losses()

    losses.seen({calls: 5}, {database: "7"}, {})

    assert losses.seen({calls: 5}, {database: "8"}, {}) == {}


def test_statements_that_made_room_for_others_leave_all_of_them_unknown() -> None:
    told, columns = {"resets": {}}, {STATEMENTS: ("calls",)}
    part = ("statement.calls", (("db", "a"), ("query", "SELECT 1")))
    kept = statements_begun({**told, "dealloc": 0}, columns, {part: 5})
    evicted = statements_begun({**told, "dealloc": 39}, columns, {part: 60})

    assert kept == statements_begun(told, columns, {part: 5})
    assert part not in kept
    assert {*evicted.values()} == {
        "counted since the server started, but for 39 evictions: raise pg_stat_statements.max"
    }
    assert evicted.keys() == {*kept, part}


def test_a_level_that_falls_lost_nothing() -> None:
    losses = Losses()
    level = ("numbackends", (("db", "a"),))

    assert (losses.seen({level: 3}, {}, {}), losses.seen({level: 1}, {}, {})) == ({}, {})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SELECT item FROM orders WHERE id = $1", "SELECT item FROM orders WHERE id = $1"),
        ("ALTER ROLE a PASSWORD 's3cret'", "ALTER ROLE a PASSWORD '?'"),
        ("SET x = 'C:\\', y = 's3cret'", "SET x = '?', y = '?'"),
        ("SET x = E'it\\'s', y = 's3cret'", "SET x = '?', y = '?'"),
        ("COMMENT ON TABLE a IS 'it''s3cret", "COMMENT ON TABLE a IS '?'"),
        ("DO $$ s3cret $$", "DO '?'"),
        ("DO $a$ s3cret $$ s3cret $a$ LANGUAGE sql", "DO '?' LANGUAGE sql"),
        ("SELECT $1, $2, $3", "SELECT $1, $2, $3"),
        ('SELECT "it\'s" FROM "a""b"', 'SELECT "it\'s" FROM "a""b"'),
        ("SET \"it's\" = 's3cret'", "SET \"it's\" = '?'"),
        ("SET x = 1 -- it's\n, y = 's3cret'", "SET x = 1 \n, y = '?'"),
        ("COMMIT /* traceparent='s3cret' */", "COMMIT"),
    ],
)
def test_no_quoted_text_of_a_statement_is_shown(text: str, shown: str) -> None:
    reply = {STATEMENTS: [["5", text, 1]]}

    values = values_of(reply, {STATEMENTS: ("calls",)}, {"5": "shop"})

    part = (("db", "shop"), ("query", shown))
    assert values["statement.calls", ()] == values["statement.calls", part] == 1


def test_statements_are_totalled_by_what_they_do_too() -> None:
    reply = {
        STATEMENTS: [["5", "INSERT INTO t", 3], ["6", "insert\n  into u", 4], ["5", "SET x", 5]]
    }

    values = values_of(reply, {STATEMENTS: ("calls",)}, {"5": "a", "6": "b"})

    totals = {name: value for (name, part), value in values.items() if not part}
    verbs = dict.fromkeys(("select", "update", "delete", "merge"), 0) | {"insert": 7}
    assert totals == {
        "statement.calls": 12,
        **{f"statement.{verb}.calls": calls for verb, calls in verbs.items()},
    }


def test_statements_of_databases_of_one_name_are_counted_together() -> None:
    """As of one that was dropped and made anew; one that nobody has seen has no name."""
    reply = {STATEMENTS: [["5", "SELECT a", 3], ["6", "SELECT a", 4], ["7", "SELECT a", 5]]}

    values = values_of(reply, {STATEMENTS: ("calls",)}, {"5": "shop", "6": "shop"})

    query = ("query", "SELECT a")
    assert values["statement.calls", (("db", "shop"), query)] == 7
    assert values["statement.calls", (("db", ""), query)] == 5


def test_whole_pages_are_told_of_the_statements_that_logged_them() -> None:
    columns = {"pg_stat_wal": ("wal_fpi", "wal_bytes"), STATEMENTS: ("wal_fpi", "wal_bytes")}
    created, inserted = ["5", "CREATE TABLE t", 12, 9], ["5", "INSERT INTO t", 0, 8]
    updated = ["5", "UPDATE t", 3, 7]
    reply = {"pg_stat_wal": [[40, 99]], STATEMENTS: [created, inserted, updated]}

    told = whole_pages(values_of(reply, columns, {}))

    kinds = ("", "statement.", "statement.insert.", "statement.update.")
    pages = [told[f"{kind}wal_bytes", ()].split()[2] for kind in kinds]
    assert pages == ["40", "15", "0", "3"]


def test_a_statement_that_went_is_lost_to_the_total_of_those_that_do_the_same() -> None:
    losses = Losses()
    insert = ("statement.calls", (("db", "a"), ("query", "INSERT INTO t")))

    losses.seen({insert: 3}, {}, {})

    assert {name for name, _ in losses.seen({}, {}, {})} == {
        "statement.calls",
        "statement.insert.calls",
    }


TEXTS = st.text(max_size=9)
CELLS = st.none() | st.integers(0, 2**63) | st.floats(0, 1e9) | TEXTS


@given(st.data())
def test_the_parts_of_every_counter_add_up_to_its_total(data: Any) -> None:
    columns = {view.name: ("a", "b") for view in VIEWS}
    reply = {
        view.name: data.draw(
            st.none() | st.lists(st.tuples(*[TEXTS] * len(view.labels), CELLS, CELLS))
        )
        for view in VIEWS
    }

    values = values_of(reply, columns, {"": "a", "0": "b"})

    for view in VIEWS:
        if view.labels:
            for column in columns[view.name]:
                name = view.prefix + column
                if sum(v.prefix == view.prefix for v in VIEWS) == 1:
                    parts = sum(v for (of, part), v in values.items() if of == name and part)
                    assert values[name, ()] == pytest.approx(parts)


# --- What is known of it -------------------------------------------------------------------

NAMES = {"db.": "", "wal.": "", "bg.": "bgwriter.", "pgss.": "statement."}
TABLES = {"ins": "n_tup_ins", "upd": "n_tup_upd", "del": "n_tup_del"}
OTHERS = {
    "statement.blks_hit": "shared_blks_hit",
    "statement.blks_dirtied": "shared_blks_dirtied",
}


def our_name(measured: str) -> str:
    """The data have names of their own."""
    kind, _, rest = measured.partition(".")
    if kind == "tab":
        return TABLES.get(rest, rest)
    name = NAMES[f"{kind}."] + rest
    return f"statement.{OTHERS[name]}" if name in OTHERS else name


def test_exact_is_what_moved_by_the_same_number_in_every_measured_run() -> None:
    runs = [MEASURED[name]["moved"] for name in ("base1", "base4")]
    same: dict[str, bool] = {}
    for measured in set(runs[0]) | set(runs[1]):
        if measured != "pgss.exec_ms":  # times of statements are not read
            same[our_name(measured)] = all(len(set(r.get(measured, [0]))) == 1 for r in runs)

    assert set(EXACT) == {name for name, is_same in same.items() if is_same}
    assert set(INEXACT) == {name for name, is_same in same.items() if not is_same}


@each_version
def test_of_every_counter_something_is_known(version: int) -> None:
    facts = {name: fact_of(name) for name, _ in recorded(version)[0]}

    assert all(fact.meaning and fact.from_zero for fact in facts.values())
    assert {n for n, fact in facts.items() if fact.kind is Kind.GAUGE} <= GAUGES
    manual = {n for n, fact in facts.items() if fact.meaning.endswith("manual says")}
    assert manual <= {"checksum_failures"} | {n for n in facts if n.startswith("parallel_")}


# --- Where it is ---------------------------------------------------------------------------


def found(**environment: str) -> list[Target]:
    return list(find(Surroundings(environment, Path("/nowhere"))))


def test_the_environment_says_where_and_who() -> None:
    (target,) = found(PGHOST="db1", PGPORT="5433", PGUSER="me", PGPASSWORD="s3", PGDATABASE="d")

    assert target.origin == "PGHOST"
    assert (target.user, target.password, target.path) == ("me", Secret("s3"), "/d")
    assert parameters(target) == {
        "host": "db1",
        "port": "5433",
        "user": "me",
        "password": "s3",
        "dbname": "d",
        "application_name": "nilometer",
        "client_encoding": "UTF8",
    }


def test_a_service_is_left_to_the_library() -> None:
    (target,) = found(PGSERVICE="shop")

    assert (target.origin, target.option("service")) == ("PGSERVICE", "shop")
    assert connect("postgresql:///?service=shop", origin="-b").instance == "shop"


def test_without_any_word_the_sockets_of_this_machine_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nilometer.counters.postgresql_options.SOCKETS", (tmp_path,))
    place = tmp_path / ".s.PGSQL.5433"
    (tmp_path / ".s.PGSQL.5433.lock").write_text("1")
    assert found() == []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))

        (target,) = found(PGUSER="me")

    words = parameters(target)
    assert target.origin == str(place)
    assert (words["host"], words["port"], words["dbname"]) == (
        str(tmp_path),
        "5433",
        "postgres",
    )
    assert words["user"] == "me"


def test_a_mistyped_option_is_refused_with_the_choice() -> None:
    with pytest.raises(ConfigError, match="did you mean 'sslmode'"):
        connect("postgresql://db/?sslmod=require", origin="-b")


def test_the_page_names_every_option_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs/counters.md").read_text()
    section = page.partition("\n## PostgreSQL\n")[2].partition("\n## ")[0]
    table = section.partition("| option |")[2].partition("\n\n")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]

    assert sorted(re.findall(r"`([a-z]+)`", " ".join(first_cells))) == sorted(OPTIONS)
