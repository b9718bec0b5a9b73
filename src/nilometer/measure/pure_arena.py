"""Where values of the pure twin lie: in the handles, unless they are to outlive the process."""

from __future__ import annotations

from os import close
from typing import Any


class Arena:
    """Where the values lie. Here in the handles themselves; the C twin has one region.

    Once it was asked to lie in a file, there is one here, too: see region.py.
    """

    __slots__ = ("bytes_used", "errors_missed", "file", "refused", "region")

    def __init__(self) -> None:
        self.bytes_used = 0
        self.file = -1
        self.region: Any = None  # a Region of region.py
        self.refused = 0
        self.errors_missed = 0

    def lie_in(self, file: int, /) -> None:
        """Move the region into an open file, the arena's from now on. Raises OSError."""
        from nilometer.measure.lasting import PLACED  # only for those who need it
        from nilometer.measure.region import Region

        if self.file >= 0:
            raise ValueError("the arena lies in a file already")
        region = self.region or Region(self, PLACED)
        region.move_to(file)
        self.region, self.file = region, file

    def leave(self) -> None:
        """Go on in memory, and close the file, if there is one."""
        if self.region is not None and self.file >= 0:
            self.region.leave()
            file, self.file = self.file, -1
            if self.region.is_its(file):
                close(file)
