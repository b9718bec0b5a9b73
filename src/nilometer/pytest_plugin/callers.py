"""Where in the user's code a call comes from: the innermost frame that is neither library's."""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType

_FOLDERS: Final = ("site-packages", "dist-packages")
_LIBRARIES: Final = tuple(
    {
        os.path.join(path, "")  # noqa: PTH118 - a prefix ends with a separator
        for path in (
            *(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib")),
            str(Path(__file__).parent.parent),
        )
    }
)
_SETTING_UP: Final = str(Path("sqlalchemy", "engine", "create.py"))

_root = ""


def show_files_from(root: str) -> None:
    """Files below this folder are shown without it."""
    global _root
    _root = os.path.join(root, "")  # noqa: PTH118
    _shown.cache_clear()


def caller() -> str | None:
    """``file:line in function``; empty if no frame is the user's.

    None where a dialect asks the server what it is, once for each engine: nobody's statement,
    as which test would count it is a matter of which comes first.
    """
    for frame in _frames():
        code = frame.f_code
        shown = _shown(code)
        if shown is not None:
            return f"{shown[0]}:{frame.f_lineno} in {shown[1]}"
        if code.co_name == "first_connect" and code.co_filename.endswith(_SETTING_UP):
            return None
    return ""


def _frames() -> Iterator[FrameType]:
    """Those that lead here, the innermost first.

    With those that wait for this greenlet: SQLAlchemy's async engines run in one, and whoever
    awaits them is in its parent.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back
    greenlets = sys.modules.get("greenlet")
    greenlet = greenlets.getcurrent().parent if greenlets is not None else None
    while greenlet is not None:
        frame = greenlet.gr_frame
        while frame is not None:
            yield frame
            frame = frame.f_back
        greenlet = greenlet.parent


@lru_cache(maxsize=10_000)  # a large program's functions that come before a statement
def _shown(code: CodeType) -> tuple[str, str] | None:
    """How a function of the user is shown, or None for one of a library."""
    file = code.co_filename
    if file.startswith(("<", *_LIBRARIES)):
        return None
    if not set(_FOLDERS).isdisjoint(Path(file).parts):
        return None
    root = _root or os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118
    return file.removeprefix(root), code.co_name
