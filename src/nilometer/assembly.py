"""Settings become a running system: the one module that knows every concrete class.

A process has one system at most. It lives from `configure` to `shutdown`, survives `fork` with
a pump of its own in the child, and is flushed when the process ends in order.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Final

from nilometer.config import Settings, load
from nilometer.errors import ConfigError, nearest
from nilometer.export import Outlet, Pump, open_exporter
from nilometer.export.address import hidden
from nilometer.export.readers import Readers
from nilometer.export.threads import (
    call_after_fork,
    call_at_end,
    forks_later,
    is_in_hub,
    threads_cannot_run,
    wait_s,
)
from nilometer.integrations import LIBRARIES, Chosen, automatic
from nilometer.integrations.greening import Greening
from nilometer.measure import REGISTRY
from nilometer.model import Batch, Resource
from nilometer.own import Own, lost
from nilometer.trace import RING, current_span, drain_spans
from nilometer.trace.configured import ConfiguredTriggers
from nilometer.trace.trigger import Triggers
from nilometer.uwsgi_forks import UwsgiForks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nilometer.admin import Desk
    from nilometer.export import Exporter
    from nilometer.integrations.flight import FlightRecorder
    from nilometer.integrations.patching import Patching
    from nilometer.keeper import Keeper

log = logging.getLogger("nilometer")

AUTO: Final = "auto"

SHUTDOWN_S: Final = 2.0
"""How long the end of a process may be held up; one request to a neighbour takes 10 ms."""


class System:
    """All that `configure` started; `exporters` are named, as in accounts and messages."""

    def __init__(self, settings: Settings, exporters: Sequence[tuple[str, Exporter]]) -> None:
        self.settings = settings
        self.pid = os.getpid()
        self.triggers = Triggers(
            settings.trace_keys,
            requests_per_second=settings.requests_per_second,
            spans_per_trace=settings.spans_per_trace,
            join=settings.join,
            osprofiler=settings.osprofiler,
            clear_key=settings.osprofiler_clear_key,
            origin=settings.origin("trace_keys"),
        )
        outlets = [self._outlet(name, exporter) for name, exporter in exporters]
        self.also: dict[str, Callable[[], Callable[..., object]]] = {}
        self.own = Own(REGISTRY, outlets)
        self._readers = Readers()
        self.pump = Pump(
            self._drain,
            outlets,
            interval_s=settings.interval_s,
            spent=self.own.spent,
            read=lambda within_s: self._readers.ask(REGISTRY.reads(), within_s),
        )
        self.integrations = Chosen(
            chosen_integrations(settings),
            triggers=self.triggers,
            flush=_flush_at_end,
            watch_forks=_uwsgi_forks.watch,
            values=settings.osprofiler_values,
            parameters=settings.statement_parameters,
            slow_callback_s=settings.slow_callback_s,
            state=settings.state,
            export_also=_export_also,
            read_options=_read_options,
        )
        self.greening = Greening(self.pause_threads, self.start_threads)
        self.patching: Patching | None = None
        if settings.patch:
            from nilometer.integrations.patching import Patching  # only for those who need it

            self.patching = Patching(settings.patch)
        self.flight = _flight_recorder(settings) if settings.flight_recorder else None
        self.keeper = _keeper(self) if settings.arena else None
        self.desk: Desk | None = None
        if settings.admin is not None:
            from nilometer.admin import Desk  # only for those who need it

            self.desk = Desk(settings.admin, settings, self.pump, REGISTRY)

    @property
    def resource(self) -> Resource:
        """Who measures; made anew each time, as the process may have forked."""
        settings = self.settings
        return Resource(
            settings.service,
            os.uname().nodename,
            os.getpid(),
            settings.region,
            settings.zone,
            settings.version,
            tuple(sorted(settings.dimensions.items())),
        )

    def _outlet(self, name: str, exporter: Exporter) -> Outlet:
        return Outlet(name, exporter, lost=lost, rows_max=self.settings.queue_rows)

    def _drain(self, everything: bool) -> Batch:
        if not everything:
            return Batch(self.resource, spans=drain_spans())
        spans = drain_spans()  # first: what it lost is counted in readings
        self.own.tell()
        readings, events = REGISTRY.collect(reading=False)
        if self.desk is not None:
            self.desk.take(readings)
        if self.keeper is not None:
            self.keeper.hand_on()
        return Batch(self.resource, readings, spans, events)

    def export_also(self, name: str, get: Callable[[], Callable[..., object]]) -> None:
        """Send spans to the notifier of OSProfiler's that ``get()`` answers, too."""
        from nilometer.export.osprofiler import Notifying

        if any(outlet.name == name for outlet in self.pump.outlets):
            return
        self.also[name] = get
        outlet = self._outlet(name, Notifying(get))
        self.pump.add(outlet)
        self.own.tell_of(outlet)
        if not self.pump.is_running:
            self.start_threads()

    def start(self, before: System | None = None) -> None:
        """Set levels, install integrations, start the pump; what `before` left goes on here."""
        if before is not None:
            self.triggers = before.triggers.become(self.triggers)
            self.integrations.given["triggers"] = self.triggers
        REGISTRY.series_max = self.settings.series_max
        REGISTRY.set_level("", self.settings.level)
        for prefix, level in self.settings.levels.items():
            REGISTRY.set_level(prefix, level)
        if REGISTRY.correlate is None:
            REGISTRY.correlate = _current_ids
        if self.settings.trace_hosts:
            from nilometer.integrations.http_client import send_to  # only for those who need it

            send_to(self.settings.trace_hosts)
        _uwsgi_forks.begin()  # before anything starts a thread
        self.integrations.begin(None if before is None else before.integrations)
        if before is not None and "osprofiler" in self.integrations.installed:
            for name, get in before.also.items():
                self.export_also(name, get)
        if self.settings.tach_config is not None:
            for note in self.settings.tach_config.notes:
                log.warning("%s [tach-left-out]", note)
        if self.flight is not None:
            self.flight.start()
        if before is not None and before.flight is not None:
            before.flight.stop()
        for part in (self.patching, self.keeper):  # patches outside of integrations
            if part is not None:
                part.begin()
        RING.on_half_full = self.pump.wake
        self.greening.begin()
        if self.pump.outlets or self.desk:
            self.start_threads()
            if why := threads_cannot_run():
                log.error("%s: nothing will be sent [threads-cannot-run]", why)

    def stop(self, timeout_s: float, *, goes_on: bool = False) -> bool:
        """Flush and end all that `start` started; whether everything was taken.

        If another one `goes_on`, integrations are left to it, and the flight recorder: it ends
        what it does not need.
        """
        if self.flight is not None and not goes_on:
            self.flight.stop()
        RING.on_half_full = None
        REGISTRY.on_read = None
        self.greening.end()
        if self.desk is not None:
            self.desk.stop(timeout_s / 2)
        was_taken = self.pump.stop(timeout_s)
        if self.keeper is not None:
            self.keeper.end(was_taken=was_taken)
        self._readers.end()
        if self.patching is not None:
            self.patching.end()
        if not goes_on:
            _uwsgi_forks.end()
            self.integrations.end()
        for prefix in sorted(self.settings.levels, key=len):
            REGISTRY.set_level(prefix, REGISTRY.level_of(prefix.rpartition(".")[0]))
        return was_taken

    def resume_after_fork(self) -> None:
        """In a forked child: forget the parent's rows and threads, start the child's own."""
        self.pid = os.getpid()
        self.pump.reset_after_fork()
        self._readers.reset_after_fork()
        for part in (self.patching, self.flight, self.desk, self.keeper):
            if part is not None:
                part.reset_after_fork()
        RING.on_half_full = self.pump.wake
        self.start_threads()

    def pause_threads(self, timeout_s: float) -> None:
        """End them for now; `start_threads` begins them anew."""
        REGISTRY.on_read = None
        if self.desk is not None:
            self.desk.stop(timeout_s)
        self.pump.pause(timeout_s)
        self._readers.pause(timeout_s)

    def start_threads(self) -> None:
        """Start those that are needed; none yet where this process forks later."""
        if forks_later():  # then the children do, and what is sent before, `flush` sends
            return
        if self.desk is not None:
            self.desk.start()
        elif not self.pump.outlets:
            return
        self.pump.start()
        REGISTRY.on_read = self._readers.begin  # now: at a process's end it may be too late
        if REGISTRY.reads():
            self._readers.begin()


