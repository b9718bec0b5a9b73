"""Wrappers that time a body, in Python: the specification of the wrapper types in `_core.c`.

Generators are run by it in both twins: what a timed function makes is of Python's own types.

A body is timed from its first start to its end: return, exhaustion, exception or close. Plain
functions get a wrapper compiled for their own parameters, which costs 20 ns a call where
passing ``*args, **kwargs`` on costs 60.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final

from nilometer.measure.pure import PENDING_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator

    from nilometer.measure.pure import Timer

_ARGS: Final = 0x04  # code flag: takes *args
_KWARGS: Final = 0x08  # takes **kwargs

_SOURCE: Final = """\
def made(_function, _timer, _family, _clock, _len=len, _type=type, _any=BaseException,
         _no_stack=RecursionError):
    def _wrapper({parameters}):
        if not _family.on:
            return _function({arguments})
        _started = _clock()
        try:
            _result = _function({arguments})
        except _any as _error:
            try:
                _timer.keep(_clock() - _started)
                _timer.failed(_type(_error))
            except _no_stack:
                _family.arena.errors_missed += 1
            raise
        {keep}
        return _result
    return _wrapper
"""

_KEEP: Final = f"""\
_elapsed = _clock() - _started
        _pending = _timer._pending
        _pending.append(_elapsed)
        if _len(_pending) >= {PENDING_MAX}:
            _timer.fold()"""

_KEEP_BY_THREAD: Final = "_timer.keep(_clock() - _started)"


def wrapped(timer: Timer, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """The wrapper for this kind of body: function, coroutine, generator or async_generator."""
    if kind != "function":
        return _WRAPPERS[kind](timer, function)
    code = getattr(function, "__code__", None)
    parameters, arguments = "*args, **kwargs", "*args, **kwargs"
    if type(function) is FunctionType and isinstance(code, CodeType):
        parameters, arguments = _signature(function, code)
    make = _factory(parameters, arguments, timer._local is not None)
    wrapper: Callable[..., Any] = make(function, timer, timer.family, timer.family.clock)
    if type(function) is FunctionType and isinstance(wrapper, FunctionType):
        wrapper.__defaults__ = function.__defaults__
        wrapper.__kwdefaults__ = function.__kwdefaults__
    return wrapper


def _signature(function: FunctionType, code: CodeType) -> tuple[str, str]:
    """The function's parameters as source, and how to hand them on; defaults come later."""
    named = code.co_argcount + code.co_kwonlyargcount
    stars = bool(code.co_flags & _ARGS) + bool(code.co_flags & _KWARGS)
    names = code.co_varnames[: named + stars]
    if any(name.startswith("_") or not name.isidentifier() for name in names):
        return "*args, **kwargs", "*args, **kwargs"  # might be one of ours
    positional, keyword = names[: code.co_argcount], names[code.co_argcount : named]
    rest = list(names[named:])
    required = len(positional) - len(function.__defaults__ or ())
    parameters = [name if i < required else f"{name}=None" for i, name in enumerate(positional)]
    if code.co_posonlyargcount:
        parameters.insert(code.co_posonlyargcount, "/")
    arguments = list(positional)
    if code.co_flags & _ARGS:
        parameters.append(f"*{rest[0]}")
        arguments.append(f"*{rest.pop(0)}")
    elif keyword:
        parameters.append("*")
    defaults = function.__kwdefaults__ or {}
    parameters += [f"{name}=None" if name in defaults else name for name in keyword]
    arguments += [f"{name}={name}" for name in keyword]
    if code.co_flags & _KWARGS:
        parameters.append(f"**{rest[0]}")
        arguments.append(f"**{rest[0]}")
    return ", ".join(parameters), ", ".join(arguments)


@lru_cache(maxsize=256)  # as many shapes of parameters as a large program has; 2 KiB each
def _factory(parameters: str, arguments: str, by_thread: bool) -> Callable[..., Any]:
    """Compile a maker of wrappers, 150 us, once for each shape of parameters."""
    source = _SOURCE.format(
        parameters=parameters,
        arguments=arguments,
        keep=_KEEP_BY_THREAD if by_thread else _KEEP,
    )
    scope: dict[str, Any] = {}
    exec(compile(source, "<nilometer timer>", "exec"), scope)  # noqa: S102 (names of parameters)
    make: Callable[..., Any] = scope["made"]
    return make


def _coroutine(
    timer: Timer, function: Callable[..., Coroutine[Any, Any, Any]]
) -> Callable[..., Any]:
    family = timer.family
    clock = family.clock

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not family.on:
            return await function(*args, **kwargs)
        started = clock()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            timer.keep(clock() - started)
            timer.failed(type(error))
            raise
        timer.keep(clock() - started)
        return result

    return wrapper


def _generator(
    timer: Timer, function: Callable[..., Generator[Any, Any, Any]]
) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with timer.lap():
            return (yield from function(*args, **kwargs))

    return wrapper


def _async_generator(
    timer: Timer, function: Callable[..., AsyncGenerator[Any, Any]]
) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        with timer.lap(), suppress(StopAsyncIteration):
            body = function(*args, **kwargs)
            value = await body.__anext__()
            while True:
                try:
                    sent = yield value
                except GeneratorExit:
                    await body.aclose()
                    raise
                except BaseException as thrown:  # noqa: BLE001 (handed to the body)
                    value = await body.athrow(thrown)
                else:
                    value = await body.asend(sent)

    return wrapper


def runner(timer: Timer, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """For C: what times a generator that `function` has made, and shows it by its name."""
    run = _WRAPPERS[kind](timer, _itself)
    for name in ("__name__", "__qualname__"):
        said = getattr(function, name, None)
        if type(said) is str:  # partials have none
            setattr(run, name, said)
    return run


def _itself(body: Any) -> Any:
    return body


_WRAPPERS: Final[dict[str, Callable[..., Callable[..., Any]]]] = {
    "coroutine": _coroutine,
    "generator": _generator,
    "async_generator": _async_generator,
}
