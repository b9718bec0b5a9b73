"""What the kernel tells in /proc and in cgroups, read into numbers; no file is opened here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STAT_FIELDS: Final = {
    "parent": 4,
    "minor_faults": 10,
    "children_minor_faults": 11,
    "major_faults": 12,
    "children_major_faults": 13,
    "user_ticks": 14,
    "system_ticks": 15,
    "children_user_ticks": 16,
    "children_system_ticks": 17,
    "started_ticks": 22,
}
"""The fields of /proc/PID/stat that are read, by their numbers in proc(5), which begin at 1."""


class Process(NamedTuple):
    """One line of /proc/PID/stat; a process is known again by `pid` and `started_ticks`."""

    pid: int
    name: str
    numbers: Mapping[str, int]

    @property
    def parent(self) -> int:
        """Whose child it is."""
        return self.numbers["parent"]


def process(text: str) -> Process:
    """The process of a line of /proc/PID/stat. Raises ValueError.

    The name stands in brackets and may hold brackets, blanks and line feeds itself.

    >>> process("7 (a ) b) S 1 7 7 0 -1 0 5 6 7 8 9 10 11 12 20 0 1 0 99 0 0").name
    'a ) b'
    """
    head, opened, rest = text.partition("(")
    name, closed, fields = rest.rpartition(")")
    if not (opened and closed):
        raise ValueError("no name in brackets")
    told = fields.split()
    try:
        numbers = {what: int(told[number - 3]) for what, number in STAT_FIELDS.items()}
    except IndexError:
        raise ValueError(f"{len(told)} fields after the name") from None
    return Process(int(head), name, numbers)


def descendants(processes: Iterable[Process], roots: Iterable[int]) -> list[Process]:
    """The roots that are there and all that they started, each once, in the order of pids."""
    by_pid = {one.pid: one for one in processes}
    children: dict[int, list[int]] = {}
    for one in by_pid.values():
        children.setdefault(one.parent, []).append(one.pid)
    found: set[int] = set()
    waiting = [pid for pid in roots if pid in by_pid]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return [by_pid[pid] for pid in sorted(found)]


def ancestry(processes: Iterable[Process], pid: int) -> set[int]:
    """The process, its parent, that one's parent and so on."""
    parents = {one.pid: one.parent for one in processes}
    found: set[int] = set()
    while pid in parents and pid not in found:
        found.add(pid)
        pid = parents[pid]
    return found


def named_numbers(text: str, separator: str = ":") -> dict[str, int]:
    """Lines of a name and a whole number, as in /proc/PID/io; other lines are left out.

    >>> named_numbers("rchar: 323\\nstate: R\\nVmHWM:\\t 8 kB\\n")
    {'rchar': 323, 'VmHWM': 8}
    """
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(separator)
        number = value.split()[:1]
        if number and number[0].isascii() and number[0].isdigit():
            found[name.strip()] = int(number[0])
    return found


def paired_lines(text: str) -> dict[str, int]:
    """/proc/net/snmp and netstat: a line of names, then a line of numbers, of each protocol.

    >>> paired_lines("Tcp: InSegs OutSegs\\nTcp: 5 7\\n")
    {'Tcp.InSegs': 5, 'Tcp.OutSegs': 7}
    """
    found: dict[str, int] = {}
    lines = text.splitlines()
    for names, numbers in zip(lines[::2], lines[1::2], strict=False):
        protocol, _, listed = names.partition(":")
        if not numbers.startswith(f"{protocol}:"):
            continue
        values = numbers.partition(":")[2].split()
        for name, value in zip(listed.split(), values, strict=False):
            if value.isascii() and value.isdigit():
                found[f"{protocol}.{name}"] = int(value)
    return found


def device_lines(text: str) -> dict[str, dict[str, int]]:
    """A cgroup's io.stat: of each device its pairs.

    >>> device_lines("8:0 rbytes=9 wbytes=0\\n")
    {'8:0': {'rbytes': 9, 'wbytes': 0}}
    """
    found: dict[str, dict[str, int]] = {}
    for line in text.splitlines():
        device, *pairs = line.split() or [""]
        numbers = (pair.partition("=")[::2] for pair in pairs)
        kept = {n: int(v) for n, v in numbers if v.isascii() and v.isdigit()}
        if device and kept:
            found[device] = kept
    return found


LISTENS: Final = "0A"  # the state, as the kernel writes it
HERE: Final = frozenset({"0" * 8, "0" * 32, "0100007F", "7F000001"})
"""All addresses of this machine, and 127.0.0.1 in either order of bytes."""


def listening(text: str) -> set[int]:
    """The ports of /proc/net/tcp, or of tcp6, on which 127.0.0.1 is listened to.

    >>> row = "   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000"
    >>> listening(f"  sl  local_address rem_address   st tx_queue rx_queue\\n{row}")
    {3306}
    """
    found = set()
    for line in text.splitlines()[1:]:
        _, local, _, state, *_ = [*line.split(), "", "", "", ""]
        address, _, port = local.rpartition(":")
        if state == LISTENS and address in HERE:
            found.add(int(port, 16))
    return found
