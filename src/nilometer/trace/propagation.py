"""The current span taken along: into threads, executors and greenlets, and to other services.

Asyncio tasks need nothing: each starts with a copy of its maker's context. Threads and
greenlets start with an empty one; `carry` gives a function the span that is current here.
Only our variable is carried. A whole context would also move the decimal context and whatever
other libraries keep there, and so change what the application computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar

from nilometer.trace.current import CURRENT
from nilometer.trace.twin import headers as headers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

P = ParamSpec("P")
R = TypeVar("R")

_ELSEWHERE: Final = {"ProcessPoolExecutor", "InterpreterPoolExecutor"}
"""Executors by their class, loky's too: what they are given is pickled, which no span is."""


def taken_along() -> Any:
    """The current span, or None; its request lasts from now on: this work may outlive it."""
    current = CURRENT.get()
    if current is None or current.over:
        return None
    if current.recording:
        current.trace.lasting = True
    return current


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """The function as it would run here, inside the current span, wherever it is called.

    Outside any request the function itself comes back.
    """
    current = taken_along()
    if current is None:
        return function

    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        previous = CURRENT.get()
        CURRENT.set(current)
        try:
            return function(*args, **kwargs)
        finally:
            CURRENT.set(previous)

    return carried


def _as_it_is(function: Callable[P, R]) -> Callable[P, R]:
    return function


class TracingExecutor:
    """An executor of `concurrent.futures` whose functions see the submitter's span.

    For a pool that must not be patched; `loop.run_in_executor` takes it as well. It passes for
    an instance of the wrapped executor's class: `loop.set_default_executor` insists on one of
    `ThreadPoolExecutor`. Pools of other processes get each function as it is: no span reaches
    those.
    """

    def __init__(self, executor: Any) -> None:
        self._executor = executor
        classes = {one.__name__ for one in executor.__class__.__mro__}
        self._carried = _as_it_is if classes & _ELSEWHERE else carry

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._executor)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As the wrapped executor's; the function runs inside the current span."""
        return self._executor.submit(self._carried(function), *args, **kwargs)

    def map(
        self, function: Callable[..., Any], *iterables: Iterable[Any], **options: Any
    ) -> Iterator[Any]:
        """As the wrapped executor's; the function runs inside the current span."""
        carried = self._carried(function)
        results: Iterator[Any] = self._executor.map(carried, *iterables, **options)
        return results

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As the wrapped executor's."""
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown(wait=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)
