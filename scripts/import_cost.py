"""What importing Nilometer costs a service: CPU time, best of several fresh interpreters.

Not a test: a time on a busy machine proves nothing. What is imported is tested, by
tests/house/test_imports.py. Both figures count what the interpreter had not loaded by itself.
The files are compiled into a folder by the first, as they are by pip where a service runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

SRC = Path(__file__).parent.parent / "src"
ROUNDS = 20  # the best of twenty is steady within 3 % here; a single one is not within 50 %
TARGET_MS = 20.0
CASES = {
    "import nilometer": "import nilometer",
    "and its instruments and spans": (
        "import nilometer; nilometer.counter, nilometer.timer, nilometer.span, nilometer.traced"
    ),
}
PROGRAM = """
import sys, time
sys.path.insert(0, {src!r})
before, started_ns = set(sys.modules), time.process_time_ns()
{code}
print(time.process_time_ns() - started_ns, len(set(sys.modules) - before))
"""


def measure(code: str) -> tuple[float, int]:
    """Milliseconds of CPU time, and modules loaded, in an interpreter without site-packages."""
    command = [sys.executable, "-S", "-c", PROGRAM.format(src=str(SRC), code=code)]
    with TemporaryDirectory() as compiled:
        told = {"PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
        said = [
            subprocess.check_output(command, text=True, env={**os.environ, **told}).split()
            for _ in range(ROUNDS)
        ]
    return min(int(cpu_ns) for cpu_ns, _ in said) / 1e6, int(said[0][1])


def main() -> None:
    """Print each case; with ``--json`` for machines."""
    results = {name: measure(code) for name, code in CASES.items()}
    if "--json" in sys.argv:
        print(json.dumps({name: {"ms": ms, "modules": n} for name, (ms, n) in results.items()}))
        return
    for name, (ms, modules) in results.items():
        verdict = "met" if ms < TARGET_MS else "MISSED"
        print(
            f"{name:32} {ms:6.1f} ms  {modules:3} modules  (target {TARGET_MS:g} ms: {verdict})"
        )


if __name__ == "__main__":
    main()
