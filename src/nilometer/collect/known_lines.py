"""Lines of statsd that came before with another value: they need not be read again.

A line is known by all but its value: ``requests:`` and ``|c|#tenant:a``. What it says besides
was understood when it came first, so that only a number is left to read and a series to move.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.collect.series import Counted, Kept, Timed
from nilometer.wire.statsd import SampleType

if TYPE_CHECKING:
    from nilometer.collect.series import Series
    from nilometer.wire.statsd import Sample

KNOWN_MAX: Final = 50_000
LINE_BYTES_MAX: Final = 256  # with as many as may be known some 25 MB, whatever is sent
DIGITS_MAX: Final = 15  # all these are exact in a double, and far from any limit

_NAME: Final = re.compile(rb"[^:|,;#\[\s]+")
"""Names that carry no dimensions, and no events: the colon after them is before the value."""


class Known(NamedTuple):
    """The series that a line moves, and how."""

    series: Counted | Kept | Timed
    weight: float
    is_timer: bool


class KnownLines:
    """Lines by the text before and after their value."""

    __slots__ = ("_known", "get")

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes], Known] = {}
        self.get = self._known.get

    def remember(self, line: bytes, sample: Sample, series: Series) -> None:
        """That a line was this sample, and no other, if another number makes another value."""
        name, _, rest = line.partition(b":")
        _, _, said = rest.partition(b"|")
        if not isinstance(series, Counted | Kept | Timed):
            return
        if len(line) > LINE_BYTES_MAX or not _NAME.fullmatch(name):
            return
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        is_timer = sample.type is SampleType.TIMER
        self._known[name, said] = Known(series, sample.weight, is_timer)

    def forget(self) -> None:
        """Know nothing: of the series some are gone."""
        self._known.clear()


def number(text: bytes) -> float | None:
    """A number of plain digits, with a point or without; None for all that is written else.

    >>> number(b"12"), number(b"0.5"), number(b"+1"), number(b"1e3"), number(b"1.")
    (12, 0.5, None, None, None)
    """
    if text.isdigit():
        return int(text) if len(text) <= DIGITS_MAX else None
    whole, _, part = text.partition(b".")
    if whole.isdigit() and part.isdigit() and max(len(whole), len(part)) <= DIGITS_MAX:
        return float(text)
    return None
