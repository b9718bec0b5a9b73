"""What a measured service may be told: nilometer.toml < NILOMETER_... variables < arguments.

All faults are told together, each with its origin, before anything starts.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict

from nilometer import setting_values as values
from nilometer.errors import ConfigError, nearest, together
from nilometer.export.address import hidden
from nilometer.export.exporter import open_exporter
from nilometer.model.level import Level
from nilometer.setting_table import (
    BY_NAME,
    COMMANDS_BY_NAME,
    OTHER_VARIABLES,
    PREFIX,
    SETTINGS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nilometer.setting_table import Setting

FILE_NAME: Final = "nilometer.toml"
FILE_BYTES_MAX: Final = 1 << 20  # a settings file of a thousand lines has 50 kB


class Arguments(TypedDict, total=False):
    """What `nilometer.configure` takes."""

    service: str
    version: str
    region: str
    zone: str
    dimensions: Mapping[str, object]
    export: Sequence[str]
    interval_s: float | str
    queue_rows: int
    level: Level | str
    levels: Mapping[str, Level | str]
    series_max: int
    trace_keys: Sequence[str | bytes]
    trace_key_file: str | os.PathLike[str]
    requests_per_second: float
    spans_per_trace: int
    join: bool
    osprofiler: bool
    integrations: Sequence[str]
    integrations_off: Sequence[str]
    trace_hosts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a measured service, parsed; made by `load`, or directly in tests.

    `origins` says of each setting that was given where that was. Keys show up in no repr.
    """

    service: str = "unknown_service"
    version: str = ""
    region: str = ""
    zone: str = ""
    dimensions: Mapping[str, str] = field(default_factory=dict)
    export: tuple[str, ...] = ()
    interval_s: float = 10.0
    queue_rows: int = 32_768
    level: Level = Level.BASIC
    levels: Mapping[str, Level] = field(default_factory=dict)
    series_max: int = 1000
    trace_keys: tuple[bytes, ...] = field(default=(), repr=False)
    trace_key_file: str = ""
    requests_per_second: float = 10.0
    spans_per_trace: int = 2_000
    join: bool = False
    osprofiler: bool = True
    integrations: tuple[str, ...] = ()
    integrations_off: tuple[str, ...] = ()
    trace_hosts: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def origin(self, name: str) -> str:
        """Where a setting was given, or ``default``."""
        return self.origins.get(name, "default")

    def shown(self) -> list[tuple[str, str, str]]:
        """Name, value and origin of every setting; secrets are counted, not shown."""
        rows = []
        for setting in SETTINGS:
            value = getattr(self, setting.name)
            if setting.secret:
                text = f"{len(value)} hidden" if value else "none"
            elif setting.name == "export":
                text = ", ".join(hidden(url) for url in value) or "none"
            else:
                text = values.written(value)
            rows.append((setting.name, text, self.origin(setting.name)))
        return rows


@dataclass(frozen=True, slots=True)
class CommandSettings:
    """What commands about counters and gates are told; made by `load_for_commands`."""

    backends: tuple[str, ...] = field(default=(), repr=False)  # the URLs may hold passwords
    suite: str = ""
    history: str = ".nilometer"
    origins: Mapping[str, str] = field(default_factory=dict)

    def origin(self, name: str) -> str:
        """Where a setting was given, or ``default``."""
        return self.origins.get(name, "default")


class _Given(NamedTuple):
    """A value as it was written, and where."""

    value: object
    origin: str


def load(
    arguments: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    argument_origin: Callable[[str], str] = "configure({}=...)".format,
    file: str | None = None,
) -> Settings:
    """The settings from everywhere; later sources win whole, setting by setting.

    `argument_origin` names an argument in errors, by its flag perhaps; `file` is the settings
    file, if an argument `config` names it. Raises one ConfigError that tells every fault.
    """
    environ = os.environ if environ is None else environ
    faults: list[ConfigError] = []
    given: dict[str, _Given] = {}
    named = _Given(file, argument_origin("config")) if file else _named_file(environ)
    given |= _from_file(named, directory or Path(), faults)
    given |= _from_environment(environ, faults)
    given |= _from_arguments(arguments or {}, argument_origin, faults)
    mine = {name: one for name, one in given.items() if name in BY_NAME}
    parsed = _parsed(mine, BY_NAME, faults)
    origins = {name: origin for name, (_, origin) in mine.items()}
    _read_keys(parsed, origins, faults)
    _check_urls(parsed, origins, faults)
    if faults:
        raise together(faults)
    _spread_dimensions(parsed, origins)
    if not parsed.get("service"):
        parsed["service"] = values.program_name()
    return Settings(**parsed, origins=origins)


def load_for_commands(
    *, environ: Mapping[str, str] | None = None, directory: Path | None = None
) -> CommandSettings:
    """The settings of commands, from the same file and variables; flags come after these.

    What is meant for services is passed over. Raises one ConfigError that tells every fault.
    """
    environ = os.environ if environ is None else environ
    faults: list[ConfigError] = []
    given = _from_file(_named_file(environ), directory or Path(), faults)
    given |= _from_environment(environ, faults)
    mine = {name: one for name, one in given.items() if name in COMMANDS_BY_NAME}
    parsed = _parsed(mine, COMMANDS_BY_NAME, faults)
    if faults:
        raise together(faults)
    return CommandSettings(**parsed, origins={name: one.origin for name, one in mine.items()})


