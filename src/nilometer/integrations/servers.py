"""Applications measured where their server takes them up, so that no source need be touched.

Each server has one place where its application is already an object: a method after which an
attribute holds it. There it is put into our middleware. An application that was put into it by
hand, too, is counted once: the inner middleware sees that an outer one is at work.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nilometer.integrations.patches import Patches

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.trace.trigger import Triggers


class Served:
    """A server: after ``kind.method`` of `library` ran, ``self.attribute`` is the application.

    `protocol` is the name of our module with the middleware. `concerns` says of which objects
    this is true, if not of all.
    """

    def __init__(
        self,
        server: str,
        library: str,
        kind: str,
        method: str,
        attribute: str,
        *,
        protocol: str = "wsgi",
        concerns: Callable[[Any], bool] | None = None,
    ) -> None:
        self._server = server
        self._library = library
        self._kind = kind
        self._method = method
        self._attribute = attribute
        self._protocol = protocol
        self._concerns = concerns
        self._patches = Patches()

    def install(self, *, triggers: Triggers | None = None) -> bool:
        """Measure what this server takes up from now on; False if that is done already.

        `triggers` says which requests are traced. ImportError or AttributeError if the
        library is not there or not as we know it.
        """
        if self._patches.active:
            return False
        kind = getattr(import_module(self._library), self._kind)
        middleware = import_module(f"nilometer.integrations.{self._protocol}").Middleware

        def measured(original: Callable[..., Any]) -> Callable[..., Any]:
            def taken_up(server: Any, *args: Any, **kwargs: Any) -> Any:
                result = original(server, *args, **kwargs)
                app = getattr(server, self._attribute, None)
                if (
                    callable(app)
                    and not isinstance(app, middleware)
                    and (self._concerns is None or self._concerns(server))
                ):
                    wrapped = middleware(app, triggers=triggers, server=self._server)
                    setattr(server, self._attribute, wrapped)
                return result

            return taken_up

        self._patches.replace(kind, self._method, measured)
        return True

    def uninstall(self) -> None:
        """Leave alone what is taken up from now on; what runs already stays measured."""
        self._patches.undo()
