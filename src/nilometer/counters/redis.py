"""Redis and Valkey: every command by name, keys hit and missed, bytes, from ``INFO``.

INFO is spoken here, in thirty lines, because importing redis-py takes 240 ms of CPU time and
22 MB, more than four backends together may. One INFO makes a read, and counts itself.
"""

from __future__ import annotations

from pathlib import Path
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
from nilometer.model.reading import Kind

if TYPE_CHECKING:
    import io
    from collections.abc import Mapping, Sequence

    from nilometer.counters.backend import BackendError, Surroundings
    from nilometer.counters.figures import Number, Series
    from nilometer.counters.link import Link

MEANING: Final = "Redis' and Valkey's commands by name, hits, misses and bytes (INFO)"

PORT: Final = 6379
SCHEMES: Final = {"redis": "redis", "rediss": "redis"}
SOCKETS: Final = ("/run/redis/redis-server.sock", "/run/redis/redis.sock")
"""Where Debian's and Red Hat's packages put it."""

REPLY_BYTES_MAX: Final = 4 << 20
"""An INFO of all 400 commands and subcommands that there are has 80 kB; fifty times that."""

LINE_BYTES_MAX: Final = 1024  # an error's text; the length of a reply has ten digits

FACTS: Final[Mapping[str, Fact]] = {
    "total_commands_processed": Fact("commands of clients, ours too", "{command}", exact=True),
    "total_connections_received": Fact("connections accepted", "{connection}", exact=True),
    "total_net_input_bytes": Fact("bytes that clients sent", "By", exact=True),
    "total_net_output_bytes": Fact("bytes that clients were sent", "By", exact=False),
    "rejected_connections": Fact("connections beyond maxclients", "{connection}"),
    "expired_keys": Fact("keys whose time was over", "{key}"),
    "evicted_keys": Fact("keys that had to go for want of memory", "{key}"),
    "keyspace_hits": Fact("keys asked for that were there", "{key}", exact=True),
    "keyspace_misses": Fact("keys asked for that were not there", "{key}", exact=True),
    "total_error_replies": Fact("commands answered by an error", "{error}", exact=True),
    "unexpected_error_replies": Fact("errors of modules and scripts", "{error}"),
    "total_reads_processed": Fact("reads from sockets", "{call}"),
    "total_writes_processed": Fact("writes to sockets", "{call}"),
    "total_forks": Fact("forks, to save or to rewrite", "{fork}"),
    "sync_full": Fact("replicas that were sent everything", "{sync}"),
    "used_cpu_user": Fact("CPU time", "s", exact=False),
    "used_cpu_sys": Fact("CPU time in the kernel", "s", exact=False),
    "used_memory": Fact("memory in use", "By", Kind.GAUGE, exact=False),
    "used_memory_peak": Fact("the most memory ever in use", "By", Kind.GAUGE, exact=False),
    "connected_clients": Fact("clients connected", "{connection}", Kind.GAUGE),
}

"""Exact: of 12 runs of one workload by four threads on 7.0.15, all moved these by the same. The
bytes sent are not, as the INFO that we are sent is longer by a digit now and then."""

OF_COMMAND: Final[Mapping[str, Fact]] = {
    "calls": Fact("calls of this command", "{call}", exact=True, from_zero=True),
    "usec": Fact("CPU time of this command", "us", exact=False, from_zero=True),
    "rejected_calls": Fact("calls refused before they ran", "{call}", from_zero=True),
    "failed_calls": Fact(
        "calls that failed while they ran", "{call}", exact=True, from_zero=True
    ),
}

OF_ERROR: Final = Fact("replies of this error", "{error}", exact=True, from_zero=True)

COMMANDS_MAX: Final = 1000  # two and a half times all commands there are; modules bring more

RUN_ID_CHARS: Final = 40  # random, in hexadecimal; what only speaks as Redis may have fewer

RESET: Final = "cmdstat_config|resetstat.calls"
OURS: Final = "cmdstat_info.calls"


def find(surroundings: Surroundings) -> Sequence[Target]:
    """What ``REDIS_URL`` says, else this machine's usual port and sockets."""
    said = surroundings.environment.get("REDIS_URL", "")
    if said.startswith("unix://"):
        said = f"redis://{_unix(said)}"
    if said:
        target = Target.parse(said, origin="REDIS_URL", schemes=SCHEMES)
        ours = tuple(one for one in target.options if one[0] in OPTIONS)
        return [target._replace(options=ours)]
    if listens(PORT):
        return [Target("redis", "found on this machine", "127.0.0.1", PORT)]
    found = [path for path in SOCKETS if Path(path).is_socket()]
    return [
        Target("redis", "found on this machine", options=(("socket", path),)) for path in found
    ]


def _unix(said: str) -> str:
    """``unix://user:password@/path?db=0`` as a URL with the socket among its options."""
    who, at, path = said.removeprefix("unix://").rpartition("@")
    path, _, query = path.partition("?")
    return f"{who}{at}localhost?socket={path}{'&' if query else ''}{query}"


OPTIONS: Final = (*TLS_OPTIONS, "socket")


def connect(target: Target) -> Redis:
    """A server: ``redis://user:password@host:6379``, ``rediss://``, or ``?socket=PATH``."""
    return Redis(target.accepting(OPTIONS))


