"""systemd: what it accounts for each unit, from ``systemctl show``.

    systemd://?units=nginx.service,devstack@*.service

Which figures there are depends on what accounting is switched on: DefaultCPUAccounting and its
like in system.conf, or CPUAccounting, IOAccounting, IPAccounting, MemoryAccounting of the unit.
"""

from __future__ import annotations

import shutil
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nilometer.counters.figures import Fact, Figures
from nilometer.counters.link import unreadable
from nilometer.counters.parts import bounded
from nilometer.model.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nilometer.counters.backend import BackendError, Surroundings
    from nilometer.counters.figures import Number, Series
    from nilometer.counters.target import Target

MEANING: Final = "CPU, I/O, network and memory of systemd's units (systemctl show)"

OPTIONS: Final = ("units",)
COMMAND_S: Final = 10.0
NOT_SET: Final = 2**64 - 1
"""What systemd shows of a number that it does not account for, where it does not say so."""

FACTS: Final[Mapping[str, Fact]] = {
    "CPUUsageNSec": Fact("CPU time", "ns", exact=False),
    "IOReadBytes": Fact("bytes fetched from disks", "By", exact=False),
    "IOWriteBytes": Fact("bytes written to disks", "By", exact=False),
    "IOReadOperations": Fact("requests to disks that read", "{request}", exact=False),
    "IOWriteOperations": Fact("requests to disks that wrote", "{request}", exact=False),
    "IPIngressBytes": Fact("bytes received", "By"),
    "IPEgressBytes": Fact("bytes sent", "By"),
    "IPIngressPackets": Fact("packets received", "{packet}"),
    "IPEgressPackets": Fact("packets sent", "{packet}"),
    "NRestarts": Fact("times it was started again by itself", "{restart}"),
    "MemoryPeak": Fact("most memory it had", "By", Kind.GAUGE),
    "MemoryCurrent": Fact("memory it has", "By", Kind.GAUGE),
    "TasksCurrent": Fact("processes and threads now", "{task}", Kind.GAUGE),
}
SWITCHES: Final = {
    "CPU": "CPUAccounting",
    "IO": "IOAccounting",
    "IP": "IPAccounting",
    "Memory": "MemoryAccounting",
    "Tasks": "TasksAccounting",
}
"""The switch of each family of figures, by how their names begin."""

TOLD: Final = ("Id", "Names", "LoadState", "ActiveState")
BEGAN: Final = ("InvocationID", "ActiveEnterTimestampMonotonic")
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
PEAK: Final = "MemoryPeak"
OF_SERVICES: Final = "NRestarts"  # units of other kinds do not have it
GAUGES: Final = frozenset(name for name, fact in FACTS.items() if fact.kind is Kind.GAUGE)


def find(surroundings: Surroundings) -> Sequence[Target]:  # noqa: ARG001 - as all backends do
    """Nowhere by itself: a machine has hundreds of units, and only you know which are meant."""
    return []


def connect(target: Target) -> Systemd:
    """The units that the target names, by name or pattern, commas between."""
    units = [unit.strip() for unit in target.accepting(OPTIONS).option("units").split(",")]
    units = [unit for unit in units if unit]
    if not units:
        target.refuse("which units? say systemd://?units=nginx.service,shop@*.service")
    if any(unit.startswith("-") for unit in units):
        target.refuse("a unit's name does not begin with a dash")
    return Systemd(units)


