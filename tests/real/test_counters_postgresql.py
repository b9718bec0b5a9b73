"""PostgreSQL 15 and 18 themselves: what work moves, what a restart does, how they refuse."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from itertools import count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from examples.servers.databases import PostgreSQL, folder
from nilometer.counters.backend import BackendError, Surroundings, connect, module_of
from nilometer.counters.delta import delta
from nilometer.counters.document import difference, document
from nilometer.counters.overlap import places_of
from nilometer.counters.parts import PARTS_MAX
from nilometer.counters.postgresql_facts import EXACT
from nilometer.counters.postgresql_views import HIDDEN, HIDDEN_TEXT, LAG_S, MISSING, NOT_LOADED
from tests.databases import moved, of, postgresql_15, postgresql_18, snapshots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nilometer.counters.postgresql import PostgreSQL as Backend

pytestmark = pytest.mark.real
__all__ = ("postgresql_15", "postgresql_18")  # the fixtures

INSERTS, SELECTS = 37, 11
INSERT = (("db", "shop"), ("query", "INSERT INTO orders VALUES ($1, $2)"))
SELECT = (("db", "shop"), ("query", "SELECT item FROM orders WHERE id = $1"))


@pytest.fixture(params=[15, 18])
def server(request: pytest.FixtureRequest) -> PostgreSQL:
    """Each of them, with a new database `shop` in which statements are counted."""
    server: PostgreSQL = request.getfixturevalue(f"postgresql_{request.param}")
    execute(server.url, "DROP DATABASE IF EXISTS shop WITH (FORCE)", "CREATE DATABASE shop")
    execute(
        shop(server),
        "CREATE EXTENSION pg_stat_statements",
        "CREATE TABLE orders (id INT PRIMARY KEY, item TEXT)",
        "ALTER TABLE orders SET (autovacuum_enabled = false)",
    )
    return server


@pytest.fixture
def backend(server: PostgreSQL) -> Iterator[Backend]:
    with closing(connect(shop(server), origin="test")) as backend:
        yield backend


def shop(server: PostgreSQL) -> str:
    return server.url.removesuffix("postgres") + "shop"


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def ended(server: PostgreSQL) -> None:
    """Return when no session but those of backends is left: they report as they end."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        left = (1,)
        while left != (0,):
            left = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
                "AND pid <> pg_backend_pid() AND application_name <> 'nilometer'"
            ).fetchone() or (1,)


def work(server: PostgreSQL) -> None:
    with psycopg.connect(shop(server), autocommit=True) as connection:
        for i in range(INSERTS):
            connection.execute("INSERT INTO orders VALUES (%s, %s)", (i, "paper"))
        for i in range(SELECTS):
            connection.execute("SELECT item FROM orders WHERE id = %s", (i,))
    ended(server)


# --- What it moves -------------------------------------------------------------------------


def test_a_fixed_workload_moves_each_counter_by_exactly_its_number(
    server: PostgreSQL, backend: Backend
) -> None:
    moves = moved(backend, lambda: work(server))

    wanted = {
        "n_tup_ins": INSERTS,
        "n_tup_upd": 0,
        "idx_scan": SELECTS,
        "idx_tup_fetch": SELECTS,
        "seq_scan": 0,
    }
    assert of(moves, list(wanted)) == wanted
    assert moves["n_tup_ins", (("table", "public.orders"),)] == INSERTS
    assert moves["tup_inserted", (("db", "shop"),)] == INSERTS


def test_each_statement_is_put_to_its_text_and_its_database(
    server: PostgreSQL, backend: Backend
) -> None:
    moves = moved(backend, lambda: work(server))

    assert moves["statement.calls", INSERT] == moves["statement.rows", INSERT] == INSERTS
    assert moves["statement.calls", SELECT] == moves["statement.rows", SELECT] == SELECTS
    assert moves["statement.wal_records", INSERT] >= INSERTS
    assert moves["statement.shared_blks_hit", SELECT] >= SELECTS


def test_bytes_of_wal_that_hold_whole_pages_are_not_compared(
    server: PostgreSQL, backend: Backend
) -> None:
    """The first change of a page after a checkpoint logs all of it."""
    numbers = count(1000)

    def insert() -> str:
        return f"INSERT INTO orders (id, item) VALUES ({next(numbers)}, 'a')"

    execute(shop(server), insert(), insert())
    ended(server)
    (before,) = snapshots(backend)
    execute(shop(server), "CHECKPOINT", insert())
    ended(server)
    (between,) = snapshots(backend)
    execute(shop(server), insert())
    ended(server)
    (after,) = snapshots(backend)

    first, second = delta(before, between), delta(between, after)

    counter = ("statement.insert.wal_bytes", ())
    assert "whole pages, logged after checkpoints" in first.unknown[counter]
    assert first.moved["statement.insert.calls", ()] == 1
    assert 0 < second.moved[counter] < 1000


