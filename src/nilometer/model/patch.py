"""What the settings say of one `[[patch]]`: which functions, and what is to be made of them."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from nilometer.model.level import Level

MAKES: Final = ("timer", "counter", "span", "event")
"""What can be made of a function; the first is what a patch makes that does not say."""

NAMES: Final = {
    "timer": "{module}.{qualname}",
    "span": "{module}.{qualname}",
    "counter": "{module}.{qualname}.calls",
    "event": "{module}.{qualname}.raised",
}
"""The name by what is made: several patches of one function never clash unless told to."""

RETURNED: Final = "return"
"""Where a path begins that leads into the result: no parameter can be called so."""

_WILD: Final = frozenset("*?[")


class Step(NamedTuple):
    """One step of a path: an attribute, or a key."""

    name: str
    is_key: bool


class ArgumentPath(NamedTuple):
    """Where in a call a dimension's value lies: ``context.project_id``, ``instance[host]``.

    It starts at a parameter, by name or by position from 0, or at the result.
    """

    start: str
    steps: tuple[Step, ...] = ()

    def __str__(self) -> str:
        return self.start + "".join(
            f"[{s.name}]" if s.is_key else f".{s.name}" for s in self.steps
        )


@dataclass(frozen=True, slots=True)
class Patch:
    """Functions of a module that is not ours, and what is made of each of them.

    `parts` are patterns for the names of classes and, last, of the function. Of patches that
    are each other's `either` (same origin) the first one that matches counts: Tach's files do
    not tell a class from a module. A `tach` hook returns what Tach's did.
    """

    module: str
    parts: tuple[str, ...]
    make: str = MAKES[0]
    name: str = ""
    level: Level = Level.BASIC
    dimensions: tuple[tuple[str, ArgumentPath], ...] = ()
    hook: str = ""
    result_hook: str = ""
    amount: int = 1
    origin: str = "default"
    tach: bool = False
    either: bool = False

    def __str__(self) -> str:
        return self.target

    @property
    def target(self) -> str:
        """As it is written: ``module:Class.function``."""
        return f"{self.module}:{'.'.join(self.parts)}"

    @property
    def sees_results(self) -> bool:
        """Whether it can only be told when the function has returned."""
        return bool(self.result_hook) or any(p.start == RETURNED for _, p in self.dimensions)

    def name_of(self, qualname: str) -> str:
        """What is made of this function is called so.

        >>> Patch("shop.cart", ("Cart", "add")).name_of("Cart.add")
        'shop.cart.Cart.add'
        >>> Patch("shop.cart", ("*",), name="shop.{class}.{function}").name_of("total")
        'shop.total'
        """
        owner, _, function = qualname.rpartition(".")
        template = self.name or NAMES[self.make]
        said = {
            "module": self.module,
            "qualname": qualname,
            "class": owner,
            "function": function,
        }
        parts = template.format_map(said).split(".")
        return ".".join(part for part in parts if part)


def is_wild(pattern: str) -> bool:
    """Whether a part of a target stands for several names."""
    return not _WILD.isdisjoint(pattern)


def fits(pattern: str, name: str) -> bool:
    """Whether a name is meant, as in a shell: what begins with ``_`` only if that is written.

    >>> fits("*instance*", "terminate_instance"), fits("*", "_private"), fits("_*", "_private")
    (True, False, True)
    """
    return fnmatchcase(name, pattern) and (pattern.startswith("_") or not name.startswith("_"))
