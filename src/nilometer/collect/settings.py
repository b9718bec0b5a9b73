"""What the collector may be told, parsed into types before anything starts."""

from __future__ import annotations

import errno
import ipaddress
import re
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeVar

from nilometer.collect.bus_url import Bus
from nilometer.collect.kafka_url import Topics
from nilometer.errors import ConfigError, nearest, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Value = TypeVar("Value")
Durability = Literal["disk", "os"]
DURABILITIES: Final[tuple[Durability, ...]] = ("disk", "os")
UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
PORT_MAX: Final = 65_535
FLUSH_S_MIN: Final = 0.1  # a commit takes a fifth of that, and makes a file
KEEP_S_MIN: Final = (
    3600  # tables are partitioned by date: less than an hour would race the writers
)
WINDOW_S_MAX: Final = 60.0  # OTLP exporters give up after 10 s to 60 s
TOKEN_CHARACTERS_MIN: Final = 16  # 16 of base64's characters are 96 random bits
TOKEN_FILE_BYTES_MAX: Final = 1 << 20


class Address(NamedTuple):
    """Where to listen; `path` is a unix socket's, and then host and port mean nothing."""

    host: str
    port: int
    path: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, *, origin: str) -> Address:
        """From ``host:port``, ``[v6]:port`` or ``unix:/path``.

        >>> Address.parse("[::1]:4318", origin="--listen")
        Address(host='::1', port=4318, path='')
        """
        if text.startswith("unix:"):
            return cls("", 0, text.removeprefix("unix:"))
        host, colon, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        brackets_fit = (":" in bare) == (host != bare)
        if not (colon and bare and brackets_fit and re.fullmatch("[0-9]{1,5}", port)):
            raise ConfigError(
                f"{origin}: {text!r} is not an address; write host:port, as in 127.0.0.1:4318",
                slug="bad-address",
            )
        if int(port) > PORT_MAX:
            raise ConfigError(
                f"{origin}: {text!r}: no port {port}; they go from 0 (any free) to {PORT_MAX}",
                slug="bad-address",
            )
        return cls(bare, int(port))


LISTEN: Final = Address("127.0.0.1", 4318)
STATSD: Final = Address("127.0.0.1", 8125)


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """All that `nilometer serve` can be told. Made by `parse`, or directly where all is known.

    `tokens` are secret and not shown; `token_file` is where newer ones will stand.
    `keep_s` None keeps everything. `window_s` is how long commits are grouped,
    `flush_s` how often statsd aggregates are written. `notifications` are brokers to consume
    from, `kafka` topics of Kafka. `keystone` is a file that says how keystone is asked of
    tokens.
    """

    store: str = "nilometer-store"
    listen: Address = LISTEN
    statsd: Address | None = STATSD
    keep_s: int | None = 14 * UNITS_S["d"]
    tokens: Tokens | None = None
    token_file: str | None = None
    durability: Durability = "disk"
    window_s: float = 1.0
    flush_s: float = 10.0
    statsd_open: bool = False
    admin: Address | None = None
    notifications: tuple[Bus, ...] = ()
    kafka: tuple[Topics, ...] = ()
    keystone: str | None = None

    @property
    def keep(self) -> timedelta | None:
        """How long rows are kept; None for ever."""
        return None if self.keep_s is None else timedelta(seconds=self.keep_s)

    @classmethod
    def parse(
        cls,
        *,
        store: str = "nilometer-store",
        listen: str = "127.0.0.1:4318",
        statsd: str = "127.0.0.1:8125",
        keep: str = "14d",
        token_file: str | None = None,
        durability: str = "disk",
        window: str = "1s",
        flush: str = "10s",
        statsd_open: bool = False,
        admin: str = "off",
        notifications: str | Sequence[str] = (),
        kafka: str | Sequence[str] = (),
        keystone: str | None = None,
    ) -> CollectorSettings:
        """From the words of the command line; ConfigError names flag, value and choice.

        Of several faults it tells all.
        """
        read = _Reading()
        unread: Tokens | None = Tokens()  # there are some: the door is not also called open
        settings = cls(
            store=read(_store, store, ""),
            listen=read(partial(Address.parse, origin="--listen"), listen, LISTEN),
            statsd=read(_statsd, statsd, None),
            admin=read(_admin, admin, None),
            keep_s=read(_keep, keep, None),
            tokens=read(_tokens, token_file or "", unread),
            token_file=token_file or None,
            durability=read(_durability, durability, "disk"),
            window_s=read(_window, window, 1.0),
            flush_s=read(_flush, flush, FLUSH_S_MIN),
            statsd_open=statsd_open,
            notifications=read(_notifications, words_of(notifications), ()),
            kafka=read(_kafka, words_of(kafka), ()),
            keystone=keystone or None,
        )
        if faults := [*read.faults, *settings.faults()]:
            raise together(faults)
        return settings

    def checked(self) -> CollectorSettings:
        """Itself, if these addresses may be listened at; else ConfigError."""
        if faults := list(self.faults()):
            raise together(faults)
        return self

    def faults(self) -> Iterator[ConfigError]:
        """Why these addresses may not be listened at."""
        for flag, address in (("--listen", self.listen), ("--admin", self.admin)):
            if address and not address.is_loopback and self.tokens is None:
                yield ConfigError(
                    f"{flag}: {address} can be reached from other machines, and without "
                    f"tokens anybody could write and read; add --token-file FILE, or listen at "
                    f"127.0.0.1:{address.port}",
                    slug="open-without-token",
                )
            if address and address.path:
                yield ConfigError(
                    f"{flag}: {address}: HTTP listens at host:port, as in 127.0.0.1:4318",
                    slug="bad-address",
                )
        if self.keystone and self.tokens is None:
            yield ConfigError(
                "--keystone: without tokens of its own everybody on this machine may ask the "
                "collector, whatever keystone says; add --token-file FILE",
                slug="open-without-token",
            )
        if self.statsd and not self.statsd.is_loopback and not self.statsd_open:
            yield ConfigError(
                f"--statsd: {self.statsd} can be reached from other machines, and statsd "
                f"datagrams carry no token; listen at 127.0.0.1:{self.statsd.port}, or add "
                f"--statsd-open where the network keeps strangers out",
                slug="open-without-token",
            )


