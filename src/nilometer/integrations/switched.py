"""Patches that are laid only while the level of what they measure asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.integrations import faults
from nilometer.integrations.patches import Patches

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry


class Switched:
    """``lay(patches)`` replaces what has to be while ``wanted()``; at other levels nothing is.

    A library of another version is left as it was, and `what` is told to be unmeasured.
    """

    __slots__ = ("patches", "_integration", "_what", "_wanted", "_lay", "_registry")

    def __init__(
        self,
        integration: str,
        what: str,
        wanted: Callable[[], bool],
        lay: Callable[[Patches], None],
        registry: Registry,
    ) -> None:
        self.patches = Patches()
        self._integration = integration
        self._what = what
        self._wanted = wanted
        self._lay = lay
        self._registry = registry

    def begin(self) -> None:
        """Do what the levels say, now and after each change of them."""
        self._registry.followers.append(self.follow)
        self.follow()

    def follow(self) -> None:
        """Take over what the levels say now."""
        if not self._wanted():
            self.patches.undo()
        elif not self.patches.active:
            try:
                with self.patches:
                    self._lay(self.patches)
            except (ImportError, AttributeError) as error:
                faults.ours(self._integration, self._what, error, self._registry)

    def end(self) -> None:
        """Put everything back, and follow no more."""
        self.patches.undo()
        if self.follow in self._registry.followers:
            self._registry.followers.remove(self.follow)
