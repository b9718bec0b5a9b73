"""``statsd://``, ``dogstatsd://``, ``monasca-statsd://``: readings as packed datagrams.

One connected socket that never blocks, UDP or unix; a name's addresses are tried in turn.
Aggregates go out, a few lines per series and interval, twenty and more to a datagram. Spans and
events have no place in statsd and are not asked for. A receiver that is down is noticed as far
as UDP tells.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - a name lookup imports it: see nilometer.own on forks
import errno
import os
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.export.exporter import Undelivered
from nilometer.model import Batch
from nilometer.model.dimensions import dimensions_of
from nilometer.wire import statsd

if TYPE_CHECKING:
    from nilometer.export.address import Address
    from nilometer.model import Dimensions, Reading, Resource
    from nilometer.wire.statsd import Dialect

PORT: Final = 8125
UNIX_BYTES_MAX: Final = 8192  # what DogStatsD reads at once from its unix socket
OPTIONS: Final = ("prefix", "bytes_max", "resource")


def open_statsd(address: Address) -> Statsd:
    """The exporter of a statsd URL of any dialect; ConfigError says what is wrong."""
    address.accepting(OPTIONS)
    is_unix = not address.host
    if is_unix and not address.path:
        address.refuse(f"a host is missing, as in {address.scheme}://127.0.0.1:{PORT}")
    if not is_unix and address.path not in ("", "/"):
        address.refuse("statsd has no paths; a unix socket is written dogstatsd:///path")
    default = UNIX_BYTES_MAX if is_unix else statsd.DATAGRAM_BYTES_MAX
    return Statsd(
        address,
        statsd.Dialect(address.scheme),
        prefix=address.text("prefix").rstrip("."),
        bytes_max=int(address.number("bytes_max", default, least=128, most=65_507)),
        with_resource=address.truth("resource", address.scheme != "statsd"),
    )


class _Place(NamedTuple):
    """A socket's family and address."""

    family: int
    target: Any  # as the family has it


class Statsd:
    """Sends the readings of batches to one statsd; see the module.

    `with_resource` adds service, host and the configured dimensions to every series: right
    where dimensions are tags, and off by default where they would lengthen every name.
    """

    takes = ("readings",)

    def __init__(
        self,
        address: Address,
        dialect: Dialect,
        *,
        prefix: str = "",
        bytes_max: int = statsd.DATAGRAM_BYTES_MAX,
        with_resource: bool = True,
    ) -> None:
        self.waits = not (address.is_loopback or address.is_number)  # for the name's lookup
        self._address = address
        self._dialect = dialect
        self._prefix = prefix
        self._bytes_max = bytes_max
        self._with_resource = with_resource
        self._socket: socket.socket | None = None
        self._others: list[_Place] = []  # the name's addresses that were not tried yet

    def __call__(self, batch: Batch, /) -> None:
        lines, owners, refused = self._lines(batch)
        if self._socket is None:
            self._others = self._places()
            self._connect()
        first = 0
        for packet in statsd.datagrams(lines, self._bytes_max):
            after, size = first, 0
            while size < len(packet):  # datagrams hold whole items, in order
                size += len(lines[after])
                after += 1
            fault = self._send(packet)
            if fault == errno.EMSGSIZE:
                refused["readings", "too_long"] += len(set(owners[first:after]))
            elif fault:
                self._give_up(batch, owners[first], fault, refused)
            first = after
        if refused:
            raise Undelivered("some readings do not fit into statsd", refused=refused)

    def _lines(self, batch: Batch) -> tuple[list[bytes], list[int], Counter[tuple[str, str]]]:
        """Lines, the reading that each item belongs to, and what cannot be said.

        The lines of one reading stay together where they fit into a datagram: then it is sent
        whole or not at all, and trying again counts nothing twice.
        """
        lines: list[bytes] = []
        owners: list[int] = []
        refused: Counter[tuple[str, str]] = Counter()
        dimensions = resource_dimensions(batch.resource) if self._with_resource else ()
        for index, reading in enumerate(batch.readings):
            own = self._encode(reading, dimensions)
            if not own or any(len(line) > self._bytes_max for line in own):
                refused["readings", "too_long" if own else "not_finite"] += 1
                continue
            whole = b"".join(own)
            items = [whole] if len(whole) <= self._bytes_max else own
            lines += items
            owners += [index] * len(items)
        return lines, owners, refused

    def _encode(self, reading: Reading, dimensions: Dimensions) -> list[bytes]:
        return statsd.encode(
            (reading,), self._dialect, prefix=self._prefix, dimensions=dimensions
        )

    def _give_up(
        self, batch: Batch, index: int, fault: int, refused: Counter[tuple[str, str]]
    ) -> None:
        """Keep what was not sent: from the reading whose datagram was turned away."""
        self.close()  # a name may lead elsewhere the next time
        raise Undelivered(
            os.strerror(fault),
            left=Batch(batch.resource, readings=batch.readings[index:]),
            refused=refused,
        )

    def _places(self) -> list[_Place]:
        """Where to send, the likeliest first."""
        if not self._address.host:
            return [_Place(socket.AF_UNIX, self._address.path)]
        found = socket.getaddrinfo(
            self._address.host, self._address.port or PORT, type=socket.SOCK_DGRAM
        )
        places = [_Place(family, target) for family, _, _, _, target in found]
        if self._address.is_loopback:  # Debian's is ::1 first, where few servers listen
            places.sort(key=lambda place: place.family != socket.AF_INET)
        return places

    def _connect(self) -> socket.socket:
        """A socket to the first of the places left that can be had; the last one's OSError."""
        self._disconnect()
        while True:
            place = self._others.pop(0)
            try:
                self._socket = _connected(place)
            except OSError:  # as of ::1 where the kernel knows no IPv6
                if not self._others:
                    raise
            else:
                return self._socket

    def _send(self, packet: bytes) -> int:
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

    def _disconnect(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    def close(self) -> None:
        """Close the socket."""
        self._disconnect()


def _connected(place: _Place) -> socket.socket:
    sock = socket.socket(place.family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
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


def resource_dimensions(resource: Resource) -> Dimensions:
    """Who measured, as dimensions; the process id only as part of an attribute, if anybody
    configured it so: as a dimension it would start new series at every restart."""
    named = {
        "service": resource.service,
        "host": resource.host,
        "region": resource.region,
        "zone": resource.zone,
        "version": resource.version,
    }
    return dimensions_of({**dict(resource.attributes), **{k: v for k, v in named.items() if v}})
