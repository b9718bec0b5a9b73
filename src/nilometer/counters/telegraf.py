"""What telegraf gathers, from its JSON: a file its agent writes, or a command that prints it.

    [[outputs.file]]
      files = ["/var/lib/telegraf/metrics.json"]
      data_format = "json"

    telegraf:///var/lib/telegraf/metrics.json
    telegraf://?command=telegraf --config once.conf --once

Of each series the last value counts. telegraf does not say which fields only grow: those of the
inputs listed here are known, others are named in ``counters=NAME.FIELD``, where ``*`` stands
for any text; all else is a gauge.
"""

from __future__ import annotations

import json
import shlex
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nilometer import clock
from nilometer.counters.figures import Fact, Figures
from nilometer.counters.link import unreadable
from nilometer.counters.members import Summands
from nilometer.counters.parts import Kept, bounded
from nilometer.model.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nilometer.counters.backend import BackendError, Surroundings
    from nilometer.counters.figures import Number, Series
    from nilometer.counters.target import Target
    from nilometer.model.dimensions import Dimensions

MEANING: Final = "what telegraf gathers, from its JSON in a file or of a command"

TAIL_BYTES_MAX: Final = 4 << 20
"""A metric has 300 bytes and an agent some hundred of them each 10 s: the last 20 minutes."""

COMMAND_S: Final = 10.0
"""``telegraf --once`` gathers once, which takes a second or two."""

LAG_S: Final = 20.0
"""An agent gathers every 10 s and writes every 10 s, unless told otherwise."""

STALE_S: Final = 60.0  # three times what it may lag
AHEAD_S_MAX: Final = 5.0  # by so much the clocks of two machines may differ
ROUNDED_S: Final = 1.0  # an agent rounds the times that it writes to seconds

HOST: Final = "host"
"""The tag of all that one agent gathers; where it is the same everywhere it tells nothing."""

OVERALL: Final = ("cpu", "cpu-total")  # the sum of all others, which stand beside it

COUNTERS: Final = (
    *("net.bytes_*", "net.packets_*", "net.err_*", "net.drop_*", "net.icmp_*", "net.tcp_*"),
    *("net.udp_*", "net.ip_*", "diskio.reads", "diskio.writes", "diskio.*_bytes"),
    *("diskio.*_time", "diskio.merged_*", "kernel.context_switches", "kernel.interrupts"),
    *("kernel.processes_forked", "kernel.disk_pages_*", "cpu.time_*", "swap.in", "swap.out"),
    *("nginx.accepts", "nginx.handled", "nginx.requests", "memcached.cmd_*"),
    *("memcached.*_hits", "memcached.*_misses", "memcached.bytes_read"),
    *("memcached.bytes_written", "memcached.evictions", "memcached.total_*"),
    *("redis.total_*", "redis.keyspace_hits", "redis.keyspace_misses", "redis.expired_keys"),
    *("redis.evicted_keys", "redis_cmdstat.calls", "redis_cmdstat.usec"),
    *("mysql.com_*", "mysql.handler_*", "mysql.questions", "mysql.queries", "mysql.bytes_*"),
    *("mysql.connections", "mysql.slow_queries", "postgresql.tup_*", "postgresql.xact_*"),
    *("postgresql.blks_*", "postgresql.temp_*", "postgresql.deadlocks"),
    *("rabbitmq_queue.messages_publish", "rabbitmq_queue.messages_deliver"),
    *("rabbitmq_queue.messages_ack", "rabbitmq_exchange.messages_publish_*"),
    *("apache.TotalAccesses", "apache.TotalkBytes", "haproxy.stot", "haproxy.bin"),
    *("haproxy.bout", "haproxy.http_response.*", "procstat.*_count", "procstat.*_bytes"),
)
"""From the descriptions of these inputs."""

OPTIONS: Final = ("command", "counters")


def find(surroundings: Surroundings) -> Sequence[Target]:  # noqa: ARG001 - as all backends' is
    """Nothing: telegraf writes where its settings say, and mostly no JSON."""
    return []


