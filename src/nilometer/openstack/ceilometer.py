"""Ceilometer's notification agent hands OSProfiler's points on to the collector.

For those whose services' queues Ceilometer consumes already: its agent finds this class by the
entry point `ceilometer.sample.endpoint`, and gives it every notification `profiler.*`. What the
collector does not take is put back into the queue, as the agent does with what failed; but what
it would never take is logged. Unless `NILOMETER_URL` says where the collector is, nothing is
done.
"""

from __future__ import annotations

import json
import os
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final

import oslo_messaging

from nilometer.export.points import Collector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = getLogger("nilometer")

EVENT_TYPES: Final = r"profiler\..*"


class Forwarder:
    """An endpoint as the agent makes it: of its configuration and a publisher of samples."""

    filter_rule = oslo_messaging.NotificationFilter(event_type=EVENT_TYPES)

    def __init__(self, _conf: object = None, _publisher: object = None) -> None:
        url = os.environ.get("NILOMETER_URL", "").rstrip("/")
        file = os.environ.get("NILOMETER_TOKEN_FILE", "")
        self._to = Collector(url, file=file, origin="NILOMETER_TOKEN_FILE") if url else None

    def info(self, notifications: Sequence[Mapping[str, Any]]) -> None:
        """Hand their points on; raises where the collector does not take them: OSError."""
        if self._to is None:
            return
        # What is never taken would come again and again if it were put back.
        lost = self._to.send([json.dumps(_point(one), default=str) for one in notifications])
        for because, many in lost.items():
            log.error("OSProfiler: lost %d points that nobody ever takes: %s", many, because)


def _point(notification: Mapping[str, Any]) -> Any:
    """The payload; where it tells no time, as in 2015, with that of the notification."""
    payload = notification.get("payload")
    if not isinstance(payload, dict) or "timestamp" in payload:
        return payload
    return {**payload, "timestamp": notification.get("metadata", {}).get("timestamp")}