class Redis:
    """Reads a server over one connection that stays open."""

    name = "redis"
    settle_s = 0.0

    def __init__(self, target: Target) -> None:
        where = place(target, PORT)
        self.instance = where.shown
        self._user, self._password = target.user, target.password
        self._link = KeptLink(where, self._log_in, self._failed, tls=tls_context(target))
        self._facts: dict[str, Fact] = dict(FACTS)
        self._last: Mapping[Series, Number] = {}
        self._resets = 0
        self.servers: tuple[tuple[str, str], ...] = ()

    def read(self) -> Figures:
        """All counters now. Raises BackendError."""
        values, facts, told = counted(self._link.asked(_info))
        if "run_id" not in told:
            self.close()
            raise self._failed("its INFO has no run_id: it is no Redis")
        if was_reset(self._last, values):
            self._resets += 1
        self._last = values
        self._facts |= facts
        if is_random(told["run_id"]):
            self.servers = ((self.name, f"run {told['run_id']}"),)
        begun = f"{told['run_id']} reset {values.get((RESET, ()), 0)}/{self._resets}"
        version = told.get("valkey_version") or told.get("redis_version", "")
        return Figures(values, begun, version, whole=True)

    def _log_in(self, link: Link) -> None:
        if self._password:
            who = (self._user,) if self._user else ()
            _ask(link, "AUTH", *who, self._password)

    def _failed(self, reason: str) -> BackendError:
        return unreadable(self.name, self.instance, reason)

    def facts(self) -> Mapping[str, Fact]:
        """What is known of each counter; of commands, those that were ever read."""
        return self._facts

    def close(self) -> None:
        """Hang up."""
        self._link.close()


def _info(link: Link) -> str:
    return _ask(link, "INFO", "all")


def _ask(link: Link, *words: str) -> str:
    """What the server says to a command. Raises ReplyError, OSError."""
    link.sendall(command(*words))
    try:
        return reply(link.makefile())
    except ReplyError as error:
        raise ReplyError(f"{words[0]}: {error}{_advice(str(error))}") from error


def command(*words: str) -> bytes:
    """A command as the protocol wants it.

    >>> command("INFO", "all")
    b'*2\\r\\n$4\\r\\nINFO\\r\\n$3\\r\\nall\\r\\n'
    """
    coded = [word.encode() for word in words]
    return b"*%d\r\n" % len(coded) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in coded)


def reply(file: io.BufferedReader) -> str:
    """The text of a reply. Raises ReplyError, OSError."""
    line = file.readline(LINE_BYTES_MAX)
    if not line:
        raise ConnectionResetError("it hung up without a word")
    kind, text = line[:1], line[1:].rstrip(b"\r\n")
    if kind == b"+":
        return text.decode(errors="replace")
    if kind == b"-":
        raise ReplyError(text.decode(errors="replace"))
    if kind != b"$" or not text.isdigit():
        raise ReplyError(f"not a reply of Redis: {line[:60]!r}")
    if len(text) > len(str(REPLY_BYTES_MAX)) or int(text) > REPLY_BYTES_MAX:
        raise ReplyError(f"a reply of more than {REPLY_BYTES_MAX} bytes")
    body = file.read(int(text) + 2)
    if len(body) < int(text) + 2:
        raise ReplyError("half a reply, then it hung up")
    return body[:-2].decode(errors="replace")


def _advice(error: str) -> str:
    if error.startswith("NOAUTH"):
        return "; name the password: redis://:PASSWORD@host, or ?password_file=FILE"
    if error.startswith("NOPERM"):
        return "; this user needs the right to INFO: ACL SETUSER name +info"
    return ""


def counted(text: str) -> tuple[dict[Series, Number], dict[str, Fact], dict[str, str]]:
    """The counters in the text of INFO, what is known of those named after commands and errors,
    and the texts among the figures."""
    values: dict[Series, Number] = {}
    facts: dict[str, Fact] = {}
    told: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, said = line.strip().partition(":")
        if not colon or name.startswith("#"):
            continue
        if name in FACTS:
            number = _number(said)
            if number is not None:
                values[name, ()] = number
        elif name.startswith(("cmdstat_", "errorstat_")):
            _parts(name, said, values, facts)
        else:
            told[name] = said
    return values, facts, told


def _parts(name: str, said: str, values: dict[Series, Number], facts: dict[str, Fact]) -> None:
    """``calls=2,usec=9,usec_per_call=4.50`` of one command; ``count=1`` of one error."""
    for one in said.split(","):
        figure, _, text = one.partition("=")
        fact = OF_COMMAND.get(figure) if name.startswith("cmdstat_") else OF_ERROR
        number = _number(text)
        if fact is None or number is None or len(values) >= len(FACTS) + 4 * COMMANDS_MAX:
            continue
        values[f"{name}.{figure}", ()] = number
        facts[f"{name}.{figure}"] = fact


def _number(text: str) -> Number | None:
    if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX:
        return int(text)
    head, _, tail = text.partition(".")
    if (head + tail).isascii() and (head + tail).isdigit() and len(text) <= DIGITS_MAX:
        return float(text)
    return None


DIGITS_MAX: Final = 20  # 2^64


def is_random(run_id: str) -> bool:
    """Whether no other server has this one: a stand-in's may be zeros, or a word.

    >>> is_random("1ac24b0a31f9a3bd0d4ed3cf39ec01ad4a8a9d4b"), is_random("0" * 40)
    (True, False)
    """
    return len(run_id) == RUN_ID_CHARS and len(set(run_id)) > 1


def was_reset(before: Mapping[Series, Number], after: Mapping[Series, Number]) -> bool:
    """Whether ``CONFIG RESETSTAT`` came between two reads over one connection.

    Then a counter went back, or the INFO of the earlier read is not among those counted.
    """
    if not before:
        return False
    least = before.get((OURS, ()), 0) + 1
    if after.get((OURS, ()), 0) < least:
        return True
    grow = [n for n, fact in FACTS.items() if fact.kind is not Kind.GAUGE and fact.unit != "s"]
    return any(after.get((n, ()), 0) < before.get((n, ()), 0) for n in grow)
