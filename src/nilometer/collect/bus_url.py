"""Where notifications are consumed from: oslo.messaging's transport URL, and what we add to it.

    rabbit://user:password@host:5672,user:password@other:5672/vhost?exchange=nova&exchange=glance
        &topic=notifications&topic=profiler&priority=info&priority=error&pool=nilometer

Options have the names and the defaults that oslo.messaging's have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from nilometer.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SCHEMES: Final = {"rabbit": False, "rabbit+ssl": True, "amqp": False, "amqps": True}
PRIORITIES: Final = ("audit", "debug", "info", "warn", "error", "critical", "sample")
PORT: Final = 5672
PORT_TLS: Final = 5671
PORT_MAX: Final = 65_535

PREFETCH: Final = 5000
"""Messages of each queue that the broker may have under way to us: a second of the rate that we
promise."""
PREFETCH_MAX: Final = 65_535  # AMQP counts them in 16 bits

RATE: Final = 10_000
"""Messages a second from one sender; twice what we promise to take from all together."""
TRACE_POINTS: Final = 200_000
"""Points of one trace: of each span two, and of a trace 100,000 spans are read."""


class Host(NamedTuple):
    """One of a cluster's."""

    host: str
    port: int
    user: str = "guest"
    password: str = "guest"  # noqa: S105 - RabbitMQ's own default

    def __repr__(self) -> str:
        return f"{self.host}:{self.port}"


class Source(NamedTuple):
    """One queue: what is published to `exchange` under `key` comes by it."""

    exchange: str
    topic: str
    priority: str
    pool: str = ""

    @property
    def key(self) -> str:
        """The routing key."""
        return f"{self.topic}.{self.priority}"

    @property
    def queue(self) -> str:
        """The queue: oslo.messaging's, which consumers share; or the pool's own."""
        return self.pool or self.key


@dataclass(frozen=True, slots=True)
class Bus:
    """One broker, or cluster, and what is consumed there. Passwords show up in no repr."""

    hosts: tuple[Host, ...]
    vhost: str = "/"
    tls: bool = False
    exchanges: tuple[str, ...] = ("openstack",)
    topics: tuple[str, ...] = ("notifications",)
    priorities: tuple[str, ...] = PRIORITIES
    pool: str = ""
    durable: bool = False
    auto_delete: bool = False
    quorum: bool = False
    prefetch: int = PREFETCH
    rate: int = RATE
    trace_points: int = TRACE_POINTS
    ssl_ca_file: str = ""
    ssl_cert_file: str = ""
    ssl_key_file: str = ""

    def __str__(self) -> str:
        """Without users and passwords."""
        scheme = "rabbit+ssl" if self.tls else "rabbit"
        return f"{scheme}://{','.join(map(repr, self.hosts))}/{self.vhost.lstrip('/')}"

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every queue of every exchange, topic and priority."""
        return tuple(
            Source(exchange, topic, priority, self.pool)
            for exchange in self.exchanges
            for topic in self.topics
            for priority in self.priorities
        )

    @classmethod
    def parse(cls, text: str, *, origin: str) -> Bus:
        """From a URL; ConfigError says what is wrong, and never shows a password."""
        try:
            return _parsed(text, origin)
        except ValueError as error:
            if isinstance(error, ConfigError):
                raise
            raise _bad(origin, str(error)) from None


def _parsed(text: str, origin: str) -> Bus:
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES:
        raise _bad(origin, f"scheme {parts.scheme!r}{nearest(parts.scheme, SCHEMES)}")
    given: dict[str, list[str]] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True, strict_parsing=False):
        if name not in _OPTIONS:
            raise _bad(origin, f"no option {name!r}{nearest(name, _OPTIONS)}")
        given.setdefault(name, []).extend(each for each in value.split(",") if each)
    told = {
        _OPTIONS[name][0]: _OPTIONS[name][1](name, values) for name, values in given.items()
    }
    tls = bool(told.pop("tls", SCHEMES[parts.scheme]))
    hosts = tuple(_host(each, tls=tls) for each in parts.netloc.split(","))
    return Bus(hosts, unquote(parts.path[1:]) or "/", tls, **told)  # type: ignore[arg-type]


def _host(text: str, *, tls: bool) -> Host:
    login, _, place = text.rpartition("@")
    user, colon, password = login.partition(":")
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?", place)
    if match is None:
        raise ValueError("it names no host; write rabbit://user:password@host:5672/vhost")
    port = int(match[2] or (PORT_TLS if tls else PORT))
    if not 0 < port <= PORT_MAX:
        raise ValueError(f"no port {port}")
    found = Host(match[1].strip("[]"), port)
    if login:
        found = found._replace(user=unquote(user), password=unquote(password) if colon else "")
    return found


def _texts(_name: str, values: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _priorities(_name: str, values: list[str]) -> tuple[str, ...]:
    for value in values:
        if value not in PRIORITIES:
            raise ValueError(f"no priority {value!r}{nearest(value, PRIORITIES)}")
    return tuple(dict.fromkeys(values))


def _one(name: str, values: list[str]) -> str:
    if len(values) != 1:
        raise ValueError(f"{name} wants one value")
    return values[0]


def _switch(name: str, values: list[str]) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    value = _one(name, values).lower()
    if value not in words:
        raise ValueError(f"{name}={value!r}: true or false")
    return words[value]


def _count(name: str, values: list[str]) -> int:
    value = _one(name, values)
    most = PREFETCH_MAX if name == "prefetch" else 10**9
    if not re.fullmatch("[0-9]{1,10}", value) or not 0 < int(value) <= most:
        raise ValueError(f"{name}={value!r}: a number from 1 to {most}")
    return int(value)


_OPTIONS: Final[Mapping[str, tuple[str, Callable[[str, list[str]], object]]]] = {
    "exchange": ("exchanges", _texts),
    "topic": ("topics", _texts),
    "priority": ("priorities", _priorities),
    "pool": ("pool", _one),
    "amqp_durable_queues": ("durable", _switch),
    "amqp_auto_delete": ("auto_delete", _switch),
    "rabbit_quorum_queue": ("quorum", _switch),
    "ssl": ("tls", _switch),
    "ssl_ca_file": ("ssl_ca_file", _one),
    "ssl_cert_file": ("ssl_cert_file", _one),
    "ssl_key_file": ("ssl_key_file", _one),
    "prefetch": ("prefetch", _count),
    "rate": ("rate", _count),
    "trace_points": ("trace_points", _count),
}


def _bad(origin: str, because: str) -> ConfigError:
    return ConfigError(f"{origin}: {because}", slug="bad-transport-url")
