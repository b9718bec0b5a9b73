"""What is well here and what is not: each finding with its reason, for `nilometer doctor`.

Inside a service `report` tells of the running system; outside of one, of this installation and
of the settings that a service started here would get. It opens no connection; `probe` does.
What a running process lost, buffered, merged and cost is among its metrics, as
``nilometer.lost``, ``nilometer.buffered``, ``nilometer.merged`` and ``nilometer.overhead``: ask
for them where its metrics are kept.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
import sysconfig
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer import assembly, twin
from nilometer.config import load
from nilometer.errors import ConfigError, to_install
from nilometer.export.address import Address
from nilometer.export.threads import patched_by, threads_cannot_run
from nilometer.integrations import LIBRARIES
from nilometer.integrations.faults import known as known_faults
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nilometer.config import Settings
    from nilometer.model.patch import Patch

TWIN_MODULES: Final = (
    "nilometer.measure.twin",
    "nilometer.trace.twin",
    "nilometer.integrations.event_loops",
    "nilometer.integrations.exchange",
    "nilometer.integrations.databases",
    "nilometer.wire.otlp",
)
EXTRAS: Final = {
    "cli": ("click", "rich"),
    "store": ("deltalake", "duckdb", "pyarrow"),
    "collector": ("fastapi", "uvicorn", "opentelemetry"),
    "pages": ("jinja2", "bokeh"),
}
PROBE_S: Final = 3.0


class Finding(NamedTuple):
    """One thing that was looked at. `healthy` is False where something wants a person."""

    topic: str
    name: str
    value: str
    because: str = ""
    healthy: bool = True


class Report(NamedTuple):
    """All findings, in the order in which to read them."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing wants a person."""
        return all(finding.healthy for finding in self.findings)


def report(*, probe: bool = False) -> Report:
    """Look at everything; with `probe` also whether the exporters' receivers answer."""
    system = assembly.current()
    findings = [*_installation(), *_twins()]
    if system is not None:
        settings: Settings | None = system.settings
    else:
        settings, faults = _settings()
        findings += faults
    if settings is not None:
        findings += [*_told(settings), *_flight(settings, system)]
        if probe:
            findings += [_probed(url) for url in settings.export]
    if system is not None:
        findings += [*_running(system), *_admin(system), *_instruments()]
    findings += _integrations(system)
    findings += _patches(system, settings)
    return Report(tuple(findings))


def _installation() -> Iterator[Finding]:
    try:
        ours = version("nilometer")
    except PackageNotFoundError:
        ours = "not installed as a package"
    yield Finding("installation", "nilometer", ours)
    implementation = f"{platform.python_implementation()} {platform.python_version()}"
    yield Finding("installation", "python", implementation, sys.executable)
    gil = not sysconfig.get_config_var("Py_GIL_DISABLED")
    yield Finding(
        "installation",
        "gil",
        "yes" if gil else "no",
        "" if gil else "builds without it are not supported",
        gil,
    )
    system = os.uname()
    yield Finding(
        "installation", "system", f"{system.sysname} {system.release}", system.machine
    )
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if not _is_there(name)]
        value = f"without {', '.join(missing)}" if missing else "installed"
        because = to_install(extra) if missing else ""
        yield Finding("extras", extra, value, because)
    yield Finding("threads", "kind", f"green, by {patched_by()}" if patched_by() else "native")
    if why := threads_cannot_run():
        yield Finding("threads", "pump", "cannot run", why, False)


def _is_there(module: str) -> bool:
    """Whether a module can be imported, or is: some have put another in their own place."""
    return module in sys.modules or find_spec(module) is not None


def _twins() -> Iterator[Finding]:
    """Which twins run, and why."""
    for name in TWIN_MODULES:
        if find_spec(name) is not None:
            import_module(name)
    for choice in twin.CHOICES.values():
        is_fast = choice.implementation == "c" or "PURE_PYTHON" in choice.because
        name = choice.module.removeprefix("nilometer.")
        yield Finding("core", name, choice.implementation, choice.because, is_fast)


def _settings() -> tuple[Settings | None, list[Finding]]:
    try:
        return load(), []
    except ConfigError as error:
        return None, [Finding("settings", "all", "cannot be used", str(error), False)]


def _told(settings: Settings) -> Iterator[Finding]:
    for name, value, origin in settings.shown():
        yield Finding("settings", name, value, origin)
    if not settings.export:
        yield Finding(
            "export", "none", "nothing is sent", "no `export` is set; see docs/exporters.md"
        )


