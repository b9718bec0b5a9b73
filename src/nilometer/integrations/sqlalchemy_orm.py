"""SQLAlchemy's ORM: time of its queries with the objects that they load, and of its writes.

A query takes its time in two parts: it is executed, and later, when its result is read, its
objects are loaded, perhaps piece by piece. In between the service does something else. So its
duration is the sum, and in a traced request each part is a span of its own.
"""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.clock import elapsed_ns
from nilometer.integrations import costs
from nilometer.integrations.calls import OPERATIONS_MAX, Call, Calls
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY
from nilometer.model import SpanKind
from nilometer.trace import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nilometer.integrations.calls import Inside, Operation
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


class Model(NamedTuple):
    """Queries of one model: their series, and both of their parts in a traced request."""

    operation: Operation
    query: Inside
    load: Inside


class Loading:
    """Stands where a result has what gives its objects, in chunks; with it a query ends.

    The query is complete when its result was read to the end. Only that refers to this, so it
    ends, too, when the result is closed or forgotten. What is loaded while the query is still
    executing is in that time; then `model` is None.
    """

    __slots__ = ("model", "spent", "_chunks")

    def __init__(self, chunks: Callable[[Any], Iterable[Any]]) -> None:
        self.model: Model | None = None
        self.spent = 0
        self._chunks = chunks

    def __call__(self, size: Any) -> Iterator[Any]:
        """The objects in chunks of so many; without a size in one."""
        given = iter(self._chunks(size))
        while True:
            model = self.model
            chunk = next(given, None) if model is None else self._load(model, given)
            if chunk is None:
                break
            yield chunk
            if not size:
                break
        self.end()

    def end(self) -> None:
        """Record the query, once."""
        model, self.model = self.model, None
        if model is not None:
            model.operation.record(self.spent)

    __del__ = end

    def _load(self, model: Model, given: Iterator[Any]) -> Any:
        """The next chunk of objects; None if there is none."""
        started = elapsed_ns()
        try:
            if CURRENT.get() is None:
                return next(given, None)
            return model.load[model.operation.calls.depth.deep](given, None)
        except BaseException as error:
            model.operation.calls.failed(model.operation.dimensions, error)
            raise
        finally:
            self.spent += elapsed_ns() - started


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
        known: dict[str, Model] = {}
        depth, current = self.queries.depth, CURRENT.get

        def execute(session: Any, statement: Any, *args: Any, **named: Any) -> Any:
            if not depth.on or named.get("_parent_execute_state") is not None:
                return original(session, statement, *args, **named)
            name = model_of(statement)
            if name is None:
                return original(session, statement, *args, **named)
            if getattr(statement, "is_dml", False):
                with self.writing("write", name):
                    return original(session, statement, *args, **named)
            model = known.get(name) or self._model(known, name, original)
            run = original if current() is None else model.query[depth.deep]
            started = elapsed_ns()
            try:
                result = run(session, statement, *args, **named)
            except BaseException as error:
                model.operation.record(elapsed_ns() - started)
                self.queries.failed(model.operation.dimensions, error)
                raise
            spent = elapsed_ns() - started
            chunks = getattr(result, "chunks", None)
            if chunks.__class__ is Loading:
                chunks.spent, chunks.model = spent, model
            else:
                model.operation.record(spent)
            return result

        return update_wrapper(execute, original)

    def _model(
        self, known: dict[str, Model], name: str, original: Callable[..., Any]
    ) -> Model:
        shown = {"model": name}
        operation = self.queries.known(name) or self.queries.operation(name, name, shown)
        made = Model(
            operation,
            self.queries.inside(original, f"query {name}", shown),
            self.queries.inside(next, f"load {name}", shown),
        )
        if len(known) < OPERATIONS_MAX:
            known[name] = made
        return made

    def flushing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For the place of the method by which sessions flush what is not clean."""

        def flush(*args: Any, **named: Any) -> Any:
            if not self.writes.depth.on:
                return original(*args, **named)
            with self.writing("flush"):
                return original(*args, **named)

        return update_wrapper(flush, original)

    def saving(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For the place of the method by which sessions write in bulk without a statement."""

        def save(session: Any, mapper: Any, *args: Any, **named: Any) -> Any:
            if not self.writes.depth.on:
                return original(session, mapper, *args, **named)
            with self.writing("write", getattr(mapper, "class_", mapper).__name__):
                return original(session, mapper, *args, **named)

        return update_wrapper(save, original)

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
        _patches.swap(Session, executing, models.executing)
        _patches.swap(Session, "_flush", models.flushing)
        _patches.swap(Session, "_bulk_save_mappings", models.saving)
        _patches.swap(loading, "ChunkedIteratorResult", results)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()