class Systemd:
    """Asks systemctl; nothing is held open."""

    name = "systemd"
    settle_s = 0.0

    def __init__(self, units: Sequence[str]) -> None:
        self.instance = ",".join(units)
        self._units = tuple(units)
        self.servers: tuple[tuple[str, str], ...] = ()

    def read(self) -> Figures:
        """All counters of the units now. Raises BackendError."""
        program = shutil.which("systemctl")
        if program is None:
            raise self._failed("there is no systemctl here")
        words = ["show", f"--property={','.join((*TOLD, *BEGAN, *FACTS))}", "--"]
        try:
            done = subprocess.run(  # noqa: S603 - no shell; names that look like flags are refused
                [program, *words, *self._units],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=COMMAND_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise self._failed(f"systemctl has not answered for {COMMAND_S:g} s") from None
        except OSError as error:
            raise self._failed(f"systemctl: {error.strerror or error}") from error
        if done.returncode:
            raise self._failed(f"systemctl: {' '.join(done.stderr.split())[:200]}")
        units = units_of(done.stdout)
        figures, lost = counted(units), unmatched(self._units, units)
        if not figures.values:
            raise self._failed("; ".join((*lost, *figures.notes)) or "no such unit is loaded")
        self.servers = tuple((self.name, unit["Id"]) for unit in units)
        boot = BOOT_ID.read_text().strip()
        return figures._replace(incarnation=boot, notes=(*lost, *figures.notes))

    def _failed(self, reason: str) -> BackendError:
        return unreadable(self.name, self.instance, reason)

    def facts(self) -> Mapping[str, Fact]:
        """What is known of each counter."""
        return FACTS

    def close(self) -> None:
        """Nothing is open."""


def counted(units: Iterable[Mapping[str, str]]) -> Figures:
    """The counters of units as ``systemctl show`` tells them: totals, and parts by unit.

    A unit that is started anew begins its own anew, and is in none of the totals what it was.
    """
    values: dict[Series, Number] = {}
    began: dict[str, str] = {}
    reasons: dict[str, list[str]] = {}
    for unit in units:
        name = unit["Id"]
        if name in began:  # it may be meant by two patterns, or have two names
            continue
        if unit.get("LoadState", "loaded") != "loaded":
            reasons.setdefault(_unloaded(unit), []).append(name)
            continue
        began[name] = " ".join((name, *(unit.get(each, "") for each in BEGAN)))
        for counter in FACTS:
            number = _number(unit.get(counter, ""))
            if number is None:
                reasons.setdefault(_because(unit, counter), []).append(name)
                continue
            values[counter, (("unit", name),)] = number
            values[counter, ()] = values.get((counter, ()), 0) + number
    kept, more = bounded(values, gauges=GAUGES)
    notes = [
        f"{reason}: {', '.join(sorted(set(names)))}"
        for reason, names in sorted(reasons.items())
        if reason
    ]
    begun = {one: _begun(one, values, began) for one in kept}
    return Figures(kept, "", notes=(*notes, *more), incarnations=begun)


def _begun(series: Series, values: Iterable[Series], began: Mapping[str, str]) -> str:
    """Since when a figure is one count: since its unit was started; a sum, as those in it."""
    counter, part = series
    # It counts these very starts, and goes on through them.
    known = {name: name for name in began} if counter == OF_SERVICES else began
    own = [name for label, name in part if label == "unit"]
    own = own or sorted(of[0][1] for name, of in values if name == counter and of)
    return "; ".join(known[name] for name in own)


def unmatched(patterns: Iterable[str], units: Iterable[Mapping[str, str]]) -> list[str]:
    """The patterns that mean no loaded unit, of which systemctl says nothing at all."""
    names = {name for unit in units for name in unit.get("Names", unit["Id"]).split()}
    return [
        f"no unit that is loaded is meant by {pattern}"
        for pattern in patterns
        if any(sign in pattern for sign in "*?[") and not _matches(pattern, names)
    ]


def _matches(pattern: str, names: Iterable[str]) -> bool:
    """Whether a name is meant: a pattern that names no kind of unit means services."""
    return any(
        fnmatchcase(name, one) for name in names for one in (pattern, f"{pattern}.service")
    )


def _unloaded(unit: Mapping[str, str]) -> str:
    state = unit.get("LoadState", "")
    return "there is no such unit" if state == "not-found" else f"not loaded ({state})"


def _because(unit: Mapping[str, str], counter: str) -> str:
    """Why a loaded unit shows no such figure; empty where it is of a kind that has none."""
    if FACTS.keys().isdisjoint(unit):
        return "of a kind that systemd accounts nothing for"
    if counter not in unit:
        since = ", which does from 254 on" * (counter == PEAK)
        return f"{counter} is not told by this systemd{since}" * (counter != OF_SERVICES)
    switch = _switch(counter)
    state = unit.get("ActiveState", "active")
    if state in {"inactive", "failed"}:
        return f"{state}, so that nothing is accounted" * bool(switch)
    if counter == PEAK and _number(unit.get("MemoryCurrent", "")) is not None:
        return f"{PEAK} is not told by this Linux, which does from 5.19 on"
    return f"{switch} is off" * bool(switch)


def units_of(text: str) -> list[dict[str, str]]:
    """What is told of each unit: blocks of lines NAME=VALUE with an empty line between them."""
    blocks = (block.splitlines() for block in text.split("\n\n"))
    units = (
        dict(line.partition("=")[::2] for line in lines if "=" in line) for lines in blocks
    )
    return [unit for unit in units if unit.get("Id")]


def _number(text: str) -> int | None:
    """A figure; None for ``[not set]``, for 2**64 - 1 and for whatever else is none."""
    if not (text.isascii() and text.isdigit()) or int(text[:30]) >= NOT_SET:
        return None
    return int(text)


def _switch(counter: str) -> str:
    return next((s for begins, s in SWITCHES.items() if counter.startswith(begins)), "")
