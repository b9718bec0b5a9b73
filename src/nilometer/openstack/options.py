"""oslo.config: our settings as ``[nilometer]``; ``[profiler]`` and ``[statsd]`` honoured.

A service's own configuration object is left alone: what is registered there first would clash
with what the service, or OSProfiler, registers later. Its files are read a second time.
"""

from __future__ import annotations

import os
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final

from oslo_config import cfg

from nilometer import assembly
from nilometer.errors import ConfigError, nearest, together
from nilometer.integrations import osprofiler
from nilometer.integrations.osprofiler import group
from nilometer.setting_table import PREFIX, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

log = getLogger("nilometer")

GROUP: Final = "nilometer"

STATSD: Final = "statsd"
"""The group in which services of Monasca say where their metrics go."""

SWITCHES: Final = (
    ("trace_mongodb", "MongoDB: its commands, and points named mongodb_..."),
    ("trace_redis", "Redis: its commands, and points named redis_..."),
    ("trace_pooling", "Pooling of stores: points named pooling_..., patches named pooling..."),
    (
        "trace_wsgi_transport",
        "Requests of WSGI; what happens within one is traced all the same.",
    ),
)
"""Beside OSProfiler's own `trace_sqlalchemy` and `trace_requests`."""


def settings_options() -> list[Any]:
    """Our settings; as text, for they parse it as they do that of a variable."""
    return [
        cfg.StrOpt(
            setting.name,
            secret=setting.secret,
            help=f"{setting.purpose} Written as {setting.form}; default: {setting.default}.",
        )
        for setting in SETTINGS
    ]


def switch_options() -> list[Any]:
    """What the ``[profiler]`` group switches beyond what OSProfiler's own options do."""
    return [cfg.BoolOpt(name, default=True, help=f"Trace {what}") for name, what in SWITCHES]


def profiler_options() -> list[Any]:
    """OSProfiler's options, for services in which it is not installed, and ours beside them."""
    return [
        cfg.BoolOpt("enabled", default=False, deprecated_name="profiler_enabled"),
        cfg.BoolOpt("trace_sqlalchemy", default=False),
        cfg.BoolOpt("trace_requests", default=False),
        cfg.StrOpt("hmac_keys", default=group.DEFAULT_KEY, secret=True),
        cfg.StrOpt("connection_string", default="messaging://", secret=True),
        cfg.StrOpt("es_doc_type", default="notification"),
        cfg.StrOpt("es_scroll_time", default="2m"),
        cfg.IntOpt("es_scroll_size", default=10_000),
        cfg.FloatOpt("socket_timeout", default=0.1),
        cfg.StrOpt("sentinel_service_name", default="mymaster"),
        cfg.BoolOpt("filter_error_trace", default=False),
        *switch_options(),
    ]


def statsd_options() -> list[Any]:
    """Where Monasca's agent listens, under the names that monasca-notification gave them."""
    return [
        cfg.BoolOpt("enable", default=True, help="Send what is measured to Monasca's agent."),
        cfg.HostAddressOpt("host", default="127.0.0.1", help="Its host."),
        cfg.PortOpt("port", default=8125, help="Its port for statsd, UDP."),
    ]


def list_opts() -> list[tuple[str, list[Any]]]:
    """For `oslo.config.opts`: what its sample generator shows. OSProfiler shows its own."""
    return [
        (GROUP, settings_options()),
        (group.GROUP, switch_options()),
        (STATSD, statsd_options()),
    ]


def configure(conf: Any) -> None:
    """Do as a service's configuration says; for services that call us themselves.

    Raises ConfigError, which tells every setting that cannot be used.
    """
    read = _read_again(conf)
    found = given(read, _origin(conf))
    assembly.configure({**found, **_to_statsd(read, found)}, origin=_origin(conf))
    _apply(read)


_followed: dict[str, str] = {}
_reading = False


def follow(conf: Any) -> None:
    """Do as it says, in a service that knows nothing of us; what cannot be used is said."""
    if _reading:
        return
    read = _read_again(conf)
    try:
        _follow_settings(read, _origin(conf))
    except ConfigError as fault:
        log.error("%s", fault)
    _apply(read)


