"""Linux: what processes read, wrote and used, of a process tree, a cgroup or the machine.

    linux://                  this machine
    linux://?pid=4711         a process and all that it started
    linux://?name=^gunicorn   processes whose name or command fits this pattern, and theirs
    linux://?cgroup=/system.slice/mariadb.service     a control group (version 2)

When a process ends, the kernel adds its CPU time, page faults and I/O to its parent's, once the
parent has asked how it ended. What outlives its parent stays in the tree if a read saw it
before; if it then ends, or if a parent does not ask, the tree's totals are unknown. The kernel
does not add context switches: those of what began and ended between two reads are not seen.
Source: proc(5), and the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nilometer.counters.backend import BackendError
from nilometer.counters.figures import Fact, Figures
from nilometer.counters.lineage import Lineage
from nilometer.counters.parts import bounded
from nilometer.counters.procfs import (
    Process,
    ancestry,
    device_lines,
    named_numbers,
    paired_lines,
    process,
)
from nilometer.counters.target import Target
from nilometer.model.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from nilometer.counters.backend import Surroundings
    from nilometer.counters.figures import Number, Series

MEANING: Final = "what processes read, wrote and used: of a tree, a cgroup or this machine"

OPTIONS: Final = ("pid", "name", "cgroup")
PROC: Final = Path("/proc")
CGROUPS: Final = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
NS_PER_TICK: Final = 10**9 // (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)

CPU: Final = {
    "cpu.user": Fact("CPU time in programs", "ns", exact=False),
    "cpu.system": Fact("CPU time in the kernel", "ns", exact=False),
}
FAULTS: Final = {
    "page_faults.minor": Fact("pages mapped without reading", "{fault}", exact=False),
    "page_faults.major": Fact("pages read from disk", "{fault}", exact=False),
}
OF_PROCESSES: Final[Mapping[str, Fact]] = {
    "syscr": Fact("calls that read", "{call}"),
    "syscw": Fact("calls that wrote", "{call}"),
    "rchar": Fact("bytes read by calls, from wherever", "By"),
    "wchar": Fact("bytes written by calls, to wherever", "By"),
    "read_bytes": Fact("bytes fetched from disks", "By", exact=False),
    "write_bytes": Fact("bytes that were to go to disks", "By", exact=False),
    "cancelled_write_bytes": Fact("of these, what never went", "By", exact=False),
    **CPU,
    **FAULTS,
    "context_switches.voluntary": Fact("waits for something", "{switch}", exact=False),
    "context_switches.involuntary": Fact("times another had its turn", "{switch}", exact=False),
    "memory.peak": Fact("most memory resident, each process by itself", "By", Kind.GAUGE),
    "processes": Fact("processes now", "{process}", Kind.GAUGE),
    "threads": Fact("threads now", "{thread}", Kind.GAUGE),
}
OF_CGROUPS: Final[Mapping[str, Fact]] = {
    **CPU,
    "cpu.throttled": Fact("time kept off the CPU by the group's limit", "ns", exact=False),
    **FAULTS,
    "io.read_bytes": Fact("bytes fetched from disks", "By", exact=False),
    "io.write_bytes": Fact("bytes written to disks", "By", exact=False),
    "io.reads": Fact("requests to disks that read", "{request}", exact=False),
    "io.writes": Fact("requests to disks that wrote", "{request}", exact=False),
    "oom_kills": Fact("processes killed for want of memory", "{process}"),
    "memory.peak": Fact("most memory the group had", "By", Kind.GAUGE),
    "memory.current": Fact("memory the group has", "By", Kind.GAUGE),
    "pids.peak": Fact("most processes and threads at once", "{task}", Kind.GAUGE),
}
OF_MACHINES: Final[Mapping[str, Fact]] = {
    **CPU,
    **FAULTS,
    "context_switches": Fact("all switches on all processors", "{switch}", exact=False),
    "interrupts": Fact("interrupts served", "{interrupt}", exact=False),
    "forks": Fact("processes and threads started", "{process}"),
    "disk.read_bytes": Fact("bytes paged in from disks", "By", exact=False),
    "disk.write_bytes": Fact("bytes paged out to disks", "By", exact=False),
    "ip.received_bytes": Fact("bytes received, headers included", "By", exact=False),
    "ip.sent_bytes": Fact("bytes sent, headers included", "By", exact=False),
    "tcp.connects": Fact("connections opened from here", "{connection}"),
    "tcp.accepts": Fact("connections opened to here", "{connection}"),
    "tcp.retransmits": Fact("segments sent again", "{segment}", exact=False),
    "udp.received": Fact("datagrams received", "{datagram}"),
    "udp.sent": Fact("datagrams sent", "{datagram}"),
}
PER_PROCESS: Final = frozenset({"memory.peak", "processes", "threads"})


def find(surroundings: Surroundings) -> Sequence[Target]:  # noqa: ARG001 - as all backends do
    """This machine, if it is Linux."""
    if (PROC / "stat").exists():
        return [Target("linux", "this machine")]
    return []


def connect(target: Target) -> Processes | Cgroup | Machine:
    """A tree of processes, a cgroup, or the machine."""
    target = target.accepting(OPTIONS)
    pid, name, cgroup = (target.option(option) for option in OPTIONS)
    if (pid != "") + (name != "") + (cgroup != "") > 1:
        target.refuse("one of pid, name and cgroup, not several")
    if cgroup:
        return Cgroup(cgroup, target.shown)
    if pid and not (pid.isascii() and pid.isdigit()):
        target.refuse(f"pid={pid!r} is not a number")
    if pid:
        return Processes(f"pid={pid}", pid=int(pid))
    if name:
        try:
            return Processes(f"name={name}", pattern=re.compile(name))
        except re.error as error:
            target.refuse(f"name={name!r} is not a pattern: {error}")
    return Machine()


def _text(path: Path) -> str:
    """A file of the kernel's; empty if it is not there, or not for us."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _boot() -> str:
    return _text(PROC / "sys/kernel/random/boot_id").strip()


