"""What `import nilometer` costs: CPU time of fresh interpreters with and without it, paired."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from typing import Any

from bench.pairs import median_bounds, spread_of

PAIRS = 15
TARGET_MS = 20.0
# What a service touches at once: the package alone loads nearly nothing before that.
USED = "import nilometer; nilometer.timer; nilometer.span"


def cpu_ms(code: str) -> float:
    """User and system time of one interpreter that runs this code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], env=os.environ, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1e3


def measure_import() -> dict[str, Any]:
    """The median difference; the first, uncounted, run fills the page cache."""
    cpu_ms(USED)
    added = [cpu_ms(USED) - cpu_ms("pass") for _ in range(PAIRS)]
    low, high = median_bounds(added)
    said = "met" if high <= TARGET_MS else "missed" if low > TARGET_MS else "within noise"
    return {
        "import_ms": round(statistics.median(added), 2),
        "spread": round(spread_of(added), 2),
        "target_ms": TARGET_MS,
        "verdict": said,
    }
