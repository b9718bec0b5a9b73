"""Functions that settings patch: what a decorated one costs, and what dimensions add."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bench import subjects
from bench.pairs import Loop, calls
from nilometer.integrations.patching import Patching
from nilometer.measure import REGISTRY
from nilometer.setting_patches import patches

if TYPE_CHECKING:
    from collections.abc import Callable

    Case = Callable[[], tuple[Loop, Loop]]

MODULE = "bench_patched"


def patched(arguments: tuple[Any, ...] = (1, 2), **table: Any) -> Case:
    """Loops of the bare function and of the same one in a module that is patched."""

    def pair() -> tuple[Loop, Loop]:
        module: Any = ModuleType(MODULE)
        module.work = subjects.work
        sys.modules[MODULE] = module
        Patching(patches([{"target": f"{MODULE}:work", **table}], "bench")).begin()
        return calls(subjects.work, *arguments), calls(module.work, *arguments)

    return pair


def taken_off() -> tuple[Loop, Loop]:
    """The level is off, so that the function itself lies there again."""
    REGISTRY.set_level(MODULE, "off")
    return patched()()


BY_ARGUMENT = {"tenant": "a"}
BY_ATTRIBUTE = {"tenant": "a.__class__.__name__"}

CASES = {
    "patched timer": patched(),
    "patched timer, by an argument": patched(("acme", "x"), dimensions=BY_ARGUMENT),
    "patched timer, by an attribute": patched(("acme", "x"), dimensions=BY_ATTRIBUTE),
    "patched timer, by the result": patched(("acme", "x"), dimensions={"found": "return"}),
    "patched timer off": taken_off,
    "patched counter": patched(make="counter"),
    "patched counter, by an argument": patched(
        ("acme", "x"), make="counter", dimensions=BY_ARGUMENT
    ),
    "patched span untraced": patched(make="span"),
    "patched span untraced, by an argument": patched(
        ("acme", "x"), make="span", dimensions=BY_ARGUMENT
    ),
    "patched event, nothing raised": patched(make="event", dimensions=BY_ARGUMENT),
}
