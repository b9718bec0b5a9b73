"""python-memcached: its commands, connects, servers given up, and bytes.

It raises nothing where a server is gone: a command then finds nothing, and the server is left
alone for a while. That moment counts as a failed connect, since it is all that there is to see.
"""

from __future__ import annotations

from functools import update_wrapper
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.calls import Call, Calls
from nilometer.integrations.commands import Commands
from nilometer.integrations.memcached_words import COMMANDS, MANY
from nilometer.integrations.patches import Patches
from nilometer.integrations.traffic import Traffic, size_of
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

_patches: Final = Patches()
_DIMENSIONS: Final = {"db.system.name": "memcached"}


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure every client of python-memcached; False if that is done already.

    AttributeError if this one is built otherwise; then it is left as it was.
    """
    if _patches.active:
        return False
    from memcache import Client, _Host

    commands = Commands(
        "memcache", "memcached", COMMANDS, told=servers_of, registry=registry, fold=str.lower
    )
    connects = Calls(
        "memcache",
        "db.client.connect",
        description="Making new connections to databases.",
        registry=registry,
    )
    traffic = Traffic("memcache", "memcached", _count_bytes, registry)
    _patches.also_end(commands, connects.depth, traffic)
    with _patches:
        _patches.swap(Client, "cas", lambda original: _cas(original, Client, commands))
        for method in ("_set", "_get", "_incrdecr"):
            _patches.swap(Client, method, commands.by_argument())
        for method in ("delete", "touch", "flush_all"):
            _patches.swap(Client, method, commands.by_name(method))
        for method in ("get_multi", "set_multi", "delete_multi", "get_stats"):
            _patches.swap(Client, method, commands.by_name(MANY[method]))
        _patches.swap(_Host, "_get_socket", lambda original: _connecting(original, connects))
        _patches.swap(_Host, "mark_dead", lambda original: _given_up(original, connects))
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


def servers_of(client: Any, *, ended: bool = True) -> dict[str, object]:  # noqa: ARG001
    """Where a client's commands go, if there is only one place."""
    if len(client.servers) != 1:
        return {}
    address = client.servers[0].address
    if isinstance(address, tuple):
        return {"server.address": address[0], "server.port": address[1]}
    return {"server.address": address}


def _cas(original: Callable[..., Any], clients: Any, commands: Commands) -> Callable[..., Any]:
    """``cas``: what was not got before it sets by ``_set`` again, which is a part of it.

    What is put into a client is seen by one thread alone, as its class is made. A class with a
    ``_set`` of its own is left to that.
    """
    plain = clients._set

    def alone(client: Any, *args: Any, **named: Any) -> Any:
        client._set = MethodType(plain, client)
        try:
            return original(client, *args, **named)
        finally:
            del client._set

    measured = commands.by_name("cas")(update_wrapper(alone, original))

    def cas(client: Any, *args: Any, **named: Any) -> Any:
        is_plain = type(client)._set is clients._set
        return (measured if is_plain else original)(client, *args, **named)

    return update_wrapper(cas, original)


def _connecting(original: Callable[..., Any], connects: Calls) -> Callable[..., Any]:
    operation = connects.operation("CONNECT", "CONNECT", _DIMENSIONS)

    def get_socket(host: Any) -> Any:
        if host.socket or not connects.depth.on or host._check_dead():
            return original(host)
        with Call(operation):
            return original(host)

    return get_socket


def _given_up(original: Callable[..., Any], connects: Calls) -> Callable[..., Any]:
    def mark_dead(host: Any, reason: object) -> Any:
        if connects.depth.on:
            error = reason if isinstance(reason, OSError) else ConnectionError()
            connects.failed(_DIMENSIONS, error)
        return original(host, reason)

    return mark_dead


def _count_bytes(traffic: Traffic) -> None:
    from memcache import _Host

    line = len(b"\r\n")
    patches = traffic.patches
    patches.swap(_Host, "send_cmd", traffic.writing(lambda command: size_of(command) + line))
    patches.swap(_Host, "send_cmds", traffic.writing(size_of))
    patches.swap(_Host, "recv", traffic.reading(id, lambda _host, _, got: len(got or b"")))
    patches.swap(
        _Host,
        "readline",
        traffic.reading(id, lambda _host, _, got: len(got) + line if got else 0),
    )