_lock = threading.RLock()
_current: System | None = None
_is_registered = False


def _keeper(system: System) -> Keeper:
    from nilometer.keeper import Keeper  # only for those who need it

    return Keeper(system.settings, REGISTRY, lambda: (system.resource, system.pump))


def _flight_recorder(settings: Settings) -> FlightRecorder:
    from nilometer.integrations.flight import FlightRecorder  # only for those who need it

    return FlightRecorder(
        slow_s=settings.flight_slow_s,
        spans_max=settings.flight_spans,
        bytes_max=settings.flight_bytes,
        spans_per_trace=settings.spans_per_trace,
        requests_per_second=settings.requests_per_second,
    )


def current() -> System | None:
    """What runs in this process; None without `configure`, and after `shutdown`."""
    return _current


def triggers() -> Triggers:
    """Which requests are traced: as configured now, or later."""
    return ConfiguredTriggers(lambda: None if _current is None else _current.triggers)


def configure(arguments: Mapping[str, object], *, origin: str = "configure({}=...)") -> System:
    """Read all settings and start a system in the place of the one that ran.

    `origin` names an argument in errors, in the place of its braces.
    """
    settings = load(arguments, argument_origin=origin.format)
    where = settings.origin("export")
    exporters = [(hidden(url), open_exporter(url, origin=where)) for url in settings.export]
    return start(settings, exporters)