def _version() -> str:
    return _text(PROC / "sys/kernel/osrelease").strip()


class Linux:
    """What the three have in common: nothing is held open, and nothing lags."""

    name = "linux"
    settle_s = 0.0

    def __init__(self, instance: str, facts: Mapping[str, Fact]) -> None:
        self.instance = instance
        self._facts = facts

    def facts(self) -> Mapping[str, Fact]:
        """What is known of each counter."""
        return self._facts

    def close(self) -> None:
        """Nothing is open."""

    def _figures(
        self,
        values: Mapping[Series, Number],
        incarnation: str,
        *notes: str,
        incarnations: Mapping[Series, str] | None = None,
    ) -> Figures:
        kept, more = bounded(values, gauges=PER_PROCESS)
        return Figures(kept, incarnation, _version(), (*notes, *more), incarnations or {})


class Processes(Linux):
    """Processes, known by a pid or by a pattern of their names, and all that they started."""

    def __init__(
        self, instance: str, *, pid: int = 0, pattern: re.Pattern[str] | None = None
    ) -> None:
        super().__init__(instance, OF_PROCESSES)
        self._pid = pid
        self._pattern = pattern
        self._lineage = Lineage()

    def read(self) -> Figures:
        """All counters of the tree now. Raises BackendError."""
        everybody = list(_processes())
        ours = ancestry(everybody, os.getpid())
        roots = [one for one in everybody if self._is_root(one, ours)]
        tree = self._lineage.tree(everybody, [one.pid for one in roots]) if roots else []
        if not tree:
            raise BackendError(f"linux at {self.instance}: no such process runs")
        values: dict[Series, Number] = {}
        unreadable = 0
        for one in tree:
            counted = _counted(one)
            unreadable += "syscr" not in counted
            for counter, number in counted.items():
                for dimensions in ((), (("process", one.name),)):
                    key = counter, dimensions
                    values[key] = values.get(key, 0) + number
        note = f"{unreadable} of {len(tree)} processes are another user's: their I/O is unknown"
        began = " ".join(f"{one.pid}:{one.numbers['started_ticks']}" for one in roots)
        notes = [note] if unreadable else []
        return self._figures(
            values, f"{_boot()} {began}", *notes, incarnations=self._losses(values)
        )

    def _losses(self, values: Mapping[Series, Number]) -> dict[Series, str]:
        """The totals, and the parts by name, that lost what an ended process had counted."""
        lost = self._lineage.lost
        if not lost:
            return {}
        what = "1 process" if len(lost) == 1 else f"{len(lost)} processes"
        why = f"{what} of it ended, and its figures are with none of its parents"
        parts = {(), *((("process", name),) for name in lost)}
        return {one: why for one in values if one[1] in parts and one[0] not in PER_PROCESS}

    def _is_root(self, one: Process, ours: Container[int]) -> bool:
        """Whether it is one of those named; a pattern never means us, nor who started us: the
        command line of each of them holds the pattern itself."""
        if self._pattern is None:
            return one.pid == self._pid
        if one.pid in ours:
            return False
        command = _text(PROC / str(one.pid) / "cmdline").replace("\0", " ").strip()
        return bool(self._pattern.search(one.name) or self._pattern.search(command))


