"""Servers of a demonstration: started in order, watched until they are up, ended by pid."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from nilometer.cli import terminal
from nilometer.cli.exits import Exit

if TYPE_CHECKING:
    from pathlib import Path

READY_S_MAX = 30.0
END_S_MAX = 10.0
LOG_CHARACTERS_SHOWN = 3000  # the last screen of a log: a traceback and what came before it

# No proxy: an environment's http_proxy is meant for the world, not for this machine.
_opener = build_opener(ProxyHandler({}))


def free_port() -> int:
    """A port on loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """One server: its command, its log file, the URL that answers once it is up."""

    def __init__(
        self, name: str, command: list[str], *, folder: Path, ready: str, env: dict[str, str]
    ) -> None:
        self.name = name
        self.ready = ready
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Any HTTP answer will do; a process that ends first is shown with its log."""
        until = time.monotonic() + READY_S_MAX
        while time.monotonic() < until and self._process.poll() is None:
            try:
                _opener.open(self.ready, timeout=1).close()
            except HTTPError:
                return
            except (URLError, OSError):
                time.sleep(0.05)
            else:
                return
        said = self.log.read_text(errors="replace")[-LOG_CHARACTERS_SHOWN:]
        terminal.stop(f"{self.name} did not come up; it said:\n{said}", Exit.UNREACHABLE)

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
        """Start one more and wait until it answers at `ready`."""
        process = Process(name, list(command), folder=self._folder, ready=ready, env=env)
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
