"""Whether this process is a uWSGI, which is known before uWSGI's own module is there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

AS_MODULE: Final = "pyuwsgi"
"""uWSGI as a module of a Python that runs already, which becomes a uWSGI by it."""


def is_here() -> bool:
    """Whether the program of this process is a uWSGI, or has imported one to become it."""
    if AS_MODULE in sys.modules:
        return True
    try:
        return "uwsgi" in Path("/proc/self/exe").resolve().name.lower()
    except OSError:
        return False
