"""The most memory that this program ever held."""

from __future__ import annotations

from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Final

STATUS: Final = Path("/proc/self/status")
KIB: Final = 1024  # in which Linux tells memory


def peak_kib() -> int:
    """What /proc tells of this program alone, in KiB.

    `getrusage` begins with the peak of whoever started it: under a test runner of a gigabyte
    every program has "held" a gigabyte. Without /proc it is all there is.
    """
    try:
        lines = STATUS.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, ValueError, StopIteration):
        return getrusage(RUSAGE_SELF).ru_maxrss
