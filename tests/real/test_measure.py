"""`nilometer measure` on MariaDB and Redis: the same work moves the same counters each time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import redis as redis_py

from nilometer.store.runs import History
from tests.brokers import reachable_folder, redis
from tests.databases import mariadb

if TYPE_CHECKING:
    from pathlib import Path

    from examples.servers.brokers import Redis
    from examples.servers.databases import MariaDB
    from nilometer.model.run import Run

pytestmark = pytest.mark.real
__all__ = ("mariadb", "reachable_folder", "redis")  # the fixtures

WORK = """
import sys
import pymysql, redis
rows, gets = 25, 40
with pymysql.connect(host="127.0.0.1", port=int(sys.argv[1]), user="root") as db:
    with db.cursor() as cursor:
        cursor.execute("CREATE DATABASE IF NOT EXISTS shop")
        cursor.execute("CREATE TABLE IF NOT EXISTS shop.orders (id INT)")
        for number in range(rows):
            cursor.execute("INSERT INTO shop.orders VALUES (%s)", (number,))
        cursor.execute("SELECT COUNT(*) FROM shop.orders")
with redis.Redis(port=int(sys.argv[2])) as client:
    for number in range(gets):
        client.get(f"k{number}")
"""


def measured(place: Path, servers: list[str], *arguments: str) -> list[Run]:
    """The runs that one command line recorded."""
    command = [sys.executable, "-m", "nilometer", "measure", "--suite", "work"]
    for url in servers:
        command += ["-b", url]
    ended = subprocess.run(
        [*command, *arguments],
        cwd=place,
        env={**os.environ, "XDG_STATE_HOME": str(place / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    history = History(place / ".nilometer")
    try:
        return history.runs("work")
    finally:
        history.close()


def told(run: Run) -> dict[str, object]:
    wanted = {
        *("Com_insert", "Com_select", "Com_create_table", "Handler_write"),
        *("cmdstat_get.calls", "keyspace_misses", "cmdstat_info.calls"),
    }
    totals = [c for c in run.counts if c.counter in wanted and not c.dimensions]
    return {count.counter: count.delta for count in totals if count.delta}


def test_the_same_work_moves_the_same_counters_by_the_same_numbers(
    mariadb: MariaDB, redis: Redis, tmp_path: Path
) -> None:
    servers = [mariadb.url, f"redis://127.0.0.1:{redis.port}"]
    work = [sys.executable, "-c", WORK, str(mariadb.port), str(redis.port)]

    runs = measured(tmp_path, servers, "--idle", "1s", "--runs", "3", "--", *work)

    expected = {
        "Com_create_table": 1,
        "Com_insert": 25,
        "Com_select": 1,
        "cmdstat_get.calls": 40,
        "keyspace_misses": 40,
    }
    assert [told(run).items() >= expected.items() for run in runs] == [True] * 3, told(runs[0])
    assert "cmdstat_info.calls" not in told(runs[0]), "our own, which is the footprint"
    assert told(runs[1]) == told(runs[2])
    assert [read.because for run in runs for read in run.backends] == [""] * 9


def test_what_others_do_all_the_time_is_drift_and_not_the_run_s(
    redis: Redis, tmp_path: Path
) -> None:
    ended = threading.Event()

    def ping() -> None:
        with redis_py.Redis(port=redis.port) as client:
            while not ended.wait(0.05):
                client.ping()

    thread = threading.Thread(target=ping)
    thread.start()
    try:
        url = f"redis://127.0.0.1:{redis.port}"
        [run] = measured(tmp_path, [url], "--idle", "2s", "--", "sleep", "1")
    finally:
        ended.set()
        thread.join()

    [pings] = [count for count in run.counts if count.counter == "cmdstat_ping.calls"]
    assert pings.raw > 0
    assert pings.delta is None
    assert "is drift, which it has without the run" in pings.because
