"""Connections that wait in the kernel to be accepted, of the listening sockets held here.

The kernel says it of a TCP socket in ``TCP_INFO`` (two fields of a listening one mean its queue
and the queue's limit), of a unix one by netlink, as `ss` asks. Neither needs a privilege.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.clock import elapsed_ns
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from nilometer.measure import Registry

FDS_MAX: Final = 256
"""The lowest numbers of open files that are looked at, 10 us each: a server opens its listening
sockets before it has connections, and the kernel gives out the lowest number that is free."""

SCAN_NS: Final = 100_000_000  # 0.1 s: gauges that are read together are read from one scan

LISTENERS_MAX: Final = 1000  # series are as many; a server has one or two

_TCP_LISTEN: Final = 10
_TCP_INFO: Final = Struct("=B23xII")  # state; at 24 and 28 unacked and sacked: queue and limit
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_HEADER: Final = Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_UNIX_REQUEST: Final = Struct("=BBHIIIII")  # family, 0, 0, states, inode, show, cookie (2)
_UNIX_ANSWER: Final = Struct("=BBBBIII")  # family, type, state, 0, inode, cookie (2)
_ATTRIBUTE: Final = Struct("=HH")  # length, type
_QUEUE: Final = Struct("=II")  # queue, limit
_SHOW_QUEUE: Final = 0x10
_QUEUE_TYPE: Final = 4
_ANY: Final = 0xFFFFFFFF


class Listener(NamedTuple):
    """Where somebody listens, how many wait there, and how many may."""

    address: str
    port: str
    waiting: int
    limit: int


def listeners() -> list[Listener]:
    """The listening sockets of this process; none where the kernel is no Linux."""
    if sys.platform != "linux":
        return []
    found = []
    opened_now = os.listdir("/proc/self/fd")  # noqa: PTH208  names are all that is needed
    for number in sorted(map(int, opened_now))[:FDS_MAX]:
        with suppress(OSError):  # closed meanwhile, or of a kind that has no queue
            opened = os.fstat(number)
            if stat.S_ISSOCK(opened.st_mode):
                found += _listener(number, opened.st_ino)
    return found


def _listener(number: int, inode: int) -> list[Listener]:
    import _socket  # not what gevent and eventlet make of it, and loaded wherever we serve

    # The type with its flag: else Python may make the service's own socket block no more.
    kind = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK
    held = _socket.socket(-1, kind, -1, os.dup(number))
    try:
        if not held.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
            return []
        name = held.getsockname()
        if held.family == _socket.AF_UNIX:
            path = name.decode(errors="replace") if isinstance(name, bytes) else name
            return [Listener(path.replace("\0", "@"), "", *unix_queue(inode))]
        return [Listener(name[0], str(name[1]), *tcp_queue(held))]
    finally:
        held.close()


def tcp_queue(listening: socket) -> tuple[int, int]:
    """How many wait at a TCP socket, and how many may. Raises OSError if it does not listen."""
    import _socket

    state, waiting, limit = _TCP_INFO.unpack(
        listening.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, _TCP_INFO.size)
    )
    if state != _TCP_LISTEN:
        raise OSError("the socket does not listen")
    return waiting, limit


def unix_queue(inode: int) -> tuple[int, int]:
    """How many wait at the unix socket of that inode, and how many may. Raises OSError."""
    import _socket

    size = _HEADER.size + _UNIX_REQUEST.size
    asked = _HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + _UNIX_REQUEST.pack(
        _socket.AF_UNIX, 0, 0, _ANY, inode, _SHOW_QUEUE, _ANY, _ANY
    )
    kernel = _socket.socket(
        _socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
    )
    try:
        kernel.settimeout(1)  # it answers at once
        kernel.send(asked)
        return _queue_in(kernel.recv(4096))
    finally:
        kernel.close()


def _queue_in(answer: bytes) -> tuple[int, int]:
    if _HEADER.unpack_from(answer)[1] == _SOCK_DIAG_BY_FAMILY:
        at = _HEADER.size + _UNIX_ANSWER.size
        while at + _ATTRIBUTE.size <= len(answer):
            length, kind = _ATTRIBUTE.unpack_from(answer, at)
            if kind == _QUEUE_TYPE:
                waiting, limit = _QUEUE.unpack_from(answer, at + _ATTRIBUTE.size)
                return waiting, limit
            at += max(_ATTRIBUTE.size, (length + 3) & ~3)
    raise OSError("the kernel does not tell of this socket")


class Backlogs:
    """The two gauges of listening sockets, read at each collect for as long as anybody serves.

    Workers that a fork made share a socket, and each of them tells of the whole queue: over
    processes it is the maximum that says how many wait, not the sum.
    """

    def __init__(self, registry: Registry = REGISTRY) -> None:
        self._registry = registry
        self._waiting = registry.gauge(
            "server.backlog",
            unit="{connection}",
            description="Connections that wait in the kernel to be accepted.",
        )
        self._limit = registry.gauge(
            "server.backlog.limit",
            unit="{connection}",
            description="Connections that may wait there; the kernel refuses more.",
        )
        self._serving: set[str] = set()
        self._known: set[tuple[str, str]] = set()
        self._found: dict[tuple[str, str], tuple[int, int]] = {}
        self._scanned_ns = 0

    def begin(self, server: str) -> None:
        """This server has taken an application up in this process."""
        if not self._serving:
            self._waiting.read = self._discover
            if self._registry.on_read is not None:
                self._registry.on_read()
        self._serving.add(server)

    def end(self, server: str) -> None:
        """It serves none any more, as far as we are concerned."""
        self._serving.discard(server)
        if not self._serving:
            self._found = {}

    def _discover(self) -> None:
        """Make the series of sockets that are new. Of itself it has no value."""
        for key, values in self._scan().items():
            if key in self._known or len(self._known) >= LISTENERS_MAX:
                continue
            self._known.add(key)
            for position, gauge in enumerate((self._waiting, self._limit)):
                series = gauge.bind(**_dimensions(*key))
                series.set(values[position])
                series.read = self._reader(key, position)

    def _reader(self, key: tuple[str, str], position: int) -> Callable[[], int | None]:
        def read() -> int | None:
            found = self._scan().get(key)
            return None if found is None else found[position]

        return read

    def _scan(self) -> dict[tuple[str, str], tuple[int, int]]:
        now = elapsed_ns()
        if self._serving and not 0 <= now - self._scanned_ns < SCAN_NS:
            self._scanned_ns = now
            found: dict[tuple[str, str], tuple[int, int]] = {}
            for one in listeners():
                waiting, limit = found.get((one.address, one.port), (0, 0))
                found[one.address, one.port] = waiting + one.waiting, limit + one.limit
            self._found = found
        return self._found


def _dimensions(address: str, port: str) -> dict[str, str]:
    dimensions = {"network.local.address": address}
    return {**dimensions, "network.local.port": port} if port else dimensions
