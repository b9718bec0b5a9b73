"""One way to execute statements, measured: the specification of ``_sql.c``.

It has orm_pure.py, asked_pure.py and batch_pure.py, too.
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.asked_pure import Asked, Choice, Connecting, Switch
from nilometer.integrations.batch_pure import Batch, shape_of
from nilometer.integrations.orm_pure import Loading, Query, Results
from nilometer.integrations.statement import named_statement
from nilometer.trace import CURRENT

__all__ = [
    "IMPLEMENTATION",
    "Asked",
    "Batch",
    "Choice",
    "Connecting",
    "Execute",
    "Loading",
    "Query",
    "Results",
    "Switch",
    "shape_of",
]

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

IMPLEMENTATION: Final = "python"

_current: Final = CURRENT.get


class Execute:
    """Stands where a dialect's ``do_execute`` or a cursor's ``execute`` stood.

    Its first two arguments are the cursor and the statement, which may come by one of
    `STATEMENT_NAMES`, too. `known` finds by its text what is known of a statement: a tuple of
    the ``record`` of its timer and of the original with a span around it, which runs inside a
    request that is traced or joined. What is not there is asked of ``find(statement)``, None
    if there is no statement. ``failed(error)`` counts what the database raised, unless a third
    of the tuple does; it passes unchanged. While `on` is False it only passes on.
    """

    __slots__ = ("original", "known", "find", "failed", "elapsed_ns", "on")

    def __init__(
        self,
        original: Callable[..., Any],
        known: Mapping[Any, tuple[Any, ...]],
        find: Callable[[Any], tuple[Any, ...]],
        failed: Callable[[BaseException], None],
        elapsed_ns: Callable[[], int],
    ) -> None:
        self.original = original
        self.known = known
        self.find = find
        self.failed = failed
        self.elapsed_ns = elapsed_ns
        self.on = True

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        """Execute the statement."""
        if not self.on:
            return self.original(*args, **named)
        statement = args[1] if len(args) > 1 else named_statement(named)
        try:
            found = self.known.get(statement)
        except Exception:  # noqa: BLE001  made of objects, without a hash or with one that raises
            found = None
        found = found or self.find(statement)
        execute = self.original if _current() is None else found[1]
        started = self.elapsed_ns()
        try:
            result = execute(*args, **named)
        except BaseException as error:
            found[0](self.elapsed_ns() - started)
            (found[2] if len(found) > 2 else self.failed)(error)
            raise
        found[0](self.elapsed_ns() - started)
        return result

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """In a class of cursors it is a method."""
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name == "original":  # not yet set
            raise AttributeError(name)
        return getattr(self.original, name)

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """What it stands for."""
        return self.original
