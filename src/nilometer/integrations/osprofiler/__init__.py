"""Services that call OSProfiler themselves: their points become our spans.

The attributes of OSProfiler's own modules are replaced when it is imported, so that what is
imported from there, and what is an instance of its classes, stays what it was.
docs/openstack.md says what differs, and why.
"""

from __future__ import annotations

import sys
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.arrivals import Arrivals
from nilometer.integrations.osprofiler import group
from nilometer.integrations.osprofiler.decorating import Decorators
from nilometer.integrations.osprofiler.points import Points
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY
from nilometer.model import Level
from nilometer.trace.trigger import Triggers

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

log = getLogger("nilometer")

PACKAGE: Final = "osprofiler"
MODULES: Final = ("profiler", "web", "_utils", "sqlalchemy", "requests", "notifier",
                  "initializer", "drivers.base")  # fmt: skip


class DropIn:
    """What is replaced in one process, module by module, as they are imported."""

    def __init__(
        self,
        triggers: Triggers,
        registry: Registry,
        *,
        values: bool,
        export_also: Callable[[str, Callable[[dict[str, Any]], None]], None] | None,
        fail: Callable[[Exception], None],
    ) -> None:
        from nilometer.integrations.osprofiler.web import Keyring  # it brings our WSGI

        self.patches = Patches()
        self.keyring = Keyring(triggers)
        self._triggers = triggers
        self._registry = registry
        self._values = values
        self._export_also = export_also
        self._fail = fail
        self._said: set[str] = set()
        self._points: Points | None = None
        self._arrivals = Arrivals(self._arrived)

    def begin(self) -> None:
        """Replace what is imported already, and the rest when it is."""
        names = [f"{PACKAGE}.{name}" for name in MODULES]
        for name in names:
            if name in sys.modules:
                self._replace(name)
        self._arrivals.expect(name for name in names if name not in sys.modules)

    def end(self) -> None:
        """Put everything back."""
        self._arrivals.end()
        self.patches.undo()
        self.keyring.turn_off()

    def follow(self, said: group.ProfilerGroup) -> None:
        """Its keys may sign, or nobody's."""
        if said.enabled:
            self.keyring.add(said.keys)
        else:
            self.keyring.turn_off()

    def _arrived(self, name: str) -> None:
        try:
            self._replace(name)
        except Exception as error:  # noqa: BLE001  the service runs on, with OSProfiler's own
            self._fail(error)

    def _replace(self, name: str) -> None:
        getattr(self, f"_{name.rpartition('.')[2].lstrip('_')}")(sys.modules[name])

    def _profiler(self, module: Any) -> None:
        points = self._points = Points(module, self._triggers, values=self._values, off=_is_off)
        swap = self.patches.swap
        for name in ("get", "init", "clean", "start", "stop"):
            swap(module, name, lambda _, name=name: getattr(points, name))  # type: ignore[misc]
        decorators = Decorators(module, points)
        swap(module, "trace", lambda _: decorators.trace)
        swap(module, "trace_cls", decorators.trace_cls)
        swap(module, "_Profiler", lambda _: points.profiler)

    def _base(self, _module: Any) -> None:
        """Drivers are found by their class: ours, for `nilometer://`, has to be there."""
        from nilometer.integrations.osprofiler import driver  # noqa: F401

    def _web(self, module: Any) -> None:
        from nilometer.integrations.osprofiler.web import Web

        web = Web(module, self._points, self.keyring, self._registry)
        self.patches.swap(module, "enable", web.enabling)
        self.patches.swap(module, "disable", web.disabling)
        self.patches.swap(module, "get_trace_id_headers", lambda _: web.get_trace_id_headers)
        self.patches.swap(module.WsgiMiddleware, "__call__", web.serving)

    def _utils(self, module: Any) -> None:
        from nilometer.integrations.osprofiler.web import unpacking

        self.patches.swap(module, "signed_unpack", unpacking)

    def _sqlalchemy(self, module: Any) -> None:
        from nilometer.integrations.osprofiler.database import Database

        database = Database(module, self._registry)
        self.patches.swap(module, "add_tracing", database.adding)
        self.patches.swap(module, "_before_cursor_execute", database.beginning)
        self.patches.swap(module, "_after_cursor_execute", database.ending)
        self.patches.swap(module, "handle_error", database.failing)

    def _requests(self, module: Any) -> None:
        self.patches.swap(module, "enable", lambda _: self._enable_requests)

    def _enable_requests(self) -> None:
        """Requests are measured by our own integration, which ends what it begins."""
        from nilometer.integrations import urllib3

        urllib3.install(registry=self._registry)

    def _notifier(self, module: Any) -> None:
        self.patches.swap(module, "notify", self._notifying)
        self.patches.swap(module, "set", self._setting(module))
        self._export_to(module)  # one that was set before us

    def _notifying(self, original: Callable[..., None]) -> Callable[..., None]:
        def notify(info: dict[str, Any]) -> None:
            """Tell the notifier; what it raises is no concern of the request's."""
            try:
                original(info)
            except Exception as error:  # noqa: BLE001
                self._fault("notifier", error)

        return notify

    def _setting(self, module: Any) -> Callable[..., Any]:
        """`set`: whom a service wants told of its points is told of all spans, by the pump."""

        def measured(original: Callable[..., None]) -> Callable[..., None]:
            def set(notifier: Callable[..., None]) -> None:  # noqa: A001  OSProfiler's name
                original(notifier)
                self._export_to(module)

            return set

        return measured

    def _export_to(self, module: Any) -> None:
        if self._export_also is not None and module.get() is not module._noop_notifier:
            self._export_also(f"{PACKAGE} notifier", module.get)

    def _initializer(self, module: Any) -> None:
        self.patches.swap(module, "init_from_conf", lambda _: self._init_from_conf(module))

    def _init_from_conf(self, module: Any) -> Callable[..., None]:
        def init_from_conf(
            conf: Any, context: Any, project: str, service: str, host: str, **kwargs: Any
        ) -> None:
            """What a service does at its start, by its ``[profiler]`` group."""
            said = group.read(conf)
            # The service has registered few of the switches: of the others its files told.
            said = said._replace(switches={**_group.switches, **said.switches})
            apply(said)
            if not said.enabled:
                return
            if said.connection_string:
                kwargs |= {"context": context, "project": project, "service": service}
                kwargs |= {"host": host, "conf": conf}
                told = module.notifier.create(said.connection_string, **kwargs)
                module.notifier.set(told)
            module.web.enable(",".join(said.keys))
            if getattr(conf.profiler, "trace_requests", False):
                module.requests.enable()

        return init_from_conf

    def _fault(self, what: str, error: Exception) -> None:
        REGISTRY.lost(what, type(error).__name__)
        if what not in self._said:
            self._said.add(what)
            log.warning(
                "OSProfiler's %s raises %r; said once [osprofiler-notifier]", what, error
            )


