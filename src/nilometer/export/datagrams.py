"""Datagrams to one receiver, UDP or unix; a name's addresses are tried in turn."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - a name lookup imports it: see nilometer.own on forks
import errno
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from nilometer.export.address import Address


class _Place(NamedTuple):
    """A socket's family and address."""

    family: int
    target: Any  # as the family has it


class Datagrams:
    """A connected socket to an address, opened when it is needed.

    `port` is for an address that names none. A datagram for which the kernel has no room yet is
    waited for by `wait_s` seconds; 0 never blocks, but for the lookup of a name.
    """

    def __init__(self, address: Address, *, port: int, wait_s: float = 0.0) -> None:
        self._address = address
        self._port = address.port or port
        self._wait_s = wait_s
        self._socket: socket.socket | None = None
        self._others: list[_Place] = []  # the name's addresses that were not tried yet

    def open(self) -> None:
        """Look the name up and connect, unless that is done. Raises OSError."""
        if self._socket is None:
            self._others = self._places()
            self._connect()

    def send(self, packet: bytes) -> int:
        """Send a datagram; one that is refused goes to the name's next address.

        The error number if it did not go; nothing is raised: what went before would go twice.
        """
        sock, fault = self._socket, errno.ECONNREFUSED
        while True:
            if sock is not None:
                fault = _send(sock, packet)
            if fault != errno.ECONNREFUSED or not self._others:
                return fault
            try:
                sock = self._connect()
            except OSError as error:
                return error.errno or errno.EIO

    def close(self) -> None:
        """Close the socket; a name may lead elsewhere the next time."""
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    def _places(self) -> list[_Place]:
        """Where to send, the likeliest first."""
        if not self._address.host:
            return [_Place(socket.AF_UNIX, self._address.path)]
        found = socket.getaddrinfo(self._address.host, self._port, type=socket.SOCK_DGRAM)
        places = [_Place(family, target) for family, _, _, _, target in found]
        if self._address.is_loopback:  # Debian's is ::1 first, where few servers listen
            places.sort(key=lambda place: place.family != socket.AF_INET)
        return places

    def _connect(self) -> socket.socket:
        """A socket to the first of the places left that can be had; the last one's OSError."""
        self.close()
        while True:
            place = self._others.pop(0)
            try:
                self._socket = _connected(place, self._wait_s)
            except OSError:  # as of ::1 where the kernel knows no IPv6
                if not self._others:
                    raise
            else:
                return self._socket


def _connected(place: _Place, wait_s: float) -> socket.socket:
    sock = socket.socket(place.family, socket.SOCK_DGRAM)
    try:
        sock.settimeout(wait_s)
        sock.connect(place.target)
    except BaseException:
        sock.close()
        raise
    return sock


def _send(sock: socket.socket, packet: bytes) -> int:
    """The error number with which a datagram was turned away; 0 if it went.

    A connected UDP socket tells a refusal by the *next* call, so the pending one is asked for
    after each datagram: on the loopback it is there at once, and no datagram is lost unnoticed.
    """
    try:
        sock.send(packet)
    except OSError as error:
        return error.errno or errno.EIO
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
