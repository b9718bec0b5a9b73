"""A real collector in a process of its own, for whoever wants to send to one.

    with start(tmp_path) as collector:
        httpx.post(collector.url + "/v1/traces", ...)
        collector.get("traces")

It listens at free ports, keeps its tables under `tmp_path`, and ends with the test.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

READY_S = 30
END_S = 30

_PROGRAM = """
import sys
from nilometer.collect.daemon import serve
from nilometer.collect.settings import CollectorSettings
from nilometer.errors import ConfigError
try:
    settings = CollectorSettings.parse(**eval(sys.argv[1]))
except ConfigError as error:
    print(error, flush=True)
    sys.exit(2)
sys.exit(serve(settings, say=lambda line: print(line, flush=True)))
"""

_opener = build_opener(ProxyHandler({}))


class Collector:
    """One collector process; `settings` are the words of `CollectorSettings.parse`."""

    def __init__(self, tmp_path: Path, **settings: Any) -> None:
        self.store = Path(settings.get("store", tmp_path / "store"))
        self.settings = {
            "store": str(self.store),
            "listen": "127.0.0.1:0",
            "statsd": "127.0.0.1:0",
            "window": "100ms",
            "flush": "200ms",
            **{key: str(value) for key, value in settings.items()},
        }
        self.log = tmp_path / "collector.log"
        self._start()

    def _start(self) -> None:
        with self.log.open("ab") as output:
            written = output.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, repr(self.settings)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        give_up = time.monotonic() + READY_S
        while not (said := re.search(r"at http://(\S+)", self.output()[written:])):
            if self.process.poll() is not None or time.monotonic() > give_up:
                self.process.kill()
                raise RuntimeError(f"the collector did not start:\n{self.output()}")
            time.sleep(0.02)
        self.url = f"http://{said[1]}"
        statsd = re.search(r"statsd at (\S+?);", self.output()[written:])
        self.statsd = statsd[1] if statsd else ""

    @property
    def statsd_port(self) -> int:
        """The UDP port."""
        return int(self.statsd.rpartition(":")[2])

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        """All it wrote."""
        return self.log.read_text(errors="replace")

    def get(self, *path: str, token: str = "", **parameters: Any) -> Any:
        """The JSON at ``/api/v1/<path>``."""
        given = {key: value for key, value in parameters.items() if value is not None}
        url = f"{self.url}/api/v1/{'/'.join(path)}"
        if given:
            url += "?" + urlencode(given, doseq=True)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with _opener.open(Request(url, headers=headers), timeout=30) as answer:
            return json.load(answer)

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can tell."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start it again on the same tables, at new ports."""
        self.stop()
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(tmp_path: Path, **settings: Any) -> Collector:
    """A collector that is ready to be sent to."""
    return Collector(tmp_path, **settings)
