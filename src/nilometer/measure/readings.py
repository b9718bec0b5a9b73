"""What instruments have to say of one interval, as readings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.model import Distribution, Kind, Reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nilometer.measure.family import Instrument

KINDS: Final = {"counter": Kind.COUNTER, "gauge": Kind.GAUGE, "timer": Kind.DISTRIBUTION}


def readings_of(
    instruments: Iterable[Instrument], started_ns: int, ended_ns: int
) -> Iterator[Reading]:
    """Take what each has to say, and say it of the time between these two, by the wall clock.

    What a timer recorded is counted a second time by its tally, if it has one that is on.
    """
    for one in instruments:
        timed = one.kind == "timer"
        for dimensions, value in one.taken():
            yield Reading(
                one.name,
                KINDS[one.kind],
                dimensions,
                Distribution(*value) if timed else value,
                started_ns,
                ended_ns,
                one.unit,
                one.description,
            )
            tally = one.tally
            if tally is not None and tally.on:
                yield Reading(
                    tally.name,
                    Kind.COUNTER,
                    dimensions,
                    value[0],
                    started_ns,
                    ended_ns,
                    tally.unit,
                    tally.description,
                )
