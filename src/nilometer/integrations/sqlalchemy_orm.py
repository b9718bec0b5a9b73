"""SQLAlchemy's ORM: time of its queries with the objects that they load, and of its writes.

A query takes its time in two parts: it is executed, and later, when its result is read, its
objects are loaded, perhaps piece by piece. In between the service does something else. So its
duration is the sum, and in a traced request each part is a span of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import elapsed_ns
from nilometer.integrations import costs
from nilometer.integrations.callers import where
from nilometer.integrations.calls import Call, Calls
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY
from nilometer.model import SpanKind
from nilometer.trace import CURRENT, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nilometer.integrations.calls import Operation
    from nilometer.measure import Registry

_patches: Final = Patches()


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

    __slots__ = ("_operation", "_spent")

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._spent: int | None = 0

    def execute(self, original: Callable[..., Any], args: Any, named: Any) -> Any:
        """Execute it, as the original does."""
        started = elapsed_ns()
        try:
            if CURRENT.get() is None:
                result = original(*args, **named)
            else:
                with self._span("query"):
                    result = original(*args, **named)
        except BaseException as error:
            self._failed(started, error)
            self.end()  # the error may be kept for long, and with it this
            raise
        self._spent = elapsed_ns() - started
        chunks = getattr(result, "chunks", None)
        if chunks.__class__ is Loading:
            chunks.query = self
        return result

    def load(self, chunks: Iterator[Any]) -> Any:
        """The next chunk of its objects; None if there is none."""
        started = elapsed_ns()
        try:
            if CURRENT.get() is None:
                chunk = next(chunks, None)
            else:
                with self._span("load"):
                    chunk = next(chunks, None)
        except BaseException as error:
            self._failed(started, error)
            raise
        if self._spent is not None:
            self._spent += elapsed_ns() - started
        return chunk

    def end(self) -> None:
        """Record it, once."""
        spent, self._spent = self._spent, None
        if spent is not None:
            self._operation.record(spent)

    __del__ = end

    def _span(self, part: str) -> Any:
        operation = self._operation
        made = span(f"{part} {operation.name}", **operation.attributes)
        if made.recording and operation.calls.depth.deep:
            made.set_attributes(where())
        return made

    def _failed(self, started: int, error: BaseException) -> None:
        if self._spent is not None:
            self._spent += elapsed_ns() - started
        self._operation.calls.failed(self._operation.dimensions, error)


class Loading:
    """Stands where a result has what gives its objects, in chunks.

    What is loaded while the query is still executing is in that time; then `query` is None.
    """

    __slots__ = ("query", "_chunks")

    def __init__(self, chunks: Callable[[Any], Iterable[Any]]) -> None:
        self.query: Query | None = None
        self._chunks = chunks

    def __call__(self, size: Any) -> Iterator[Any]:
        """The objects in chunks of so many; without a size in one."""
        given = iter(self._chunks(size))
        while True:
            query = self.query
            chunk = next(given, None) if query is None else query.load(given)
            if chunk is None:
                break
            yield chunk
            if not size:
                break
        if self.query is not None:
            self.query.end()


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

        registry.costs_also("db.client.orm.query", costs.orm_query)

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


def results(original: Callable[..., Any]) -> Callable[..., Any]:
    """For the place of the class of results that load objects."""

    def made(metadata: Any, chunks: Any, *args: Any, **named: Any) -> Any:
        return original(metadata, Loading(chunks), *args, **named)

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
    _patches.also_end(models)
    with _patches:
        _patches.replace(Session, executing, models.executing)
        _patches.replace(Session, "_flush", models.flushing)
        _patches.replace(Session, "_bulk_save_mappings", models.saving)
        _patches.swap(loading, "ChunkedIteratorResult", results)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()
