"""The old command's name, flags and configuration, on a real MariaDB and a real RabbitMQ.

Its documents had 17 names of MySQL's status at most, those that the server has, and a count of
messages by scope; it read `~/.my.cnf` and ``OS_QA_RABBITMQ_*``. Ours must hold all of that.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pika
import pymysql
import pytest

from tests.brokers import rabbitmq, reachable_folder  # noqa: F401
from tests.databases import mariadb  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.real, pytest.mark.slow]

OLD_NAMES = frozenset(
    {
        *("Com_delete", "Com_insert", "Com_select", "Com_update", "Connections", "Queries"),
        *("Innodb_buffer_pool_read_requests", "Innodb_data_read", "Innodb_data_reads"),
        *("Innodb_data_writes", "Innodb_data_written", "Innodb_log_writes", "Slow_queries"),
        *("Innodb_rows_deleted", "Innodb_rows_inserted", "Innodb_rows_read"),
        "Innodb_rows_updated",
    }
)
NOT_IN_MARIADB = {n for n in OLD_NAMES if n.startswith("Innodb_rows_")}  # gone with 10.11


@pytest.fixture
def collect(tmp_path, mariadb, rabbitmq, wait_until) -> Callable[..., dict[str, Any]]:  # noqa: F811
    """The command as a job of old runs it: configured by the files and variables of old."""
    (tmp_path / ".my.cnf").write_text(f"[client]\nuser = root\nsocket = {mariadb.socket}\n")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "OS_QA_RABBITMQ_API": f"127.0.0.1:{rabbitmq.api_port}",
        "OS_QA_RABBITMQ_USER": "guest",
        "OS_QA_RABBITMQ_PASS": "guest",
    }

    def ran(*flags: str) -> subprocess.CompletedProcess[bytes]:
        words = ("--backend", "mysql", "--backend", "queues", *flags)
        return subprocess.run(
            [sys.executable, "-m", "nilometer.cli.os_collect_counters", *words],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            timeout=120,
        )

    def run(*flags: str) -> dict[str, Any]:
        done = ran(*flags)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    wait_until(lambda: ran().returncode == 0, what="the broker has statistics")
    return run


def publish(broker, names: list[str]) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(broker.amqp_url))
    channel = connection.channel()
    channel.confirm_delivery()
    for name in names:
        channel.queue_declare(name)
        channel.basic_publish("", name, b"x")
    connection.close()


def test_all_that_the_old_command_printed_is_there_under_the_same_names(
    collect,
    rabbitmq,  # noqa: F811
    wait_until,
) -> None:
    publish(rabbitmq, [f"reply_{n:032x}" for n in range(3)] + ["notifications.info"])
    wait_until(
        lambda: collect()["queues"].get("reply_publish") == 3, what="the broker has counted"
    )

    found = collect("--meta-prefix", "gate.job1")

    assert OLD_NAMES & set(found["mysql"]) == OLD_NAMES - NOT_IN_MARIADB
    assert all(isinstance(found["mysql"][name], int) for name in OLD_NAMES - NOT_IN_MARIADB)
    assert found["queues"]["reply_publish"] == 3  # of old the last one overwrote the others
    assert found["queues"]["notifications.info_publish"] == 1
    assert found["__meta__"]["prefix"] == "gate.job1"
    assert isinstance(found["__meta__"]["unixtime"], float)


def test_a_difference_holds_what_was_published_just_before(
    collect,
    rabbitmq,  # noqa: F811
    wait_until,
) -> None:
    """The broker's figures of queues lag by seconds, and are waited for."""
    publish(rabbitmq, ["compute"] * 2)
    wait_until(
        lambda: collect("--output", "before.json")["queues"].get("compute_publish") == 2,
        what="the broker has counted",
    )

    publish(rabbitmq, ["compute"] * 30)
    moved = collect("--delta", "before.json")

    assert moved["queues"]["compute_publish"] == 30


def test_a_document_of_the_old_command_can_be_compared_with(
    collect,
    mariadb,  # noqa: F811
    tmp_path,
) -> None:
    now = collect()
    names = OLD_NAMES - NOT_IN_MARIADB
    old = {
        "__meta__": {"unixtime": now["__meta__"]["unixtime"], "prefix": "gate.job1"},
        "mysql": {name: now["mysql"][name] for name in names},
        "queues": {k: v for k, v in now["queues"].items() if re.search("_publish$", k)},
    }
    (tmp_path / "old.json").write_text(json.dumps(old, indent=1, sort_keys=True))
    connection = pymysql.connect(unix_socket=str(mariadb.socket), user="root")
    for _ in range(40):
        connection.cursor().execute("DO 1")
    connection.close()

    moved = collect("--delta", "old.json", "--meta-prefix", "gate.job1")

    assert set(moved["mysql"]) >= names
    assert 41 <= moved["mysql"]["Queries"] <= 60  # ours, connecting, and our own two reads
    assert min(moved["mysql"][name] for name in names) >= 0
    assert moved["__meta__"]["delta_seconds"] > 0
    assert "Handler_commit" in moved["__meta__"]["unknown"]["mysql"]  # not in the old one
