"""What MySQL and MariaDB say, read as recorded; where their clients are configured to go."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.counters.backend import Surroundings, connect
from nilometer.counters.mysql import (
    FULL,
    OPTIONS,
    OURS,
    PARTS_MAX,
    SUMMED,
    arguments,
    find,
    incarnation_of,
    statement_values,
    status_values,
)
from nilometer.counters.mysql_facts import EXACT, INEXACT, STATEMENTS, TABLE, fact_of
from nilometer.counters.mysql_options import option, options_of
from nilometer.counters.target import Secret, Target
from nilometer.errors import ConfigError
from nilometer.model.reading import Kind

RECORDED = json.loads(
    (Path(__file__).parents[1] / "data/counters/mysql/mariadb-10.11.json").read_text()
)
MEASURED = json.loads((Path(__file__).parents[1] / "data/counters/mariadb.json").read_text())
OLD_TOOL = """
Com_delete Com_insert Com_select Com_update Connections Innodb_buffer_pool_read_requests
Innodb_data_reads Innodb_data_read Innodb_data_writes Innodb_data_written Innodb_log_writes
Innodb_rows_deleted Innodb_rows_inserted Innodb_rows_read Innodb_rows_updated Queries
Slow_queries
"""
INSERT = (("db", ""), ("digest", "INSERT INTO `shop` . `orders` VALUES (...)"))
TEXTS = st.text(max_size=20)
COUNTED = st.integers(0, 2**63)


def digest_row(text: str | None, calls: int, *, first: float = 1.0, db: str = "shop") -> list:
    return [first, db, text, calls, *[0] * (len(STATEMENTS) - 1)]


# --- What it says --------------------------------------------------------------------------


def test_the_status_is_every_number_and_nothing_else() -> None:
    values = status_values(RECORDED["status"])

    assert values["Com_insert", ()] == 3
    assert values["Com_select", ()] == 2
    assert isinstance(values["Query_time", ()], float)
    texts = {"Ssl_cipher", "Rpl_status", "Compression", "Max_memory_used"}
    unset = {"wsrep_local_index", "wsrep_cluster_conf_id"}
    names = {name for name, _ in values}
    assert names & (texts | unset) == set()
    assert len(values) == 528


def test_what_the_old_tool_collected_is_there_as_far_as_the_server_has_it() -> None:
    has = {name for name, _ in RECORDED["status"]}
    wanted = set(OLD_TOOL.split())

    assert len(wanted) == 17
    assert {name for name, _ in status_values(RECORDED["status"])} & wanted == has & wanted
    assert len(has & wanted) == 13
    assert wanted <= TABLE.keys()


def test_statements_are_counted_by_digest_and_database_and_in_total() -> None:
    values, notes = statement_values(RECORDED["digests"])

    assert notes == ()
    assert {series: v for series, v in values.items() if series[1] == INSERT} == {
        ("statement.calls", INSERT): 3,
        ("statement.rows_affected", INSERT): 3,
    }
    assert values["statement.rows_affected", ()] == 4  # CREATE DATABASE is one
    assert values["statement.errors", ()] == 0


def test_our_own_statement_over_the_digests_leaves_itself_out() -> None:
    rows = [digest_row(f"SELECT UNIX_TIMESTAMP ( ) AS `{OURS}`", 9), digest_row("SELECT ?", 2)]

    values, _ = statement_values(rows)

    part = (("db", "shop"), ("digest", "SELECT ?"))
    assert {k: v for k, v in values.items() if v} == {
        ("statement.calls", ()): 2,
        ("statement.calls", part): 2,
    }


def test_digests_beyond_the_bound_are_summed_and_the_first_ones_stay_told_apart() -> None:
    older = [digest_row(f"SELECT {i}", 1, first=i) for i in range(PARTS_MAX)]
    newer = [digest_row(f"DELETE {i}", 2, first=PARTS_MAX + i) for i in range(3)]

    values, notes = statement_values([*newer, *older])

    parts = {k[1] for k in values if k[1]}
    assert len(parts) == PARTS_MAX + 1
    assert values["statement.calls", (("overflow", "true"),)] == 6
    assert values["statement.calls", ()] == PARTS_MAX + 6
    assert notes == (SUMMED,)


def test_what_found_no_room_in_the_servers_table_is_counted_together_and_told() -> None:
    values, notes = statement_values([digest_row(None, 7, db="")])

    assert values["statement.calls", (("overflow", "true"),)] == 7
    assert notes == (FULL,)


def test_a_server_without_digests_has_no_totals_of_them_either() -> None:
    assert statement_values([]) == ({}, ())


@given(st.lists(st.tuples(TEXTS, TEXTS | st.integers() | st.none())))
def test_any_status_gives_numbers_only(rows: list) -> None:
    assert all(type(value) in (int, float) for value in status_values(rows).values())


@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(0, 2e9),
            st.none() | TEXTS,
            st.none() | TEXTS,
            *[st.none() | COUNTED for _ in STATEMENTS],
        )
    )
)
def test_the_parts_of_every_counter_add_up_to_its_total(rows: list) -> None:
    values, _ = statement_values(rows)

    for name in STATEMENTS.values():
        parts = sum(v for (of, part), v in values.items() if of == name and part)
        assert parts == values.get((name, ()), 0)


def test_a_server_is_known_by_its_start_and_its_flush() -> None:
    said = incarnation_of(RECORDED["born"])

    lot = RECORDED["born"][0][3]
    assert said.startswith("started 2026-")
    assert f"Z as {lot}, status since 2026-" in said
    other = [[*row[:3], "b00b"] for row in RECORDED["born"]]
    assert incarnation_of(other) != said


# --- What is known of it -------------------------------------------------------------------


def test_exact_is_what_moved_by_the_same_number_in_every_measured_run() -> None:
    runs = [MEASURED[name]["moved"] for name in ("base1", "base4")]
    moved_in_all = {n for n in set(runs[0]) | set(runs[1]) if not n.startswith("proc.")}
    same = {n for n in moved_in_all if all(len(set(run.get(n, [0]))) == 1 for run in runs)}
    counters = {n for n in moved_in_all if fact_of(n).kind is Kind.COUNTER}

    # These runs were over before InnoDB counted transactions of its own.
    same -= {"Innodb_max_trx_id"}

    assert set(EXACT) == same & counters
    assert {n for n in INEXACT if n not in ("Uptime", "Uptime_since_flush_status")} == (
        counters - same
    )


@pytest.mark.parametrize("name", [row[0] for row in RECORDED["status"]])
def test_of_every_counter_something_is_known(name: str) -> None:
    fact = fact_of(name)

    assert fact.meaning
    assert "{0}" not in fact.meaning
    assert not fact.from_zero


def test_levels_are_gauges_and_sums_are_counters() -> None:
    kinds = {name: fact_of(name).kind for name, _ in RECORDED["status"]}

    levels = ("Threads_connected", "Open_tables", "Innodb_buffer_pool_pages_free", "Uptime")
    sums = ("Com_select", "Opened_tables", "Innodb_buffer_pool_read_requests", "Key_reads")
    assert {kinds[name] for name in levels} == {Kind.GAUGE}
    assert {kinds[name] for name in sums} == {Kind.COUNTER}


# --- Where it is ---------------------------------------------------------------------------


def found(home: Path, **environment: str) -> list[Target]:
    return list(find(Surroundings(environment, home)))


def test_the_option_file_of_its_clients_says_where_and_who(tmp_path: Path) -> None:
    file = tmp_path / ".my.cnf"
    file.write_text("[client]\nhost=db1\nport=3307\nuser = me\npassword = 'a#b'\n")

    assert found(tmp_path) == [
        Target("mysql", str(file), "db1", 3307, "me", Secret("a#b")),
    ]


def test_the_option_file_overrules_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".my.cnf").write_text("[client]\nuser=me\nport=3309\n")

    (target,) = found(tmp_path, MYSQL_HOST="db2", MYSQL_TCP_PORT="3308", MYSQL_PWD="s3")

    assert (target.host, target.port, target.user, target.password) == ("db2", 3309, "me", "s3")


def test_the_environment_alone_says_where(tmp_path: Path) -> None:
    (target,) = found(tmp_path, MYSQL_HOST="db2")

    assert (target.origin, target.host, target.port) == ("MYSQL_HOST", "db2", None)


def test_a_password_alone_says_nothing_about_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nilometer.counters.mysql_options.SOCKETS", ())
    monkeypatch.setattr("nilometer.counters.mysql_options.LISTENING", ())

    assert found(tmp_path, MYSQL_PWD="s3") == []


def test_a_server_that_has_no_socket_here_is_found_at_its_port_and_not_disturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nilometer.counters.mysql_options.SOCKETS", ())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        port = listening.getsockname()[1]
        monkeypatch.setattr("nilometer.counters.mysql_options.PORT", port)

        (target,) = found(tmp_path, MYSQL_PWD="s3")

        with pytest.raises(BlockingIOError):
            listening.accept()
    assert (target.origin, target.host, target.password) == (
        "found on this machine",
        "127.0.0.1",
        "s3",
    )
    assert found(tmp_path, MYSQL_PWD="s3") == []


def test_localhost_means_the_socket_as_it_does_to_its_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "mysqld.sock"
    monkeypatch.setattr("nilometer.counters.mysql_options.SOCKETS", (str(place),))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))

        (alone,) = found(tmp_path)
        (named,) = found(tmp_path, MYSQL_HOST="localhost", MYSQL_TCP_PORT="3307")

    assert (alone.origin, alone.option("socket"), alone.host) == (str(place), str(place), "")
    assert (named.option("socket"), named.host, named.port) == (str(place), "", None)
    assert connect(f"mysql:///?socket={place}", origin="-b").instance == str(place)


@pytest.mark.parametrize(
    ("lines", "tls"),
    [
        ("ssl-mode=VERIFY_CA", "verify"),
        ("ssl-verify-server-cert", "verify"),
        ("ssl", "require"),
        ("ssl=0", ""),
        ("ssl_mode=disabled", "off"),
        ("skip-ssl", "off"),
    ],
)
def test_tls_is_asked_for_as_its_clients_are_told(tmp_path: Path, lines: str, tls: str) -> None:
    (tmp_path / ".my.cnf").write_text(f"[client]\nhost=db\n{lines}\n")

    (target,) = found(tmp_path)

    assert target.option("tls") == tls
    connect_arguments = arguments(target)
    assert ("ssl_disabled" in connect_arguments) == (tls == "off")
    # Of a text even an address is looked at for foreign letters; TLS has to have one, to check.
    assert connect_arguments["host"] == (b"db" if tls == "off" else "db")


OPTION_FILE = r"""
# as people write them
[client]
user = one                 # who
password="se#cret with ' in it"
loose-socket = /tmp/s\s1
ssl-ca = /etc/ca.pem # vouches
ssl
[mysqld]
port = 1
[client-server]
port=3307
!include INCLUDED
host = 'after'
; the end
"""


def test_an_option_file_means_what_the_clients_own_program_says(tmp_path: Path) -> None:
    program = shutil.which("my_print_defaults")
    assert program, "my_print_defaults is needed: apt-get install mariadb-server"
    included = tmp_path / "more.cnf"
    included.write_text("[client]\nuser=two\n[mysqld]\nuser=no\n")
    file = tmp_path / "my.cnf"
    file.write_text(OPTION_FILE.replace("INCLUDED", str(included)))
    printed = subprocess.check_output(
        [program, f"--defaults-file={file}", "client", "client-server"], text=True
    )
    wanted = {}
    for line in printed.splitlines():
        name, _, value = line.removeprefix("--").partition("=")
        wanted[name.removeprefix("loose-")] = value

    assert options_of(file) == wanted
    assert wanted["user"] == "two"


def test_a_file_that_includes_itself_is_read_to_an_end(tmp_path: Path) -> None:
    file = tmp_path / "my.cnf"
    file.write_text(f"[client]\nuser=me\n!include {file}\n")

    assert options_of(file) == {"user": "me"}


@given(st.text(max_size=60))
def test_any_line_is_a_name_and_a_value(line: str) -> None:
    name, value = option(line)

    assert name == name.strip()
    assert isinstance(value, str)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\\\"'"), max_size=40))
def test_a_quoted_password_is_read_as_it_is(password: str) -> None:
    assert option(f'password="{password}"') == ("password", password)


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("mysql://db/?sokcet=/x", "'socket'"),
        ("mysql://db/?tls=yes", "choose from prefer, off, require, verify"),
    ],
)
def test_a_mistyped_option_is_refused_with_the_choice(url: str, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        connect(url, origin="-b")


def test_the_page_names_every_option_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs/counters.md").read_text()
    section = page.partition("\n## MySQL and MariaDB\n")[2].partition("\n## ")[0]
    table = section.partition("| option |")[2].partition("\n\n")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]

    assert sorted(re.findall(r"`([a-z]+)`", " ".join(first_cells))) == sorted(OPTIONS)


def test_a_unit_follows_from_the_name_where_that_is_certain() -> None:
    told = {
        "Innodb_buffer_pool_pages_flushed": "{page}",
        "Innodb_dblwr_pages_written": "{page}",
        "Innodb_page_compression_saved": "By",
        "Innodb_lsn_current": "By",
        "Binlog_bytes_written": "By",
        "Binlog_commits": "{commit}",
        "Key_read_requests": "{request}",
        "Cpu_time": "s",
        "Update_scan": "{statement}",
    }

    assert {name: fact_of(name).unit for name in told} == told
    assert fact_of("wsrep_thread_count").kind is Kind.GAUGE
    assert fact_of("Binlog_group_commit_trigger_timeout").kind is Kind.COUNTER
