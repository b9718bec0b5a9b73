"""MongoDB: pymongo's commands, connects, pools and bytes; sync and asyncio.

Newer versions run all commands through one function, which is measured itself; of others we
hear by their monitoring events, which cost more (`pymongo_runner`, `pymongo_events`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nilometer.integrations import faults
from nilometer.integrations.mongo_commands import SYSTEM
from nilometer.integrations.pymongo_events import Listener
from nilometer.integrations.pymongo_runner import Runner
from nilometer.integrations.pymongo_selection import Selection
from nilometer.integrations.traffic import Traffic, size_of
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from nilometer.measure import Registry

_installed: list[Runner | Listener | Selection | Traffic] = []


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure every client that is made from now on; False if that is done already."""
    if _installed:
        return False
    way = _way(registry)
    _installed.append(way)
    try:
        _installed.append(Selection(way.commands if isinstance(way, Listener) else way))
    except (ImportError, AttributeError) as error:  # a version that looks otherwise for servers
        what = "operations that find no server"
        faults.ours("pymongo", what, error, registry, so="are not measured")
    _installed.append(Traffic("pymongo", SYSTEM, _count_bytes, registry))
    return True


def _way(registry: Registry) -> Runner | Listener:
    try:
        return Runner(registry)
    except (ImportError, AttributeError):  # older, or newer than what we know
        return Listener(registry)


def uninstall() -> None:
    """Leave nothing behind."""
    for one in _installed:
        one.end()
    _installed.clear()


def _count_bytes(traffic: Traffic) -> None:
    from pymongo.asynchronous.pool import AsyncConnection
    from pymongo.synchronous import command_runner  # noqa: F401  without it others write, too
    from pymongo.synchronous.pool import Connection

    for connection in (Connection, AsyncConnection):
        traffic.patches.swap(connection, "send_message", traffic.writing(size_of))
        traffic.patches.swap(connection, "receive_message", traffic.reading(id, _size_of_reply))


def _size_of_reply(_connection: Any, _mark: object, reply: Any) -> int:
    """With its head, as the wire protocol has it; of a compressed one, what it unpacked to."""
    if reply is None:
        return 0
    document = getattr(reply, "payload_document", None)
    if document is not None:
        return 16 + 4 + 1 + len(document)  # OP_MSG: head, flags, kind of its section
    return 16 + 20 + len(reply.documents)  # OP_REPLY: head, flags and cursor
