"""What every thread, greenlet and task of this process is at, as text.

Laid out as Java's thread dumps. Greenlets and tasks are looked for among all objects of the
process, 10 ms for each 200,000 of them, and only where their libraries are loaded.
"""

from __future__ import annotations

import gc
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

FRAMES_MAX: Final = 100  # of one stack, the innermost
STACKS_MAX: Final = 2000  # greenlets and tasks; a service has that many connections


def dump() -> str:
    """All of it."""
    names = {thread.ident: thread for thread in threading.enumerate()}
    found = []
    for ident, frame in sorted(sys._current_frames().items()):
        thread = names.get(ident)
        name = thread.name if thread is not None else "unknown"
        kind = " daemon" if thread is not None and thread.daemon else ""
        number = f" native={thread.native_id}" if thread is not None else ""
        found.append(_stack(f'"{name}"{kind} id={ident}{number}', _lines(frame)))
    found += _green_and_asynchronous()
    return "\n\n".join(found) + "\n"


def _stack(title: str, lines: Iterable[str]) -> str:
    return "\n".join([title, *lines])


def _lines(frame: FrameType | None) -> Iterator[str]:
    """The innermost call first, as Java has it; the source's lines are not read."""
    walked = traceback.walk_stack(frame) if frame is not None else ()
    for at, (each, line) in enumerate(walked):
        if at == FRAMES_MAX:
            yield "    ... and more"
            return
        code = each.f_code
        yield f"    at {code.co_qualname}({code.co_filename}:{line})"


def _green_and_asynchronous() -> list[str]:
    greenlet = getattr(sys.modules.get("greenlet"), "greenlet", None)
    task = getattr(sys.modules.get("asyncio"), "Task", None)
    kinds = tuple(kind for kind in (greenlet, task) if isinstance(kind, type))
    if not kinds:
        return []
    # By their types: `isinstance` would ask proxies for theirs, which may do anything.
    found: list[Any] = [one for one in gc.get_objects() if issubclass(type(one), kinds)]
    told = []
    for one in found:
        if isinstance(one, task) if task else False:
            if not one.done():
                frames = one.get_stack(limit=FRAMES_MAX)
                told.append(_stack(f'task "{one.get_name()}"', _of_task(frames)))
        elif one and one.gr_frame is not None:  # begun, not ended, and not what runs now
            told.append(_stack(f"greenlet id={id(one):#x}", _lines(one.gr_frame)))
        if len(told) == STACKS_MAX:
            return [*told, f"... and more than {STACKS_MAX} greenlets and tasks"]
    return told


def _of_task(frames: list[FrameType]) -> Iterator[str]:
    for frame in reversed(frames):
        code = frame.f_code
        yield f"    at {code.co_qualname}({code.co_filename}:{frame.f_lineno})"
