"""The one place that chooses between a C file and its Python twin.

``NILOMETER_PURE_PYTHON=1`` asks for the Python twins. ``NILOMETER_REQUIRE_C=1`` makes a missing
C file an ImportError instead of a silent, several times slower fallback: CI sets it.
The Python file is the specification: types are taken from it, and one test-suite runs on both.

A C file built from other sources than lie here, as by ``git pull`` without a build, would lack
what newer Python files ask of it: it is taken for missing. setup.py compiles into each what
`sources_of` says of it, which is compared when it is loaded.
"""

import os

# importlib.util's, whose own import costs as much as all that is done here, half a millisecond.
from _imp import source_hash
from importlib import import_module
from types import ModuleType
from typing import Final, NamedTuple


class Choice(NamedTuple):
    """Which of two twins runs, and why; `nilometer doctor` prints these."""

    module: str  # the C one
    implementation: str  # "c" or "python"
    because: str


SLOWER = (
    "several times slower than the C core; for that install a compiler and "
    "Python's headers (on Debian gcc and python3-dev), then Nilometer again"
)

CHOICES: dict[str, Choice] = {}
"""By the C module, in the order they were chosen."""

_FOLDER: Final = os.path.dirname(__file__)  # noqa: PTH120 (pathlib costs two milliseconds)
_HASH_KEY: Final = int.from_bytes(b"nilo")


def choose(pure: str, compiled: str) -> ModuleType:
    """Import the compiled twin if it may and can be had, else the pure one; remember why.

    Both are full module names.
    """
    if os.environ.get("NILOMETER_PURE_PYTHON", "") not in ("", "0"):
        because = "NILOMETER_PURE_PYTHON is set"
    else:
        try:
            module = _fitting(compiled)
        except ImportError as error:
            if os.environ.get("NILOMETER_REQUIRE_C", "") not in ("", "0"):
                raise
            because = f"{error}: {SLOWER}"
        else:
            CHOICES[compiled] = Choice(compiled, "c", "the compiled twin is installed")
            return module
    CHOICES[compiled] = Choice(compiled, "python", because)
    return import_module(pure)


def _fitting(compiled: str) -> ModuleType:
    """That module, if it was built from what lies here; ImportError if it was not."""
    try:
        module = import_module(compiled)
        built_from = module.SOURCES
    except ImportError:
        raise
    except Exception:  # noqa: BLE001 (a stale one may ask our modules for anything)
        built_from = None
    try:
        wanted = sources_of(_FOLDER, compiled)
    except OSError:  # removed after all was installed together, as images are made small
        wanted = built_from or ""
    if built_from != wanted:
        raise ImportError(f"{compiled} was built from other sources than these", name=compiled)
    return module


def sources_of(package: str, compiled: str) -> str:
    """What stands for the text of a C module's file and of all headers of ours it reaches.

    `package` is the folder of `nilometer`. OSError where they are not to be had.
    """
    texts: dict[str, bytes] = {}
    missing = [compiled.partition(".")[2].replace(".", "/") + ".c"]
    while missing:
        name = missing.pop()
        if name not in texts:
            with open(f"{package}/{name}", "rb") as file:  # noqa: PTH123 (as above)
                texts[name] = file.read()
            includes = texts[name].split(b'\n#include "')[1:]
            missing += [line.partition(b'"')[0].decode() for line in includes]
    return source_hash(_HASH_KEY, b"".join(texts[name] for name in sorted(texts))).hex()
