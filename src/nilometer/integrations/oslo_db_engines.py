"""oslo.db's own pings: what they find dead.

Since SQLAlchemy 2.0.5 it has SQLAlchemy ping, which `sqlalchemy` measures; before, it has a
listener of its own, and this counts where that gets no answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.calls import Depth
from nilometer.integrations.databases import SYSTEMS
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

LISTENER: Final = "_connect_ping_listener"

_patches: Final = Patches()
_depths: Final[list[Depth]] = []


def install(*, registry: Registry = REGISTRY) -> bool:
    """Count for all engines made from now on; False if that is done already."""
    if _depths:
        return False
    from oslo_db.sqlalchemy import engines

    depth = Depth("oslo_db", registry)
    _depths.append(depth)
    if hasattr(engines, LISTENER):
        _patches.replace(engines, LISTENER, _pinging(depth, registry))
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()
    while _depths:
        _depths.pop().end()


def _pinging(
    depth: Depth, registry: Registry
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """For the place of the listener, whose statements are only pings."""
    errors = registry.counter(
        "db.client.ping.errors",
        unit="{error}",
        description="Connections that were found dead when they were to be used.",
    )

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def ping(connection: Any, *args: Any, **named: Any) -> Any:
            scalar = connection.scalar

            def asked(*given: Any, **options: Any) -> Any:
                try:
                    return scalar(*given, **options)
                except BaseException as error:
                    if depth.on:
                        system = connection.dialect.name
                        errors.bind(
                            **{
                                "db.system.name": SYSTEMS.get(system, system),
                                "error.type": type(error).__name__,
                            }
                        ).add()
                    raise

            connection.scalar = asked
            try:
                return original(connection, *args, **named)
            finally:
                del connection.scalar

        return ping

    return measured
