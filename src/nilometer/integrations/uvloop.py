"""uvloop's loops: which callbacks and coroutines hold them.

It runs its callbacks in C, where nobody sees it. So they are put into one of ours when they are
handed to the loop: what is called soon or later, and with it each step of a task. Protocols are
called and the loop waits within C, and cannot be measured.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from operator import call
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.asyncio import called
from nilometer.integrations.event_loops import SLOW_CALLBACK_S, Held, key_of, source_of
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from nilometer.measure import Registry

_patches: Final = Patches()

HANDED: Final = {"call_soon": 1, "call_soon_threadsafe": 1, "call_later": 2}
"""Where the callback stands among the arguments; ``call_at`` calls ``call_later``."""


def install(*, slow_callback_s: float = SLOW_CALLBACK_S, registry: Registry = REGISTRY) -> bool:
    """Measure what uvloop is handed from now on; False if that is done already."""
    if _patches.active:
        return False
    loop_class = import_module("uvloop").Loop
    held = Held("uvloop", "uvloop", slow_callback_s, registry)

    def told(callback: Any, elapsed: int) -> None:  # within the callback's context
        try:
            what = called(callback)
            held.tell(what, key_of(what), source_of, elapsed)
        except Exception as error:  # noqa: BLE001  ours, and none of the loop's
            held.failed(error)

    run = held.run(call, told)
    with _patches:
        _patches.also_end(held)
        for name, position in HANDED.items():
            _patches.swap(loop_class, name, partial(held.handing, run=run, position=position))
    return True


def uninstall() -> None:
    """Leave nothing behind; what was handed to a loop before is run unmeasured."""
    _patches.undo()
