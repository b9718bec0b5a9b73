"""Real stestr, real subunit2sql: what is attached to a run of tests arrives at the other end.

Both are in .cache/subunit2sql (scripts/install-subunit2sql), apart from the rest.
"""

from __future__ import annotations

import io
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from subunit.v2 import StreamResultToBytes

from nilometer.model import Batch, Kind, Reading, Resource
from nilometer.wire import jsonlines
from nilometer.wire.subunit import (
    CHUNK_BYTES,
    FILE_NAME,
    TEST_ID,
    Attachment,
    attached,
    attachments,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
BIN = ROOT / ".cache" / "subunit2sql" / "bin"
NOW_NS = 1_700_000_000 * 10**9
TEST = "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): pass\n"
WAIT_S = 10
MOVED = {
    "__meta__": {"unixtime": 1.7e9, "delta_seconds": 12.5, "prefix": "devstack.job1"},
    "mysql": {"Queries": 9},
    "queues": {"reply_publish": 3},
}
SENT = (
    b"gate.devstack.job1.testrun:12500.000000|ms\n"
    b"gate.devstack.job1.mysql.Queries:9|c\n"
    b"gate.devstack.job1.queues.reply_publish:3|c"
)


def run(
    place: Path, *words: str | Path, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """One of the programs there, or of ours; it must end well."""
    if not (BIN / "subunit2sql").exists():
        pytest.fail(
            "subunit2sql is not installed: run scripts/install-subunit2sql", pytrace=False
        )
    done = subprocess.run(
        [str(word) for word in words],
        cwd=place,
        input=stdin,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done


@pytest.fixture
def tested(tmp_path: Path) -> Path:
    """A folder in which stestr has run a test-suite."""
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "__init__.py").touch()
    (tmp_path / "suite" / "test_a.py").write_text(TEST)
    (tmp_path / ".stestr.conf").write_text("[DEFAULT]\ntest_path=./suite\ntop_dir=./\n")
    run(tmp_path, "stestr", "run", "--serial")
    return tmp_path


def with_counters(tested: Path, stream: bytes) -> bytes:
    """That run with this stream added, as stestr gives it out again.

    As one stream: stestr 4.2 has a flag to add to a run it has, and takes no notice of it.
    """
    run(
        tested,
        "stestr",
        "load",
        stdin=run(tested, "stestr", "last", "--subunit").stdout + stream,
    )
    return run(tested, "stestr", "last", "--subunit").stdout


@pytest.fixture
def database(tmp_path: Path) -> str:
    """The URL of a database with subunit2sql's tables."""
    url = f"sqlite:///{tmp_path}/results.db"
    run(tmp_path, "subunit2sql-db-manage", "--database-connection", url, "upgrade", "head")
    return url


@pytest.fixture
def load(tmp_path: Path, database: str) -> Callable[..., str]:
    """``load(stream, ..., port=8125)``: load streams into the database; what it said."""

    def run_it(*streams: bytes, **options: Any) -> str:
        files = []
        for number, stream in enumerate(streams):
            files.append(tmp_path / f"{number}.subunit")
            files[-1].write_bytes(stream)
        given = {"host": "127.0.0.1", "prefix": "gate", **options}
        lines = ["[counters2statsd]", *(f"{name} = {value}" for name, value in given.items())]
        (tmp_path / "s.conf").write_text("\n".join(lines))
        flags = ("--config-file", "s.conf", "--database-connection", database)
        return run(tmp_path, "subunit2sql", *flags, *files).stderr.decode()

    return run_it


def loaded(tmp_path: Path) -> list[tuple[str, str]]:
    """Which tests of which result the database holds."""
    rows = sqlite3.connect(tmp_path / "results.db").execute(
        "select tests.test_id, status from test_runs join tests on tests.id = test_runs.test_id"
    )
    return sorted(rows)


BOTH = [(TEST_ID, "success"), ("suite.test_a.T.test_a", "success")]


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(WAIT_S)
        yield sock


def no_more(sock: socket.socket) -> bool:
    """Whether nothing else has come; on the loopback it would be here."""
    sock.setblocking(False)
    try:
        sock.recv(1)
    except BlockingIOError:
        return True
    return False


def test_what_was_collected_around_a_run_survives_stestr_and_arrives_as_statsd(
    tested, load, udp
) -> None:
    def orders(number: int) -> None:
        reading = Reading("orders", Kind.COUNTER, (), number, 1, 2)
        with (tested / "shop.jsonl").open("ab") as stream:
            stream.write(jsonlines.encode(Batch(Resource("shop"), (reading,))))

    def collect(*flags: str) -> bytes:
        module = (
            sys.executable,
            "-m",
            "nilometer.cli.os_collect_counters",
            "--meta-prefix",
            "job1",
        )
        return run(
            tested, *module, "--backend", f"nilometer://{tested}/shop.jsonl", *flags
        ).stdout

    orders(5)
    (tested / "before.json").write_bytes(collect())
    orders(4)
    stream = with_counters(tested, collect("--delta", "before.json", "--subunit"))
    module = (sys.executable, "-m", "nilometer", "counters", "from-subunit")
    printed = json.loads(run(tested, *module, stdin=stream).stdout)

    said = load(stream, port=udp.getsockname()[1])

    assert printed["nilometer"] == {"orders": 4}
    duration, orders_moved = udp.recv(65_535).split(b"\n")
    seconds = printed["__meta__"]["delta_seconds"]
    told = re.fullmatch(rb"gate\.job1\.testrun:([0-9.]+)\|ms", duration)
    assert told is not None
    assert float(told[1]) == pytest.approx(
        seconds * 1000, abs=2e-6
    )  # six digits, cut or rounded
    assert orders_moved == b"gate.job1.nilometer.orders:4|c"
    assert (said, loaded(tested)) == ("", BOTH)


def test_a_document_of_several_chunks_survives_stestr_byte_for_byte(tested) -> None:
    content = json.dumps({"mysql": {f"counter_{n}": n for n in range(150_000)}}).encode()
    assert len(content) > 3 * CHUNK_BYTES

    stream = with_counters(tested, attached(content, wall_ns=NOW_NS))

    assert attachments(stream).attachments == (Attachment(TEST_ID, FILE_NAME, content),)


def test_the_datagrams_are_those_of_os_performance_tools(tested, load, udp) -> None:
    content = json.dumps(MOVED).encode()
    stream = with_counters(tested, attached(content, wall_ns=NOW_NS))

    load(stream, stream, port=udp.getsockname()[1])

    assert [udp.recv(65_535), udp.recv(65_535)] == [SENT, SENT]  # one each, none twice
    assert no_more(udp)


def test_an_older_stream_with_the_file_on_no_test_is_sent_on_too(tmp_path, load, udp) -> None:
    told = io.BytesIO()
    StreamResultToBytes(told).status(
        file_name=FILE_NAME, file_bytes=json.dumps(MOVED).encode(), mime_type="application/json"
    )

    load(told.getvalue(), port=udp.getsockname()[1])

    assert udp.recv(65_535) == SENT


def test_what_went_back_is_never_sent_but_named(tmp_path, load, udp) -> None:
    went = {**MOVED, "mysql": {"Queries": 9, "Com_select": -4}}

    said = load(attached(json.dumps(went).encode(), wall_ns=NOW_NS), port=udp.getsockname()[1])

    assert udp.recv(65_535) == SENT
    assert said == "left out: devstack.job1.mysql.Com_select: it went back by 4\n"


@pytest.mark.parametrize(
    ("content", "because"),
    [
        (b"{", "attachment 1 was not sent to 127.0.0.1: Expecting property name"),
        (b"[]", "attachment 1 was not sent to 127.0.0.1: attachment 1: not a JSON object"),
    ],
)
def test_a_run_with_broken_counters_is_loaded_all_the_same(
    tested, load, udp, content, because
) -> None:
    stream = with_counters(tested, attached(content, wall_ns=NOW_NS))

    said = load(stream, port=udp.getsockname()[1])

    assert said.startswith(because)
    assert no_more(udp)
    assert loaded(tested) == BOTH


def test_a_plugin_that_is_switched_off_sends_nothing(tmp_path, load, udp) -> None:
    load(
        attached(json.dumps(MOVED).encode(), wall_ns=NOW_NS),
        port=udp.getsockname()[1],
        enabled="false",
    )

    assert no_more(udp)


def test_to_graphite_it_goes_by_tcp_with_the_time_of_the_run(tmp_path, load) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(WAIT_S)
        port = server.getsockname()[1]
        load(attached(json.dumps(MOVED).encode(), wall_ns=NOW_NS), port=port, type="graphite")
        with server.accept()[0] as taken:
            received = taken.makefile("rb").read()

    assert received == (
        b"gate.devstack.job1.testrun 12500 1700000000\n"
        b"gate.devstack.job1.mysql.Queries 9 1700000000\n"
        b"gate.devstack.job1.queues.reply_publish 3 1700000000\n"
    )


def test_a_graphite_that_is_away_is_told_and_the_run_loaded(tested, load, free_port) -> None:
    stream = with_counters(tested, attached(json.dumps(MOVED).encode(), wall_ns=NOW_NS))

    said = load(stream, port=free_port(), type="graphite")

    assert said.endswith(
        "attachment 1 was not sent to 127.0.0.1: [Errno 111] Connection refused\n"
    )
    assert loaded(tested) == BOTH