def test_bytes_that_inserts_log_are_known_though_making_their_table_logs_whole_pages(
    server: PostgreSQL, backend: Backend
) -> None:
    """As a suite does that makes its tables in each run: an index begins with a whole page."""
    execute(shop(server), "CHECKPOINT")  # so that none comes by time
    ended(server)
    (before,) = snapshots(backend)
    rows = [f"INSERT INTO made VALUES ({one}, '{'x' * 40}')" for one in range(9)]
    execute(shop(server), "CREATE TABLE made (id INT PRIMARY KEY, item TEXT)", *rows)
    ended(server)
    (after,) = snapshots(backend)

    moves = delta(before, after)

    assert moves.moved["statement.wal_fpi", ()] > 0
    assert "whole pages" in moves.unknown["statement.wal_bytes", ()]
    assert 9 * 40 < moves.moved["statement.insert.wal_bytes", ()] < 9 * 1000


def test_two_equal_workloads_move_what_is_exact_by_the_same(
    server: PostgreSQL, backend: Backend
) -> None:
    moves = []
    for _ in range(2):
        moves.append(of(moved(backend, lambda: work(server)), sorted(EXACT)))
        execute(shop(server), "TRUNCATE orders")
        ended(server)

    assert moves[0] | {"statement.calls": 0} == moves[1] | {"statement.calls": 0}
    # `ended` asks as often as it must.
    assert moves[0]["n_tup_ins"] == INSERTS


def test_reading_costs_the_same_number_each_time(backend: Backend) -> None:
    taken = snapshots(backend, 12)[4:]  # its caches are warm by then
    ours = ("db", "shop")  # the server's own sessions work in the others
    costs = [
        {
            (name, part): v
            for (name, part), v in delta(one, two).moved.items()
            if v and "_time" not in name and (ours in part or name in EXACT)
        }
        for one, two in pairwise(taken)
    ]

    assert costs == [costs[0]] * len(costs)
    assert costs[0]["xact_commit", (ours,)] == 4  # connecting is one, and the catalogue two
    assert costs[0]["sessions", (ours,)] == 1
    assert not any(name.startswith("statement.") for name, _ in costs[0])


def test_the_database_may_be_copied_and_dropped_while_a_run_lasts(
    server: PostgreSQL, backend: Backend
) -> None:
    def work() -> None:
        execute(
            server.url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'nilometer'",
            "CREATE DATABASE copy TEMPLATE shop",
            "DROP DATABASE shop",
            "CREATE DATABASE shop TEMPLATE copy",
            "DROP DATABASE copy",
        )
        execute(server.url, "SELECT 1")
        ended(server)

    moves = moved(backend, work)

    assert moves["sessions", (("db", "postgres"),)] == 3


def test_a_session_that_did_something_makes_the_figures_wait_for_it(
    server: PostgreSQL, backend: Backend
) -> None:
    with psycopg.connect(shop(server), autocommit=True) as connection:
        connection.execute("INSERT INTO orders VALUES (1, 'ink')")
        snapshots(backend)
        lively = backend.settle_s
    ended(server)
    snapshots(backend)

    assert LAG_S - 5 < lively <= LAG_S
    assert backend.settle_s == 0


@pytest.mark.slow
def test_figures_of_a_session_that_stays_are_waited_for(
    server: PostgreSQL, backend: Backend
) -> None:
    with psycopg.connect(shop(server), autocommit=True) as connection:
        connection.execute("SELECT 1")

        def insert() -> None:
            for i in range(INSERTS):
                connection.execute("INSERT INTO orders VALUES (%s, %s)", (i, "ink"))

        moves = moved(backend, insert)

    assert moves["n_tup_ins", ()] == INSERTS


# --- What makes it anew --------------------------------------------------------------------


def test_a_restart_is_recognised(server: PostgreSQL, backend: Backend) -> None:
    (before,) = snapshots(backend)
    server.restart()
    (after,) = snapshots(backend)

    moves = delta(before, after)

    assert moves.because.startswith("restarted, or its figures were reset, meanwhile: started")
    assert moves.moved == {}


