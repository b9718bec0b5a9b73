"""What a page shows at first, and what its script asks for after that.

Quantiles are read out of all buckets of all series, all else out of sums; operations are put
together of all notifications. Where that would take longer than one waits, the page comes
without them, and its script asks for it once more, with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.store.rolled import GRID_NS

if TYPE_CHECKING:
    from nilometer.web.moments import Window

AT_ONCE: Final = 3000
"""So many series, times five minutes, are merged in a tenth of a second."""

NOTIFICATIONS: Final = 10_000
"""So many are put together to operations in two tenths of a second."""


def has_quantiles(asked: bool | None, series: int, window: Window, times: int = 1) -> bool:
    """Whether quantiles of so many series are read at once, of as many such times; `asked` is
    what the address says, if it says anything."""
    if asked is not None:
        return asked
    return series * times * (window.lasts_ns // GRID_NS) <= AT_ONCE