_drop_in: DropIn | None = None
_NOTHING: Final = group.ProfilerGroup()
_group = _NOTHING


def _is_off(name: str) -> bool:
    return _group.is_off(name)


def apply(said: group.ProfilerGroup) -> bool:
    """Do as the ``[profiler]`` group says: its keys, and what it switches off.

    False where OSProfiler is not there (yet), and so nobody who would take the keys.
    """
    global _group
    _group = said
    for prefix in said.levels_off():
        REGISTRY.set_level(prefix, Level.OFF)
    if _drop_in is None:
        return False
    _drop_in.follow(said)
    return True


def _raise(error: Exception) -> None:
    raise error


def install(
    *,
    triggers: Triggers | None = None,
    registry: Registry = REGISTRY,
    values: bool = False,
    export_also: Callable[[str, Callable[[dict[str, Any]], None]], None] | None = None,
    fail: Callable[[Exception], None] = _raise,
) -> bool:
    """Take the place of an imported OSProfiler; False if that is done already.

    `triggers` says who may ask for a trace, `values` whether arguments and results are
    recorded, ``export_also(name, get)`` has spans sent to the notifier that ``get()`` answers,
    `fail` is told of a module of OSProfiler's that is not as we know it.
    """
    global _drop_in
    if _drop_in is not None:
        return False
    made = DropIn(
        triggers or Triggers(), registry, values=values, export_also=export_also, fail=fail
    )
    try:
        made.begin()
    except Exception:
        made.end()
        raise
    _drop_in = made
    if _group != _NOTHING:
        made.follow(_group)
    return True


def uninstall() -> None:
    """Give OSProfiler back its own functions; what they decorated meanwhile stays ours."""
    global _drop_in
    if _drop_in is not None:
        _drop_in.end()
        _drop_in = None
