"""Below oslo.messaging's RPC, in its drivers for AMQP: pools of connections, and replies."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import faults
from nilometer.integrations.calls import Calls
from nilometer.integrations.oslo_messaging import MARK
from nilometer.integrations.patches import Patches
from nilometer.integrations.pools import Followed
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure all drivers that speak AMQP; False if that is done already.

    AttributeError if this oslo.messaging is built otherwise; then it is left as it was.
    """
    if _patches.active:
        return False
    from oslo_messaging._drivers import common
    from oslo_messaging._drivers.amqpdriver import ReplyWaiter
    from oslo_messaging._drivers.pool import ConnectionPool

    waits = Calls(
        "oslo_messaging_amqp",
        "rpc.client.reply.wait",
        description="From an RPC call that was sent to the last of its replies.",
        registry=registry,
    )
    pools = Followed(
        connections_of,
        registry,
        registry.gauge(
            "messaging.connection.count",
            unit="{connection}",
            description="Connections to a broker in pools, by state.",
        ),
        "messaging.connection.pool.name",
        "messaging.connection.state",
        waits.depth,
    )
    _patches.also_end(pools, waits.depth)
    with _patches:
        _patches.swap(ConnectionPool, "create", lambda f: _making(f, pools))
        _patches.swap(ReplyWaiter, "wait", lambda f: _waiting(f, waits))
        _patches.swap(common, "deserialize_remote_exception", _marking)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


def connections_of(pool: Any) -> tuple[int, int]:
    """How many connections of a pool are used, and how many idle."""
    idle = len(pool._items)
    return max(pool._current_size - idle, 0), idle


def pool_name(pool: Any) -> str:
    """``host:port/virtual host`` of the first broker that a pool leads to."""
    url = pool.url
    host = url.hosts[0] if url.hosts else None
    place = f"{host.hostname or 'localhost'}:{host.port or 5672}" if host else "localhost:5672"
    return f"{place}/{url.virtual_host or ''}"


def _making(original: Callable[..., Any], pools: Followed) -> Callable[..., Any]:
    """Where a pool makes a connection: it is known from now on."""

    def create(pool: Any, *args: Any, **options: Any) -> Any:
        made = original(pool, *args, **options)
        try:
            pools.watch(pool_name(pool), pool)
        except Exception as error:  # noqa: BLE001  a pool of another kind: it works without us
            REGISTRY.lost("attributes", "unreadable")
            faults.tell("oslo_messaging_amqp", "a pool", error)
        return made

    return create


def _waiting(original: Callable[..., Any], waits: Calls) -> Callable[..., Any]:
    depth, timed = waits.depth, waits.timed({})(original)

    def wait(waiter: Any, *args: Any, **options: Any) -> Any:
        return (timed if depth.on else original)(waiter, *args, **options)

    return wait


def _marking(original: Callable[..., Any]) -> Callable[..., Any]:
    """An error of a reply is told from one of this process."""

    def deserialize_remote_exception(*args: Any, **options: Any) -> Any:
        made = original(*args, **options)
        with suppress(Exception):  # a class of its own may take no attributes
            setattr(made, MARK, True)
        return made

    return deserialize_remote_exception
