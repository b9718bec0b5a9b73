"""Snapshots of several backends at once: none waits for another, none is lost by another."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.counters.backend import BackendError
from nilometer.counters.snapshot import Snapshot, snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.clock import Clock
    from nilometer.counters.backend import Backend

PATIENCE_S: Final = 20.0
"""A backend connects in 2 s and answers in 10 s or gives up; this is for one that does not."""


class Unread(NamedTuple):
    """A backend that could not be read, and why."""

    backend: str
    instance: str
    because: str


class Gatherer:
    """Reads backends at once, as often as asked; one that hangs is left alone meanwhile."""

    def __init__(
        self, backends: Sequence[Backend], clock: Clock, *, patience_s: float = PATIENCE_S
    ) -> None:
        self.backends = tuple(backends)
        self._clock = clock
        self._patience_s = patience_s
        self._reading: dict[int, Thread] = {}

    def gather(self, backends: Sequence[Backend] | None = None) -> list[Snapshot | Unread]:
        """All backends now, or only these, in their order. What cannot be read is told."""
        chosen = self.backends if backends is None else backends
        results: dict[int, Snapshot | Unread] = {}
        for backend in chosen:
            self._begin(backend, results)
        until_ns = self._clock.elapsed_ns() + int(self._patience_s * 1e9)
        for backend in chosen:
            left_s = (until_ns - self._clock.elapsed_ns()) / 1e9
            self._reading[id(backend)].join(max(0.0, left_s))
        hangs = f"has not answered for {self._patience_s:g} s"
        return [
            results.get(id(b))
            or Unread(b.name, b.instance, f"{b.name} at {b.instance} {hangs}")
            for b in chosen
        ]

    def _begin(self, backend: Backend, results: dict[int, Snapshot | Unread]) -> None:
        """Start reading, unless an earlier read has not come back: calls must not overlap."""
        earlier = self._reading.get(id(backend))
        if earlier is not None and earlier.is_alive():
            return

        def read() -> None:
            results[id(backend)] = read_once(backend, self._clock)

        thread = Thread(target=read, name=f"nilometer-{backend.name}", daemon=True)
        self._reading[id(backend)] = thread
        thread.start()

    def close(self) -> list[str]:
        """Let go of all connections, but of those that hang; what went wrong with it."""
        faults: list[str] = []
        for backend in self.backends:
            reading = self._reading.get(id(backend))
            if reading is None or not reading.is_alive():
                try:
                    backend.close()
                except (Exception, SystemExit) as error:  # noqa: BLE001 - as in read_once
                    faults.append(f"{_where(backend)}: close: {type(error).__name__}: {error}")
        return faults


def read_once(backend: Backend, clock: Clock) -> Snapshot | Unread:
    """A snapshot, or why there is none; a fault of a backend must not take the others along."""
    try:
        return snapshot(backend, clock)
    except BackendError as error:
        because = str(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - somebody else's may raise anything
        because = f"{_where(backend)}: {type(error).__name__}: {error}"
    return Unread(backend.name, backend.instance, because)


def _where(backend: Backend) -> str:
    return f"{backend.name} at {backend.instance}"
