"""What every event loop is measured by: who held it and for how long, and how long it waited.

A loop runs one thing at a time: a callback, a step of a coroutine, a greenlet until it
switches. While one computes, or waits in a call that does not yield, all others wait with it.
"""

from __future__ import annotations

from functools import partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakSet

from nilometer.clock import elapsed_ns
from nilometer.integrations import costs, faults
from nilometer.integrations.calls import Depth
from nilometer.integrations.patches import Patches
from nilometer.model import Level
from nilometer.twin import choose

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from nilometer.measure import Registry

core: Final = choose("nilometer.integrations.loop_pure", "nilometer.integrations._loop")

SLOW_CALLBACK_S: Final = 0.1
"""What asyncio's debug mode calls slow, too."""

WRAPPERS_MAX: Final = 16
"""Functions around a function that are looked through, or else two that wrap each other would
hold us for ever; decorators are rarely more than five."""

KNOWN_MAX: Final = 1000
"""Functions whose series are remembered, 200 bytes each; an instrument has as many series."""

_LIBRARY: Final = "event_loop.library"
_NAME: Final = "code.function.name"
_NATIVE: Final = "code.native"


class Source(NamedTuple):
    """A function as events tell of it; one that is native, as C is, has no file."""

    name: str
    file: str = ""
    line: int = 0
    is_native: bool = False


def source_of(what: Any) -> Source:
    """The function, coroutine or callable object, behind partials and wrappers.

    >>> source_of(partial(len, "")).name
    'len'
    """
    for _ in range(WRAPPERS_MAX):
        inner = _inside(what)
        if inner is None:
            break
        what = inner
    code = _code(what)
    if code is not None:
        return source_of_code(code)
    name = getattr(what, "__qualname__", None) or type(what).__qualname__
    return Source(str(name).replace(".<locals>", ""), is_native=True)


def key_of(what: Any) -> Any:
    """What stands for a function or coroutine and costs nothing to compare; None for others."""
    return getattr(what, "cr_code", None) or getattr(what, "__code__", None)


def source_of_code(code: Any) -> Source:
    """The function that has this code."""
    name = code.co_qualname.replace(".<locals>", "")
    return Source(name, code.co_filename, code.co_firstlineno)


def _inside(what: Any) -> Any:
    if isinstance(what, partial):
        return what.func
    if isinstance(what, MethodType):
        return what.__func__
    if isinstance(what, FunctionType):
        return getattr(what, "__wrapped__", None)
    return None


def _code(what: Any) -> Any:
    for name in ("__code__", "cr_code", "gi_code", "ag_code"):
        code = getattr(what, name, None)
        if hasattr(code, "co_qualname"):
            return code
    return getattr(getattr(type(what), "__call__", None), "__code__", None)  # noqa: B004


