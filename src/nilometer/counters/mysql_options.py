"""What MySQL's own clients are configured for: option files, as those clients read them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nilometer.counters.target import Secret, Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nilometer.counters.backend import Surroundings

SOCKETS: Final = (
    "/run/mysqld/mysqld.sock",
    "/var/run/mysqld/mysqld.sock",
    "/var/lib/mysql/mysql.sock",
    "/tmp/mysql.sock",  # noqa: S108 - where MySQL's own builds put it
)
"""Where distributions let the server listen."""

PORT: Final = 3306
LISTENING: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
"""Where Linux tells who listens. Asked, as a server takes a connection that goes without a word
for an attack, and after a hundred of them lets that machine in no more."""

GROUPS: Final = ("client", "client-server", "client-mariadb")
"""The groups that every client reads. A later line wins, whichever of these it stands in."""

INCLUDE_DEPTH_MAX: Final = 10
"""The clients' own bound; a file that includes itself ends there."""

OPTION_FILE_BYTES_MAX: Final = 2**20
"""A written one has some hundred bytes; what is longer than a megabyte is something else."""

_CLIENT_OPTIONS: Final = (
    *("host", "port", "protocol", "socket", "user", "password"),
    *("ssl", "skip-ssl", "ssl-ca", "ssl-cert", "ssl-key", "ssl-mode", "ssl-verify-server-cert"),
)
_MODES: Final = {
    "DISABLED": "off",
    "PREFERRED": "prefer",
    "REQUIRED": "require",
    "VERIFY_CA": "verify",
    "VERIFY_IDENTITY": "verify",
}

ESCAPES: Final = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "\\": "\\", "s": " "}


def find(surroundings: Surroundings) -> Sequence[Target]:
    """Where MySQL's own clients would connect to, else the socket or port of a server here.

    They read the environment first, and let the option files overrule it.
    """
    environment = surroundings.environment
    variables = {
        "host": "MYSQL_HOST",
        "port": "MYSQL_TCP_PORT",
        "socket": "MYSQL_UNIX_PORT",
        "password": "MYSQL_PWD",
    }
    set_ = {k: environment[name] for k, name in variables.items() if environment.get(name)}
    named = [variables[option] for option in set_ if option != "password"]
    file = surroundings.home / ".my.cnf"
    try:
        written = {k: v for k, v in options_of(file).items() if k in _CLIENT_OPTIONS}
    except OSError:
        written = {}  # it is not ours to read: then it is not ours to use
    known = set_ | written
    origin = str(file) if written else ", ".join(named)
    if not origin:
        origin = _default_socket()
    if not origin and _is_listened_to():
        origin, known = "found on this machine", {**known, "host": "127.0.0.1"}
    return [_configured(known, origin)] if origin else []


def _configured(known: Mapping[str, str], origin: str) -> Target:
    """The target that the clients' options mean, a server of this machine by its socket."""
    host = known.get("host", "localhost")
    local = host == "localhost" and known.get("protocol", "").upper() != "TCP"
    socket = (known.get("socket") or _default_socket()) if local else ""
    port = known.get("port", "")
    options = {"socket": socket, "tls": _tls(known)}
    options |= {name: known.get(f"ssl-{name}", "") for name in ("ca", "cert", "key")}
    return Target(
        "mysql",
        origin,
        "" if socket else host,
        int(port) if port.isdecimal() and not socket else None,
        known.get("user", ""),
        Secret(known.get("password", "")),
        options=tuple(sorted((k, v) for k, v in options.items() if v)),
    )


def _tls(known: Mapping[str, str]) -> str:
    mode = _MODES.get(known.get("ssl-mode", "").upper(), "")
    if not mode and _on(known, "ssl-verify-server-cert"):
        mode = "verify"
    if not mode and (_on(known, "ssl") or "ssl-ca" in known):
        mode = "require"
    return "off" if "skip-ssl" in known else mode


def _on(known: Mapping[str, str], name: str) -> bool:
    return name in known and known[name].upper() not in ("0", "OFF", "FALSE")


def _default_socket() -> str:
    return next((path for path in SOCKETS if Path(path).is_socket()), "")


def _is_listened_to() -> bool:
    """Whether somebody listens at the server's port, as far as the kernel tells us."""
    from nilometer.counters.procfs import listening  # only where no client is configured

    found: set[int] = set()
    for file in LISTENING:
        with suppress(OSError):
            found |= listening(_text(file))
    return PORT in found


def options_of(file: Path) -> dict[str, str]:
    """The options of the clients' groups in an option file and in those it includes.

    Names are written with ``-`` and without ``loose-``; an option without a value has the empty
    one. A file that is not there has none. Raises OSError for one that may not be read.
    """
    found: dict[str, str] = {}
    for group, line in _lines(file, 0):
        if group in GROUPS:
            name, value = option(line)
            found[name] = value
    return found


def _lines(file: Path, depth: int) -> Iterator[tuple[str, str]]:
    """Each line that sets something, with its group; included files stand where they are named.

    An included file begins without a group, and leaves that of the file which names it alone.
    """
    if depth > INCLUDE_DEPTH_MAX:
        return
    group = ""
    for raw in _text(file).splitlines():
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            group = line[1:].partition("]")[0].strip()
        elif line.startswith("!"):
            for included in _included(line):
                yield from _lines(included, depth + 1)
        else:
            yield group, line


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(OPTION_FILE_BYTES_MAX).decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""


def _included(line: str) -> list[Path]:
    directive, _, place = line.partition(" ")
    path = Path(place.strip())
    if directive == "!includedir":
        return sorted(path.glob("*.cnf")) if path.is_dir() else []
    return [path] if directive == "!include" and place.strip() else []


def option(line: str) -> tuple[str, str]:
    r"""The name and the value that a line sets.

    >>> option("loose-default_character_set = utf8mb4   # as everywhere")
    ('default-character-set', 'utf8mb4')
    >>> option(r'password="a#b\\c"')
    ('password', 'a#b\\c')
    >>> option("compress")
    ('compress', '')
    """
    name, _, value = _uncommented(line).partition("=")
    return name.strip().replace("_", "-").removeprefix("loose-"), _unquoted(value.strip())


def _uncommented(line: str) -> str:
    """Up to the ``#`` that begins a comment: one that no quotation marks enclose."""
    quote = ""
    escaped = False
    for i, letter in enumerate(line):
        if escaped:
            escaped = False
        elif letter == "\\":
            escaped = True
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#":
            return line[:i]
    return line


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] in "'\"" and value[-1] == value[0]:
        value = value[1:-1]
    letters = iter(value)
    written = []
    for letter in letters:
        if letter == "\\":
            following = next(letters, "")
            written.append(ESCAPES.get(following, letter + following))
        else:
            written.append(letter)
    return "".join(written)
