"""An exporter's URL, read strictly: a misspelt option is an error and never ignored."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn
from urllib.parse import parse_qsl, quote, unquote, unquote_plus, urlsplit

from nilometer.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

PORT_MAX: Final = 65_535
FILE_OPTIONS: Final = frozenset({"token_file", "ca_file", "properties"})
TAKE_TOKENS: Final = frozenset({"otlp", "otlps"})
SHOWN_OPTIONS: Final = FILE_OPTIONS | {
    *("bytes_max", "compression", "keep", "prefix", "resource"),
    *("rotate_bytes", "step_s", "tags", "timeout_s"),
    *("others", "traces", "metrics", "logs"),
}
"""Whose values are shown. All others may be secret: a header, and what was misspelt for one."""
_UNITS: Final = {"k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_TRUTHS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class Address(NamedTuple):
    """A parsed URL: where to send, and the options of its query string.

    The methods that read an option raise ConfigError with the origin, the value and the choice.
    """

    url: str
    scheme: str
    host: str
    port: int | None
    path: str
    options: tuple[tuple[str, str], ...]
    origin: str

    @classmethod
    def parse(cls, url: str, *, origin: str) -> Address:
        """Parse a URL; `origin` says where it stood.

        >>> Address.parse("otlp://[::1]:4318/?timeout_s=3", origin="here")[1:5]
        ('otlp', '::1', 4318, '/')
        """
        why = "its host cannot be read"  # an error of urllib's may repeat a password
        try:
            split = urlsplit(url)
            why = f"its port is no number up to {PORT_MAX}"
            port = split.port
            why = "an option is not name=value"
            options = parse_qsl(
                split.query, keep_blank_values=True, strict_parsing=bool(split.query)
            )
        except ValueError:
            raise ConfigError(
                f"{origin}: {hidden(url)!r} is not a URL: {why}", slug="bad-exporter-url"
            ) from None
        address = cls(
            url,
            split.scheme,
            unquote(split.hostname or ""),
            port,
            unquote(split.path),
            tuple(options),
            origin,
        )
        if split.username is not None:
            address.refuse("a password in a URL ends up in logs; use token_file=FILE")
        if port == 0:
            address.refuse(f"nobody listens at port 0; from 1 to {PORT_MAX}")
        if split.fragment:
            address.refuse("nothing follows a '#' here")
        return address

    @property
    def shown(self) -> str:
        """The URL as it may be logged."""
        return hidden(self.url)

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        if self.host in ("localhost", ""):
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_number(self) -> bool:
        """Whether the host is an IP address, so that nobody need be asked for it."""
        try:
            ip_address(self.host)
        except ValueError:
            return False
        return True

    def refuse(self, why: str) -> NoReturn:
        """Raise the ConfigError that this URL earns."""
        raise ConfigError(f"{self.origin}: {self.shown!r}: {why}", slug="bad-exporter-url")

    def accepting(self, known: Collection[str]) -> Address:
        """Itself, if it has no option that the exporter does not know."""
        for name, _ in self.options:
            if name not in known:
                choice = nearest(name, known) if known else "; it takes none"
                raise ConfigError(
                    f"{self.origin}: {self.shown!r}: no option {name!r}{choice}",
                    slug="no-such-exporter-option",
                )
        return self

    def all(self, name: str) -> list[str]:
        """Every value of an option that may be repeated."""
        return [value for key, value in self.options if key == name]

    def text(self, name: str, default: str = "", *, choice: Collection[str] = ()) -> str:
        """An option's value; the last one if it is given twice."""
        value = ([default, *self.all(name)])[-1]
        if choice and value not in choice:
            self.refuse(f"{name}={value!r}{nearest(value, choice)}")
        return value

    def number(self, name: str, default: float, *, least: float, most: float) -> float:
        """An option's value as a number within bounds."""
        text = self.text(name, repr(default))
        try:
            value = float(text)
        except ValueError:
            self.refuse(f"{name}={text!r} is not a number")
        if not least <= value <= most:
            self.refuse(f"{name}={text} is out of bounds; from {least:g} to {most:g}")
        return value

    def size(self, name: str, default: int, *, least: int) -> int:
        """An option's value in bytes; ``k``, ``M`` and ``G`` multiply by powers of 1000."""
        text = self.text(name, str(default))
        digits = text.rstrip("kKmMgGbB")
        unit = text[len(digits) :].lower().removesuffix("b")
        if not digits.isascii() or not digits.isdigit() or unit not in {"", *_UNITS}:
            self.refuse(f"{name}={text!r} is not a size; write bytes, as in 100M")
        value = int(digits[:18]) * _UNITS.get(unit, 1)
        if value < least:
            self.refuse(f"{name}={text} is too small; at least {least}")
        return value

    def truth(self, name: str, default: bool) -> bool:
        """An option that is on or off."""
        text = self.text(name, str(default).lower()).lower()
        if text not in _TRUTHS:
            self.refuse(f"{name}={text!r}{nearest(text, _TRUTHS)}")
        return _TRUTHS[text]


