"""``graphite://host:2003`` and ``graphite+pickle://host:2004``: readings to carbon, over TCP.

Carbon answers nothing. What it took before a connection broke is not known, so a batch that
failed is sent again whole: carbon keeps the last value of a path and second, and counts nothing
twice. For the same reason each process has paths of its own, and what one measured in one step
of carbon's is added up here: of two points in a step carbon would keep the last.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - a name lookup imports it: see nilometer.own on forks
import socket
from collections import Counter
from typing import TYPE_CHECKING, Final

from nilometer.export.backlog import both, series_of
from nilometer.export.exporter import Undelivered
from nilometer.export.statsd import resource_dimensions
from nilometer.model import Distribution
from nilometer.model.dimensions import dimensions_of
from nilometer.wire import graphite

if TYPE_CHECKING:
    from nilometer.export.address import Address
    from nilometer.model import Batch, Dimensions, Reading, Resource
    from nilometer.wire.graphite import Point

    _Series = tuple[Resource, tuple[object, ...]]

PORT: Final = 2003
PICKLE_PORT: Final = 2004
PICKLED: Final = "graphite+pickle"
TIMEOUT_S: Final = 5.0  # carbon that takes longer to read a batch is too busy to be sent more
STEP_S: Final = 1.0  # the least carbon knows; a day is the longest that anybody would keep
OPTIONS: Final = ("prefix", "tags", "resource", "step_s", "timeout_s")


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
        resource=_resource(address),
        step_s=int(address.number("step_s", STEP_S, least=1, most=86_400)),
        timeout_s=address.number("timeout_s", TIMEOUT_S, least=0.05, most=60),
    )


def _resource(address: Address) -> str:
    if address.text("resource", "process") == "process":
        return "process"
    return "yes" if address.truth("resource", True) else "no"


class Graphite:
    """Sends the readings of batches to one carbon; see the module.

    `resource` is what goes along with every series: of a living process ``process`` its host
    and pid, ``yes`` service, region, zone, version and the configured dimensions too, ``no``
    nothing. What no process measured, as counters of a run of tests, has no pid: its series go
    on from run to run.
    """

    waits = True
    takes = ("readings",)

    def __init__(
        self,
        address: Address,
        *,
        prefix: str = "",
        tagged: bool = True,
        resource: str = "process",
        step_s: int = int(STEP_S),
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._address = address
        self._prefix = prefix
        self._tagged = tagged
        self._resource = resource
        self._step_ns = step_s * 10**9
        self._of_step: dict[_Series, Reading] = {}  # what went out for the step that lasts
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def __call__(self, batch: Batch, /) -> None:
        readings, of_step = self._added_up(batch)
        points, refused = self._points(batch.resource, readings)
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
        self._of_step = of_step
        if refused:
            raise Undelivered("some readings do not fit into graphite", refused=refused)

    def _added_up(self, batch: Batch) -> tuple[list[Reading], dict[_Series, Reading]]:
        """The readings, each with those of its series before it in the same step of carbon's.

        And what is to be remembered once they went: an attempt that failed adds nothing.
        """
        newest = max((r.ended_ns // self._step_ns for r in batch.readings), default=0)
        held = {
            series: reading
            for series, reading in self._of_step.items()
            if reading.ended_ns // self._step_ns == newest
        }
        readings = []
        for reading in batch.readings:
            series = batch.resource, series_of(reading)
            before, so_far = held.get(series), None
            if before and before.ended_ns // self._step_ns == reading.ended_ns // self._step_ns:
                so_far = both(before, reading)
            held[series] = so_far or reading
            readings.append(held[series])
        return readings, held

    def _points(
        self, resource: Resource, readings: list[Reading]
    ) -> tuple[list[Point], Counter[tuple[str, str]]]:
        points: list[Point] = []
        refused: Counter[tuple[str, str]] = Counter()
        dimensions = self._dimensions(resource)
        encoded = graphite.encode(
            readings, prefix=self._prefix, dimensions=dimensions, tagged=self._tagged
        )
        for reading, own in encoded:
            points += own
            if not own:
                value = reading.value
                number = value.total if isinstance(value, Distribution) else value
                is_long = abs(number) <= 1e308  # False of what is not a number, too
                refused["readings", "too_long" if is_long else "not_finite"] += 1
        return points, refused

    def _dimensions(self, resource: Resource) -> Dimensions:
        if self._resource == "no":
            return ()
        pairs = dict(resource_dimensions(resource)) if self._resource == "yes" else {}
        if resource.pid:
            pairs |= {"host": resource.host} if resource.host else {}
            pairs |= {"pid": str(resource.pid)}
        return dimensions_of(pairs)

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
