"""What the collector may be told, parsed into types before anything starts."""

from __future__ import annotations

import errno
import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from nilometer.errors import ConfigError, nearest

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
    `flush_s` how often statsd aggregates are written.
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
    ) -> CollectorSettings:
        """From the words of the command line; ConfigError names flag, value and choice."""
        window_s = seconds(window, origin="--window")
        if window_s > WINDOW_S_MAX:
            raise ConfigError(
                f"--window: {window!r} is longer than senders wait; at most {WINDOW_S_MAX:g}s",
                slug="bad-duration",
            )
        return cls(
            store=_store(store),
            listen=Address.parse(listen, origin="--listen"),
            statsd=None if statsd == "off" else Address.parse(statsd, origin="--statsd"),
            keep_s=_keep(keep),
            tokens=read_tokens(token_file, origin="--token-file") if token_file else None,
            token_file=token_file or None,
            durability=_durability(durability),
            window_s=window_s,
            flush_s=_flush(flush),
            statsd_open=statsd_open,
        ).checked()

    def checked(self) -> CollectorSettings:
        """Itself, if these addresses may be listened at; else ConfigError."""
        if not self.listen.is_loopback and self.tokens is None:
            raise ConfigError(
                f"--listen: {self.listen} can be reached from other machines, and without "
                f"tokens anybody could write and read; add --token-file FILE, or listen at "
                f"127.0.0.1:{self.listen.port}",
                slug="open-without-token",
            )
        if self.statsd and not self.statsd.is_loopback and not self.statsd_open:
            raise ConfigError(
                f"--statsd: {self.statsd} can be reached from other machines, and statsd "
                f"datagrams carry no token; listen at 127.0.0.1:{self.statsd.port}, or add "
                f"--statsd-open where the network keeps strangers out",
                slug="open-without-token",
            )
        if self.listen.path:
            raise ConfigError(
                f"--listen: {self.listen}: HTTP listens at host:port, as in 127.0.0.1:4318",
                slug="bad-address",
            )
        return self


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
    if not text.strip() or text.startswith("memory:"):
        what = "names no place" if not text.strip() else "ends with this process"
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


def read_tokens(path: str, *, origin: str) -> Tokens:
    """One token a line, ``#`` starts a comment; a file that strangers can read is refused."""
    file = Path(path)
    try:
        mode = file.stat().st_mode
        with file.open("rb") as stream:
            content = stream.read(TOKEN_FILE_BYTES_MAX)
    except OSError as error:
        raise ConfigError(
            f"{origin}: {path}: {error.strerror or 'cannot be read'}", slug="bad-token-file"
        ) from None
    if mode & 0o007:
        raise ConfigError(
            f"{origin}: {path} is open to every user of this machine (mode {mode & 0o777:o}); "
            f"close it with: chmod 600 {path}",
            slug="bad-token-file",
        )
    lines = [line.strip() for line in content.splitlines()]
    tokens = Tokens(line for line in lines if line and not line.startswith(b"#"))
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