def anchored(url: str, folder: Path) -> str:
    """The URL with each file in it by its whole path; `folder` is where a relative one begins.

    >>> from pathlib import Path
    >>> anchored("otlps://c1?token_file=keys/t&timeout_s=3", Path("/etc"))
    'otlps://c1?token_file=/etc/keys/t&timeout_s=3'
    >>> anchored("file:out.jsonl", Path("/var")), anchored("log://", Path("/var"))
    ('file:/var/out.jsonl', 'log://')
    """
    head, question, query = url.partition("?")
    scheme, colon, path = head.partition(":")
    if scheme == "file" and path and not path.startswith("/"):
        head = f"{scheme}{colon}{quote(str(folder / unquote(path)))}"
    return head + question + "&".join(_anchored(option, folder) for option in query.split("&"))


def _anchored(option: str, folder: Path) -> str:
    name, equals, value = option.partition("=")
    if name not in FILE_OPTIONS or not value:
        return option
    return f"{name}{equals}{quote(str(folder / unquote_plus(value)))}"


def with_token(url: str, file: str) -> str:
    """The URL with this token file, if its receiver may ask for a token and it brings none.

    >>> with_token("otlp://c1:4318?timeout_s=3", "/etc/t")
    'otlp://c1:4318?timeout_s=3&token_file=/etc/t'
    >>> with_token("otlp://c1?token_file=mine", "/etc/t"), with_token("log://", "/etc/t")
    ('otlp://c1?token_file=mine', 'log://')
    """
    head, question, query = url.partition("?")
    if head.partition(":")[0].lower() not in TAKE_TOKENS:
        return url
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "token_file" or (
            name == "header" and value.lower().startswith("authorization:")
        ):
            return url
    joint = "&" if query else "" if question else "?"
    return f"{url}{joint}token_file={quote(file)}"


def hidden(url: str) -> str:
    """A URL without what may be secret: user, password, values of options not known harmless.

    >>> hidden("otlp://me:secret@c1:4318?header=authorization:secret&timeout_s=3")
    'otlp://***@c1:4318?header=***&timeout_s=3'
    >>> hidden("otlp://c1?hedaer=secret&secret"), hidden("otlp://c1#secret")
    ('otlp://c1?hedaer=***&***', 'otlp://c1#***')
    """
    head, question, query = url.partition("?")
    scheme, slashes, rest = head.partition("://")
    where, slash, path = rest.partition("/")
    _, at, host = where.rpartition("@")
    options = "&".join(_hidden_option(option) for option in query.split("&"))
    shown = f"{scheme}{slashes}{'***@' if at else ''}{host}{slash}{path}{question}{options}"
    before, hash_sign, _ = shown.partition("#")
    return before + (f"{hash_sign}***" if hash_sign else "")


def _hidden_option(option: str) -> str:
    name, equals, value = option.partition("=")
    if not option or (name in SHOWN_OPTIONS and "@" not in unquote_plus(value)):
        return option
    return f"{name}=***" if equals else "***"
