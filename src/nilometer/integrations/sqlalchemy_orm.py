"""SQLAlchemy's ORM: time of its queries with the objects that they load, and of its writes.

A query takes its time in two parts: it is executed, and later, when its result is read, its
objects are loaded, perhaps piece by piece. In between the service does something else. So its
duration is the sum, and in a traced request each part is a span of its own.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import elapsed_ns
from nilometer.integrations.callers import where
from nilometer.integrations.calls import Call, Calls
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY
from nilometer.model import SpanKind
from nilometer.trace import span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nilometer.integrations.calls import Operation
    from nilometer.measure import Registry

_patches: Final = Patches()
_models: Final[list[Models]] = []
_executing: Final[ContextVar[Query | None]] = ContextVar("nilometer.query", default=None)


def model_of(statement: Any) -> str | None:
    """The name of the model that an ORM statement is about; None if it is not the ORM's.

    ``OTHER`` is what the ORM reads without a model, as a count of something.
    """
    attributes = getattr(statement, "_propagate_attrs", None)
    if not attributes or attributes.get("compile_state_plugin") != "orm":
        return None
    mapper = getattr(attributes.get("plugin_subject"), "mapper", None)
    return mapper.class_.__name__ if mapper is not None else "OTHER"


class Query:
    """One query of the ORM, from its execution until nobody can read its result any more.

    It is complete when its result was read to the end. Only that refers to it, so it ends, too,
    when the result is closed or forgotten.
    """

    __slots__ = ("_operation", "_spent", "_is_executing")

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._spent: int | None = 0
        self._is_executing = True

    def execute(self, original: Callable[..., Any], args: Any, named: Any) -> Any:
        """Execute it, as the original does."""
        token = _executing.set(self)
        started = elapsed_ns()
        try:
            with self._span("query"):
                result = original(*args, **named)
        except BaseException as error:
            self._add(elapsed_ns() - started, error)
            self._end()  # the error may be kept for long, and with it this
            raise
        finally:
            _executing.reset(token)
            self._is_executing = False
        self._add(elapsed_ns() - started)
        return result

    def loading(self, chunks: Callable[[Any], Iterable[Any]]) -> Callable[[Any], Iterator[Any]]:
        """In the place of what gives the objects of a result, in chunks."""

        def load(size: Any) -> Iterator[Any]:
            given = iter(chunks(size))
            while (chunk := self._next(given)) is not None:
                yield chunk
                if not size:  # that was all
                    break
            if not self._is_executing:
                self._end()

        return load

    def _next(self, chunks: Iterator[Any]) -> Any:
        if self._is_executing:  # what is loaded meanwhile is in that time
            return next(chunks, None)
        started = elapsed_ns()
        try:
            with self._span("load"):
                chunk = next(chunks, None)
        except BaseException as error:
            self._add(elapsed_ns() - started, error)
            raise
        self._add(elapsed_ns() - started)
        return chunk

    def _span(self, part: str) -> Any:
        operation = self._operation
        made = span(f"{part} {operation.name}", **operation.attributes)
        if made.recording and operation.calls.depth.deep:
            made.set_attributes(where())
        return made

    def _add(self, spent: int, error: BaseException | None = None) -> None:
        if self._spent is not None:
            self._spent += spent
        if error is not None:
            self._operation.calls.failed(self._operation.dimensions, error)

    def _end(self) -> None:
        spent, self._spent = self._spent, None
        if spent is not None:
            self._operation.record(spent)

    __del__ = _end


class Models:
    """What is measured of an ORM's models in one registry."""

    __slots__ = ("queries", "writes")

    def __init__(self, registry: Registry) -> None:
        self.queries = Calls(
            "sqlalchemy_orm",
            "db.client.orm.query",
            description="Queries of an ORM, with the loading of their objects.",
            kind=SpanKind.INTERNAL,
            registry=registry,
        )
        self.writes = Calls(
            "sqlalchemy_orm",
            "db.client.orm.flush",
            description="Writes of an ORM: flushes of sessions, and what they write in bulk.",
            kind=SpanKind.INTERNAL,
            registry=registry,
        )

    def executing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For the place of the method by which sessions execute statements."""

        def execute(session: Any, statement: Any, *args: Any, **named: Any) -> Any:
            if not self.queries.depth.on or named.get("_parent_execute_state") is not None:
                return original(session, statement, *args, **named)
            model = model_of(statement)
            if model is None:
                return original(session, statement, *args, **named)
            if getattr(statement, "is_dml", False):
                with self.writing("write", model):
                    return original(session, statement, *args, **named)
            operation = self.queries.known(model) or self.queries.operation(
                model, model, {"model": model}
            )
            return Query(operation).execute(original, (session, statement, *args), named)

        return execute

    def flushing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For the place of the method by which sessions flush what is not clean."""

        def flush(*args: Any, **named: Any) -> Any:
            if not self.writes.depth.on:
                return original(*args, **named)
            with self.writing("flush"):
                return original(*args, **named)

        return flush

    def saving(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For the place of the method by which sessions write in bulk without a statement."""

        def save(session: Any, mapper: Any, *args: Any, **named: Any) -> Any:
            if not self.writes.depth.on:
                return original(session, mapper, *args, **named)
            with self.writing("write", getattr(mapper, "class_", mapper).__name__):
                return original(session, mapper, *args, **named)

        return save

    def writing(self, how: str, model: str = "") -> Call:
        """For a ``with`` statement around a write; a flush is of any number of models."""
        calls = self.writes
        return Call(
            calls.known(model)
            or calls.operation(
                model, f"{how} {model}".rstrip(), {"model": model} if model else {}
            )
        )

    def end(self) -> None:
        """Measure nothing any more."""
        self.queries.depth.end()
        self.writes.depth.end()


def _results(original: Callable[..., Any]) -> Callable[..., Any]:
    """For the place of the class of results that load objects."""

    def made(metadata: Any, chunks: Any, *args: Any, **named: Any) -> Any:
        query = _executing.get()
        if query is not None:
            chunks = query.loading(chunks)
        return original(metadata, chunks, *args, **named)

    return made


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure every session; False if that is done already.

    AttributeError if this SQLAlchemy is built otherwise; then it is left as it was.
    """
    if _patches.active:
        return False
    from sqlalchemy.orm import Session, loading

    models = Models(registry)
    executing = "_execute_internal" if hasattr(Session, "_execute_internal") else "execute"
    _models.append(models)
    try:
        _patches.replace(Session, executing, models.executing)
        _patches.replace(Session, "_flush", models.flushing)
        _patches.replace(Session, "_bulk_save_mappings", models.saving)
        _patches.swap(loading, "ChunkedIteratorResult", _results)
    except BaseException:
        uninstall()
        raise
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()
    while _models:
        _models.pop().end()
