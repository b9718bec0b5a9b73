"""Applications measured where their server takes them up, so that no source need be touched.

Each server has one place where its application is already an object: a method after which an
attribute holds it. There it is put into our middleware. An application that was put into it by
hand, too, is counted once: the inner middleware sees that an outer one is at work.

From then on this process serves: its listening sockets are looked at, and the server is asked
how busy it is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nilometer.integrations import faults
from nilometer.integrations.backlog import Backlogs
from nilometer.integrations.dispatch import dispatching
from nilometer.integrations.patches import Patches
from nilometer.integrations.serving import Servers
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.serving import Load
    from nilometer.integrations.switched import Switched
    from nilometer.trace.trigger import Triggers


class _Process:
    """The gauges of this process, made when its first server takes up an application."""

    backlogs: Backlogs | None = None
    servers: Servers | None = None


class Serving:
    """What is measured of a server beside its requests, from when it took up an application.

    ``load(server)`` says how busy it is, ``arrivals(server, patches)`` replaces what has a
    request first, ``counting(server, patches)`` what `load` has to count; each may be unknown.
    """

    def __init__(
        self,
        server: str,
        load: Callable[[Any], Load] | None = None,
        arrivals: Callable[[Any, Patches], None] | None = None,
        counting: Callable[[Any, Patches], None] | None = None,
    ) -> None:
        self._server = server
        self._load = load
        self._arrivals = arrivals
        self._counting = counting
        self._counted: dict[type, Patches] = {}
        self._switched: dict[type, Switched] = {}

    def begin(self, server: Any) -> None:
        """This object serves from now on. Raises nothing: it would serve without us, too."""
        try:
            self._begin(server)
        except Exception as error:  # noqa: BLE001  as the docstring says
            faults.ours(self._server, "how busy it is", error, REGISTRY)

    def _begin(self, server: Any) -> None:
        if _Process.backlogs is None:
            _Process.backlogs = Backlogs()
        _Process.backlogs.begin(self._server)
        if self._counting is not None and type(server) not in self._counted:
            with Patches() as patches:
                self._counting(server, patches)
            self._counted[type(server)] = patches
        if self._load is not None:
            if _Process.servers is None:
                _Process.servers = Servers()
            _Process.servers.watch(self._server, server, self._load)
        lay = self._arrivals
        if lay is not None and type(server) not in self._switched:
            self._switched[type(server)] = dispatching(
                self._server, lambda patches: lay(server, patches)
            )

    def end(self) -> None:
        """Measure no more of it."""
        if _Process.backlogs is not None:
            _Process.backlogs.end(self._server)
        if _Process.servers is not None:
            _Process.servers.end(self._server)
        while self._switched:
            self._switched.popitem()[1].end()
        while self._counted:
            self._counted.popitem()[1].undo()


def within(
    middleware: Callable[..., Any], app: Any, triggers: Triggers | None, server: str
) -> Any:
    """The application in our middleware; as it is where that fails, which is said."""
    try:
        return middleware(app, triggers=triggers, server=server)
    except Exception as error:  # noqa: BLE001  it is served all the same
        faults.ours(server, "an application", error, REGISTRY)
        return app


class Served:
    """A server: after ``kind.method`` of `library` ran, ``self.attribute`` is the application.

    `protocol` is the name of our module with the middleware. `concerns` says of which objects
    this is true, if not of all. `load`, `arrivals` and `counting` are those of `Serving`.
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
        load: Callable[[Any], Load] | None = None,
        arrivals: Callable[[Any, Patches], None] | None = None,
        counting: Callable[[Any, Patches], None] | None = None,
    ) -> None:
        self._server = server
        self._library = library
        self._kind = kind
        self._method = method
        self._attribute = attribute
        self._protocol = protocol
        self._concerns = concerns
        self._serving = Serving(server, load, arrivals, counting)
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
            def taken_up(server: Any, /, *args: Any, **kwargs: Any) -> Any:
                result = original(server, *args, **kwargs)
                if not self._patches.active:  # the application has read that we leave it alone
                    return result
                app = getattr(server, self._attribute, None)
                if callable(app) and (self._concerns is None or self._concerns(server)):
                    self._serving.begin(server)
                    if not isinstance(app, middleware):
                        wrapped = within(middleware, app, triggers, self._server)
                        setattr(server, self._attribute, wrapped)
                return result

            return taken_up

        self._patches.replace(kind, self._method, measured)
        return True

    def uninstall(self) -> None:
        """Leave alone what is taken up from now on; requests to what runs stay measured."""
        self._serving.end()
        self._patches.undo()
