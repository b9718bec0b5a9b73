"""Who else takes such loads in, on this machine: Etsy's statsd for lines, Phoenix for spans.

Each is sent what the collector is sent, as fast, on the same core, and asked by its own means
how much it has. Neither promises what the collector does: statsd keeps sums in memory, Phoenix
answers before it has written, and is waited for. Its port for gRPC cannot be told to listen at
loopback only, so the command first goes into a network of its own, which has nothing else.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sqlite3
import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.collector import Server
from nilometer.cli.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
STATSD = ROOT / "node_modules" / "statsd" / "stats.js"
PHOENIX = ROOT / ".cache" / "phoenix" / "bin" / "phoenix"
STARTS_S = 60
SETTLES_S, SETTLES_S_MAX = 10, 120
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
OWN_NETWORK = "NILOMETER_BENCH_OWN_NETWORK"


class Statsd(Server):
    """Etsy's, by npm, with a backend that writes down what its counters add up to."""

    def __init__(self, folder: Path) -> None:
        self.statsd, self._manages = free_port(), free_port()
        self._total = folder / "total"
        settings = {
            "port": self.statsd,
            "address": "127.0.0.1",
            "mgmt_port": self._manages,
            "mgmt_address": "127.0.0.1",
            "flushInterval": 1000,
            "deleteIdleStats": True,
            "backends": [str(Path(__file__).with_name("statsd_total.js"))],
            "totalFile": str(self._total),
        }
        told = folder / "statsd.json"
        told.write_text(json.dumps(settings))
        super().__init__(["node", str(STATSD), str(told)])
        self.wait_till_ready(STARTS_S)

    def is_ready(self) -> bool:
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self._manages)) == 0

    def stored(self) -> int:
        """How many lines it has added up."""
        return int(float(self._total.read_text())) if self._total.exists() else 0


class Phoenix(Server):
    """Arize's, with its tables in SQLite, as it comes."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._tables = folder / "phoenix.db"
        settings = {
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(self.port),
            "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_WORKING_DIR": str(folder),
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }
        super().__init__([str(PHOENIX), "serve"], env=settings)
        self.wait_till_ready(STARTS_S)

    def is_ready(self) -> bool:
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self.port)) == 0

    def stored(self) -> int:
        """How many spans its tables hold."""
        if not self._tables.exists():
            return 0
        tables = sqlite3.connect(f"file:{self._tables}?mode=ro", uri=True)
        try:
            return int(tables.execute("select count(*) from spans").fetchone()[0])
        except sqlite3.OperationalError:  # not made yet, or being written
            return 0
        finally:
            tables.close()


def settled(stored: Callable[[], int]) -> int:
    """What is there when nothing was added for a while."""
    began = changed = time.monotonic()
    seen = -1
    while time.monotonic() - changed < SETTLES_S and time.monotonic() - began < SETTLES_S_MAX:
        if (now := stored()) != seen:
            seen, changed = now, time.monotonic()
        time.sleep(1)
    return seen


def missing() -> str:
    """What has to be installed first; empty if all is there."""
    if not STATSD.exists():
        return "Etsy's statsd is not installed: run scripts/setup test"
    if not PHOENIX.exists():
        return "Phoenix is not installed: run scripts/install-phoenix"
    return ""


def into_own_network(command: list[str]) -> None:
    """Go on as this command in a network of its own; return if we are there."""
    if OWN_NETWORK not in os.environ:
        os.environ[OWN_NETWORK] = "1"
        unshare = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        raise SystemExit(subprocess.call([*unshare, *command]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        fcntl.ioctl(asked, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
