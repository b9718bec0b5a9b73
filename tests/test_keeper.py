"""The next process sends what a killed one left, once; or leaves it to who can."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import nilometer
from nilometer import assembly
from nilometer.config import load
from nilometer.errors import ConfigError
from nilometer.measure import REGISTRY
from nilometer.testing import MemoryExporter, capture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nilometer.model import Batch

KILLED = """
import os, signal, sys, nilometer
nilometer.configure(service="shop", version="1", arena=sys.argv[1], interval_s=3600)
nilometer.counter("orders").add(int(sys.argv[2]))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def nothing_runs_before_or_after(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    assembly.shutdown()
    with capture():
        pass
    yield
    assembly.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "values"


@pytest.fixture
def killed(folder: Path) -> Callable[[int], None]:
    """A process of the service `shop` that counts so many orders and is killed."""
    without = {k: v for k, v in os.environ.items() if not k.startswith("NILOMETER_")}

    def kill(orders: int) -> None:
        command = [sys.executable, "-c", KILLED, str(folder), str(orders)]
        ran = subprocess.run(command, env=without, timeout=60, check=False)
        assert ran.returncode == -signal.SIGKILL

    return kill


def started(exporter: object, folder: Path) -> assembly.System:
    given = {"service": "next", "interval_s": 3600, "arena": str(folder)}
    return assembly.start(load(given, environ={}), [("memory", exporter)])  # type: ignore[list-item]


def orders(batches: list[Batch]) -> list[tuple[str, int]]:
    return [
        (batch.resource.service, reading.value)  # type: ignore[misc]
        for batch in batches
        for reading in batch.readings
        if reading.name == "orders"
    ]


def test_the_next_process_sends_what_a_killed_one_left_once(
    killed: Callable[[int], None], folder: Path
) -> None:
    exporter = MemoryExporter()
    killed(3)
    killed(4)
    started(exporter, folder)

    sent = [nilometer.flush() for _ in range(3)]

    assert sent == [True, True, True]
    assert sorted(orders(exporter.batches)) == [("shop", 3), ("shop", 4)]
    (mine,) = folder.iterdir()
    assert mine.name.startswith(f"{os.getpid()}-")


def test_files_stay_until_what_they_held_has_arrived(
    killed: Callable[[int], None], folder: Path
) -> None:
    class Down(MemoryExporter):
        def __call__(self, batch: Batch) -> None:
            raise OSError("nobody is there")

    killed(3)
    started(Down(), folder)
    assert not nilometer.flush()
    assembly.shutdown(0.1)
    left = list(folder.iterdir())
    exporter = MemoryExporter()
    started(exporter, folder)
    nilometer.flush()
    nilometer.flush()

    assert len(left) == 1
    assert orders(exporter.batches) == [("shop", 3)]
    assert left[0] not in folder.iterdir()


def test_of_processes_that_come_at_once_one_sends_it(
    killed: Callable[[int], None], folder: Path, tmp_path: Path
) -> None:
    """Four real processes, which all look at the same moment."""
    for n in range(5):
        killed(n + 1)
    program = """
import sys, nilometer
sys.stdin.readline()
nilometer.configure(service="next", arena=sys.argv[1], export=[sys.argv[2]], interval_s=3600)
nilometer.flush()
"""
    collectors = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(folder), f"file://{tmp_path}/{n}.jsonl"],
            stdin=subprocess.PIPE,
        )
        for n in range(4)
    ]
    for each in collectors:
        threading.Thread(target=each.communicate, args=(b"\n",)).start()
    for each in collectors:
        assert each.wait(60) == 0
    sent = "".join(path.read_text() for path in tmp_path.glob("*.jsonl"))

    assert sent.count('"orders"') == 5
    assert list(folder.iterdir()) == []


def test_what_cannot_be_read_is_said_and_counted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = MemoryExporter()
    folder.mkdir(0o700)
    (folder / "1-a.arena").write_text("no values")
    with caplog.at_level(logging.WARNING):
        started(exporter, folder)
        nilometer.flush()
        nilometer.flush()

    (said,) = (one.getMessage() for one in caplog.records)
    assert "1-a.arena: what a process left cannot be collected: it is none of Nilom" in said
    assert said.endswith("[arena-unreadable]")
    lost = {
        reading.dimensions
        for batch in exporter.batches
        for reading in batch.readings
        if reading.name == "nilometer.lost"
    }
    assert (("reason", "unreadable"), ("what", "arena")) in lost


def test_a_folder_that_will_not_do_is_refused_and_what_runs_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("NILOMETER_ARENA", str(folder))
    exporter = MemoryExporter()
    given = {"service": "first", "interval_s": 3600}
    system = assembly.start(load(given, environ={}), [("memory", exporter)])

    with pytest.raises(ConfigError, match=r"NILOMETER_ARENA: .* is open to writing by others"):
        nilometer.configure()

    assert assembly.current() is system


def test_after_shutdown_values_lie_in_memory_and_go_on(folder: Path) -> None:
    first, second = MemoryExporter(), MemoryExporter()
    started(first, folder)
    nilometer.counter("orders").add(1)
    assembly.shutdown()
    nilometer.counter("orders").add(2)
    is_gone = not list(folder.iterdir())
    started(second, folder)
    nilometer.counter("orders").add(4)
    nilometer.flush()

    assert is_gone
    assert REGISTRY.arena.file >= 0
    assert orders(first.batches) == [("next", 1)]
    assert orders(second.batches) == [("next", 6)]
