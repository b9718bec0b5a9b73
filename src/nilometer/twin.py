"""The one place that chooses between a C file and its Python twin.

``NILOMETER_PURE_PYTHON=1`` asks for the Python twins. ``NILOMETER_REQUIRE_C=1`` makes a missing
C file an ImportError instead of a silent, several times slower fallback: CI sets it.
The Python file is the specification: types are taken from it, and one test-suite runs on both.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from types import ModuleType


class Choice(NamedTuple):
    """Which twin of a package runs, and why; `nilometer doctor` prints these."""

    package: str
    implementation: str  # "c" or "python"
    because: str


SLOWER = (
    "several times slower than the C core; for that install a compiler and "
    "Python's headers (on Debian gcc and python3-dev), then Nilometer again"
)

CHOICES: dict[str, Choice] = {}
"""By package, in the order they were chosen."""


def choose(pure: str, compiled: str) -> ModuleType:
    """Import the compiled twin if it may and can be had, else the pure one; remember why.

    Both are full module names; the package they are chosen for is the compiled one's parent.
    """
    package = compiled.rpartition(".")[0]
    if os.environ.get("NILOMETER_PURE_PYTHON", "") not in ("", "0"):
        because = "NILOMETER_PURE_PYTHON is set"
    else:
        try:
            module = import_module(compiled)
        except ImportError as error:
            if os.environ.get("NILOMETER_REQUIRE_C", "") not in ("", "0"):
                raise
            because = f"{error}: {SLOWER}"
        else:
            CHOICES[package] = Choice(package, "c", "the compiled twin is installed")
            return module
    CHOICES[package] = Choice(package, "python", because)
    return import_module(pure)