@pytest.mark.parametrize(
    "reset",
    [
        "SELECT pg_stat_reset()",
        "SELECT pg_stat_statements_reset()",
        "SELECT pg_stat_reset_shared('wal')",
    ],
)
def test_a_reset_is_recognised(server: PostgreSQL, backend: Backend, reset: str) -> None:
    (before,) = snapshots(backend)
    execute(shop(server), reset)
    (after,) = snapshots(backend)

    assert delta(before, after).because.startswith("restarted, or its figures were reset")


def test_a_dropped_table_takes_its_counts_along_and_its_total_is_not_known(
    server: PostgreSQL, backend: Backend
) -> None:
    execute(shop(server), "CREATE TABLE old (i INT)", "INSERT INTO old VALUES (1), (2), (3)")
    ended(server)
    (before,) = snapshots(backend)
    execute(
        shop(server),
        "DROP TABLE old",
        *(f"INSERT INTO orders VALUES ({i}, '')" for i in range(9)),
    )
    ended(server)
    (after,) = snapshots(backend)

    moves = delta(before, after)

    assert moves.moved["n_tup_ins", (("table", "public.orders"),)] == 9
    assert "vanished" in moves.unknown["n_tup_ins", (("table", "public.old"),)]
    assert "1 of its parts went" in moves.unknown["n_tup_ins", ()]


def test_a_table_that_was_made_anew_is_not_taken_for_the_one_before(
    server: PostgreSQL, backend: Backend
) -> None:
    """Also where more was counted in it by then than in the earlier one."""
    fill = "INSERT INTO old SELECT generate_series(1, {})"
    execute(shop(server), "CREATE TABLE old (i INT)", fill.format(250))
    ended(server)
    (before,) = snapshots(backend)
    again = "DELETE FROM old", "DROP TABLE old", "CREATE TABLE old (i INT)", fill.format(300)
    execute(shop(server), *again)
    ended(server)
    (after,) = snapshots(backend)

    moves = delta(before, after)

    assert "made anew" in moves.unknown["n_tup_ins", (("table", "public.old"),)]
    assert "began anew" in moves.unknown["n_tup_ins", ()]
    assert "began anew" in moves.unknown["n_tup_del", ()]  # the table had none of it, at first
    with closing(connect(shop(server), origin="test")) as another_process:
        (after,) = snapshots(another_process)
    documents = [document([one], wall_ns=one.taken_ns) for one in (before, after)]
    unknown = difference(*documents).told["unknown"]["postgresql"]
    assert "1 part of it vanished, went back or was made anew" in unknown["n_tup_ins"]


def test_a_database_that_was_made_anew_is_not_taken_for_the_one_before(
    server: PostgreSQL, backend: Backend
) -> None:
    other = server.url.removesuffix("postgres") + "other"
    made = ("DROP DATABASE IF EXISTS other", "CREATE DATABASE other")
    shots = []
    for number in (9, 4, 6):
        for statement in made:
            execute(server.url, statement)
        execute(other, "CREATE TABLE t (i INT)", *["INSERT INTO t VALUES (1)"] * number)
        ended(server)
        shots += snapshots(backend)

    moves, later = (delta(*two) for two in pairwise(shots))

    assert "made anew" in moves.unknown["xact_commit", (("db", "other"),)]
    assert "began anew" in moves.unknown["xact_commit", ()]
    insert = ("query", "INSERT INTO t VALUES ($1)")
    parts = [("statement.calls", (("db", name), insert)) for name in ("other", "")]
    assert [moves.moved.get(part, 0) for part in parts] == [4, 0]  # what ran is not forgotten
    assert [later.moved.get(part, 0) for part in parts] == [6, 0]
    assert moves.moved["statement.insert.calls", ()] == 4
    with closing(connect(shop(server), origin="test")) as another_process:
        (after,) = snapshots(another_process)
    documents = [document([one], wall_ns=one.taken_ns) for one in (shots[0], after)]
    told = difference(*documents).parts["postgresql"]
    assert not any(of.get("query") == insert[1] for _, of, _ in told)
    execute(server.url, "DROP DATABASE other")


def wide(columns: int) -> str:
    """A table of which as many statements can ask as it has columns."""
    return f"CREATE TABLE wide ({', '.join(f'c{one:04} INT' for one in range(columns))})"


def asked(column: int) -> str:
    return f"SELECT c{column:04} FROM wide"


