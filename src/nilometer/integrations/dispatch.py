"""When a server first had a request: marked where it has it, taken by the middleware.

In place while the level asks for `http.server.dispatch`. What runs in the thread or greenlet
that will call the application says it by `ARRIVED`; the request of an event loop has it in its
scope.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import elapsed_ns
from nilometer.integrations.http_meters import server_instruments
from nilometer.integrations.http_phases import ARRIVED
from nilometer.integrations.switched import Switched
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.patches import Patches
    from nilometer.measure import Registry

    Lay = Callable[[Patches], None]

ATTRIBUTE: Final = "nilometer_arrived_ns"
"""Where an object of a server's carries it from one thread or task to another."""


def marked(original: Callable[..., Any]) -> Callable[..., Any]:
    """A method that a server calls when it has a request, in the thread that will serve it."""

    def method(*args: Any, **kwargs: Any) -> Any:
        ARRIVED.set(elapsed_ns())
        return original(*args, **kwargs)

    return method


def request_line(attribute: str) -> Callable[[Any, Patches], None]:
    """For servers of `http.server`'s kind: a request is there when its first line has come.

    `attribute` of the server is the class of its handlers.
    """

    def lay(server: Any, patches: Patches) -> None:
        patches.replace(getattr(server, attribute), "parse_request", marked)

    return lay


def dispatching(server: str, lay: Lay, registry: Registry = REGISTRY) -> Switched:
    """The patches by which this server tells, while the level asks for it."""
    phase = server_instruments(registry).phases.dispatch
    made = Switched(server, "its dispatch", lambda: phase.is_on, lay, registry)
    made.begin()
    return made