def _processes() -> Iterator[Process]:
    for path in PROC.iterdir():
        if path.name.isdigit():
            try:
                yield process(_text(path / "stat"))
            except ValueError:  # it has ended meanwhile
                continue


def _counted(one: Process) -> dict[str, int]:
    """The counters of one process, those of its children that have ended included."""
    folder = PROC / str(one.pid)
    told = one.numbers
    status = named_numbers(_text(folder / "status"))
    threads = [named_numbers(_text(path / "status")) for path in _listed(folder / "task")]
    io = named_numbers(_text(folder / "io"))
    return {
        **{name: number for name, number in io.items() if name in OF_PROCESSES},
        "cpu.user": (told["user_ticks"] + told["children_user_ticks"]) * NS_PER_TICK,
        "cpu.system": (told["system_ticks"] + told["children_system_ticks"]) * NS_PER_TICK,
        "page_faults.minor": told["minor_faults"] + told["children_minor_faults"],
        "page_faults.major": told["major_faults"] + told["children_major_faults"],
        "context_switches.voluntary": _sum(threads, "voluntary_ctxt_switches"),
        "context_switches.involuntary": _sum(threads, "nonvoluntary_ctxt_switches"),
        "memory.peak": status.get("VmHWM", 0) * 1024,
        "processes": 1,
        "threads": status.get("Threads", 1),
    }


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _sum(told: Sequence[Mapping[str, int]], name: str) -> int:
    return sum(one.get(name, 0) for one in told)


class Cgroup(Linux):
    """A control group of version 2, with all below it."""

    def __init__(self, group: str, shown: str) -> None:
        super().__init__(f"cgroup={group}", OF_CGROUPS)
        self._shown = shown
        self._folders = [root / group.strip("/") for root in CGROUPS]

    def read(self) -> Figures:
        """All counters of the group now. Raises BackendError."""
        folder = next((one for one in self._folders if (one / "cpu.stat").exists()), None)
        if folder is None:
            places = " or ".join(str(one) for one in self._folders)
            raise BackendError(
                f"linux at {self.instance}: no control group of version 2 in {places}"
            )
        found = cgroup_counters({name: _text(folder / name) for name in CGROUP_FILES})
        # The kernel (of 64 bits) gives no number twice; times change with groups made in it.
        return self._figures(found, f"{_boot()} {folder.stat().st_ino}")


CGROUP_FILES: Final = (
    *("cpu.stat", "memory.stat", "memory.peak", "memory.current", "memory.events"),
    *("io.stat", "pids.peak"),
)