def test_of_more_statements_than_are_shown_each_process_may_show_others(
    server: PostgreSQL,
) -> None:
    """One that is new and first by its name takes the place of another in the second."""
    documents = []
    for statements in (
        [wide(PARTS_MAX + 20), *(asked(one) for one in range(PARTS_MAX + 20))],
        ["ALTER TABLE orders ADD note TEXT", *[asked(0)] * 7],
    ):
        execute(shop(server), *statements)
        with closing(connect(shop(server), origin="test")) as backend:
            (shot,) = snapshots(backend)
        documents.append(document([shot], wall_ns=shot.taken_ns))
    execute(shop(server), "SELECT pg_stat_statements_reset()")  # others read this server, too

    made = difference(*documents)

    assert made.totals["postgresql"]["statement.calls"] == 8
    parts = [value for name, _, value in made.parts["postgresql"] if name == "statement.calls"]
    assert sum(parts) == 8


@pytest.mark.parametrize("version", [15, 18])
def test_statements_that_made_room_for_others_leave_all_of_them_unknown(
    version: int,
) -> None:
    """Among 100 that are kept the old, often sent, stay, and the new evict one another."""
    most = ("pg_stat_statements.max=100",)
    with folder() as place, PostgreSQL(place / "pg", version=version, options=most) as server:
        execute(server.url, "CREATE EXTENSION pg_stat_statements", wide(440))
        execute(server.url, *[asked(one) for one in range(40)] * 9)
        ended(server)
        with closing(connect(server.url, origin="test")) as backend:
            (before,) = snapshots(backend)
            execute(server.url, *(asked(one) for one in range(40, 440)))
            ended(server)
            (after,) = snapshots(backend)

    moves = delta(before, after)

    for name in ("statement.calls", "statement.select.calls"):
        assert "evictions: raise pg_stat_statements.max" in moves.unknown[name, ()]
    assert not any(name.startswith("statement.") for name, _ in moves.moved)
    assert moves.moved["xact_commit", ()] >= 400


# --- What may not be seen, or is not there -------------------------------------------------


def test_a_database_without_the_extension_says_how_to_get_it(server: PostgreSQL) -> None:
    with closing(connect(server.url, origin="test")) as backend:
        (taken,) = snapshots(backend)

    assert taken.notes == (MISSING,)
    assert taken.values["xact_commit", ()] > 0
    assert not any(name.startswith("statement.") for name, _ in taken.values)


def test_an_extension_that_is_not_loaded_is_told() -> None:
    with folder() as place, PostgreSQL(place, statements=False) as server:
        execute(server.url, "CREATE EXTENSION pg_stat_statements")
        with closing(connect(server.url, origin="test")) as backend:
            (taken,) = snapshots(backend)

    assert taken.notes == (NOT_LOADED,)


def test_a_user_without_privileges_counts_all_and_is_told_what_to_grant(
    server: PostgreSQL,
) -> None:
    execute(
        shop(server),
        "DROP ROLE IF EXISTS low",
        "CREATE ROLE low LOGIN PASSWORD 'low'",
        "INSERT INTO orders VALUES (1, 'ink')",
    )
    url = shop(server).replace("postgres:nile@", "low:low@")
    with closing(connect(url, origin="test")) as backend:
        (denied,) = snapshots(backend)
        execute(shop(server), "GRANT pg_read_all_stats TO low")
        (granted,) = snapshots(backend)

    hidden = ("query", HIDDEN_TEXT)
    assert (denied.notes, granted.notes) == ((HIDDEN,), ())
    assert any(hidden in part for _, part in denied.values)
    assert not any(hidden in part for _, part in granted.values)
    assert denied.values["statement.calls", ()] > 0


# --- Where it is found ---------------------------------------------------------------------


def test_a_socket_and_a_file_of_passwords_are_enough(
    server: PostgreSQL, tmp_path: Path
) -> None:
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"127.0.0.1:{server.port}:*:postgres:{server.password}\n")
    passwords.chmod(0o600)
    urls = (
        f"postgresql://postgres@/shop?socket={server.socket}",
        f"postgresql://postgres@/shop?host={server.folder}&port={server.port}",
        f"postgresql://postgres@127.0.0.1:{server.port}/shop?passfile={passwords}",
    )

    taken = []
    for url in urls:
        with closing(connect(url, origin="test")) as backend:
            taken += snapshots(backend)

    assert {s.version.partition(".")[0] for s in taken} <= {"15", "18"}
    socket_place = f"{server.socket}/shop"
    assert [s.instance for s in taken] == [
        socket_place,
        socket_place,
        f"127.0.0.1:{server.port}/shop",
    ]


