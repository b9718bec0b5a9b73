"""What `import nilometer` costs: CPU time of fresh interpreters with and without it, paired."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import Any

from bench.pairs import median_bounds, spread_of

PAIRS = 15
TARGET_MS = 20.0
# What a service touches at once: the package alone loads nearly nothing before that.
USED = "import nilometer; nilometer.timer; nilometer.span"


def cpu_ms(code: str, compiled: str) -> float:
    """User and system time of one interpreter that runs this code.

    What it imports lies compiled in a folder, as pip leaves it where a service runs.
    """
    told = {"PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **told}, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1e3


def measure_import() -> dict[str, Any]:
    """The median difference; the first, uncounted, run compiles and fills the page cache."""
    with TemporaryDirectory() as folder:
        cpu_ms(USED, folder)
        added = [cpu_ms(USED, folder) - cpu_ms("pass", folder) for _ in range(PAIRS)]
    low, high = median_bounds(added)
    said = "met" if high <= TARGET_MS else "missed" if low > TARGET_MS else "within noise"
    return {
        "import_ms": round(statistics.median(added), 2),
        "spread": round(spread_of(added), 2),
        "target_ms": TARGET_MS,
        "verdict": said,
    }
