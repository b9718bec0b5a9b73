"""Which backends to read: those that were named, else all that seem to be here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from nilometer.counters.backend import (
    BACKENDS,
    BackendError,
    BackendFailsError,
    connect,
    connected,
    foreign,
    found_by,
    module_of,
)
from nilometer.counters.target import hidden
from nilometer.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nilometer.counters.backend import Backend, Surroundings
    from nilometer.counters.figures import Fact


class Broken:
    """Stands for a backend that failed before it could be read, or is nowhere to be found."""

    settle_s = 0.0

    def __init__(self, name: str, error: ConfigError) -> None:
        self.name = name
        self.instance = ""
        self._slug = error.slug
        because = str(error).removesuffix(f" [{error.slug}]")
        self._because = (
            because if isinstance(error, BackendFailsError) else f"{name}: {because}"
        )

    def read(self) -> NoReturn:
        """Raises BackendError that says why."""
        raise BackendError(self._because, slug=self._slug)

    def facts(self) -> Mapping[str, Fact]:
        """Nothing is known."""
        return {}

    def close(self) -> None:
        """Nothing is open."""


def chosen(
    named: Sequence[tuple[str, str]], surroundings: Surroundings, *, without: Iterable[str] = ()
) -> list[Backend]:
    """The backends to read, but those whose name is in `without`.

    `named` are texts and their origins: a URL says where a backend is, a bare name is looked
    for where its own clients are configured to go, then on this machine. If nothing is named,
    every backend is looked for so, and one that is nowhere is passed over. One of another
    package that fails is `Broken`, as is one that is looked for where nobody can make out where
    it should be: it takes no other along. Raises ConfigError for all that cannot be used at
    once, and for a name that is found nowhere.
    """
    left_out = set(without)
    faults = _unknown(left_out)
    backends: list[Backend] = []
    everywhere = (*BACKENDS, *foreign()) if not named else ()  # 20 ms that only a search costs
    for text, origin in named or [(name, "") for name in everywhere if name not in left_out]:
        try:
            found = _of(text, origin, surroundings)
        except BackendFailsError as error:
            found = [Broken(text.partition("://")[0], error)]
        except ConfigError as error:
            if named:
                faults.append(error)
                continue
            found = [Broken(text, error)]
        backends += [one for one in found if one.name not in left_out]
    if faults:
        raise faults[0] if len(faults) == 1 else _together(faults)
    return _told_apart(backends)


def _of(text: str, origin: str, surroundings: Surroundings) -> list[Backend]:
    if "://" in text:
        return [connect(text, origin=origin)]
    module = module_of(text, origin=origin)
    targets = found_by(module, text, surroundings)
    if origin and not targets:
        raise ConfigError(
            f"{origin}: no {text} found: none is configured, and none listens on this machine; "
            f"name it as in {text}://host:port",
            slug="backend-not-found",
        )
    found = [connected(module, text, target) for target in targets]
    for one in found:
        if origin and getattr(one, "guessed", False):
            one.guessed = False  # type: ignore[attr-defined]  # somebody asks for it by name
    return found


def _unknown(left_out: Iterable[str]) -> list[ConfigError]:
    """Names that no backend has: a misspelt one would leave nothing out, and say nothing."""
    odd = [name for name in left_out if name not in BACKENDS]
    known = [*BACKENDS, *foreign()] if odd else []
    return [
        ConfigError(
            f"--without: no backend {hidden(name)!r}{nearest(name, known)}",
            slug="no-such-backend",
        )
        for name in sorted(odd)
        if name not in known
    ]


def _told_apart(backends: Sequence[Backend]) -> list[Backend]:
    """Each place once. What differs only in what is not shown of it has a number.

    `identity` is what a backend has beside `instance` if that does not show all: a secret.
    """
    found: dict[tuple[str, str], dict[str, Backend]] = {}
    for one in backends:
        identity = getattr(one, "identity", "")
        found.setdefault((one.name, one.instance), {})[identity] = one
    for (_, instance), alike in found.items():
        for number, one in enumerate(alike.values(), 1):
            if number > 1:
                one.instance = f"{instance} ({number})"
    return [one for alike in found.values() for one in alike.values()]


def _together(faults: list[ConfigError]) -> ConfigError:
    texts = [str(fault).removesuffix(f" [{fault.slug}]") for fault in faults]
    return ConfigError("; ".join(texts), slug=faults[0].slug)