def _parsed(
    given: Mapping[str, _Given], table: Mapping[str, Setting], faults: list[ConfigError]
) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for name, (value, origin) in given.items():
        try:
            parsed[name] = table[name].parse(value, origin)
        except ConfigError as fault:
            faults.append(fault)
    return parsed


def _named_file(environ: Mapping[str, str]) -> _Given | None:
    named = environ.get("NILOMETER_CONFIG")
    return _Given(named, "NILOMETER_CONFIG") if named else None


def _from_file(
    named: _Given | None, directory: Path, faults: list[ConfigError]
) -> dict[str, _Given]:
    """What the file says that is named, or the one that lies here, if one does."""
    path = Path(str(named.value)) if named else directory / FILE_NAME
    if not named and not os.path.lexists(path):  # a directory, or a dead link, is a fault
        return {}
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
    found: dict[str, _Given] = {}
    for name, value in table.items():
        _take(found, name, value, f"{where}:{_line_of(name, text)}", faults)
    return found


def _line_of(name: str, text: str) -> int:
    """Where a top-level key or table stands; tomllib does not say."""
    key = rf"\"?{re.escape(name)}\"?"
    pattern = re.compile(rf"^\s*(?:{key}\s*[=.]|\[\s*{key}\s*[\].])", re.MULTILINE)
    match = pattern.search(text)
    return 1 if match is None else text.count("\n", 0, match.end()) + 1


def _from_environment(
    environ: Mapping[str, str], faults: list[ConfigError]
) -> dict[str, _Given]:
    """What variables say; one that is empty is as good as none, for shells can hardly unset."""
    found: dict[str, _Given] = {}
    known = [one.variable for one in (*SETTINGS, *COMMANDS_BY_NAME.values())]
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        if variable in known:
            if environ[variable]:
                name = variable.removeprefix(PREFIX).lower()
                found[name] = _Given(environ[variable], variable)
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


def _from_arguments(
    arguments: Mapping[str, object],
    argument_origin: Callable[[str], str],
    faults: list[ConfigError],
) -> dict[str, _Given]:
    found: dict[str, _Given] = {}
    for name, value in arguments.items():
        if value is not None:
            _take(found, name, value, argument_origin(name), faults, known=BY_NAME)
    return found


def _take(
    found: dict[str, _Given],
    name: str,
    value: object,
    origin: str,
    faults: list[ConfigError],
    *,
    known: Mapping[str, Setting] = {**BY_NAME, **COMMANDS_BY_NAME},
) -> None:
    if name in known:
        found[name] = _Given(value, origin)
        return
    faults.append(
        ConfigError(
            f"{origin}: no setting {name!r}{nearest(name, known)}", slug="no-such-setting"
        )
    )


def read_keys(file: str | os.PathLike[str], *, origin: str) -> tuple[bytes, ...]:
    """The keys in a file, one a line; ConfigError if strangers can read it or there is none."""
    return values.keys_of(os.fspath(file), origin)


def parse_duration_s(text: str, *, origin: str) -> float:
    """Seconds from ``90``, ``250ms``, ``5m``, ``2h`` or ``14d``."""
    return values.duration(0, values.DURATION_S_MAX)(text, origin)


def _read_keys(
    parsed: dict[str, Any], origins: Mapping[str, str], faults: list[ConfigError]
) -> None:
    """Keys from the file come after those given directly."""
    if not parsed.get("trace_key_file"):
        return
    try:
        read = read_keys(parsed["trace_key_file"], origin=origins["trace_key_file"])
    except ConfigError as fault:
        faults.append(fault)
        return
    parsed["trace_keys"] = tuple(dict.fromkeys((*parsed.get("trace_keys", ()), *read)))


def _check_urls(
    parsed: Mapping[str, Any], origins: Mapping[str, str], faults: list[ConfigError]
) -> None:
    """Each URL opens an exporter, none twice: the receiver would count everything twice."""
    urls: tuple[str, ...] = parsed.get("export", ())
    for url in urls:
        try:
            open_exporter(url, origin=origins["export"]).close()
        except ConfigError as fault:
            faults.append(fault)
    if len(set(urls)) < len(urls):
        faults.append(
            ConfigError(
                f"{origins['export']}: the same URL twice would count everything twice",
                slug="bad-exporter-url",
            )
        )


def _spread_dimensions(parsed: dict[str, Any], origins: dict[str, str]) -> None:
    """Region, zone and version have places of their own; a setting of that name wins."""
    dimensions = dict(parsed.get("dimensions", {}))
    for name in ("region", "zone", "version"):
        value = dimensions.pop(name, None)
        if value is not None and name not in parsed:
            parsed[name] = value
            origins[name] = origins["dimensions"]
    if dimensions or "dimensions" in parsed:
        parsed["dimensions"] = dimensions
