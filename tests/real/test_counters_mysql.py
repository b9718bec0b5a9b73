"""MariaDB itself: what a workload moves, what a restart does, and how it refuses us."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import closing, contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from examples.servers.databases import MariaDB, folder
from nilometer.counters.backend import BackendError, connect
from nilometer.counters.delta import delta
from nilometer.counters.mysql import DENIED, OFF
from nilometer.counters.mysql_facts import EXACT
from nilometer.counters.overlap import places_of
from tests.databases import mariadb, moved, of, snapshots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nilometer.counters.mysql import MySQL

pytestmark = pytest.mark.real
__all__ = ("mariadb",)  # the fixture

INSERTS, SELECTS = 37, 11


@pytest.fixture
def backend(mariadb: MariaDB) -> Iterator[MySQL]:
    with closing(connect(mariadb.url, origin="test")) as backend:
        yield backend


@pytest.fixture(scope="module")
def spare() -> Iterator[MariaDB]:
    """A second server, for whoever stops it or starts it with other options."""
    with folder() as place, MariaDB(place) as server:
        yield server


@contextmanager
def with_options(server: MariaDB, *options: str) -> Iterator[None]:
    """Start it again with these options, and afterwards without them."""
    usual = server.options
    server.options = (*usual, *options)
    server.restart()
    yield
    server.options = usual
    server.restart()


def client(server: MariaDB, **given: Any) -> Any:
    return pymysql.connect(
        host="127.0.0.1", port=server.port, **{"user": "root", "autocommit": True, **given}
    )


def execute(server: MariaDB, *statements: str) -> None:
    with closing(client(server)) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture
def shop(mariadb: MariaDB) -> str:
    execute(
        mariadb,
        "CREATE DATABASE IF NOT EXISTS shop",
        "CREATE OR REPLACE TABLE shop.orders (id INT PRIMARY KEY, item VARCHAR(20))",
    )
    return "shop"


def work(server: MariaDB) -> None:
    execute(
        server,
        "USE shop",
        *(f"INSERT INTO orders VALUES ({i}, 'paper')" for i in range(INSERTS)),
        *(f"SELECT item FROM orders WHERE id = {i}" for i in range(SELECTS)),
    )


def test_a_fixed_workload_moves_each_counter_by_exactly_its_number(
    mariadb: MariaDB, backend: MySQL, shop: str
) -> None:
    wanted = {
        "Com_insert": INSERTS,
        "Com_select": SELECTS,
        "Handler_write": INSERTS,
        "Connections": 1,
        "Rows_sent": SELECTS,
        "Handler_read_rnd_next": 0,
        "statement.rows_affected": INSERTS,
        "statement.rows_sent": SELECTS,
        "statement.errors": 0,
    }

    first = moved(backend, lambda: work(mariadb))
    execute(mariadb, "TRUNCATE shop.orders")
    again = moved(backend, lambda: work(mariadb))

    assert of(first, list(wanted)) == of(again, list(wanted)) == wanted
    assert first["Questions", ()] == again["Questions", ()]


def test_each_statement_is_put_to_its_digest_and_its_database(
    mariadb: MariaDB, backend: MySQL, shop: str
) -> None:
    moves = moved(backend, lambda: work(mariadb))

    insert = (("db", shop), ("digest", "INSERT INTO `orders` VALUES (...)"))
    select = (("db", shop), ("digest", "SELECT `item` FROM `orders` WHERE ID = ?"))
    assert moves["statement.calls", insert] == INSERTS
    assert moves["statement.calls", select] == SELECTS
    assert moves["statement.rows_examined", select] == SELECTS
    assert moves["statement.rows_affected", insert] == INSERTS


def test_a_statement_that_nobody_had_sent_before_is_counted_from_zero(
    mariadb: MariaDB, backend: MySQL, shop: str
) -> None:
    sent = [f"SELECT item AS not_sent_before FROM shop.orders WHERE id = {i}" for i in range(3)]

    moves = moved(backend, lambda: execute(mariadb, *sent))

    text = "SELECT `item` AS `not_sent_before` FROM `shop` . `orders` WHERE ID = ?"
    assert [
        number
        for (name, part), number in moves.items()
        if name == "statement.calls" and ("digest", text) in part
    ] == [3]


def test_reading_costs_the_same_number_each_time(backend: MySQL) -> None:
    _, *taken = snapshots(backend, 6)
    steps = [delta(one, two).moved for one, two in pairwise(taken)]
    costs = [{s: v for s, v in step.items() if v and s[0] in EXACT} for step in steps]

    assert all(cost == costs[0] for cost in costs)
    assert costs[0]["Questions", ()] == 5  # the client sets two things when it connects
    assert costs[0]["Connections", ()] == 1


def test_a_server_that_hangs_up_while_a_run_lasts_loses_no_count(
    mariadb: MariaDB, backend: MySQL
) -> None:
    def work() -> None:
        with closing(client(mariadb)) as other, other.cursor() as cursor:
            cursor.execute("SHOW FULL PROCESSLIST")
            for process in cursor.fetchall():
                if process[0] != other.thread_id() and process[1] == "root":
                    cursor.execute(f"KILL {process[0]}")
            cursor.execute("SELECT 1")

    moves = moved(backend, work)

    assert of(moves, ["Connections", "Com_select"]) == {"Connections": 1, "Com_select": 1}


def test_the_incarnation_stays_while_the_seconds_go_by(backend: MySQL) -> None:
    taken = []
    for _ in range(25):
        taken += snapshots(backend)
        time.sleep(0.1)  # across two ticks of the uptime at least

    assert len({s.values["Uptime", ()] for s in taken}) > 1
    assert len({s.incarnation for s in taken}) == 1


@pytest.mark.slow
def test_two_starts_within_one_second_are_told_apart(spare: MariaDB) -> None:
    seen = {}
    for _ in range(2):  # on an idle machine a start takes half a second
        spare.restart()
        with closing(connect(spare.url, origin="test")) as backend:
            (taken,) = snapshots(backend)
        seen[taken.incarnation] = taken

    assert len(seen) == 2


def test_a_restart_is_recognised(spare: MariaDB) -> None:
    with closing(connect(spare.url, origin="test")) as backend:
        (before,) = snapshots(backend)
        spare.restart()
        (after,) = snapshots(backend)

    moves = delta(before, after)
    assert moves.because.startswith("restarted, or its figures were reset, meanwhile: started")
    assert moves.moved == {}


def test_a_reset_is_recognised(mariadb: MariaDB, backend: MySQL) -> None:
    (before,) = snapshots(backend)
    time.sleep(1.1)  # the server notes resets by the second
    execute(mariadb, "FLUSH STATUS")
    (after,) = snapshots(backend)

    moves = delta(before, after)

    assert moves.because.startswith("restarted, or its figures were reset, meanwhile: started")


def test_truncated_digests_are_recognised_and_the_status_still_counts(
    mariadb: MariaDB, backend: MySQL
) -> None:
    snapshots(backend)
    (before,) = snapshots(backend)
    time.sleep(1.1)  # the server notes the first of them by the second
    execute(mariadb, "TRUNCATE performance_schema.events_statements_summary_by_digest")
    execute(mariadb, "SELECT 1")
    (after,) = snapshots(backend)

    moves = delta(before, after)

    assert moves.moved["Com_select", ()] > 0
    assert not any(name.startswith("statement.") for name, _ in moves.moved)


def test_a_server_without_performance_schema_says_how_to_switch_it_on(
    spare: MariaDB,
) -> None:
    backend = connect(spare.url, origin="test")
    with with_options(spare, "--performance-schema=OFF"), closing(backend):
        (taken,) = snapshots(backend)

    assert taken.notes == (OFF,)
    assert taken.values["Com_select", ()] > 0
    assert not any(name.startswith("statement.") for name, _ in taken.values)


def test_a_user_without_privileges_reads_the_status_and_is_told_what_to_grant(
    mariadb: MariaDB,
) -> None:
    execute(mariadb, "CREATE OR REPLACE USER low@'127.0.0.1' IDENTIFIED BY 'low'")
    url = mariadb.url.replace("root@", "low:low@")
    with closing(connect(url, origin="test")) as backend:
        (denied,) = snapshots(backend)
        execute(
            mariadb,
            "GRANT SELECT ON performance_schema.events_statements_summary_by_digest "
            "TO low@'127.0.0.1'",
        )
        (granted,) = snapshots(backend)

    assert (denied.notes, granted.notes) == ((DENIED,), ())
    assert denied.values["Com_select", ()] > 0
    assert granted.values["statement.calls", ()] > 0


def test_a_socket_is_enough(mariadb: MariaDB) -> None:
    with closing(connect(f"mysql://root@/?socket={mariadb.socket}", origin="test")) as backend:
        (taken,) = snapshots(backend)

    assert taken.instance == str(mariadb.socket)
    assert taken.version.startswith("10.") or taken.version.startswith("11.")


# --- What is refused -----------------------------------------------------------------------


def refusal(url: str) -> str:
    backend = connect(url, origin="nilometer.toml:3")
    with closing(backend), pytest.raises(BackendError) as refused:
        snapshots(backend)
    assert "s3cret" not in str(refused.value)
    return str(refused.value)


def test_a_wrong_password_is_told(mariadb: MariaDB) -> None:
    said = refusal(f"mysql://nobody:s3cret@127.0.0.1:{mariadb.port}")

    assert said.startswith(f"mysql at 127.0.0.1:{mariadb.port} (from nilometer.toml:3) cannot")
    assert "Access denied for user 'nobody'" in said
    assert "check user and password" in said


def test_a_database_that_is_not_there_is_told(mariadb: MariaDB) -> None:
    assert "may be left out of the URL" in refusal(f"{mariadb.url}/nowhere")


def test_a_server_that_is_down_is_told(free_port: Any) -> None:
    assert "Connection refused" in refusal(f"mysql://root:s3cret@127.0.0.1:{free_port()}")


def test_a_socket_that_is_not_there_is_told() -> None:
    assert "No such file" in refusal("mysql://root@/?socket=/nowhere/mysqld.sock")


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nilometer.counters.mysql.READ_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]

        said = refusal(f"mysql://root:s3cret@127.0.0.1:{port}")

    assert "no answer within 0.3 s" in said


def test_a_server_that_stops_answering_is_given_up_and_read_again_later(
    mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nilometer.counters.mysql.READ_S", 0.5)
    with closing(connect(mariadb.url, origin="test")) as backend:
        snapshots(backend)
        stop_and_read(mariadb, backend)
        assert snapshots(backend)


def stop_and_read(server: MariaDB, backend: MySQL) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(BackendError, match="no answer within"):
            snapshots(backend)
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_bytes_that_are_no_protocol_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        answering = threading.Thread(target=answer_http, args=(other,))
        answering.start()

        said = refusal(f"mysql://root:s3cret@127.0.0.1:{other.getsockname()[1]}")

        answering.join()
    assert "cannot be reached" in said


def answer_http(server: socket.socket) -> None:
    accepted, _ = server.accept()
    with accepted:
        accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


# --- TLS -----------------------------------------------------------------------------------


@pytest.fixture
def tls_server(spare: MariaDB) -> Iterator[tuple[MariaDB, Path]]:
    key, certificate = spare.folder / "key.pem", spare.folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    files = f"--ssl-cert={certificate}", f"--ssl-key={key}"
    with with_options(spare, *files, "--require-secure-transport=ON"):
        yield spare, certificate


def test_a_server_that_insists_on_tls_says_so_and_gets_it(
    tls_server: tuple[MariaDB, Path],
) -> None:
    server, certificate = tls_server
    assert "?tls=require" in refusal(server.url)
    for query in ("tls=require", f"tls=verify&ca={certificate}"):
        url = f"mysql://root@localhost:{server.port}?{query}"
        with closing(connect(url, origin="test")) as backend:
            assert snapshots(backend)


def test_a_certificate_that_nobody_vouches_for_is_refused_where_that_is_asked(
    tls_server: tuple[MariaDB, Path],
) -> None:
    server, _ = tls_server

    assert "certificate verify failed" in refusal(f"{server.url}?tls=verify")


def test_one_server_is_known_by_all_its_urls(mariadb: MariaDB, spare: MariaDB) -> None:
    by_socket = f"mysql://root@/?socket={mariadb.socket}"
    backends = [connect(url, origin="test") for url in (mariadb.url, by_socket, spare.url)]
    for backend in backends:
        snapshots(backend)
    one, same, other = (set(places_of(backend)) for backend in backends)

    assert one & same
    assert not other & (one | same)
