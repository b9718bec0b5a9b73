"""``statsd://``, ``dogstatsd://``, ``monasca-statsd://``: readings as packed datagrams.

One connected socket that never blocks, UDP or unix; a name's addresses are tried in turn.
Aggregates go out, a few lines per series and interval, twenty and more to a datagram. Spans and
events have no place in statsd and are not asked for. A receiver that is down is noticed as far
as UDP tells.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from typing import TYPE_CHECKING, Final

from nilometer.export.datagrams import Datagrams
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
        self._datagrams = Datagrams(address, port=PORT)
        self._dialect = dialect
        self._prefix = prefix
        self._bytes_max = bytes_max
        self._with_resource = with_resource

    def __call__(self, batch: Batch, /) -> None:
        lines, owners, refused = self._lines(batch)
        self._datagrams.open()
        first = 0
        for packet in statsd.datagrams(lines, self._bytes_max):
            after, size = first, 0
            while size < len(packet):  # datagrams hold whole items, in order
                size += len(lines[after])
                after += 1
            fault = self._datagrams.send(packet)
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

    def close(self) -> None:
        """Close the socket."""
        self._datagrams.close()


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
