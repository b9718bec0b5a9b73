"""What an instrument is like just now: for whoever asks, as `nilometer doctor` does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nilometer.measure.events import EventSource
    from nilometer.measure.family import Instrument
    from nilometer.model import Level


class InstrumentState(NamedTuple):
    """One instrument, as `nilometer doctor` shows it."""

    name: str
    kind: str
    unit: str
    level: Level
    on: bool
    series: int
    overflowed: int
    origin: str


def states_of(made: Iterable[Instrument | EventSource]) -> tuple[InstrumentState, ...]:
    """The state of each, in this order."""
    return tuple(map(_state_of, made))


def _state_of(one: Instrument | EventSource) -> InstrumentState:
    return InstrumentState(
        one.name,
        one.kind,
        one.unit,
        one.level,
        one.on,
        one.series_count,
        one.overflowed,
        one.origin,
    )
