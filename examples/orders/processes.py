"""The processes of the example: started in order, watched, and ended by their own pid."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[2]
READY_S_MAX = 30.0
END_S_MAX = 10.0


def free_port() -> int:
    """A port on loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """One server: its command, its log file, the URL that answers once it is up."""

    def __init__(self, name: str, command: list[str], *, folder: Path, ready: str, **env: str):
        self.name = name
        self.ready = ready
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Any HTTP answer will do; a process that ends first is shown with its log."""
        until = time.monotonic() + READY_S_MAX
        while time.monotonic() < until and self._process.poll() is None:
            try:
                urlopen(self.ready, timeout=1).close()
            except HTTPError:
                return
            except (URLError, OSError):
                time.sleep(0.05)
            else:
                return
        raise SystemExit(
            f"{self.name} did not come up; it said:\n{self.log.read_text()[-3000:]}"
        )

    def stop(self) -> None:
        """Ask it to end, as an operator would; a server that does not is killed."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(END_S_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class Processes:
    """All of them; leaving the block ends them in the opposite order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[Process] = []

    def start(self, name: str, *command: str, ready: str, **env: str) -> Process:
        process = Process(name, list(command), folder=self._folder, ready=ready, **env)
        self._running.append(process)
        process.wait_until_ready()
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running):
            process.stop()


def nilometer(*arguments: str) -> list[str]:
    """The command line of this very checkout."""
    return [sys.executable, "-m", "nilometer", *arguments]
