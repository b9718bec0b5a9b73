"""Where in the user's code a call comes from: the innermost frame that is no library's."""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_FOLDERS: Final = frozenset(["site-packages", "dist-packages"])
_LIBRARIES: Final = tuple(
    {
        os.path.join(path, "")  # noqa: PTH118 - a prefix ends with a separator
        for path in (
            *(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib")),
            str(Path(__file__).parent.parent),
        )
    }
)
_CONNECTING: Final = str(Path("django", "db", "backends", "base", "base.py"))

_root = ""


def show_files_from(root: str) -> None:
    """Files below this folder are shown without it."""
    global _root
    _root = os.path.join(root, "")  # noqa: PTH118
    _shown.cache_clear()


def caller(*, not_through: tuple[str, ...] = ()) -> str | None:
    """``file:line in function``; empty if no frame is the user's.

    None if one of the packages `not_through` is in between, and where Django connects:
    what it asks a server then is nobody's statement, as which test would count it is a matter
    of which comes first. SQLAlchemy tells nobody of its own.
    """
    for frame in _frames():
        code = frame.f_code
        file = _shown(code.co_filename)
        if file is not None:
            return f"{file}:{frame.f_lineno} in {_function(frame)}"
        if not_through and str(frame.f_globals.get("__name__")).startswith(not_through):
            return None
        if code.co_name == "connect" and code.co_filename.endswith(_CONNECTING):
            return None
    return ""


def where() -> dict[str, str | int]:
    """The same as attributes of a span, by OpenTelemetry's names; none if nobody's is found."""
    for frame in _frames():
        file = _shown(frame.f_code.co_filename)
        if file is not None:
            return {
                "code.file.path": file,
                "code.line.number": frame.f_lineno,
                "code.function.name": _function(frame),
            }
    return {}


def _function(frame: FrameType) -> str:
    return frame.f_code.co_qualname.replace(".<locals>", "")


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


@lru_cache(maxsize=10_000)  # files, 200 bytes each; a large program has some thousand
def _shown(file: str) -> str | None:
    """How a file of the user is shown, or None for one of a library."""
    if file.startswith(("<", *_LIBRARIES)) or not _FOLDERS.isdisjoint(Path(file).parts):
        return None
    root = _root or os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118
    return file.removeprefix(root)