def cannot_listen(origin: str, address: Address, error: OSError, choice: str) -> ConfigError:
    """The error of an address that cannot be had: why, and what to do."""
    taken = "; somebody listens there already" if error.errno == errno.EADDRINUSE else ""
    return ConfigError(
        f"{origin}: cannot listen at {address}: {error.strerror or error}{taken}; {choice}",
        slug="cannot-listen",
    )


class Tokens(tuple[bytes, ...]):
    """The tokens that open the collector; they show up in no repr, and so in no log."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} tokens>"


def seconds(text: str, *, origin: str) -> float:
    """A duration with its unit, in seconds.

    >>> seconds("250ms", origin="--window"), seconds("14d", origin="--keep")
    (0.25, 1209600.0)
    """
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|[smhdw])", text.strip())
    if match is None:
        raise ConfigError(
            f"{origin}: {text!r} is not a duration; write a number with its unit, as in 14d "
            f"(ms, {', '.join(UNITS_S)})",
            slug="bad-duration",
        )
    number, unit = match.groups()
    return float(number) * UNITS_S.get(unit, 0.001)


class _Reading:
    """Reads one word after the other, and remembers what was wrong with them."""

    def __init__(self) -> None:
        self.faults: list[ConfigError] = []

    def __call__(self, parse: Callable[[str], Value], text: str, instead: Value) -> Value:
        try:
            return parse(text)
        except ConfigError as fault:
            self.faults.append(fault)
            return instead  # goes nowhere: what has faults is not given out


def _admin(text: str) -> Address | None:
    return None if text == "off" else Address.parse(text, origin="--admin")


def _statsd(text: str) -> Address | None:
    return None if text == "off" else Address.parse(text, origin="--statsd")


def words_of(given: str | Sequence[str]) -> str:
    """One text of what may have been given as one, or as several."""
    return given if isinstance(given, str) else " ".join(given)


def _urls(text: str, origin: str, slug: str) -> list[tuple[str, str]]:
    """URLs, each with where it stood: here, or in a file, since all see a command line."""
    urls: list[tuple[str, str]] = []
    for word in text.split():
        if "://" in word:
            urls.append((word, origin))
        else:
            told = filter(_is_told, _private_lines(word, origin=origin, slug=slug))
            urls += [(line.decode("utf-8", "replace"), f"{origin} {word}") for line in told]
    return urls


def _notifications(text: str) -> tuple[Bus, ...]:
    urls = _urls(text, "--notifications", "bad-transport-url")
    return tuple(Bus.parse(url, origin=at) for url, at in urls)


def _kafka(text: str) -> tuple[Topics, ...]:
    slug = "bad-kafka-url"
    read = partial(_private_lines, origin="--kafka", slug=slug)
    urls = _urls(text, "--kafka", slug)
    return tuple(Topics.parse(url, origin=at, lines=read) for url, at in urls)


def _tokens(path: str) -> Tokens | None:
    return read_tokens(path, origin="--token-file") if path else None


def _window(text: str) -> float:
    window_s = seconds(text, origin="--window")
    if window_s > WINDOW_S_MAX:
        raise ConfigError(
            f"--window: {text!r} is longer than senders wait; at most {WINDOW_S_MAX:g}s",
            slug="bad-duration",
        )
    return window_s


def _keep(text: str) -> int | None:
    """How many seconds of history are kept; ``forever`` is None."""
    if text == "forever":
        return None
    kept_s = seconds(text, origin="--keep")
    if kept_s < KEEP_S_MIN:
        raise ConfigError(
            f"--keep: {text!r} is too short; at least 1h, or 'forever'", slug="bad-duration"
        )
    return int(kept_s)


def _store(text: str) -> str:
    """A place that lasts, and is one place for all tables."""
    what = ""
    if not text.strip():
        what = "names no place"
    elif text.startswith("memory:"):
        what = "ends with this process"
    elif re.match(r"[A-Za-z][A-Za-z0-9+.-]+:(?!//)", text):  # a directory of that name: ./s3:
        what = "is a URL without its two slashes"
    elif re.match(r"(?!file:)[A-Za-z0-9+.-]+://(/|$)", text):
        what = "names no bucket"
    elif re.match(r"[A-Za-z0-9+.-]+://[^/]*@", text):
        text = re.sub(r"://[^/]*@", "://***@", text)
        what = "tells a key to whoever sees it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if what:
        raise ConfigError(
            f"--store: {text!r} {what}; write a directory, or a URL as in s3://bucket/nilometer",
            slug="bad-store",
        )
    return text


def _flush(text: str) -> float:
    flush_s = seconds(text, origin="--flush")
    if flush_s < FLUSH_S_MIN:
        raise ConfigError(
            f"--flush: {text!r} is too short; at least {FLUSH_S_MIN * 1000:g}ms",
            slug="bad-duration",
        )
    return flush_s


def _durability(text: str) -> Durability:
    for durability in DURABILITIES:
        if text == durability:
            return durability
    raise ConfigError(
        f"--durability: no durability {text!r}{nearest(text, DURABILITIES)}",
        slug="no-such-durability",
    )


def _private_lines(path: str, *, origin: str, slug: str) -> list[bytes]:
    """All lines of a file; one that strangers can read is refused."""
    file = Path(path)
    try:
        mode = file.stat().st_mode
        with file.open("rb") as stream:
            content = stream.read(TOKEN_FILE_BYTES_MAX)
    except OSError as error:
        raise ConfigError(
            f"{origin}: {path}: {error.strerror or 'cannot be read'}", slug=slug
        ) from None
    if mode & 0o007:
        raise ConfigError(
            f"{origin}: {path} is open to every user of this machine (mode {mode & 0o777:o}); "
            f"close it with: chmod 600 {path}",
            slug=slug,
        )
    return [line.strip() for line in content.splitlines()]


def _is_told(line: bytes) -> bool:
    return bool(line) and not line.startswith(b"#")


def read_tokens(path: str, *, origin: str) -> Tokens:
    """One token a line, ``#`` starts a comment; a file that strangers can read is refused."""
    lines = _private_lines(path, origin=origin, slug="bad-token-file")
    tokens = Tokens(filter(_is_told, lines))
    if not tokens:
        raise ConfigError(
            f"{origin}: {path} holds no token; make one with: openssl rand -base64 24",
            slug="bad-token-file",
        )
    for number, line in enumerate(lines, 1):
        if line in tokens and not re.fullmatch(
            rb"[A-Za-z0-9._~+/=-]{%d,}" % TOKEN_CHARACTERS_MIN, line
        ):
            raise ConfigError(
                f"{origin}: {path}:{number}: not a token; at least {TOKEN_CHARACTERS_MIN} "
                f"letters, digits or any of ._~+/=-, as from: openssl rand -base64 24",
                slug="bad-token-file",
            )
    return tokens
