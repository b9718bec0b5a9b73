"""Whether measuring is well in this process, as health checks: each with its reason if not."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.export.pump import Pump

STEPS: Final = 60
"""Steps of 5 s that a loss is told of: whoever looks once in 5 minutes sees it."""


class Health:
    """The pump, each exporter, and what was lost lately; `lost` counts that since the start."""

    def __init__(self, pump: Pump, lost: Callable[[], int]) -> None:
        self._pump = pump
        self._lost = lost
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Forget what the parent lost."""
        self._before: deque[int] = deque([0], maxlen=STEPS)

    def step(self) -> None:
        """Note what is lost so far; to be called every 5 s."""
        self._before.append(self._lost())

    def checks(self) -> dict[str, tuple[bool, str]]:
        """By name: whether it is well, and why not."""
        pump = self._pump
        runs = pump.is_running or not pump.outlets
        found = {"pump": (runs, "" if runs else "it does not run: nothing is sent")}
        for outlet in pump.outlets:
            state = outlet.state
            found[state.name] = (state.healthy, "" if state.healthy else state.because)
        lost = self._lost() - self._before[0]
        because = f"{lost} lost in the last 5 minutes; nilometer.lost says what and why"
        found["losses"] = (not lost, because if lost else "")
        return found