def start(settings: Settings, exporters: Sequence[tuple[str, Exporter]]) -> System:
    """Start a system with these exporters; if that fails, the one that ran goes on."""
    global _current, _is_registered
    system = System(settings, exporters)
    with _lock:
        if not _is_registered:
            call_after_fork(_resume_after_fork, _at_end)
            call_at_end(_at_end)
            _is_registered = True
        before = _current
        if before is not None:
            before.stop(SHUTDOWN_S, goes_on=True)
        _current = system
        system.start(before)
    return system


def chosen_integrations(settings: Settings) -> list[str]:
    """The integrations that the settings name, ``auto`` spelt out. Raises ConfigError."""
    for setting in ("integrations", "integrations_off"):
        for name in getattr(settings, setting):
            if name != AUTO and name not in LIBRARIES:
                raise ConfigError(
                    f"{settings.origin(setting)}: no integration {name!r}"
                    f"{nearest(name, [AUTO, *LIBRARIES])}",
                    slug="no-such-integration",
                )
    named = [name for name in settings.integrations if name != AUTO]
    if AUTO in settings.integrations:
        named += automatic()
    return [name for name in dict.fromkeys(named) if name not in settings.integrations_off]


def flush(timeout_s: float) -> bool:
    """Send what is measured so far; whether all of it was taken in time."""
    timeout_s = wait_s(timeout_s)
    system = _current
    if system is None or not system.pump.outlets:
        return False
    return system.pump.flush(timeout_s)


def shutdown(timeout_s: float = SHUTDOWN_S) -> bool:
    """Flush, stop, close; whether everything was taken. Nothing runs afterwards.

    Where nobody was there to take anything it was not. In a hub of greenlets, where nobody can
    wait, it is left to the end of the process.
    """
    global _current
    timeout_s = wait_s(timeout_s)
    if is_in_hub():
        return False
    lock = _lock  # a fork meanwhile makes another
    if not lock.acquire(timeout=timeout_s):
        return False  # another thread is at it
    try:
        system, _current = _current, None
        if system is None:
            return False
        return system.stop(timeout_s) and bool(system.pump.outlets)
    finally:
        lock.release()


def _read_options(conf: object) -> None:
    from nilometer.openstack import options  # only where oslo.config is

    options.follow(conf)


def start_in_foreign_program() -> None:
    """For `nilometer run`: configure from environment and file only.

    A program that then calls `nilometer.configure` itself replaces this.
    """
    configure({})


def _at_end() -> None:
    try:
        shutdown(SHUTDOWN_S)
    except Exception as error:  # noqa: BLE001 - the end of a service is no place for our faults
        log.debug("shutdown failed: %r", error)


def _resume_after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # the parent's may be held by a thread that is not here
    if _current is not None:
        try:
            _current.resume_after_fork()
        except Exception as error:  # noqa: BLE001 - a fork of the service must not fail by us
            log.debug("no pump in the child: %r", error)


def _export_also(name: str, get: Callable[[], Callable[..., object]]) -> None:
    if _current is not None:
        _current.export_also(name, get)


def _flush_at_end() -> bool:
    """Send what was measured before this process ends, which nobody waits for any longer."""
    return flush(SHUTDOWN_S)


_uwsgi_forks: Final = UwsgiForks(current, _resume_after_fork, _flush_at_end)


def _current_ids() -> tuple[bytes, bytes]:
    span = current_span()
    if not span.trace_id:
        return b"", b""
    return bytes.fromhex(span.trace_id), bytes.fromhex(span.span_id)