def test_a_service_is_found_by_its_file(server: PostgreSQL, tmp_path: Path) -> None:
    services = tmp_path / "services"
    services.write_text(
        f"[orders]\nhost=127.0.0.1\nport={server.port}\ndbname=shop\n"
        f"user=postgres\npassword={server.password}\n"
    )
    code = (
        "from pathlib import Path; import os\n"
        "from nilometer.counters.backend import Surroundings, module_of\n"
        "module = module_of('postgresql', origin='test')\n"
        "(target,) = module.find(Surroundings(os.environ, Path.home()))\n"
        "backend = module.connect(target)\n"
        "print(len(backend.read().values) > 50, backend.instance)\n"
    )
    said = subprocess.check_output(
        [sys.executable, "-c", code],
        env={**os.environ, "PGSERVICE": "orders", "PGSERVICEFILE": str(services)},
        text=True,
    )

    assert said.split() == ["True", f"127.0.0.1:{server.port}/shop"]


# --- What is refused -----------------------------------------------------------------------


def refusal(url: str) -> str:
    backend = connect(url, origin="nilometer.toml:3")
    with closing(backend), pytest.raises(BackendError) as refused:
        snapshots(backend)
    assert "s3cret" not in str(refused.value)
    return str(refused.value)


def test_a_wrong_password_is_told(server: PostgreSQL) -> None:
    said = refusal(f"postgresql://postgres:s3cret@127.0.0.1:{server.port}/shop")

    where = f"127.0.0.1:{server.port}/shop (from nilometer.toml:3)"
    assert said.startswith(f"postgresql at {where} cannot be read: ")
    assert "check user and password" in said


def test_a_missing_password_is_told(server: PostgreSQL) -> None:
    said = refusal(f"postgresql://postgres@127.0.0.1:{server.port}/shop?passfile=/nowhere")

    assert "give a password, in ~/.pgpass for instance" in said


def test_a_database_that_is_not_there_is_told(server: PostgreSQL) -> None:
    assert "name a database that is there" in refusal(f"{server.url}_not")


def test_a_server_that_is_down_is_told(free_port: Any) -> None:
    said = refusal(f"postgresql://postgres:s3cret@127.0.0.1:{free_port()}/shop")

    assert "Connection refused" in said


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nilometer.counters.postgresql.CONNECT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = refusal(f"postgresql://postgres:s3cret@127.0.0.1:{silent.getsockname()[1]}/x")

    assert "no answer within 0.3 s" in said


def test_a_server_that_stops_answering_is_given_up_and_read_again_later(
    server: PostgreSQL, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nilometer.counters.postgresql.CONNECT_S", 0.5)
    snapshots(backend)
    postmaster = int((server.data / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGSTOP)
    try:
        with pytest.raises(BackendError, match=r"no answer within 0\.5 s"):
            snapshots(backend)
    finally:
        os.kill(postmaster, signal.SIGCONT)
    monkeypatch.setattr("nilometer.counters.postgresql.CONNECT_S", 2.0)

    assert snapshots(backend)


def test_bytes_that_are_no_protocol_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        answering = threading.Thread(target=answer_http, args=(other,))
        answering.start()

        said = refusal(f"postgresql://me:s3cret@127.0.0.1:{other.getsockname()[1]}/x")

        answering.join()
    assert "cannot be read" in said


def answer_http(server: socket.socket) -> None:
    accepted, _ = server.accept()
    with accepted:
        accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_a_server_that_wants_tls_says_so() -> None:
    rules = ["hostnossl all all 127.0.0.1/32 reject"]
    with folder() as place, PostgreSQL(place, hba=rules) as server:
        plain = refusal(server.url)
        required = refusal(f"{server.url}?sslmode=require")

    assert "add ?sslmode=require" in plain
    assert "server does not support SSL" in required


def test_nothing_is_found_where_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nilometer.counters.postgresql_options.SOCKETS", ())
    module = module_of("postgresql", origin="test")

    assert module.find(Surroundings({}, Path("/nowhere"))) == []


def test_one_server_is_known_by_all_its_urls(server: PostgreSQL) -> None:
    backends = [connect(url, origin="test") for url in (server.url, shop(server))]
    for backend in backends:
        snapshots(backend)
    one, same = (set(places_of(backend)) for backend in backends)

    assert one & same
