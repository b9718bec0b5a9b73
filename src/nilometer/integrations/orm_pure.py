"""Queries of an ORM, measured in both of their parts; the specification of ``orm.h``.

A query is executed, and later, when its result is read, its objects are loaded, perhaps piece
by piece. In between the service does something else. So its duration is the sum of both.
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

from nilometer.trace import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_current = CURRENT.get


class Model(NamedTuple):
    """What is known of the queries of one model.

    ``record(ns)`` takes their durations, ``failed(error)`` what they raised. `query` stands for
    the original and `load` for ``next`` where a request is traced or joined.
    """

    record: Callable[[int], None]
    failed: Callable[[BaseException], None]
    query: Callable[..., Any]
    load: Callable[..., Any]


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
    """Stands where a session has the method that executes statements.

    `known` finds a `Model` by its name, else ``find(name)`` makes it. ``write`` executes in the
    original's place what is the ORM's and no query. While `on` is False it only passes on, as
    it does what the ORM executes in the course of another statement of the same session.
    """

    __slots__ = ("__wrapped__", "known", "find", "write", "elapsed_ns", "on")

    def __init__(
        self,
        original: Callable[..., Any],
        known: Mapping[str, Model],
        find: Callable[[str], Model],
        write: Callable[..., Any],
        elapsed_ns: Callable[[], int],
    ) -> None:
        self.__wrapped__ = original
        self.known = known
        self.find = find
        self.write = write
        self.elapsed_ns = elapsed_ns
        self.on = True

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        """Execute the statement."""
        original = self.__wrapped__
        if not self.on or len(args) < 2 or named.get("_parent_execute_state") is not None:
            return original(*args, **named)
        name = model_of(args[1])
        if name is None:
            return original(*args, **named)
        if getattr(args[1], "is_dml", False):
            return self.write(*args, **named)
        model = self.known.get(name) or self.find(name)
        run = original if _current() is None else model.query
        started = self.elapsed_ns()
        try:
            result = run(*args, **named)
        except BaseException as error:
            model.record(self.elapsed_ns() - started)
            model.failed(error)
            raise
        spent = self.elapsed_ns() - started
        chunks = getattr(result, "chunks", None)
        if chunks.__class__ is Loading:
            chunks.begin(model, spent)
        else:
            model.record(spent)
        return result

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """In a class of sessions it is a method."""
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":  # not yet set
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)


class Results:
    """Stands for the class of results that load objects, and makes those measure it.

    It is called with what describes the columns and with what gives objects, in chunks.
    """

    __slots__ = ("__wrapped__", "elapsed_ns", "on")

    def __init__(self, original: Callable[..., Any], elapsed_ns: Callable[[], int]) -> None:
        self.__wrapped__ = original
        self.elapsed_ns = elapsed_ns
        self.on = True

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        """Make a result."""
        if not self.on or len(args) < 2:
            return self.__wrapped__(*args, **named)
        metadata, chunks, *rest = args
        return self.__wrapped__(metadata, Loading(chunks, self.elapsed_ns), *rest, **named)

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":  # not yet set
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)


class Loading:
    """Stands where a result has what gives its objects; with it a query ends.

    The query is complete when its result was read to the end. Only that refers to this, so it
    ends, too, when the result is closed or forgotten. What is loaded while the query is still
    executing is in that time.
    """

    __slots__ = ("_chunks", "_elapsed_ns", "_model", "_spent")

    def __init__(
        self, chunks: Callable[[Any], Iterable[Any]], elapsed_ns: Callable[[], int]
    ) -> None:
        self._chunks = chunks
        self._elapsed_ns = elapsed_ns
        self._model: Model | None = None
        self._spent = 0

    def begin(self, model: Model, spent: int) -> None:
        """The query was executed in so many ns; the loading from now on comes on top."""
        self._model, self._spent = model, spent

    def __call__(self, size: Any) -> Iterator[Any]:
        """The objects in chunks of so many; without a size in one."""
        given = iter(self._chunks(size))
        while True:
            model = self._model
            chunk = next(given, None) if model is None else self._load(model, given)
            if chunk is None:
                break
            yield chunk
            if not size:
                break
        self.end()

    def end(self) -> None:
        """Record the query, once."""
        model, self._model = self._model, None
        if model is not None:
            model.record(self._spent)

    __del__ = end

    def _load(self, model: Model, given: Iterator[Any]) -> Any:
        """The next chunk of objects; None if there is none."""
        started = self._elapsed_ns()
        try:
            return (next if _current() is None else model.load)(given, None)
        except BaseException as error:
            model.failed(error)
            raise
        finally:
            self._spent += self._elapsed_ns() - started
