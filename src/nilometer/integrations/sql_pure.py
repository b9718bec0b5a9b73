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

    `known` finds by its text what is known of a statement: a tuple of the ``record`` of its
    timer and of the original with a span around it, which runs inside a request that is traced
    or joined. What is not there is asked of ``find(statement)``. ``failed(error)`` counts what
    the database raised; it passes unchanged.
    """

    __slots__ = ("original", "known", "find", "failed", "elapsed_ns")

    def __init__(
        self,
        original: Callable[..., Any],
        known: Mapping[str, tuple[Any, ...]],
        find: Callable[[str], tuple[Any, ...]],
        failed: Callable[[BaseException], None],
        elapsed_ns: Callable[[], int],
    ) -> None:
        self.original = original
        self.known = known
        self.find = find
        self.failed = failed
        self.elapsed_ns = elapsed_ns

    def __call__(self, cursor: Any, statement: str, *rest: Any, **named: Any) -> Any:
        """Execute the statement."""
        found = self.known.get(statement) or self.find(statement)
        execute = self.original if _current() is None else found[1]
        started = self.elapsed_ns()
        try:
            result = execute(cursor, statement, *rest, **named)
        except BaseException as error:
            found[0](self.elapsed_ns() - started)
            self.failed(error)
            raise
        found[0](self.elapsed_ns() - started)
        return result
