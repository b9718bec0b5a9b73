"""pylibmc: its commands; what its library in C does with connections nobody is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.commands import Commands
from nilometer.integrations.memcached_words import COMMANDS, MANY
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from nilometer.measure import Registry

_patches: Final = Patches()

METHODS: Final = {
    **{name: name for name in COMMANDS - {"quit", "stats", "shutdown", "version"}},
    **MANY,
}
"""Methods of its clients, and the command that each sends; those that a version has."""


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure every client of pylibmc; False if that is done already."""
    if _patches.active:
        return False
    from pylibmc.client import Client

    commands = Commands(
        "pylibmc", "memcached", COMMANDS, told=servers_of, registry=registry, fold=str.lower
    )
    _patches.also_end(commands)
    with _patches:
        for method, name in METHODS.items():
            if hasattr(Client, method):
                _patches.swap(Client, method, commands.by_name(name))
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


def servers_of(client: Any, *, ended: bool = True) -> dict[str, object]:  # noqa: ARG001
    """Where a client's commands go, if there is only one place."""
    addresses = client.addresses
    return {"server.address": addresses[0]} if len(addresses) == 1 else {}