def cgroup_counters(files: Mapping[str, str]) -> dict[Series, Number]:
    """The counters in the files of a group; what a kernel does not have is left out."""
    cpu = named_numbers(files["cpu.stat"], " ")
    memory = named_numbers(files["memory.stat"], " ")
    events = named_numbers(files["memory.events"], " ")
    found: dict[str, int | None] = {
        "cpu.user": _thousandfold(cpu.get("user_usec")),
        "cpu.system": _thousandfold(cpu.get("system_usec")),
        "cpu.throttled": _thousandfold(cpu.get("throttled_usec")),
        "page_faults.minor": _less(memory.get("pgfault"), memory.get("pgmajfault")),
        "page_faults.major": memory.get("pgmajfault"),
        "oom_kills": events.get("oom_kill"),
    }
    for name in ("memory.peak", "memory.current", "pids.peak"):
        text = files[name].strip()
        found[name] = int(text) if text.isascii() and text.isdigit() else None
    values: dict[Series, Number] = {(n, ()): v for n, v in found.items() if v is not None}
    names = {"rbytes": "io.read_bytes", "wbytes": "io.write_bytes"}
    names |= {"rios": "io.reads", "wios": "io.writes"}
    for device, numbers in device_lines(files["io.stat"]).items():
        for theirs, ours in names.items():
            number = numbers.get(theirs, 0)
            values[ours, (("device", device),)] = number
            values[ours, ()] = values.get((ours, ()), 0) + number
    return values


def _thousandfold(microseconds: int | None) -> int | None:
    return None if microseconds is None else microseconds * 1000


def _less(all_of_them: int | None, some: int | None) -> int | None:
    return None if all_of_them is None else all_of_them - (some or 0)


class Machine(Linux):
    """This machine, with everybody on it."""

    def __init__(self) -> None:
        super().__init__("this machine", OF_MACHINES)

    def read(self) -> Figures:
        """All counters of the machine now."""
        names = ("stat", "vmstat", "net/snmp", "net/netstat")
        found = machine_counters({name: _text(PROC / name) for name in names})
        return self._figures(found, _boot())


def machine_counters(files: Mapping[str, str]) -> dict[Series, Number]:
    """The counters in files of /proc; what a kernel does not have is left out."""
    stat = named_numbers(files["stat"], " ")
    pages = named_numbers(files["vmstat"], " ")
    network = paired_lines(files["net/snmp"]) | paired_lines(files["net/netstat"])
    cpu = next((line.split() for line in files["stat"].splitlines() if line[:4] == "cpu "), [])
    ticks = [int(field) for field in cpu[1:] if field.isascii() and field.isdigit()]
    found: dict[str, int | None] = {
        "cpu.user": sum(ticks[0:2]) * NS_PER_TICK if len(ticks) > 2 else None,
        "cpu.system": ticks[2] * NS_PER_TICK if len(ticks) > 2 else None,
        "page_faults.minor": _less(pages.get("pgfault"), pages.get("pgmajfault")),
        "page_faults.major": pages.get("pgmajfault"),
        "context_switches": stat.get("ctxt"),
        "interrupts": stat.get("intr"),
        "forks": stat.get("processes"),
        "disk.read_bytes": _kibibytes(pages.get("pgpgin")),
        "disk.write_bytes": _kibibytes(pages.get("pgpgout")),
        "ip.received_bytes": network.get("IpExt.InOctets"),
        "ip.sent_bytes": network.get("IpExt.OutOctets"),
        "tcp.connects": network.get("Tcp.ActiveOpens"),
        "tcp.accepts": network.get("Tcp.PassiveOpens"),
        "tcp.retransmits": network.get("Tcp.RetransSegs"),
        "udp.received": network.get("Udp.InDatagrams"),
        "udp.sent": network.get("Udp.OutDatagrams"),
    }
    return {(name, ()): value for name, value in found.items() if value is not None}


def _kibibytes(number: int | None) -> int | None:
    return None if number is None else number * 1024
