"""What Nilometer measures of itself: its cost, its deliveries, what waits to be delivered.

These are ordinary instruments, sent with all others: so the state of a process can be asked
for from outside, where its metrics are kept. `nilometer.lost` counts whatever was lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.measure import REGISTRY

# The pump's thread asks for it. A thread that imports while another one forks leaves the child
# a module lock that nobody lets go of: what our threads use must be imported before they start.
from nilometer.measure import overhead as _asked_for_by_the_pump  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.export import Outlet
    from nilometer.measure import Registry
    from nilometer.measure.twin import Counter


_LOST: Final = REGISTRY.counter("nilometer.lost", description="What we lost, and why.")


def lost(what: str, reason: str, exporter: str, rows: int) -> None:
    """Count what an exporter did not get or did not take."""
    _LOST.bind(what=what, reason=reason, exporter=exporter).add(rows)


class Own:
    """Nilometer's own instruments for one set of outlets."""

    def __init__(self, registry: Registry, outlets: Sequence[Outlet]) -> None:
        self._registry = registry
        self._outlets = tuple(outlets)
        overhead = registry.counter(
            "nilometer.overhead",
            unit="ns",
            description="CPU time Nilometer took: recording (estimated), export (measured).",
        )
        self._recording = overhead.bind(part="recording")
        self._export = overhead.bind(part="export")
        self._recorded_ns = 0
        self._spent_ns = 0
        self._delivered = registry.counter(
            "nilometer.delivered",
            unit="{row}",
            description="Readings, spans and events that an exporter's receiver took.",
        )
        self._merged = registry.counter(
            "nilometer.merged",
            unit="{row}",
            description="Readings that became part of a later one: a full buffer merges first.",
        )
        self._buffered = registry.gauge(
            "nilometer.buffered",
            unit="{row}",
            description="Readings, spans and events that wait for an exporter.",
        )
        self._told: dict[tuple[Counter, str], int] = {}

    def tell_of(self, outlet: Outlet) -> None:
        """One more outlet, from now on."""
        self._outlets = (*self._outlets, outlet)

    def spent(self, ns: int) -> None:
        """Take down CPU time that the pump's threads took."""
        self._spent_ns += ns  # several threads: one in a million may be missed, of our own cost

    def tell(self) -> None:
        """Bring the instruments up to date; just before they are collected."""
        recorded_ns = self._registry.overhead()
        if recorded_ns > self._recorded_ns:  # it begins again in a forked child
            self._recording.add(recorded_ns - self._recorded_ns)
        self._recorded_ns = recorded_ns
        spent_ns, self._spent_ns = self._spent_ns, 0
        self._export.add(spent_ns)
        for outlet in self._outlets:
            state = outlet.state
            self._moved(self._delivered, state.name, state.delivered)
            self._moved(self._merged, state.name, state.merged)
            self._buffered.bind(exporter=state.name).set(state.buffered)

    def _moved(self, counter: Counter, exporter: str, rows: int) -> None:
        before = self._told.get((counter, exporter), 0)
        if rows != before:  # it begins again in a forked child
            counter.bind(exporter=exporter).add(rows - before if rows > before else rows)
            self._told[counter, exporter] = rows
