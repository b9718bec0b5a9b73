"""OSProfiler's tracing of SQLAlchemy: an engine's own dialect is measured, without listeners.

Event listeners cost 3.4 us a statement even when empty. They remain for what is no engine (a
session, a pool, a test's double), and there an error ends the point of its own statement only.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import sqlalchemy as ours

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from nilometer.measure import Registry

MARK: Final = "_nilometer_point"
"""On the execution context of a statement whose point is open."""


class Database:
    """What takes the place of the functions of ``osprofiler.sqlalchemy``."""

    def __init__(self, module: ModuleType, registry: Registry) -> None:
        self._module: Any = module
        self._registry = registry

    def adding(self, original: Callable[..., None]) -> Callable[..., None]:
        """`add_tracing`: for an engine that of our own integration."""

        @wraps(original)
        def add_tracing(
            sqlalchemy: Any, engine: Any, name: str, hide_result: bool = True
        ) -> None:
            if self._module._DISABLED:
                return
            if _is_engine(engine):
                ours.instrument(engine, registry=self._registry)
            else:
                original(sqlalchemy, engine, name, hide_result=hide_result)

        return add_tracing

    def beginning(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The listener before a statement: notes that there is one to end."""

        @wraps(original)
        def before(name: str) -> Callable[..., None]:
            handler = original(name)

            def begin(
                conn: Any, cursor: Any, statement: Any, params: Any, context: Any, many: Any
            ) -> None:
                _note(context, True)
                handler(conn, cursor, statement, params, context, many)

            return begin

        return before

    def ending(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The listener after a statement."""

        @wraps(original)
        def after(hide_result: bool = True) -> Callable[..., None]:
            handler = original(hide_result=hide_result)

            def end(
                conn: Any, cursor: Any, statement: Any, params: Any, context: Any, many: Any
            ) -> None:
                _note(context, False)
                if not hide_result and not hasattr(cursor, "_rows"):  # PyMySQL's alone
                    return self._module.profiler.stop()  # type: ignore[no-any-return]
                return handler(conn, cursor, statement, params, context, many)  # type: ignore[no-any-return]

            return end

        return after

    def failing(self, original: Callable[..., None]) -> Callable[..., None]:
        """The listener of errors: one before or after a statement ends no point of another."""

        @wraps(original)
        def handle_error(exception_context: Any) -> None:
            context = exception_context.execution_context
            if context is None or not getattr(context, MARK, False):
                return
            _note(context, False)
            original(exception_context)

        return handle_error


def _note(context: Any, is_open: bool) -> None:
    try:
        setattr(context, MARK, is_open)
    except AttributeError:
        return  # a dialect of somebody's whose contexts take no attributes


def _is_engine(engine: Any) -> bool:
    dialect = getattr(getattr(engine, "sync_engine", engine), "dialect", None)
    return isinstance(getattr(dialect, "name", None), str)
