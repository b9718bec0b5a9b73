"""A target of subunit2sql: the counters attached to a run of tests, on to statsd or graphite.

subunit2sql loads it by the entry point group ``subunit2sql.target`` and gives it every packet
of the streams that it reads. It takes the options of os-performance-tools' plugin, and sends
what that one sent; a stream without counters, or with broken ones, is loaded all the same.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from oslo_config import cfg
from testtools import StreamResult

from nilometer import clock
from nilometer.counters.batch import TEST_RUN, batch_of
from nilometer.counters.document import parse
from nilometer.export.address import Address
from nilometer.export.datagrams import Datagrams
from nilometer.export.exporter import open_exporter
from nilometer.wire import statsd
from nilometer.wire.subunit import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nilometer.model import Batch

log = logging.getLogger("nilometer.subunit2sql")

GROUP: Final = "counters2statsd"
PORTS: Final = {"statsd": 8125, "graphite": 2003}
DATAGRAM_BYTES_MAX: Final = 512  # what any path takes; the old plugin's limit, too
WAIT_S: Final = 5.0  # for the kernel to take one
NS_PER_MS: Final = 1_000_000
OPTIONS: Final = (
    cfg.StrOpt("host", default="localhost", help="Where statsd, or graphite, listens"),
    cfg.IntOpt("port", help="Its port; without it 8125 of statsd, 2003 of graphite"),
    cfg.StrOpt("prefix", help="What every name begins with, before a document's own prefix"),
    cfg.BoolOpt("enabled", default=True, help="Whether counters are sent on at all"),
    cfg.StrOpt("type", default="statsd", choices=sorted(PORTS), help="What listens there"),
)


class Counters(StreamResult):
    """Gathers the counters of each stream, and sends them on when it ends."""

    def __init__(self) -> None:
        super().__init__()
        self._reader = Reader()

    @classmethod
    def enabled(cls) -> bool:
        """Whether subunit2sql should load it; registers the options, as it has not read any.

        If os-performance-tools has registered its own, that plugin does the work.
        """
        try:
            cfg.CONF.register_cli_opts(OPTIONS, group=GROUP)
        except cfg.DuplicateOptError:
            log.warning("the plugin of os-performance-tools is installed, too, and goes first")
            return False
        return True

    def startTestRun(self) -> None:  # noqa: N802 - testtools' name
        """A stream begins: nothing of the one before is sent again."""
        self._reader = Reader()

    def status(self, *packet: Any, **packet_by_name: Any) -> None:
        """One packet."""
        if cfg.CONF[GROUP].enabled:
            self._reader.status(*packet, **packet_by_name)

    def stopTestRun(self) -> None:  # noqa: N802 - testtools' name
        """The stream is over: send. Never raises: the run must be loaded whatever happens."""
        to = cfg.CONF[GROUP]
        if not to.enabled:
            return
        if self._reader.because:
            log.warning("counters may be missing: %s", _one_line(self._reader.because))
        for number, attachment in enumerate(self._reader.whole(), 1):
            try:
                send(attachment.content, to, origin=f"attachment {number}")
            except Exception as error:  # noqa: BLE001 - see above
                because = _one_line(str(error))
                log.warning("attachment %d was not sent to %s: %s", number, to.host, because)


def _one_line(text: str) -> str:
    """Text of a document for a log, in which it must begin no line of its own."""
    return "".join(c if c.isprintable() else "·" for c in text)


def send(content: bytes, to: Any, *, origin: str) -> None:
    """Send a document on. Raises what says why it cannot be read, or sent."""
    document = parse(json.loads(content), origin=origin)
    batch, left_out = batch_of(document, wall_ns=clock.wall_ns())
    for because in left_out:
        log.warning("left out: %s", _one_line(because))
    prefix = (to.prefix or "").rstrip(".")
    port = to.port or PORTS[to.type]
    host = f"[{to.host}]" if ":" in to.host else to.host
    url, origin = f"{to.type}://{host}:{port}", f"[{GROUP}]"
    if to.type == "statsd":
        _send_datagrams(batch, prefix, Address.parse(url, origin=origin))
        return
    exporter = open_exporter(url, origin=origin)
    try:
        names = (
            r._replace(name=f"{prefix}.{r.name}" if prefix else r.name) for r in batch.readings
        )
        exporter(batch._replace(readings=tuple(names)))
    finally:
        exporter.close()


def _send_datagrams(batch: Batch, prefix: str, address: Address) -> None:
    """Raises the OSError of the first datagram that did not go, as far as UDP tells."""
    with closing(Datagrams(address, port=PORTS["statsd"], wait_s=WAIT_S)) as datagrams:
        datagrams.open()
        for packet in statsd.datagrams(_lines(batch, prefix), DATAGRAM_BYTES_MAX):
            if fault := datagrams.send(packet.removesuffix(b"\n")):
                raise OSError(fault, os.strerror(fault))


def _lines(batch: Batch, prefix: str) -> Iterator[bytes]:
    """Lines of statsd; how long the run took is a timing in ms with six decimals."""
    for reading in batch.readings:
        [line, *_] = lines = statsd.encode((reading,), statsd.Dialect.ETSY, prefix=prefix)
        if reading.name.endswith(TEST_RUN) and reading.unit == "ns":
            name, _, _ = line.rpartition(b":")
            yield b"%s:%.6f|ms\n" % (name, float(reading.value) / NS_PER_MS)  # type: ignore[arg-type]
        else:
            yield from lines
