"""Where settings come from, a file and variables; and the few that commands have.

Apart from `config`, as commands that read counters in a tenth of a second need no more.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.errors import ConfigError, nearest, together
from nilometer.setting_table import (
    BY_NAME,
    COMMANDS_BY_NAME,
    OTHER_VARIABLES,
    PREFIX,
    SETTINGS,
)
from nilometer.setting_values import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nilometer.setting_table import Setting

FILE_NAME: Final = "nilometer.toml"
FILE_BYTES_MAX: Final = 1 << 20  # a settings file of a thousand lines has 50 kB


class CommandSettings(NamedTuple):
    """What commands about counters and gates are told; made by `load_for_commands`."""

    backends: tuple[str, ...] = ()  # the URLs may hold passwords
    suite: str = ""
    history: str = ".nilometer"
    origins: Mapping[str, str] = {}  # never written to

    def origin(self, name: str) -> str:
        """Where a setting was given, or ``default``."""
        return self.origins.get(name, "default")

    def __repr__(self) -> str:
        shown = f"suite={self.suite!r}, history={self.history!r}, origins={self.origins!r}"
        return f"CommandSettings({len(self.backends)} backends, {shown})"


class Given(NamedTuple):
    """A value as it was written, and where."""

    value: object
    origin: str
    told: str = ""  # in errors: a line of a file does not name its setting

    @property
    def place(self) -> str:
        """How an error begins."""
        return self.told or self.origin


def load_for_commands(
    *, environ: Mapping[str, str] | None = None, directory: Path | None = None
) -> CommandSettings:
    """The settings of commands, from the same file and variables; flags come after these.

    What is meant for services is passed over. Raises one ConfigError that tells every fault.
    """
    environ = os.environ if environ is None else environ
    faults: list[ConfigError] = []
    given = from_file(named_file(environ), directory or Path(), faults)
    given |= from_environment(environ, faults)
    mine = {name: one for name, one in given.items() if name in COMMANDS_BY_NAME}
    parsed = parse_all(mine, COMMANDS_BY_NAME, faults)
    if faults:
        raise together(faults)
    return CommandSettings(**parsed, origins={name: one.origin for name, one in mine.items()})


def named_file(environ: Mapping[str, str]) -> Given | None:
    """The settings file that a variable names."""
    named = environ.get("NILOMETER_CONFIG")
    return Given(named, "NILOMETER_CONFIG") if named else None


def from_file(
    named: Given | None, directory: Path, faults: list[ConfigError]
) -> dict[str, Given]:
    """What the file says that is named, or the one that lies here, if one does."""
    path = Path(str(named.value)) if named else directory / FILE_NAME
    if not named and not os.path.lexists(path):  # a directory, or a dead link, is a fault
        return {}
    import tomllib  # 4 ms that only a file costs

    where = str(named.value) if named else FILE_NAME
    try:
        with path.open("rb") as stream:
            text = stream.read(FILE_BYTES_MAX).decode()
        table = tomllib.loads(text)
    except OSError as error:
        said = f"{named.origin}: {where}" if named else where
        faults.append(
            ConfigError(f"{said}: {error.strerror or error}", slug="bad-settings-file")
        )
        return {}
    except ValueError as error:  # not UTF-8, or not TOML; both say where
        faults.append(ConfigError(f"{where}: {error}", slug="bad-settings-file"))
        return {}
    found: dict[str, Given] = {}
    for name, value in table.items():
        lines = _lines_of(name, text) or [1]
        placed = _placed(value, lines, where)
        take(found, name, placed, f"{where}:{lines[0]}", faults)
        if name in found:
            found[name] = found[name]._replace(told=f"{where}:{lines[0]}: {name}")
    return found


def _lines_of(name: str, text: str) -> list[int]:
    """Where a top-level key, a table, or each table of a list stands; tomllib does not say."""
    key = rf"\"?{re.escape(name)}\"?"
    pattern = re.compile(rf"^\s*(?:{key}\s*[=.]|\[\[?\s*{key}\s*[\].])", re.MULTILINE)
    return [text.count("\n", 0, match.end()) + 1 for match in pattern.finditer(text)]


def _placed(value: object, lines: list[int], where: str) -> object:
    """A list of tables with the place of each; all else as it is."""
    if not isinstance(value, list) or len(value) != len(lines):
        return value
    return [
        Table(one, f"{where}:{line}") if isinstance(one, dict) else one
        for one, line in zip(value, lines, strict=True)
    ]


def from_environment(environ: Mapping[str, str], faults: list[ConfigError]) -> dict[str, Given]:
    """What variables say; one that is empty is as good as none, for shells can hardly unset."""
    found: dict[str, Given] = {}
    known = [one.variable for one in (*SETTINGS, *COMMANDS_BY_NAME.values())]
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        if variable in known:
            if environ[variable]:
                name = variable.removeprefix(PREFIX).lower()
                found[name] = Given(environ[variable], variable)
            continue
        choice = _nearest_variable(variable, [*known, *OTHER_VARIABLES])
        faults.append(
            ConfigError(f"{variable}: no such variable{choice}", slug="no-such-setting")
        )
    return found


def _nearest_variable(variable: str, known: Iterable[str]) -> str:
    """As `nearest`, compared without the prefix that would make all of them similar."""
    bare = [name.removeprefix(PREFIX) for name in known]
    from difflib import get_close_matches

    near = get_close_matches(variable.removeprefix(PREFIX).upper(), bare, n=1)
    hint = f"; did you mean '{PREFIX}{near[0]}'?" if near else ""
    return f"{hint}; variables are {PREFIX} and one of {', '.join(bare)}"


def parse_all(
    given: Mapping[str, Given], table: Mapping[str, Setting], faults: list[ConfigError]
) -> dict[str, Any]:
    """Each setting's value out of what was written; `faults` get what cannot be used."""
    parsed: dict[str, Any] = {}
    for name, one in given.items():
        try:
            parsed[name] = table[name].parse(one.value, one.place)
        except ConfigError as fault:
            faults.append(fault)
    return parsed


def take(
    found: dict[str, Given],
    name: str,
    value: object,
    origin: str,
    faults: list[ConfigError],
    *,
    known: Mapping[str, Setting] = {**BY_NAME, **COMMANDS_BY_NAME},
) -> None:
    """Enter one setting under its name, or the fault that there is none of it."""
    if name in known:
        found[name] = Given(value, origin)
        return
    faults.append(
        ConfigError(
            f"{origin}: no setting {name!r}{nearest(name, known)}", slug="no-such-setting"
        )
    )
