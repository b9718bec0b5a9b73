"""oslo.metrics, as oslo.messaging's client feeds it; its collector is a socket that is read."""

from __future__ import annotations

import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from bench import buses

if TYPE_CHECKING:
    from bench.pairs import Loop


def calls() -> tuple[Loop, Loop]:
    place = Path(tempfile.mkdtemp()) / "metrics"
    collector = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    collector.bind(str(place))

    def collect() -> None:
        while collector.recv(65536):
            pass

    threading.Thread(target=collect, daemon=True).start()
    conf = buses.oslo_conf(oslo_messaging_metrics="metrics_enabled")
    conf.set_override("metrics_socket_file", str(place), group="oslo_messaging_metrics")
    conf.set_override("metrics_thread_stop_timeout", 1, group="oslo_messaging_metrics")
    return buses.rpc_calls(buses.oslo_conf()), buses.rpc_calls(conf)


CASES = {"oslo.messaging call untraced": calls}
