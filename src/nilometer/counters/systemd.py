"""systemd: what it accounts for each unit, from ``systemctl show``.

    systemd://?units=nginx.service,devstack@*.service

Which figures there are depends on what accounting is switched on: DefaultCPUAccounting and its
like in system.conf, or CPUAccounting, IOAccounting, IPAccounting, MemoryAccounting of the unit.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from nilometer.counters.figures import Fact, Figures
from nilometer.counters.link import unreadable
from nilometer.counters.parts import bounded
from nilometer.model.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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

BEGAN: Final = ("InvocationID", "ActiveEnterTimestampMonotonic")
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

    def read(self) -> Figures:
        """All counters of the units now. Raises BackendError."""
        program = shutil.which("systemctl")
        if program is None:
            raise self._failed("there is no systemctl here")
        words = ["show", f"--property={','.join(('Id', 'LoadState', *BEGAN, *FACTS))}", "--"]
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
        figures = counted(done.stdout)
        if not figures.values and not figures.notes:
            raise self._failed("no such unit is loaded")
        return figures

    def _failed(self, reason: str) -> BackendError:
        return unreadable(self.name, self.instance, reason)

    def facts(self) -> Mapping[str, Fact]:
        """What is known of each counter."""
        return FACTS

    def close(self) -> None:
        """Nothing is open."""


def counted(text: str) -> Figures:
    """The counters of the units in a text of ``systemctl show``: totals, and parts by unit."""
    values: dict[Series, Number] = {}
    began: list[str] = []
    missing: dict[str, list[str]] = {}
    for unit in _units(text):
        name = unit.get("Id", "")
        if not name or unit.get("LoadState", "loaded") != "loaded":
            continue
        began.append(" ".join((name, *(unit.get(each, "") for each in BEGAN))))
        for counter in FACTS:
            number = _number(unit.get(counter, ""))
            if number is None:
                missing.setdefault(_switch(counter), []).append(name)
                continue
            values[counter, (("unit", name),)] = number
            values[counter, ()] = values.get((counter, ()), 0) + number
    kept, more = bounded(values, gauges=GAUGES)
    notes = [
        f"{switch} is off for {', '.join(sorted(set(names)))}"
        for switch, names in sorted(missing.items())
        if switch
    ]
    return Figures(kept, "; ".join(sorted(began)), notes=(*notes, *more))


def _units(text: str) -> Iterator[dict[str, str]]:
    """Blocks of lines NAME=VALUE with an empty line between them."""
    for block in text.split("\n\n"):
        pairs = (line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        unit = dict(pairs)
        if unit:
            yield unit


def _number(text: str) -> int | None:
    """A figure; None for ``[not set]``, for 2**64 - 1 and for whatever else is none."""
    if not (text.isascii() and text.isdigit()) or int(text[:30]) >= NOT_SET:
        return None
    return int(text)


def _switch(counter: str) -> str:
    return next((s for begins, s in SWITCHES.items() if counter.startswith(begins)), "")