def _probed(url: str) -> Finding:
    """Whether somebody accepts connections; of UDP nothing can be known."""
    address = Address.parse(url, origin="export")
    if not address.scheme.startswith("otlp"):
        return Finding("probe", address.shown, "not tried", "only a connection can be tried")
    where = (address.host, address.port or 4318)
    try:
        socket.create_connection(where, PROBE_S).close()
    except OSError as error:
        return Finding("probe", address.shown, "no answer", str(error), False)
    return Finding("probe", address.shown, "accepts connections")


def _running(system: assembly.System) -> Iterator[Finding]:
    pump = system.pump
    if pump.outlets:
        state = "running" if pump.is_running else "not running"
        because = (
            "" if pump.is_running else "this process was forked; call nilometer.flush() in it"
        )
        yield Finding("export", "pump", state, because, pump.is_running)
    for outlet in pump.outlets:
        state_of = outlet.state
        rows_word = "row" if state_of.delivered == 1 else "rows"
        value = f"{state_of.delivered} {rows_word} delivered, {state_of.buffered} buffered"
        value += f", {state_of.merged} merged" if state_of.merged else ""
        yield Finding("export", state_of.name, value, state_of.because, state_of.healthy)
        for (what, reason), rows in sorted(state_of.lost.items()):
            yield Finding("lost", f"{what} for {state_of.name}", str(rows), reason, False)


def _admin(system: assembly.System) -> Iterator[Finding]:
    """Where this process answers for itself."""
    if system.desk is None:
        return
    where = system.desk.where
    because = "" if where else "each port is taken, or the address is not of this machine"
    yield Finding("admin", "endpoint", where or "does not listen", because, bool(where))


def _flight(settings: Settings, system: assembly.System | None) -> Iterator[Finding]:
    """Whether requests are recorded that nobody asked to be traced."""
    if not settings.flight_recorder:
        return
    slow = settings.flight_slow_s
    kept = "failed" if slow is None else f"failed, or slower than {slow:g} s"
    in_flight = "" if system is None or system.flight is None else system.flight.told()
    yield Finding("trace", "flight recorder", "on", f"kept: {kept}{in_flight}")


def _instruments() -> Iterator[Finding]:
    for one in REGISTRY.instruments():
        state = "on" if one.on else "off"
        binds = "bind" if one.overflowed == 1 else "binds"
        overflow = f", {one.overflowed} {binds} beyond the bound" if one.overflowed else ""
        yield Finding(
            "instruments",
            one.name,
            f"{one.kind} in {one.unit}, {state}, {one.series} series{overflow}",
            one.origin,
            not one.overflowed,
        )


def _integrations(system: assembly.System | None) -> Iterator[Finding]:
    if system is None:
        for name, library in LIBRARIES.items():
            found = _is_there(library.partition(".")[0])
            state = "available" if found else "its library is not installed"
            yield Finding("integrations", name, state, f"serves {library}")
        return
    chosen = system.integrations
    for name in chosen.installed:
        yield Finding("integrations", name, "installed")
    for name, library in chosen.waiting.items():
        yield Finding("integrations", name, "waiting", f"{library} has not been imported")
    for name, because in chosen.failed.items():
        yield Finding("integrations", name, "failed", because, False)
    for fault in known_faults():
        times = "once" if fault.count == 1 else f"{fault.count} times"
        value = f"failed {times} at {fault.what}"
        yield Finding("integrations", fault.integration, value, fault.because, False)


def _patches(system: assembly.System | None, settings: Settings | None) -> Iterator[Finding]:
    """What the settings ask to be patched: what became of it, or how to find out."""
    if system is None:
        for patch in _once(settings.patch if settings is not None else ()):
            because = "`nilometer patch check` shows what it matches"
            yield Finding("patches", str(patch), f"{patch.make}, {patch.origin}", because)
    elif system.patching is not None:
        for one in system.patching.applied:
            made = f"{one.patch.make} {one.name}, {one.state}"
            yield Finding(
                "patches", f"{one.patch.module}:{one.qualname}", made, one.patch.origin
            )
        for patch in _once(list(system.patching.waiting.values())):
            because = f"{patch.module} has not been imported"
            yield Finding("patches", str(patch), "waiting", because)
        for patch, because in list(system.patching.failed.values()):
            yield Finding("patches", str(patch), "failed", because, False)
    for note in settings.tach_config.notes if settings and settings.tach_config else ():
        yield Finding("patches", "tach", "left out", note)


def _once(patches: Iterable[Patch]) -> list[Patch]:
    """Of those that stand for the same, the first."""
    found: dict[object, Patch] = {}
    for patch in patches:
        found.setdefault(patch.origin if patch.either else id(patch), patch)
    return list(found.values())
