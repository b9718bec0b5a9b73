"""Which integrations a service gets, installed when the library they serve is first imported.

A library that is never imported costs nothing: a measured program must not load what it does
not use. One whose integration fails runs unmeasured, and that is said once.
"""

from __future__ import annotations

import inspect
import logging
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from nilometer.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from nilometer.trace.trigger import Triggers

log = logging.getLogger("nilometer")

AUTO: Final = "auto"

LIBRARIES: Final = {
    "gunicorn": "gunicorn",
    "uvicorn": "uvicorn",
    "wsgiref": "wsgiref.simple_server",
    "sqlalchemy": "sqlalchemy",
    "requests": "requests",
    "httpx": "httpx",
    "urllib3": "urllib3",
    "threads": "concurrent.futures.thread",
}
"""The module after whose import each integration is installed, by the integration's name."""


class Chosen:
    """The integrations of one system."""

    def __init__(self, names: Sequence[str], off: Sequence[str], triggers: Triggers) -> None:
        self.waiting = {LIBRARIES[name]: name for name in _wanted(names, off)}
        self.installed: dict[str, ModuleType] = {}
        self.failed: dict[str, str] = {}
        self._triggers = triggers

    def begin(self) -> None:
        """Install what is imported already; wait for the rest."""
        for library in list(self.waiting):
            if library in sys.modules:
                self._install(library)
        if self.waiting:
            sys.meta_path.insert(0, self)  # type: ignore[arg-type] - what it has is enough

    def end(self) -> None:
        """Take all off again."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)  # type: ignore[arg-type]
        self.waiting.clear()
        for name, module in self.installed.items():
            try:
                module.uninstall()
            except Exception as error:  # noqa: BLE001 - the others must come off all the same
                log.warning(
                    "integration %s does not come off: %r [integration-fails]", name, error
                )
        self.installed.clear()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Asked by every import: notice ours, and let all others pass."""
        if name not in self.waiting:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                self._follow(spec)
                return spec
        return None

    def _follow(self, spec: ModuleSpec) -> None:
        """See to it that the integration is installed once the module has run."""
        loader: Any = spec.loader
        run = getattr(loader, "exec_module", None)
        if run is None:
            return

        def exec_module(module: ModuleType) -> None:
            run(module)
            self._install(spec.name)

        try:
            loader.exec_module = exec_module
        except AttributeError:  # a loader without room for it: install at the next configure
            log.debug("%s is imported by %r, which cannot be followed", spec.name, loader)

    def _install(self, library: str) -> None:
        name = self.waiting.pop(library, "")
        if not name:
            return
        try:
            module = import_module(f"nilometer.integrations.{name}")
            takes = inspect.signature(module.install).parameters
            done = (
                module.install(triggers=self._triggers)
                if "triggers" in takes
                else module.install()
            )
            if done is not False:
                self.installed[name] = module
        except Exception as error:  # noqa: BLE001 - the service runs on, unmeasured there
            self.failed[name] = repr(error)
            log.warning(
                "integration %s fails, %s runs unmeasured: %r [integration-fails]",
                name,
                library,
                error,
            )


def available() -> list[str]:
    """The integrations that this installation has."""
    return [name for name in LIBRARIES if find_spec(f"nilometer.integrations.{name}")]


def check(names: Sequence[str], origin: str) -> None:
    """ConfigError if one of the names is no integration."""
    for name in names:
        if name != AUTO and name not in available():
            choice = nearest(name, [AUTO, *available()])
            raise ConfigError(
                f"{origin}: no integration {name!r}{choice}", slug="no-such-integration"
            )


def _wanted(names: Sequence[str], off: Sequence[str]) -> list[str]:
    chosen = available() if AUTO in names else [name for name in names if name in LIBRARIES]
    return [name for name in chosen if name not in off]
