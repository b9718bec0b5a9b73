"""Where a backend is and how to get in: a URL read strictly, and shown without its secrets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from nilometer.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from urllib.parse import SplitResult


class Secret(str):
    """A text that is used as it is and never shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'" if self else "''"


class Target(NamedTuple):
    """One backend to be read: ``mysql://user:password@host:port/database?option=value``.

    `origin` says where it stood, or how it was found, for messages. `scheme` is what the URL
    began with: several may name one backend, and some of them ask for TLS. `socket` and every
    other option come after the question mark. A password may be kept out of the URL in a file
    of its own, ``?password_file=FILE``, read when the target is parsed.
    """

    backend: str
    origin: str
    host: str = ""
    port: int | None = None
    user: str = ""
    password: Secret = Secret()
    path: str = ""
    options: tuple[tuple[str, str], ...] = ()
    scheme: str = ""

    @classmethod
    def parse(cls, url: str, *, origin: str, schemes: Mapping[str, str]) -> Target:
        """The target of a URL; `schemes` are the known ones, each with its backend's name.

        Raises ConfigError.

        >>> Target.parse("redis://:s3@cache:6380/0", origin="-b", schemes={"redis": "redis"})
        Target(backend='redis', origin='-b', host='cache', port=6380, user='', \
password='***', path='/0', options=(), scheme='redis')
        """
        try:
            split, port, query = _taken_apart(url)
        except ValueError as error:
            raise ConfigError(
                f"{origin}: {hidden(url)!r} is not a URL: {error}", slug="bad-backend-url"
            ) from None
        if split.scheme not in schemes:
            raise ConfigError(
                f"{origin}: no backend for {hidden(url)!r}{nearest(split.scheme, schemes)}",
                slug="no-such-backend",
            )
        options = dict(query)
        password = Secret(unquote(split.password or ""))
        target = cls(
            schemes[split.scheme],
            origin,
            unquote(split.hostname or ""),
            port,
            unquote(split.username or ""),
            password,
            unquote(split.path),
            tuple(sorted((k, v) for k, v in options.items() if k != "password_file")),
            split.scheme,
        )
        if "password_file" in options:
            return target._replace(password=target._read(options["password_file"]))
        return target

    def _read(self, file: str) -> Secret:
        try:
            return Secret(Path(file).expanduser().read_text().strip())
        except (OSError, UnicodeDecodeError) as error:
            self.refuse(f"password_file={file!r} cannot be read: {error}")

    @property
    def shown(self) -> str:
        """The target as it may be shown to anybody."""
        who = f"{self.user}@" if self.user else ""
        port = "" if self.port is None else f":{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.backend}://{who}{host}{port}{self.path}"

    def option(self, name: str, default: str = "") -> str:
        """The value of an option; `default` if it is not given."""
        return dict(self.options).get(name, default)

    def accepting(self, known: Collection[str]) -> Target:
        """Itself, if it has no option that the backend does not know."""
        for name, _ in self.options:
            if name not in known:
                choice = nearest(name, known) if known else "; it takes none"
                self.refuse(f"no option {name!r}{choice}")
        return self

    def refuse(self, why: str) -> NoReturn:
        """Raise the ConfigError that this target earns."""
        raise ConfigError(f"{self.origin}: {self.shown}: {why}", slug="bad-backend-url")


def _taken_apart(url: str) -> tuple[SplitResult, int | None, list[tuple[str, str]]]:
    """The URL's parts, its port, its options. Raises ValueError in words that show none of it:
    those of the standard library hold what may be a password."""
    doing = "its host is none"
    try:
        split = urlsplit(url)
        doing = f"what follows the host is no port, or {ESCAPES}"
        port = split.port
        doing = f"its options are not name=value, or {ESCAPES}"
        query = parse_qsl(split.query, keep_blank_values=True, strict_parsing=bool(split.query))
    except ValueError:
        raise ValueError(doing) from None
    if split.fragment or ("@" in split.path and _may_hold_password(split.netloc)):
        raise ValueError(f"# or @ is out of place: {ESCAPES}")
    return split, port, query


ESCAPES: Final = "in a password / ? # @ are to be written %2F %3F %23 %40"


def _may_hold_password(netloc: str) -> bool:
    return ":" in netloc or "@" in netloc


def hidden(url: str) -> str:
    """A URL without its password, the user with it, and the values of its options.

    Where a password was written with what ends it, as in the second, rather too much goes.
    A user alone is no secret, but over HTTP, where a token may stand in its place.

    >>> hidden("mysql://me:secret@db:3306/shop?password=secret")
    'mysql://***@db:3306/shop?password=***'
    >>> hidden("mysql://me:sec/ret@db/shop")
    'mysql://***@db/shop'
    >>> hidden("mysql://me@db:3306/shop"), hidden("https://token@h/metrics")
    ('mysql://me@db:3306/shop', 'https://***@h/metrics')
    """
    head, mark, rest = _cut(url)
    scheme, slashes, place = head.partition("://")
    netloc = place.partition("/")[0]
    who, at, where = place.rpartition("@")
    if at and _may_hold_password(netloc):
        may_be_secret = ":" in unquote(who) or scheme.endswith(("http", "https"))
        place = f"***@{where}" if may_be_secret else place
    elif slashes and ":" in netloc and ("@" in rest or not _ends_in_port(netloc)):
        place = "***"
    options = rest.split("&") if mark == "?" else [rest]
    shown = "&".join(f"{o.partition('=')[0]}=***" if "=" in o else "***" for o in options if o)
    return f"{scheme}{slashes}{place}{mark}{shown}"


def _cut(url: str) -> tuple[str, str, str]:
    """What comes before the first ``?`` or ``#``, which one it is, and the rest."""
    at = min((url.index(mark) for mark in "?#" if mark in url), default=len(url))
    return url[:at], url[at : at + 1], url[at + 1 :]


def _ends_in_port(netloc: str) -> bool:
    host, _, port = netloc.rpartition(":")
    return (port.isascii() and port.isdigit()) or port == "" or host.startswith("[")
