"""Coroutines and generators run inside a span that starts with their first step.

A coroutine leaves its span current while it waits: its task has a context of its own. Between
two steps of a generator the consumer runs, in whose context the generator's span has no
business. So what is current is swapped at each ``yield``, in both directions: what the body
left current (perhaps a span of its own, still open) is there again when it goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nilometer.trace.current import CURRENT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator


async def awaited(coroutine: Awaitable[Any], span: Any) -> Any:
    """The same coroutine inside a span."""
    with span:
        return await coroutine


def steps(generator: Generator[Any, Any, Any], span: Any) -> Generator[Any, Any, Any]:
    """The same generator inside a span.

    A generator that is closed before its end, or forgotten, ends its span without an error.
    """
    outside = CURRENT.get()
    span.start()
    resume: Callable[[Any], Any] = generator.send
    argument: Any = None
    while True:
        try:
            item = resume(argument)
        except StopIteration as stop:
            _leave(span, outside)
            return stop.value
        except BaseException as error:
            _leave(span, outside, error)
            raise
        inside = CURRENT.get()
        CURRENT.set(outside)
        try:
            argument = yield item
            resume = generator.send
        except GeneratorExit:
            outside = CURRENT.get()
            value = _closed(generator, span, inside, outside)
            if value is None:
                raise
            return value  # Python 3.13: what the body returned is the result of close()
        except BaseException as thrown:  # noqa: BLE001 -- it goes where it was thrown
            argument = thrown
            resume = generator.throw
        outside = CURRENT.get()
        CURRENT.set(inside)


def _closed(generator: Generator[Any, Any, Any], span: Any, inside: Any, outside: Any) -> Any:
    CURRENT.set(inside)
    try:
        value: Any = generator.close()  # type: ignore[func-returns-value]
    except BaseException as error:
        _leave(span, outside, error)
        raise
    _leave(span, outside)
    return value


async def async_steps(
    generator: AsyncGenerator[Any, Any], span: Any
) -> AsyncGenerator[Any, Any]:
    """The same asynchronous generator inside a span."""
    outside = CURRENT.get()
    span.start()
    resume: Callable[[Any], Any] = generator.asend
    argument: Any = None
    while True:
        try:
            item = await resume(argument)
        except StopAsyncIteration:
            _leave(span, outside)
            return
        except BaseException as error:
            _leave(span, outside, error)
            raise
        inside = CURRENT.get()
        CURRENT.set(outside)
        try:
            argument = yield item
            resume = generator.asend
        except GeneratorExit:
            await _aclosed(generator, span, inside, CURRENT.get())
            raise
        except BaseException as thrown:  # noqa: BLE001 -- it goes where it was thrown
            argument = thrown
            resume = generator.athrow
        outside = CURRENT.get()
        CURRENT.set(inside)


async def _aclosed(
    generator: AsyncGenerator[Any, Any], span: Any, inside: Any, outside: Any
) -> None:
    CURRENT.set(inside)
    try:
        await generator.aclose()
    except BaseException as error:
        _leave(span, outside, error)
        raise
    _leave(span, outside)


def _leave(span: Any, outside: Any, error: BaseException | None = None) -> None:
    """End the span; the consumer finds current what it had left so."""
    span.finish(error)
    CURRENT.set(outside)
