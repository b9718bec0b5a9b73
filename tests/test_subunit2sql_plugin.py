"""The target of subunit2sql, without subunit2sql: where its datagrams go.

What real subunit2sql does with it is in tests/real/test_subunit.py.
"""

from __future__ import annotations

import io
import json
import logging
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from oslo_config import cfg
from subunit.v2 import ByteStreamToStreamResult

from nilometer.subunit2sql_plugin import GROUP, Counters, send
from nilometer.wire.subunit import attached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOVED = {"__meta__": {"unixtime": 1.7e9, "delta_seconds": 12.5}, "mysql": {"Queries": 9}}
CONTENT = json.dumps(MOVED).encode()
SENT = b"gate.testrun:12500.000000|ms\ngate.mysql.Queries:9|c"
FAMILIES = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)  # on the loopback it is there at once
        yield sock


@pytest.fixture
def localhost_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has `localhost` be these addresses, in this order."""

    def be(*hosts: str) -> None:
        def found(host: str, port: int, type: int = 0) -> list[Any]:  # noqa: A002 - its own
            assert host == "localhost"
            return [(FAMILIES.get(h, socket.AF_INET), type, 17, "", (h, port)) for h in hosts]

        monkeypatch.setattr(socket, "getaddrinfo", found)

    return be


def to(port: int, host: str = "localhost") -> SimpleNamespace:
    """Options as subunit2sql gives them."""
    return SimpleNamespace(host=host, port=port, prefix="gate", type="statsd", enabled=True)


@pytest.mark.parametrize(
    "hosts", [("127.0.0.1",), ("::1", "127.0.0.1"), ("127.0.0.2", "127.0.0.1")]
)
def test_localhost_is_found_at_whichever_of_its_addresses_statsd_listens(
    listener, localhost_of, hosts
) -> None:
    localhost_of(*hosts)

    send(CONTENT, to(listener.getsockname()[1]), origin="here")

    assert listener.recv(65_535) == SENT


def test_localhost_is_found_at_its_ipv4_while_another_listens_at_its_ipv6(
    listener, localhost_of
) -> None:
    port = listener.getsockname()[1]
    localhost_of("::1", "127.0.0.1")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
        other.bind(("::1", port))
        send(CONTENT, to(port), origin="here")

    assert listener.recv(65_535) == SENT


HOSTILE = {
    **MOVED,
    "mysql\nevil:7|c": {
        "Queries\nevil 7 1": 9,
        "evil\r:7|g\u2028x": 8,
        "a\nfake: all well": "x",
    },
}


def test_no_name_begins_a_line_of_its_own_at_statsd_nor_in_the_log(listener, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        send(json.dumps(HOSTILE).encode(), to(listener.getsockname()[1]), origin="here")

    lines = listener.recv(65_535).splitlines()
    assert len(lines) == 4
    assert all(line.startswith(b"gate.") and line.count(b":") == 1 for line in lines)
    assert len(caplog.messages) == 1
    assert all(message.isprintable() for message in caplog.messages)


def test_no_name_begins_a_line_of_its_own_at_graphite() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        options = to(server.getsockname()[1], host="127.0.0.1")
        options.type = "graphite"
        send(json.dumps(HOSTILE).encode(), options, origin="here")
        peer, _ = server.accept()
        with peer:
            lines = peer.makefile("rb").read().splitlines()

    assert len(lines) == 4
    assert all(line.startswith(b"gate.") and line.count(b" ") == 2 for line in lines)


def test_an_attachment_that_cannot_be_read_begins_no_line_in_the_log(
    monkeypatch, caplog
) -> None:
    monkeypatch.setattr(cfg, "CONF", {GROUP: to(1, host="127.0.0.1")})
    content = json.dumps({"mysql\nfake: all well": 7}).encode()
    stream = io.BytesIO(attached(content, wall_ns=1_700_000_000 * 10**9))
    target = Counters()

    with caplog.at_level(logging.WARNING):
        ByteStreamToStreamResult(stream).run(target)
        target.stopTestRun()

    [message] = caplog.messages
    assert message.startswith("attachment 1 was not sent")
    assert message.isprintable()


def test_a_statsd_that_is_away_is_told_and_stops_no_run_from_being_loaded(
    monkeypatch, caplog
) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        options = to(gone.getsockname()[1], host="127.0.0.1")
    monkeypatch.setattr(cfg, "CONF", {GROUP: options})
    stream = io.BytesIO(attached(CONTENT, wall_ns=1_700_000_000 * 10**9))
    target = Counters()

    with caplog.at_level(logging.WARNING):
        ByteStreamToStreamResult(stream).run(target)
        target.stopTestRun()

    assert caplog.messages == [
        "attachment 1 was not sent to 127.0.0.1: [Errno 111] Connection refused"
    ]