def _follow_settings(read: Any, origin: str) -> None:
    """What the variables leave to the files, each time that these say something new."""
    global _followed
    found = {
        name: text
        for name, text in given(read, origin).items()
        if PREFIX + name.upper() not in os.environ
    }
    found |= _to_statsd(read, found)
    if found and found != _followed:
        _followed = found
        assembly.configure(found, origin=origin)


def given(conf: Any, origin: str) -> dict[str, str]:
    """The settings that somebody wrote down in the group. Raises ConfigError."""
    values: Mapping[str, str | None] = getattr(conf, GROUP)
    found, faults = {}, []
    for setting in SETTINGS:
        try:
            text = values[setting.name]
        except (cfg.Error, AttributeError, ValueError) as error:
            at = origin.format(setting.name)
            faults.append(ConfigError(f"{at}: {error}", slug="bad-setting"))
        else:
            if text is not None:
                found[setting.name] = text
    known = [setting.name for setting in SETTINGS]
    for name in sorted(_written(conf) - {*known}):
        at, choices = origin.format(name), nearest(name, known)
        faults.append(ConfigError(f"{at}: no such setting{choices}", slug="no-such-setting"))
    if faults:
        raise together(faults)
    return found


def _written(conf: Any) -> set[str]:
    """The names that stand in the group in the files; oslo.config asks only for known ones."""
    files = getattr(getattr(conf, "_namespace", None), "_parsed", ())
    return {name.replace("-", "_") for sections in files for name in sections.get(GROUP, ())}


def _to_statsd(read: Any, found: Mapping[str, str]) -> dict[str, str]:
    """`export` with the agent of ``[statsd]`` beside what it says, where one is written."""
    try:
        said = [option.name for option in statsd_options() if _is_written(read, option.name)]
        if not said or not read[STATSD].enable:
            return {}
        host, port = str(read[STATSD].host), read[STATSD].port
    except (cfg.Error, ValueError) as error:
        log.error("[%s] is not followed: %s [bad-setting]", STATSD, error)
        return {}
    url = (
        f"monasca-statsd://[{host}]:{port}"
        if ":" in host
        else f"monasca-statsd://{host}:{port}"
    )
    system = assembly.current()
    others = found.get("export") or ",".join(system.settings.export if system else ())
    urls = [one.strip() for one in others.split(",") if one.strip()]
    return {"export": ",".join(dict.fromkeys([*urls, url]))}


def _is_written(read: Any, option: str) -> bool:
    at = read.get_location(option, STATSD)
    return at is not None and at.location.name not in ("opt_default", "set_default")


def _apply(read: Any) -> None:
    if not any(group.is_set(read, option.name) for option in profiler_options()):
        return
    said = group.read(read)
    system = assembly.current()
    if not osprofiler.apply(said) and system is not None:
        keys = said.keys if said.enabled else ()
        system.triggers.trust(keys, origin="[profiler] hmac_keys")


class _Again(cfg.ConfigOpts):
    """A second reading, in which ``$state_path`` is the first one's as it is in its files."""

    def __init__(self, first: Any) -> None:
        super().__init__()
        self._first = first

    def _get(self, name: str, group: Any = None, namespace: Any = None) -> Any:
        try:
            return super()._get(name, group, namespace)
        except (cfg.NoSuchOptError, cfg.NoSuchGroupError):
            try:
                return self._first._get(name, group)
            except cfg.NoSuchGroupError:  # of ours; then it is looked for in no group
                raise cfg.NoSuchOptError(name) from None


def _read_again(conf: Any) -> Any:
    """All groups as the service's files, and oslo.config's variables, say them."""
    global _reading
    read = _Again(conf)
    read.register_opts(settings_options(), group=GROUP)
    read.register_opts(profiler_options(), group=group.GROUP)
    read.register_opts(statsd_options(), group=STATSD)
    _reading = True
    try:
        read(
            [],
            default_config_files=_paths(conf, "config_file"),
            default_config_dirs=_paths(conf, "config_dir"),
        )
    finally:
        _reading = False
    return read


def _paths(conf: Any, option: str) -> list[str]:
    try:
        return list(getattr(conf, option) or ())
    except cfg.NoSuchOptError:
        return []  # it was never read


def _origin(conf: Any) -> str:
    files = ", ".join(_paths(conf, "config_file")) or "oslo.config"
    return files.replace("{", "{{").replace("}", "}}") + f" [{GROUP}] {{}}"
