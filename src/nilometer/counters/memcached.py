"""memcached: commands by name, hits, misses and bytes, from ``stats``.

The text protocol is six lines, so no client library is asked. One ``stats`` makes a read; it is
among the bytes, and in no counter of commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.counters.figures import Fact, Figures
from nilometer.counters.link import (
    TLS_OPTIONS,
    KeptLink,
    ReplyError,
    listens,
    place,
    tls_context,
    unreadable,
)
from nilometer.counters.target import Target
from nilometer.errors import ConfigError
from nilometer.model.reading import Kind

if TYPE_CHECKING:
    import io
    from collections.abc import Mapping, Sequence

    from nilometer.counters.backend import BackendError, Surroundings
    from nilometer.counters.figures import Number, Series
    from nilometer.counters.link import Link

MEANING: Final = "memcached's commands by name, hits, misses and bytes (stats)"

PORT: Final = 11211
ASK: Final = b"stats\r\n"

LINES_MAX: Final = 1000
"""Version 1.6 has 80 lines of statistics, some more with TLS or extstore; ten times that."""

LINE_BYTES_MAX: Final = 1024


def _hits(what: str) -> dict[str, Fact]:
    return {
        f"{what}_hits": Fact(f"{what} of keys that were there", "{call}", exact=True),
        f"{what}_misses": Fact(f"{what} of keys that were not there", "{call}", exact=True),
    }


FACTS: Final[Mapping[str, Fact]] = {
    "cmd_get": Fact("keys asked for, one or many at once", "{key}", exact=True),
    "cmd_set": Fact("values stored, by set, add, replace and their like", "{call}", exact=True),
    "cmd_flush": Fact("flush_all", "{call}", exact=True),
    "cmd_touch": Fact("touch and get-and-touch", "{call}", exact=True),
    "cmd_meta": Fact("meta commands", "{call}", exact=True),
    **_hits("get"),
    "get_expired": Fact("keys asked for whose time was over", "{key}"),
    "get_flushed": Fact("keys asked for that were flushed", "{key}"),
    **_hits("delete"),
    **_hits("incr"),
    **_hits("decr"),
    **_hits("cas"),
    "cas_badval": Fact("cas of a value that had changed meanwhile", "{call}", exact=True),
    **_hits("touch"),
    "store_too_large": Fact("values refused for their size", "{call}"),
    "store_no_memory": Fact("values refused for want of memory", "{call}"),
    "total_items": Fact("items ever stored", "{item}", exact=True),
    "total_connections": Fact("connections accepted", "{connection}", exact=True),
    "rejected_connections": Fact("connections beyond the limit", "{connection}"),
    "auth_cmds": Fact("logins", "{call}"),
    "auth_errors": Fact("logins refused", "{call}"),
    "bytes_read": Fact("bytes that clients sent", "By", exact=True),
    "bytes_written": Fact("bytes that clients were sent", "By", exact=False),
    "evictions": Fact("items that had to go for want of memory", "{item}"),
    "reclaimed": Fact("items stored in place of expired ones", "{item}"),
    "expired_unfetched": Fact("items that expired and were never asked for", "{item}"),
    "evicted_unfetched": Fact("items that had to go and were never asked for", "{item}"),
    "rusage_user": Fact("CPU time", "s", exact=False),
    "rusage_system": Fact("CPU time in the kernel", "s", exact=False),
    "curr_items": Fact("items now", "{item}", Kind.GAUGE),
    "curr_connections": Fact("connections now", "{connection}", Kind.GAUGE),
    "bytes": Fact("memory that items take", "By", Kind.GAUGE),
}

"""Exact: of 12 runs of one workload by four threads on 1.6.18, all moved these by the same."""


def find(surroundings: Surroundings) -> Sequence[Target]:
    """What ``MEMCACHED_SERVERS`` says (host:port, commas between), else the usual port here."""
    said = surroundings.environment.get("MEMCACHED_SERVERS", "")
    if said:
        return [_server(one.strip()) for one in said.split(",") if one.strip()]
    if listens(PORT):
        return [Target("memcached", "found on this machine", "127.0.0.1", PORT)]
    return []


def _server(said: str) -> Target:
    who, at, place = said.rpartition("@")
    host, colon, port = place.rpartition(":")
    if not colon:
        host, port = place, str(PORT)
    if who or not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        shown = f"***@{place}" if at else place  # it may be a password
        raise ConfigError(
            f"MEMCACHED_SERVERS: {shown!r} is not host:port", slug="bad-backend-url"
        )
    return Target("memcached", "MEMCACHED_SERVERS", host.strip("[]"), int(port))


def connect(target: Target) -> Memcached:
    """A server: ``memcached://host:11211``, or ``?socket=PATH``."""
    return Memcached(target.accepting((*TLS_OPTIONS, "socket")))


