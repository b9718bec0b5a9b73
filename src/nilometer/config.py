"""What a measured service may be told: nilometer.toml < NILOMETER_... variables < arguments.

All faults are told together, each with its origin, before anything starts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from nilometer import setting_values as values
from nilometer.errors import ConfigError, together
from nilometer.export.address import hidden, with_token
from nilometer.model.level import Level
from nilometer.setting_sources import (
    FILE_NAME,
    CommandSettings,
    Given,
    from_environment,
    from_file,
    load_for_commands,
    named_file,
    parse_all,
    take,
)
from nilometer.setting_table import BY_NAME, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nilometer.model.endpoint import Endpoint
    from nilometer.model.patch import Patch
    from nilometer.setting_tach import Tach

__all__ = [
    "FILE_NAME",
    "Arguments",
    "CommandSettings",
    "Settings",
    "load",
    "load_for_commands",
    "parse_duration_s",
    "read_keys",
]


class Arguments(TypedDict, total=False):
    """What `nilometer.configure` takes."""

    service: str
    version: str
    region: str
    zone: str
    dimensions: Mapping[str, object]
    export: Sequence[str]
    token_file: str | os.PathLike[str]
    interval_s: float | str
    queue_rows: int
    level: Level | str
    levels: Mapping[str, Level | str]
    series_max: int
    trace_keys: Sequence[str | bytes]
    trace_key_file: str | os.PathLike[str]
    requests_per_second: float
    spans_per_trace: int
    flight_recorder: bool
    flight_slow_s: float | str
    flight_spans: int
    flight_bytes: int
    join: bool
    osprofiler: bool
    osprofiler_values: bool
    statement_parameters: bool
    osprofiler_clear_key: bool
    integrations: Sequence[str]
    integrations_off: Sequence[str]
    state: str | os.PathLike[str]
    arena: str | os.PathLike[str]
    slow_callback_s: float | str
    trace_hosts: Sequence[str]
    admin: str
    admin_token_file: str | os.PathLike[str]
    dropwizard_names: Mapping[str, str]
    patch: Sequence[Mapping[str, object] | str]
    tach_config: str | os.PathLike[str]


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
    token_file: str = ""
    interval_s: float = 10.0
    queue_rows: int = 32_768
    level: Level = Level.BASIC
    levels: Mapping[str, Level] = field(default_factory=dict)
    series_max: int = 1000
    trace_keys: tuple[bytes, ...] = field(default=(), repr=False)
    trace_key_file: str = ""
    requests_per_second: float = 10.0
    spans_per_trace: int = 2_000
    flight_recorder: bool = False
    flight_slow_s: float | None = None
    flight_spans: int = 16_384
    flight_bytes: int = 16_777_216
    join: bool = False
    osprofiler: bool = True
    osprofiler_values: bool = False
    statement_parameters: bool = False
    osprofiler_clear_key: bool = False
    integrations: tuple[str, ...] = ()
    integrations_off: tuple[str, ...] = ()
    state: str = ""
    arena: str = ""
    slow_callback_s: float = 0.1
    trace_hosts: tuple[str, ...] = ()
    admin: Endpoint | None = None
    admin_token_file: str = ""
    dropwizard_names: Mapping[str, str] = field(default_factory=dict)
    patch: tuple[Patch, ...] = ()
    tach_config: Tach | None = None
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
    given: dict[str, Given] = {}
    named = Given(file, argument_origin("config")) if file else named_file(environ)
    given |= from_file(named, directory or Path(), faults)
    given |= from_environment(environ, faults)
    given |= _from_arguments(arguments or {}, argument_origin, faults)
    mine = {name: one for name, one in given.items() if name in BY_NAME}
    parsed = parse_all(mine, BY_NAME, faults)
    origins = {name: one.origin for name, one in mine.items()}
    places = {name: one.place for name, one in mine.items()}
    _read_keys(parsed, places, faults)
    _follow_tach(parsed, origins)
    told = {**origins, **places}
    _give_token(parsed, told)
    _check_urls(parsed, told, faults)
    _check_admin(parsed, told, faults)
    if faults:
        raise together(faults)
    _spread_dimensions(parsed, origins)
    if not parsed.get("service"):
        parsed["service"] = values.program_name()
    return Settings(**parsed, origins=origins)


def _from_arguments(
    arguments: Mapping[str, object],
    argument_origin: Callable[[str], str],
    faults: list[ConfigError],
) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for name, value in arguments.items():
        if value is not None:
            take(found, name, value, argument_origin(name), faults, known=BY_NAME)
    return found


def read_keys(file: str | os.PathLike[str], *, origin: str) -> tuple[bytes, ...]:
    """The keys in a file, one a line; ConfigError if strangers can read it or there is none."""
    return values.keys_of(os.fspath(file), origin)


def parse_duration_s(text: str, *, origin: str) -> float:
    """Seconds from ``90``, ``250ms``, ``5m``, ``2h`` or ``14d``."""
    return values.duration(0, values.DURATION_S_MAX)(text, origin)


def _read_keys(
    parsed: dict[str, Any], places: Mapping[str, str], faults: list[ConfigError]
) -> None:
    """Keys from the file come after those given directly."""
    if not parsed.get("trace_key_file"):
        return
    try:
        read = read_keys(parsed["trace_key_file"], origin=places["trace_key_file"])
    except ConfigError as fault:
        faults.append(fault)
        return
    parsed["trace_keys"] = tuple(dict.fromkeys((*parsed.get("trace_keys", ()), *read)))


def _give_token(parsed: dict[str, Any], told: dict[str, str]) -> None:
    """The collector's token goes to every receiver of OTLP that is given no other."""
    file, urls = parsed.get("token_file"), parsed.get("export", ())
    given = tuple(with_token(url, file) for url in urls) if file else urls
    if given != urls:
        parsed["export"] = given
        told["export"] = f"{told['export']}, with {told['token_file']}"


def _check_urls(
    parsed: Mapping[str, Any], places: Mapping[str, str], faults: list[ConfigError]
) -> None:
    """Each URL opens an exporter, none twice: the receiver would count everything twice."""
    urls: tuple[str, ...] = parsed.get("export", ())
    if not urls:
        return
    from nilometer.export.exporter import open_exporter  # commands on counters need none

    for url in urls:
        try:
            open_exporter(url, origin=places["export"]).close()
        except ConfigError as fault:
            faults.append(fault)
    if len(set(urls)) < len(urls):
        faults.append(
            ConfigError(
                f"{places['export']}: the same URL twice would count everything twice",
                slug="bad-exporter-url",
            )
        )


def _check_admin(
    parsed: Mapping[str, Any], places: Mapping[str, str], faults: list[ConfigError]
) -> None:
    """Strangers are not let in, and the tokens can be read."""
    if not parsed.get("admin"):
        return
    from nilometer.setting_admin import checked

    try:
        checked(
            parsed["admin"],
            parsed.get("admin_token_file", ""),
            places["admin"],
            places.get("admin_token_file", ""),
        )
    except ConfigError as fault:
        faults.append(fault)


def _follow_tach(parsed: dict[str, Any], origins: dict[str, str]) -> None:
    """Its methods are patches; its notifiers are used where nothing is said of exporters."""
    tach: Tach | None = parsed.get("tach_config")
    if tach is None:
        return
    parsed["patch"] = (*parsed.get("patch", ()), *tach.patches)
    origins.setdefault("patch", origins["tach_config"])
    if tach.export and "export" not in parsed:
        parsed["export"] = tach.export
        origins["export"] = tach.path


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
