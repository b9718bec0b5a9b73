"""What a backend is, which ones there are, and how one is opened."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

from nilometer.counters.target import Target, hidden
from nilometer.errors import ConfigError, NilometerError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

    from nilometer.counters.figures import Fact, Figures

ENTRY_POINTS: Final = "nilometer.backends"
"""Third parties register ``name = "package.module"`` here: a module as `BackendModule` says."""


class BackendError(NilometerError, RuntimeError):
    """A backend that cannot be reached or read; the message says which one, where and why."""

    def __init__(self, message: str, *, slug: str = "backend-unreadable") -> None:
        super().__init__(message, slug=slug)


class BackendFailsError(ConfigError):
    """A backend whose code does not do what a backend does; the message names it."""

    SLUG: Final = "foreign-backend-fails"

    def __init__(self, name: str, doing: str, error: BaseException) -> None:
        whose = BACKENDS.get(name) or foreign().get(name, "?")
        what = f"{type(error).__name__}: {error}"
        super().__init__(f"backend {name!r}, {whose}: {doing}: {what}", slug=self.SLUG)


class Backend(Protocol):
    """A system whose counters are read. Its calls never overlap."""

    name: str
    instance: str

    @property
    def settle_s(self) -> float:
        """By how many seconds the figures of the last read may lag: after a run they are read
        again until two reads that far apart agree, or `Figures.complete_ns` says that all is
        there."""

    def read(self) -> Figures:
        """All its counters now. Raises BackendError, after which it may be called again."""

    def facts(self) -> Mapping[str, Fact]:
        """What is known of its counters, by name; may depend on what was read last."""

    def close(self) -> None:
        """Let go of its connections."""


class Surroundings(NamedTuple):
    """Where backends look for what people have configured for other programs already."""

    environment: Mapping[str, str]
    home: Path


class BackendModule(Protocol):
    """The file of a backend. `MEANING` is the line that lists of backends show."""

    MEANING: str

    @staticmethod
    def find(surroundings: Surroundings) -> Sequence[Target]:
        """Where it seems to be: what its own clients are configured for, else this machine.

        Connects to nothing but sockets of this machine, and only to see that they are there.
        """

    @staticmethod
    def connect(target: Target) -> Backend:
        """The backend there. Connects at the first read. Raises ConfigError for bad options."""


BACKENDS: Final[Mapping[str, str]] = {
    "mysql": "nilometer.counters.mysql",
    "postgresql": "nilometer.counters.postgresql",
    "rabbitmq": "nilometer.counters.rabbitmq",
    "queues": "nilometer.counters.queues",
    "redis": "nilometer.counters.redis",
    "memcached": "nilometer.counters.memcached",
    "mongodb": "nilometer.counters.mongodb",
    "kafka": "nilometer.counters.kafka",
    "linux": "nilometer.counters.linux",
    "systemd": "nilometer.counters.systemd",
    "prometheus": "nilometer.counters.prometheus",
    "telegraf": "nilometer.counters.telegraf",
    "nilometer": "nilometer.counters.instruments",
}
"""Each backend's module, imported when it is asked for: no client library is loaded in vain."""

SCHEMES: Final[Mapping[str, str]] = {
    **{name: name for name in BACKENDS},
    "mariadb": "mysql",
    "postgres": "postgresql",
    "mongo": "mongodb",
    "rediss": "redis",
    "openmetrics": "prometheus",
    "http": "prometheus",
    "https": "prometheus",
    "mongodb+srv": "mongodb",
}
"""What a target's URL may begin with, and which backend that is."""


def connect(url: str, *, origin: str) -> Backend:
    """The backend that a URL names. Raises ConfigError."""
    schemes = SCHEMES
    if url.partition("://")[0] not in schemes:
        schemes = {**SCHEMES, **{name: name for name in foreign()}}
    target = Target.parse(url, origin=origin, schemes=schemes)
    return connected(module_of(target.backend, origin=origin), target.backend, target)


def connected(module: BackendModule, name: str, target: Target) -> Backend:
    """The backend at a target. Raises ConfigError for bad options; BackendFailsError."""
    try:
        backend = module.connect(target)
        for told, kind in (("name", str), ("instance", str), ("settle_s", (int, float))):
            if not isinstance(getattr(backend, told), kind):
                raise TypeError(f"its {told} is {getattr(backend, told)!r}")
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise BackendFailsError(name, "connect()", error) from error
    return backend


def found_by(module: BackendModule, name: str, surroundings: Surroundings) -> list[Target]:
    """Where a backend says that it is. Raises ConfigError, BackendFailsError."""
    try:
        return list(module.find(surroundings))
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise BackendFailsError(name, "find()", error) from error


def module_of(name: str, *, origin: str) -> BackendModule:
    """The file of the backend with that name. Raises ConfigError."""
    if name in BACKENDS:
        return cast("BackendModule", import_module(BACKENDS[name]))
    points = foreign()
    if name not in points:
        raise ConfigError(
            f"{origin}: no backend {hidden(name)!r}{nearest(name, [*BACKENDS, *points])}",
            slug="no-such-backend",
        )
    try:
        return cast("BackendModule", _load(points[name]))
    except (Exception, SystemExit) as error:
        raise BackendFailsError(name, "it cannot be loaded", error) from error


def foreign() -> dict[str, str]:
    """Backends that other packages brought: name and module."""
    from importlib.metadata import entry_points  # 20 ms that only an unknown name costs

    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}


def _load(module: str) -> ModuleType:
    return import_module(module)
