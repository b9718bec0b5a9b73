"""One way a dialect executes statements, measured; the specification of ``_sql.c``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.trace import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

IMPLEMENTATION: Final = "python"

_current: Final = CURRENT.get


class Execute:
    """Stands where ``dialect.do_execute`` (or ``_executemany``, ``_no_params``) stood.

    `known` finds by its text what is known of a statement, a tuple that begins with the
    ``record`` of its timer; what is not there is asked of ``find(statement)``. Inside a request
    that is traced or joined the call goes to ``traced(original, found, cursor, statement,
    ...)``. ``failed(error)`` counts what the database raised; it passes unchanged.
    """

    __slots__ = ("original", "known", "find", "traced", "failed", "elapsed_ns")

    def __init__(
        self,
        original: Callable[..., Any],
        known: Mapping[str, tuple[Any, ...]],
        find: Callable[[str], tuple[Any, ...]],
        traced: Callable[..., Any],
        failed: Callable[[BaseException], None],
        elapsed_ns: Callable[[], int],
    ) -> None:
        self.original = original
        self.known = known
        self.find = find
        self.traced = traced
        self.failed = failed
        self.elapsed_ns = elapsed_ns

    def __call__(self, cursor: Any, statement: str, *rest: Any, **named: Any) -> Any:
        """Execute the statement."""
        found = self.known.get(statement) or self.find(statement)
        if _current() is not None:
            return self.traced(self.original, found, cursor, statement, *rest, **named)
        started = self.elapsed_ns()
        try:
            result = self.original(cursor, statement, *rest, **named)
        except BaseException as error:
            found[0](self.elapsed_ns() - started)
            self.failed(error)
            raise
        found[0](self.elapsed_ns() - started)
        return result
