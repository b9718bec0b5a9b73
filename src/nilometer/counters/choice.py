"""Which backends to read: those that were named, else all that seem to be here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.counters.backend import BACKENDS, connect, foreign, module_of
from nilometer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nilometer.counters.backend import Backend, Surroundings


def chosen(
    named: Sequence[tuple[str, str]], surroundings: Surroundings, *, without: Iterable[str] = ()
) -> list[Backend]:
    """The backends to read, but those whose name is in `without`.

    `named` are texts and their origins: a URL says where a backend is, a bare name is looked
    for where its own clients are configured to go, then on this machine. If nothing is named,
    every backend is looked for so, and one that is nowhere is passed over. Raises ConfigError
    for all that cannot be used at once, and for a name that is found nowhere.
    """
    left_out = set(without)
    faults: list[ConfigError] = []
    backends: list[Backend] = []
    for text, origin in named or [(name, "") for name in (*BACKENDS, *foreign())]:
        try:
            found = _of(text, origin, surroundings)
        except ConfigError as error:
            faults.append(error)
            continue
        backends += [one for one in found if one.name not in left_out]
    if faults:
        raise faults[0] if len(faults) == 1 else _together(faults)
    return list({(one.name, one.instance): one for one in backends}.values())


def _of(text: str, origin: str, surroundings: Surroundings) -> list[Backend]:
    if "://" in text:
        return [connect(text, origin=origin)]
    module = module_of(text, origin=origin)
    targets = module.find(surroundings)
    if origin and not targets:
        raise ConfigError(
            f"{origin}: no {text} found: none is configured, and none listens on this machine; "
            f"name it as in {text}://host:port",
            slug="backend-not-found",
        )
    return [module.connect(target) for target in targets]


def _together(faults: list[ConfigError]) -> ConfigError:
    texts = [str(fault).removesuffix(f" [{fault.slug}]") for fault in faults]
    return ConfigError("; ".join(texts), slug=faults[0].slug)
