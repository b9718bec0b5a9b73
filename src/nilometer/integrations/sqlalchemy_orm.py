"""SQLAlchemy's ORM: time of its queries with the objects that they load, and of its writes.

A query takes its time in two parts: it is executed, and later, when its result is read, its
objects are loaded, perhaps piece by piece. In between the service does something else. So its
duration is the sum, and in a traced request each part is a span of its own.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import elapsed_ns
from nilometer.integrations import costs, databases, faults
from nilometer.integrations.calls import OPERATIONS_MAX, Call, Calls
from nilometer.integrations.orm_pure import Model, model_of
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY
from nilometer.model import SpanKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

_patches: Final = Patches()


class Models:
    """What is measured of an ORM's models in one registry."""

    __slots__ = ("queries", "writes", "_known", "_standing", "_registry")

    def __init__(self, registry: Registry) -> None:
        self.queries = Calls(
            "sqlalchemy_orm",
            "db.client.orm.query",
            description="Queries of an ORM, with the loading of their objects.",
            kind=SpanKind.INTERNAL,
            registry=registry,
            rests=True,
        )
        self.writes = Calls(
            "sqlalchemy_orm",
            "db.client.orm.flush",
            description="Writes of an ORM: flushes of sessions, and what they write in bulk.",
            kind=SpanKind.INTERNAL,
            registry=registry,
            rests=True,
        )
        self._known: dict[str, Model] = {}
        self._standing: list[Any] = []  # what stands in the library's places
        self._registry = registry
        registry.costs_also("db.client.orm.query", costs.orm_query)
        registry.followers.append(self.follow)

    def follow(self) -> None:
        """Take over what the levels say now; spans are made otherwise deep down."""
        for one in self._standing:
            one.on = self.queries.depth.on
        self._known.clear()

    def executing(self, original: Callable[..., Any]) -> Any:
        """For the place of the method by which sessions execute statements."""

        def write(session: Any, statement: Any, *args: Any, **named: Any) -> Any:
            with self.writing("write", model_of(statement) or ""):
                return original(session, statement, *args, **named)

        unknown = Model(_nothing, _nothing, original, next)

        def find(name: str) -> Model:
            try:
                return self._model(original, name)
            except Exception as error:  # noqa: BLE001  it is executed all the same
                faults.ours("sqlalchemy_orm", "a query", error, self._registry)
                return unknown

        return self._stand(databases.Query(original, self._known, find, write, elapsed_ns))

    def results(self, original: Callable[..., Any]) -> Any:
        """For the place of the class of results that load objects."""
        return self._stand(databases.Results(original, elapsed_ns))

    def _stand(self, made: Any) -> Any:
        made.on = self.queries.depth.on
        self._standing.append(made)
        return made

    def _model(self, original: Callable[..., Any], name: str) -> Model:
        shown = {"model": name}
        deep, queries = self.queries.depth.deep, self.queries
        made = Model(
            queries.record_for(shown),
            partial(queries.failed, shown),
            queries.inside(original, f"query {name}", shown)[deep],
            queries.inside(next, f"load {name}", shown)[deep],
        )
        if len(self._known) < OPERATIONS_MAX:
            self._known[name] = made
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
            written = getattr(mapper, "class_", mapper)
            with self.writing("write", str(getattr(written, "__name__", ""))):
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
        with suppress(ValueError):
            self._registry.followers.remove(self.follow)
        self.queries.depth.end()
        self.writes.depth.end()
        self.follow()


def _nothing(_: object) -> None:
    """Record nothing."""


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
        _patches.swap(loading, "ChunkedIteratorResult", models.results)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()
