"""The triggers of whatever system runs at the moment of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.trace.trigger import HEADERS, Triggers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nilometer.trace import Joined, Trace


class ConfiguredTriggers(Triggers):
    """Those that ``current()`` answers when a request comes; none where it answers none.

    So an application may be put into its middleware before `configure`, and after it again.
    """

    def __init__(self, current: Callable[[], Triggers | None]) -> None:
        super().__init__()
        self._current = current

    def accept(
        self, headers: Callable[[str], str | None], names: Sequence[str] = HEADERS
    ) -> Trace | Joined | None:
        """What the system's triggers say; never raises."""
        triggers = self._current()
        return None if triggers is None else triggers.accept(headers, names)

    def begin(self) -> Trace:
        """A trace that begins here, signed onward by the first key of the system."""
        triggers = self._current()
        return super().begin() if triggers is None else triggers.begin()
