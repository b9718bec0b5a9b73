"""``graphite://host:2003`` and ``graphite+pickle://host:2004``: readings to carbon, over TCP.

Carbon answers nothing. What it took before a connection broke is not known, so a batch that
failed is sent again whole: carbon keeps the last value of a path and second, and counts nothing
twice.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - a name lookup imports it: see nilometer.own on forks
import socket
from collections import Counter
from typing import TYPE_CHECKING, Final

from nilometer.export.exporter import Undelivered
from nilometer.export.statsd import resource_dimensions
from nilometer.model import Distribution
from nilometer.wire import graphite

if TYPE_CHECKING:
    from nilometer.export.address import Address
    from nilometer.model import Batch
    from nilometer.wire.graphite import Point

PORT: Final = 2003
PICKLE_PORT: Final = 2004
PICKLED: Final = "graphite+pickle"
TIMEOUT_S: Final = 5.0  # carbon that takes longer to read a batch is too busy to be sent more
OPTIONS: Final = ("prefix", "tags", "resource", "timeout_s")


def open_graphite(address: Address) -> Graphite:
    """The exporter of a graphite URL; ConfigError says what is wrong."""
    address.accepting(OPTIONS)
    if not address.host:
        address.refuse(f"a host is missing, as in {address.scheme}://127.0.0.1:{PORT}")
    if address.path not in ("", "/"):
        address.refuse("graphite has no paths; what names begin with is prefix=TEXT")
    return Graphite(
        address,
        prefix=address.text("prefix").strip("."),
        tagged=address.truth("tags", True),
        with_resource=address.truth("resource", False),
        timeout_s=address.number("timeout_s", TIMEOUT_S, least=0.05, most=60),
    )


class Graphite:
    """Sends the readings of batches to one carbon; see the module.

    `with_resource` adds service, host and the configured dimensions to every series.
    """

    waits = True
    takes = ("readings",)

    def __init__(
        self,
        address: Address,
        *,
        prefix: str = "",
        tagged: bool = True,
        with_resource: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._address = address
        self._prefix = prefix
        self._tagged = tagged
        self._with_resource = with_resource
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def __call__(self, batch: Batch, /) -> None:
        points, refused = self._points(batch)
        if self._address.scheme == PICKLED:
            content = b"".join(graphite.messages(points))
        else:
            content = graphite.lines(points)
        if content:
            sock = self._living() or self._connect()
            try:
                sock.sendall(content)
            except BaseException:  # half a line, or half a message, went: nothing can follow
                self.close()
                raise
        if refused:
            raise Undelivered("some readings do not fit into graphite", refused=refused)

    def _points(self, batch: Batch) -> tuple[list[Point], Counter[tuple[str, str]]]:
        points: list[Point] = []
        refused: Counter[tuple[str, str]] = Counter()
        dimensions = resource_dimensions(batch.resource) if self._with_resource else ()
        encoded = graphite.encode(
            batch.readings, prefix=self._prefix, dimensions=dimensions, tagged=self._tagged
        )
        for reading, own in encoded:
            points += own
            if not own:
                value = reading.value
                number = value.total if isinstance(value, Distribution) else value
                is_long = abs(number) <= 1e308  # False of what is not a number, too
                refused["readings", "too_long" if is_long else "not_finite"] += 1
        return points, refused

    def _living(self) -> socket.socket | None:
        """The connection, unless carbon has closed it: then it would lose one more batch."""
        sock = self._socket
        if sock is None:
            return None
        try:
            sock.setblocking(False)
            gone = sock.recv(1) == b""
        except BlockingIOError:
            gone = False
        except OSError:
            gone = True
        if gone:
            self.close()
            return None
        sock.settimeout(self._timeout_s)
        return sock

    def _connect(self) -> socket.socket:
        default = PICKLE_PORT if self._address.scheme == PICKLED else PORT
        place = self._address.host, self._address.port or default
        self._socket = socket.create_connection(place, self._timeout_s)
        return self._socket

    def close(self) -> None:
        """Close the connection; carbon reads what is on its way to it."""
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()
