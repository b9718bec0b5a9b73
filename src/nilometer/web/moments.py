"""The time that a page shows, as its address says it: what is relative stays so."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from pydantic import AfterValidator

from nilometer.api.moments import iso_8601
from nilometer.api.parameters import plain
from nilometer.api.problems import unusable
from nilometer.model.moments import duration_ns, moment_ns
from nilometer.store.rolled import GRID_NS

if TYPE_CHECKING:
    from nilometer.clock import Clock

SINCE: Final = "1h"
LONGER_NS: Final = 6 * GRID_NS  # of half an hour, five minutes more are no other picture

QUICK: Final = (
    ("15m", "15 minutes"),
    ("1h", "hour"),
    ("6h", "6 hours"),
    ("24h", "day"),
    ("7d", "week"),
)
"""What one chooses with a click: as it stands in the address, and in words."""

_AGO: Final = re.compile(r"[0-9.]+[a-z]+")


def _checked(text: str) -> str:
    moment_ns(plain(text))
    return text.strip()


MomentText = Annotated[str, AfterValidator(_checked)]
"""A moment as REST takes it, kept as it was written."""


class Window(NamedTuple):
    """From when to when: as written, and in nanoseconds; `until_ns` is None while it is now."""

    since: str
    until: str
    since_ns: int
    until_ns: int | None
    now_ns: int

    @property
    def ended_ns(self) -> int:
        """Where it ends, be that now."""
        return self.now_ns if self.until_ns is None else self.until_ns

    @property
    def lasts_ns(self) -> int:
        """How long it is."""
        return self.ended_ns - self.since_ns

    @property
    def is_live(self) -> bool:
        """Whether it goes on: ends now, whenever one looks."""
        return self.until_ns is None

    @property
    def exact(self) -> dict[str, str]:
        """The same for ever: `since` and `until` that mean what they mean now."""
        return {"since": iso_8601(self.since_ns), "until": iso_8601(self.ended_ns)}

    def on_grid(self) -> Window:
        """A longer time that goes on, begun at the full five minutes before: tables know what
        happened in those without reading it again."""
        if not self.is_live or self.lasts_ns < LONGER_NS:
            return self
        return self._replace(since_ns=self.since_ns // GRID_NS * GRID_NS)

    @property
    def begun(self) -> str:
        """When it began, to the second."""
        return f"{_short(self.since_ns)} UTC"

    @property
    def words(self) -> str:
        """What it is called in a heading: `last 15 minutes`, or its two ends."""
        quick = dict(QUICK).get(self.since)
        if self.is_live and _AGO.fullmatch(self.since):
            return f"last {quick or self.since}"
        until = "now" if self.is_live else _short(self.ended_ns)
        return f"{_short(self.since_ns)} to {until} UTC"


def window(since: str, until: str, clock: Clock) -> Window:
    """The time between two moments as written; without `until` it ends now.

    Raises Refusal if it ends before it begins.
    """
    now_ns = clock.wall_ns()
    since_ns = _from(since or SINCE, now_ns)
    until_ns = None if until in ("", "now") else _from(until, now_ns)
    ended_ns = now_ns if until_ns is None else until_ns
    if ended_ns <= since_ns:
        raise unusable("until", until or "now", f"it must be later than since ({since})")
    return Window(since or SINCE, until, since_ns, until_ns, now_ns)


def _from(text: str, now_ns: int) -> int:
    return max(now_ns - duration_ns(text), 0) if _AGO.fullmatch(text) else moment_ns(text)


def _short(at_ns: int) -> str:
    return iso_8601(at_ns)[:19].replace("T", " ")