def connect(target: Target) -> Telegraf:
    """A file, ``telegraf:///PATH``, or a command, ``telegraf://?command=WORDS``."""
    return Telegraf(target.accepting(OPTIONS))


class Telegraf:
    """Reads the end of a file, or starts a command, each time."""

    name = "telegraf"

    def __init__(self, target: Target) -> None:
        command = target.option("command")
        if bool(command) == bool(target.path) or target.host:
            target.refuse("it is telegraf:///FILE, or telegraf://?command=WORDS")
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            target.refuse(f"command=***: {error}")
        self._path = Path(target.path)
        self.instance = f"{self._command[0]} …" if self._command else target.path
        self.identity = command  # its words may be secrets, and only the first is shown
        self.settle_s = 0.0 if command else LAG_S
        named = (one.strip() for one in target.option("counters").split(","))
        self._patterns = (*COUNTERS, *(one for one in named if one))
        self._facts: dict[str, Fact] = {}
        self._kept = Kept()
        self._summands = Summands()
        self._by_host = False

    def read(self) -> Figures:
        """The last value of each series. Raises BackendError."""
        try:
            text, cut = self._printed() if self._command else self._tail()
        except OSError as error:
            raise self._failed(error.strerror or repr(error)) from error
        latest, faults, newest_s = last_values(metrics(text, cut=cut))
        if not latest:
            raise self._failed(f"no metric of telegraf's JSON in it; it begins {text[:60]!r}")
        hosts = {dict(tags).get(HOST) for _, tags in latest}
        self._by_host = self._by_host or len(hosts) > 1  # for good: parts keep their names
        values, facts = self._counted(latest if self._by_host else _without_host(latest))
        self._facts |= facts
        gauges = frozenset(n for n, fact in facts.items() if fact.kind is Kind.GAUGE)
        kept, left = bounded(values, gauges=gauges, kept=self._kept)
        notes = [f"{faults} lines that are no metrics"] if faults else []
        age_s = clock.wall_ns() / 1e9 - newest_s
        if age_s > STALE_S:
            notes.append(f"its newest metric is {age_s:.0f} s old: does telegraf run?")
        complete_ns = None if self._command else self._complete_ns(age_s)
        incarnations = self._summands.incarnations(kept, self._kept)
        told = (*notes, *left)
        return Figures(kept, "", "", told, incarnations, complete_ns=complete_ns)

    def _complete_ns(self, age_s: float) -> int:
        """Up to when all is counted: the agent had gathered when it wrote the newest metric."""
        if age_s < -AHEAD_S_MAX:
            raise self._failed(
                f"its newest metric is of {-age_s:.0f} s from now: a clock was set"
            )
        return max(0, clock.elapsed_ns() - int((max(0.0, age_s) + ROUNDED_S) * 1e9))

    def _tail(self) -> tuple[str, bool]:
        """The end of the file, and whether it begins within a line."""
        with self._path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES_MAX))
            return file.read().decode(errors="replace"), size > TAIL_BYTES_MAX

    def _printed(self) -> tuple[str, bool]:
        """What the command prints. Raises OSError, BackendError."""
        import subprocess

        try:
            done = subprocess.run(  # noqa: S603 - the user's own words, and no shell
                self._command, capture_output=True, timeout=COMMAND_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise self._failed(f"it has not ended in {COMMAND_S:g} s") from error
        if done.returncode:
            said = done.stderr[-200:].decode(errors="replace").strip()
            raise self._failed(f"it ended with {done.returncode}: {said!r}")
        return done.stdout[-TAIL_BYTES_MAX:].decode(errors="replace"), False

    def _counted(
        self, latest: Mapping[Series, Number]
    ) -> tuple[dict[Series, Number], dict[str, Fact]]:
        """The values with counters' totals among them, and what is known of them."""
        values: dict[Series, Number] = dict(latest)
        facts: dict[str, Fact] = {}
        summands: dict[Series, tuple[Number, tuple[Dimensions, ...]]] = {}
        summed = {name for name, tags in latest if OVERALL in tags}
        for (name, tags), value in latest.items():
            if name not in facts:
                grows = any(fnmatchcase(name, pattern) for pattern in self._patterns)
                kind = Kind.COUNTER if grows else Kind.GAUGE
                lags = not self._command
                facts[name] = Fact("not described by telegraf", kind=kind, lags=lags)
            if facts[name].kind is not Kind.COUNTER:
                continue
            is_in_sum = name in summed and OVERALL not in tags
            if tags and not is_in_sum:
                values[name, ()] = values.get((name, ()), 0) + value
            summands[name, tags] = value, (tags,) if is_in_sum or not tags else (tags, ())
        self._summands.read(summands)
        return values, facts

    def _failed(self, reason: str) -> BackendError:
        return unreadable(self.name, self.instance, reason)

    def facts(self) -> Mapping[str, Fact]:
        """What is known of each counter: whether it grows."""
        return self._facts

    def close(self) -> None:
        """Nothing is open."""


def metrics(text: str, *, cut: bool = False) -> Iterable[object]:
    """The metrics in JSON, single or in batches, by lines or as one; None for what is none.

    The first line of a text that was `cut`, and a last one that is still being written, are
    passed over.
    """
    lines = text.split("\n")
    if text[:2] == "{\n":  # one document on many lines, as people keep them
        lines = [text.replace("\n", " "), ""]
    for number, line in enumerate(lines):
        if not line.strip() or (cut and number == 0):
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            if number < len(lines) - 1:
                yield None
            continue
        batch = found.get("metrics") if isinstance(found, dict) else None
        yield from batch if isinstance(batch, list) else [found]


def last_values(found: Iterable[object]) -> tuple[dict[Series, Number], int, float]:
    """The newest value of each series, how many were no metrics, the newest time in seconds."""
    values: dict[Series, Number] = {}
    times: dict[Series, float] = {}
    faults = 0
    for metric in found:
        read = _metric(metric)
        if read is None:
            faults += 1
            continue
        name, tags, fields, at_s = read
        for field, value in fields.items():
            series = (f"{name}.{field}", tags)
            if at_s >= times.get(series, at_s):
                values[series], times[series] = value, at_s
    return values, faults, max(times.values(), default=0.0)


def _without_host(values: Mapping[Series, Number]) -> dict[Series, Number]:
    return {
        (name, tuple(pair for pair in tags if pair[0] != HOST)): value
        for (name, tags), value in values.items()
    }


def _metric(
    metric: object,
) -> tuple[str, tuple[tuple[str, str], ...], dict[str, Number], float] | None:
    """Name, tags, numbers and time in seconds of one metric; None if it is none."""
    if not isinstance(metric, dict):
        return None
    name, fields, tags = metric.get("name"), metric.get("fields"), metric.get("tags", {})
    if not (isinstance(name, str) and isinstance(fields, dict) and isinstance(tags, dict)):
        return None
    numbers = {field: value for field, value in fields.items() if _is_number(value)}
    pairs = tuple(sorted((key, str(value)) for key, value in tags.items()))
    return name, pairs, numbers, _seconds(metric.get("timestamp"))


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return isfinite(value)  # Python reads NaN, Infinity and 1e999, which are no JSON
    return isinstance(value, int) and not isinstance(value, bool)


def _seconds(stamp: object) -> float:
    """A time in seconds, whichever unit ``json_timestamp_units`` chose."""
    if not isinstance(stamp, int | float) or isinstance(stamp, bool):
        return 0.0
    seconds = float(stamp) if 0 <= stamp <= 2**63 else 0.0  # a year without end, or before 1970
    while seconds > FAR_S:
        seconds /= 1000
    return seconds


FAR_S: Final = 1e11  # seconds until the year 5138; a time in milliseconds is beyond since 1973
