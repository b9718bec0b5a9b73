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