class Held:
    """How long the loops of one library are held, and by whom.

    `integration` is the name by which its level is set; `on` is whether it measures. Made by
    it are the twins' objects: they follow the levels, and pass everything on from `end`.
    ``calibrate()`` says what a call of one costs.
    """

    __slots__ = (
        "on",
        "idle",
        "slow_ns",
        "_library",
        "_integration",
        "_registry",
        "_callbacks",
        "_blocked",
        "_slow",
        "_known",
        "_twins",
        "_followers",
        "_depth",
    )

    def __init__(
        self,
        library: str,
        integration: str,
        slow_callback_s: float,
        registry: Registry,
        calibrate: Callable[[], float] = costs.loop_callback,
    ) -> None:
        self._library = {_LIBRARY: library}
        self._integration = integration
        self._registry = registry
        self.slow_ns = int(slow_callback_s * 1e9)
        self._callbacks = registry.timer(
            "event_loop.callback",
            level=Level.DETAIL,
            description="Callbacks, steps of coroutines, and greenlets until they switch.",
        )
        self.idle = registry.timer(
            "event_loop.idle", description="Event loops that wait for something to happen."
        ).bind(**self._library)
        self._blocked = registry.timer(
            "event_loop.blocked",
            description="Callbacks that held a loop for `slow_callback_s` or longer.",
        ).bind(**self._library)
        self._slow = registry.event_source(
            "event_loop.slow_callback",
            description="A callback held a loop for `slow_callback_s` or longer.",
        )
        self._known: dict[Any, Callable[[int], None]] = {}
        self._twins: WeakSet[Any] = WeakSet()
        self._followers: list[Callable[[], None]] = []
        registry.costs_also(f"event_loop.{library}", calibrate, self._calls)
        self._depth = Depth(integration, registry)
        registry.followers.append(self.follow)  # behind that of the depth, which it reads
        self.on = self._is_on()

    def run(self, original: Callable[..., Any], told: Callable[[Any, int], object]) -> Any:
        """What stands where a loop runs its callbacks; what it tells must be told to `tell`."""
        return self._made(core.Run(original, told, self.slow_ns, elapsed_ns))

    def handing(self, original: Callable[..., Any], run: Any, position: int) -> Any:
        """What stands where a loop is handed its callbacks."""
        return self._made(core.Handing(original, run, position))

    def watch(self, told: Callable[[Any, int], object], change: Callable[[Any], object]) -> Any:
        """What hears of the switches of one thread's greenlets."""
        watch = core.Watch(told, self.idle.record, change, self.slow_ns, elapsed_ns)
        return self._made(watch)

    def _made(self, twin: Any) -> Any:
        self._twins.add(twin)
        self._let_follow(twin)
        return twin

    def _let_follow(self, twin: Any) -> None:
        twin.on = self.on
        if hasattr(twin, "every"):
            twin.every = self._callbacks.on

    def _is_on(self) -> bool:
        """Nothing here is traced, so where nothing is measured nothing need be done."""
        instruments = self._callbacks, self._blocked, self._slow, self.idle
        return self._depth.on and any(one.on for one in instruments)

    def _calls(self) -> int:
        return sum(getattr(twin, "calls", 0) for twin in list(self._twins))

    def follow(self) -> None:
        """Take over what the levels say now."""
        self.on = self._is_on()
        for twin in list(self._twins):
            self._let_follow(twin)
        for follow in self._followers:
            follow()

    def also_follow(self, follow: Callable[[], None]) -> None:
        """Call this, too, when the levels have changed."""
        self._followers.append(follow)

    def while_on(self, put: Callable[[Patches], None]) -> None:
        """Let what ``put(patches)`` replaces be replaced while the level asks for it."""
        patches = Patches()

        def follow() -> None:
            if not self.on:
                patches.undo()
            elif not patches.active:
                put(patches)

        self.also_follow(follow)
        follow()

    def tell(
        self,
        what: Any,
        key: Any,
        find: Callable[[Any], Source],
        elapsed: int,
        context: Context | None = None,
    ) -> None:
        """Note that this held the loop; ``find(what)`` says what it is, unless `key` is known.

        An event belongs to the request of that context.
        """
        known = self._known.get(key)
        if known is not None and elapsed < self.slow_ns:
            known(elapsed)
            return
        source = find(what)
        if self._callbacks.on:
            self._record_for(key, source)(elapsed)
        if elapsed >= self.slow_ns:
            self._blocked.record(elapsed)
            emit = partial(self._emit, source, elapsed)
            if context is None:
                emit()
            else:
                context.copy().run(emit)  # itself it may be entered, by a loop in a loop

    def _record_for(self, key: Any, source: Source) -> Callable[[int], None]:
        function = {_NAME: source.name, _NATIVE: str(source.is_native).lower()}
        series = self._callbacks.bind(**self._library, **function)
        record: Callable[[int], None] = series.record
        if key is not None and len(self._known) < KNOWN_MAX:
            self._known[key] = record
        return record

    def _emit(self, source: Source, elapsed: int) -> None:
        said: dict[str, object] = {**self._library, _NAME: source.name}
        if source.file:
            said |= {"code.file.path": source.file, "code.line.number": source.line}
        self._slow.emit(**said, duration_ns=elapsed)

    def failed(self, error: Exception) -> None:
        """Tell that something held a loop and we could not say what."""
        faults.ours(self._integration, "an event loop", error, self._registry)

    def end(self) -> None:
        """Measure nothing any more."""
        self._registry.followers.remove(self.follow)
        self._depth.end()
        self.follow()
