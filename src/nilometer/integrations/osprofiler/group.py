"""The ``[profiler]`` group of a service's oslo.config, read as the operator meant it.

Only what somebody set counts: a default of OSProfiler's neither opens a trace (its key is known
to everyone) nor switches anything off.
"""

from __future__ import annotations

import sys
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = getLogger("nilometer")

GROUP: Final = "profiler"
DEFAULT_KEY: Final = "SECRET_KEY"

_refused: Final[set[str]] = set()  # the keys of which that has been told

SWITCHES: Final[Mapping[str, tuple[str, ...]]] = {
    "trace_sqlalchemy": ("integrations.sqlalchemy", "sqlalchemy_", "db"),
    "trace_redis": ("integrations.redis", "redis_"),
    "trace_mongodb": ("integrations.pymongo", "mongodb_"),
    "trace_pooling": ("pooling", "pooling_"),
    "trace_wsgi_transport": ("integrations.wsgi",),
    "trace_requests": ("integrations.urllib3",),
}
"""Each switch: the prefix whose level it turns off (an integration's, or that of patches), and
then points of OSProfiler's: by their name, or by its beginning if that ends in ``_``."""


class ProfilerGroup(NamedTuple):
    """What the group says: `enabled`, its keys, and the switches that somebody set."""

    enabled: bool = True
    keys: tuple[str, ...] = ()
    switches: Mapping[str, bool] = {}
    connection_string: str = ""  # empty: nobody set one

    def is_off(self, name: str) -> bool:
        """Whether points of that name are switched off."""
        for switch, on in self.switches.items():
            if not on and any(_is_named(name, form) for form in SWITCHES[switch][1:]):
                return True
        return False

    def levels_off(self) -> list[str]:
        """The prefixes of names whose level is switched off."""
        return [SWITCHES[switch][0] for switch, on in self.switches.items() if not on]


def _is_named(name: str, form: str) -> bool:
    return name.startswith(form) if form.endswith("_") else name == form


def read(conf: Any) -> ProfilerGroup:
    """What `conf` says; where it has no such group, that nothing was said."""
    group = getattr(conf, GROUP, None)
    if group is None:
        return ProfilerGroup()
    set_ones = {name: _value(group, name, None) for name in SWITCHES if is_set(conf, name)}
    switches = {name: bool(value) for name, value in set_ones.items() if value is not None}
    given = _value(group, "connection_string", "") if is_set(conf, "connection_string") else ""
    return ProfilerGroup(
        bool(_value(group, "enabled", absent=True, unreadable=False)),
        accepted(split(_value(group, "hmac_keys", "")), conf),
        switches,
        str(given),
    )


def _value(group: Any, option: str, absent: object, *, unreadable: object = None) -> Any:
    """What an option says; one that says nothing of its kind is told, the others hold."""
    try:
        return getattr(group, option, absent)
    except Exception as error:  # noqa: BLE001  oslo.config's; what was meant nobody knows
        log.error("[%s] %s is not followed: %s [bad-setting]", GROUP, option, error)
        return unreadable


def split(keys: object) -> tuple[str, ...]:
    """Keys as OSProfiler takes them: a list, or a text with commas."""
    if isinstance(keys, list | tuple):
        return tuple(str(key) for key in keys)
    if not isinstance(keys, str):
        return ()
    return tuple(key.strip() for key in keys.split(",") if key.strip())


def accepted(keys: Sequence[str], conf: Any = None) -> tuple[str, ...]:
    """The keys but for OSProfiler's default, unless an operator wrote that down himself.

    That it is refused is told once, however often and by whomever the keys are read.
    """
    if DEFAULT_KEY not in keys or is_set(conf or _global_conf(), "hmac_keys", by_operator=True):
        return tuple(keys)
    if DEFAULT_KEY not in _refused:
        _refused.add(DEFAULT_KEY)
        log.warning(
            "[profiler] hmac_keys is OSProfiler's default, which everyone knows: nobody may "
            "ask for a trace with it; set hmac_keys in the service's configuration "
            "[osprofiler-default-key]"
        )
    return tuple(key for key in keys if key != DEFAULT_KEY)


def is_set(conf: Any, option: str, *, by_operator: bool = False) -> bool:
    """Whether that option was set: by anybody, or in a file, a variable or a flag.

    True for configurations that cannot say.
    """
    if conf is None:
        return False
    try:
        at = conf.get_location(option, GROUP)
    except Exception as error:  # noqa: BLE001  no such option, or no oslo.config at all
        return type(error).__name__ not in {"NoSuchOptError", "NoSuchGroupError"}
    location = getattr(at, "location", None)
    if location is None:
        return at is not None
    controlled = getattr(location, "is_user_controlled", True)
    return bool(controlled) if by_operator else getattr(location, "name", "") != "opt_default"


def _global_conf() -> Any:
    cfg = sys.modules.get("oslo_config.cfg")
    return None if cfg is None else cfg.CONF