class Memcached:
    """Reads a server over one connection that stays open."""

    name = "memcached"
    settle_s = 0.0

    def __init__(self, target: Target) -> None:
        where = place(target, PORT)
        self.instance = where.shown
        self._login = f"{target.user} {target.password}".encode() if target.user else b""
        self._link = KeptLink(where, self._log_in, self._failed, tls=tls_context(target))
        self._last: Mapping[Series, Number] = {}
        self._resets = 0
        self.servers: tuple[tuple[str, str], ...] = ()

    def read(self) -> Figures:
        """All counters now. Raises BackendError."""
        values, told = counted(self._link.asked(_stats))
        if "pid" not in told:
            self.close()
            raise self._failed("its stats have no pid: it is no memcached")
        if was_reset(self._last, values):
            self._resets += 1
        self._last = values
        process = process_of(told)
        # In containers all are process 1, and those of one file start within a second.
        known = told["pid"] != "1" and not process.endswith(UNKNOWN)
        self.servers = ((self.name, process),) if known else ()
        begun = f"{process} reset {self._resets}"
        return Figures(values, begun, told.get("version", ""))

    def _log_in(self, link: Link) -> None:
        """As servers with an authfile want it: the first value set is user and password."""
        if not self._login:
            return
        link.sendall(b"set nilometer 0 0 %d\r\n%b\r\n" % (len(self._login), self._login))
        said = link.makefile().readline(LINE_BYTES_MAX).strip()
        if said != b"STORED":
            raise ReplyError(f"login: {said.decode(errors='replace')!r}")

    def _failed(self, reason: str) -> BackendError:
        return unreadable(self.name, self.instance, reason)

    def facts(self) -> Mapping[str, Fact]:
        """What is known of each counter."""
        return FACTS

    def close(self) -> None:
        """Hang up."""
        self._link.close()


def _stats(link: Link) -> str:
    """The text of ``stats``. Raises ReplyError, OSError."""
    link.sendall(ASK)
    return reply(link.makefile())


def reply(file: io.BufferedReader) -> str:
    """The lines up to END. Raises ReplyError, OSError."""
    lines: list[str] = []
    while len(lines) < LINES_MAX:
        line = file.readline(LINE_BYTES_MAX)
        if not line:
            if lines:
                raise ReplyError("half a reply, then it hung up")
            raise ConnectionResetError("it hung up without a word")
        text = line.decode(errors="replace").strip()
        if text == "END":
            return "\n".join(lines)
        if not text.startswith("STAT "):
            raise ReplyError(f"not a reply of memcached: {text[:60]!r}")
        lines.append(text)
    raise ReplyError(f"more than {LINES_MAX} lines of statistics")


def counted(text: str) -> tuple[dict[Series, Number], dict[str, str]]:
    """The counters in the lines of ``stats``, and the other figures as texts."""
    values: dict[Series, Number] = {}
    told: dict[str, str] = {}
    for line in text.splitlines():
        _, name, *rest = (*line.split(" ", 2), "", "")
        fact = FACTS.get(name)
        if fact is None:
            told[name] = rest[0]
            continue
        try:
            values[name, ()] = float(rest[0]) if fact.unit == "s" else int(rest[0])
        except ValueError:
            continue
    return values, told


UNKNOWN: Final = "unknown"


def process_of(told: Mapping[str, str]) -> str:
    """Which start of which process this is: ``time`` less ``uptime`` is when it started."""
    try:
        started = str(int(told.get("time", "")) - int(told.get("uptime", "")))
    except ValueError:
        started = UNKNOWN
    return f"pid {told['pid']} started {started}"


def was_reset(before: Mapping[Series, Number], after: Mapping[Series, Number]) -> bool:
    """Whether ``stats reset`` came between two reads: a counter went back, or has not even
    what we asked ourselves."""
    if not before:
        return False
    asked = ("bytes_read", ())
    if after.get(asked, 0) < before.get(asked, 0) + len(ASK):
        return True
    grow = [(n, ()) for n, fact in FACTS.items() if fact.kind is not Kind.GAUGE]
    return any(after.get(series, 0) < before.get(series, 0) for series in grow)
