"""A backend for tests, as a package of somebody else would bring it: counters in a file.

``fake:///path/of/file``: each read moves ``reads`` by one, as reading a real server does.
``?settle_s=`` is by how much it says that its figures lag.
`bump` is what a command does to move the others.
"""

from __future__ import annotations

import fcntl
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nilometer.counters.backend import BackendError
from nilometer.counters.figures import Fact, Figures
from nilometer.model.dimensions import dimensions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MEANING = "a fake"


def find(_surroundings: object) -> list[object]:
    """Nowhere by itself."""
    return []


@contextmanager
def state(path: str) -> Iterator[dict[str, Any]]:
    """What the file holds, to be changed."""
    with Path(path).open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        value = json.load(stream)
        yield value
        stream.seek(0)
        stream.truncate()
        json.dump(value, stream)


class Fake:
    """The counters in a file."""

    name = "fake"

    def __init__(self, path: str, settle_s: float = 0.0) -> None:
        self.instance = path
        self.settle_s = settle_s
        self.pids: list[int] = []

    def read(self) -> Figures:
        try:
            with state(self.instance) as value:
                value["reads"] = value.get("reads", 0) + 1
                values = {
                    (name, ()): n for name, n in value.items() if name not in ("start", "parts")
                }
                for name, parts in value.get("parts", {}).items():
                    values |= {(name, dimensions_of({"part": p})): n for p, n in parts.items()}
        except (OSError, ValueError) as error:
            raise BackendError(f"fake at {self.instance}: {error}") from None
        return Figures(values, str(value.get("start", "start-1")), "1.0")

    def facts(self) -> dict[str, Fact]:
        return {"calls": Fact("calls", from_zero=True)}

    def of_process(self, pid: int) -> None:
        self.pids.append(pid)

    def close(self) -> None:
        """Nothing is open."""


def connect(target: Any) -> Fake:
    """The backend at a target."""
    return Fake(target.path, float(target.option("settle_s", "0")))


def bump(path: str, name: str, by: int) -> None:
    """What a command does."""
    with state(path) as value:
        value[name] = value.get(name, 0) + by


if __name__ == "__main__":
    bump(sys.argv[1], sys.argv[2], int(sys.argv[3]))
