"""``log://``: every reading, span and event as a record of `logging`, at a level of its own.

METRIC is 25: services that log at INFO see it, services that log at WARNING do not. Records go
to the logger ``nilometer.metrics``; where they end is a matter of ordinary `logging.config`,
with `MetricFilter` and `MetricFormatter` from here (docs/exporters.md has whole examples).
"""

from __future__ import annotations

import logging
from logging.handlers import DatagramHandler
from typing import TYPE_CHECKING, Final

from nilometer.export.exporter import Undelivered
from nilometer.wire import logline

if TYPE_CHECKING:
    from nilometer.export.address import Address
    from nilometer.model import Batch

METRIC: Final = 25
LOGGER: Final = "nilometer.metrics"
MARK: Final = "nilometer_metric"  # on each record of ours, so that a filter needs no guess

logging.addLevelName(METRIC, "METRIC")


def open_log(address: Address) -> Log:
    """The exporter of ``log://`` or ``log://logger.name``; ConfigError if it is neither."""
    address.accepting(())
    if address.path not in ("", "/") or address.port is not None:
        address.refuse("after log:// comes the name of a logger or nothing")
    return Log(address.host or LOGGER)


class Log:
    """Writes batches to a logger; see the module."""

    waits = True  # its handlers are the service's, and may do anything

    def __init__(self, logger: str = LOGGER) -> None:
        self._logger = logging.getLogger(logger)
        if self._logger.level == logging.NOTSET:
            self._logger.setLevel(METRIC)  # the root's WARNING would drop all of it in silence

    def __call__(self, batch: Batch, /) -> None:
        if not self._logger.hasHandlers():
            raise Undelivered(f"logger {self._logger.name} has no handler yet", left=batch)
        if not self._logger.isEnabledFor(METRIC):
            kinds = {
                kind: len(getattr(batch, kind)) for kind in ("readings", "spans", "events")
            }
            raise Undelivered(
                f"logger {self._logger.name} is set above METRIC ({METRIC})",
                refused={(kind, "log_level"): rows for kind, rows in kinds.items() if rows},
            )
        for line in logline.encode(batch):
            self._logger.log(METRIC, "%s", line, extra={MARK: True})

    def close(self) -> None:
        """The handlers belong to the service."""


class MetricFilter(logging.Filter):
    """Lets metric records through and nothing else; with ``invert=True`` everything else.

    For handlers: ``"filters": {"metrics": {"()": "nilometer.export.log.MetricFilter"}}``.
    """

    def __init__(self, *, invert: bool = False) -> None:
        super().__init__()
        self._invert = invert

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes."""
        return getattr(record, MARK, False) is not self._invert


class LineHandler(DatagramHandler):
    """Sends each formatted line as one UDP datagram.

    The standard library's `DatagramHandler`, which this is otherwise, sends pickled records.
    """

    def makePickle(self, record: logging.LogRecord) -> bytes:  # noqa: N802 - its name there
        """The line itself."""
        return self.format(record).encode() + b"\n"


class MetricFormatter(logging.Formatter):
    """The bare metric line, with an optional `prefix`; it never spreads over several lines."""

    def __init__(self, *, prefix: str = "") -> None:
        super().__init__()
        self._prefix = prefix

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return self._prefix + record.getMessage()
