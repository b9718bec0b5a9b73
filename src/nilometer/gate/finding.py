"""A counter that moved, by how much, and how the runs before it say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nilometer.gate.attribution import Part
    from nilometer.gate.bound import Bound
    from nilometer.gate.history import Key
    from nilometer.gate.stability import Standing


@dataclass(frozen=True, slots=True)
class Finding:
    """A counter that moved: from what it was expected to be, in the work of this run.

    `scales` is how far, in what is usual for it. `since` is told of a lasting change that
    nobody accepted: the run it began with. `went_away` is told of a run that others followed in
    which the counter was back. `is_first`: it never moved before, which is advice and no alarm.
    """

    key: Key
    unit: str
    now: float
    expected: float
    scales: float
    standing: Standing
    bound: Bound | None = None
    parts: tuple[Part, ...] = ()
    went_away: str = ""
    since: str = ""
    is_first: bool = False

    @property
    def delta(self) -> float:
        """By how much it moved."""
        return self.now - self.expected

    @property
    def share(self) -> float | None:
        """The same as a share of what was expected; None from zero."""
        return self.delta / abs(self.expected) if self.expected else None


def change(finding: Finding) -> str:
    """``mysql:Com_select +40 (+5.0 %)``."""
    share = "from 0" if finding.share is None else f"{finding.share * 100:+.1f} %"
    return f"{finding.key} {finding.delta:+.6g} ({share})"
