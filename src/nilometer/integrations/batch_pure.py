"""What stands where clients execute batches of commands: the specification of ``batch.h``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from nilometer.integrations.asked_pure import Standing
from nilometer.trace import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_current = CURRENT.get


class Stack(NamedTuple):
    """Where a client keeps a batch: all its attributes by name.

    `commands` is a list of (arguments of a command, options). A batch is called `plain`, or
    `transaction` where one of `flags` is true.
    """

    commands: str
    plain: str
    transaction: str
    flags: tuple[str, ...]

    def read(self, client: Any) -> tuple[str, list[object]]:
        """What the batch is called, and the names of its commands."""
        name = self.plain
        for flag in self.flags:
            if getattr(client, flag):
                name = self.transaction
                break
        return name, [args[0] for args, _ in getattr(client, self.commands)]


def shape_of(stack: Stack, client: Any) -> tuple[object, ...] | None:
    """What the batch of a client is called, and the names of its commands: one tuple; None if
    it is otherwise than expected."""
    try:
        name, commands = stack.read(client)
    except Exception:  # noqa: BLE001  another version's
        return None
    return name, *commands


class Counted(NamedTuple):
    """A command's name, and what adds to the number of those that were sent in batches."""

    name: str
    add: Callable[[int], None]


class Batch(Standing):
    """Stands where a client executes a batch of commands.

    Outside of requests that are traced or joined, a batch of names that `known` finds is
    counted by their ``add``, and what `runs` has by the batch's name executes it. All else is
    ``choose``'s: it is given the arguments, and gives what is called with them. While `on` is
    False it only passes on.
    """

    __slots__ = ("_choose", "_known", "_runs", "_stack")

    def __init__(
        self,
        original: Callable[..., Any],
        choose: Callable[..., Callable[..., Any]],
        known: Mapping[object, Counted],
        runs: Mapping[str, Callable[..., Any]],
        stack: Stack,
    ) -> None:
        super().__init__(original)
        self._choose = choose
        self._known = known
        self._runs = runs
        self._stack = stack

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        """Execute the batch."""
        if not self.on or not args:
            return self.__wrapped__(*args, **named)
        run = self._counted(args[0]) if _current() is None else None
        return (run or self._choose(*args, **named))(*args, **named)

    def _counted(self, client: Any) -> Callable[..., Any] | None:
        """What executes this batch, if its commands are all known and now counted."""
        try:
            name, commands = self._stack.read(client)
            run = self._runs[name]
            counts: dict[Callable[[int], None], int] = {}
            for given in commands:
                add = self._known[given].add
                counts[add] = counts.get(add, 0) + 1
        except Exception:  # noqa: BLE001  new, or otherwise than expected: `choose` will say
            return None
        for add, count in counts.items():
            add(count)
        return run if counts else None
