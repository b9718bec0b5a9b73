"""Being told when a module has been imported, by a finder that finds nothing itself."""

from __future__ import annotations

import sys
from _thread import get_ident
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import ModuleType


class Arrivals:
    """Calls ``arrived(name)`` after the first import of each expected module, in its importer.

    With `again` after each: a reload, or one anew. `arrived` must not raise.
    """

    def __init__(self, arrived: Callable[[str], None], *, again: bool = False) -> None:
        self._arrived = arrived
        self._again = again
        self._expected: set[str] = set()
        self._asking: set[tuple[int, str]] = set()  # by which thread, for what

    def expect(self, names: Iterable[str]) -> None:
        """From now on, tell of these, too."""
        self._expected.update(names)
        if self._expected and self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def end(self) -> None:
        """Tell of nothing any more, and leave the import system."""
        self._expected.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def is_awaited(self, name: str) -> bool:
        """Whether that module is just being imported, by whomever: then tell of it, too."""
        spec: Any = getattr(sys.modules.get(name), "__spec__", None)
        if type(spec) not in (ModuleSpec, _HalfMade) or not vars(spec).get("_initializing"):
            return False
        vars(spec)["_awaited_by"] = self
        spec.__class__ = _HalfMade
        if spec._initializing:
            return True
        _HalfMade.be_whole(spec)  # another thread has completed it meanwhile
        return False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Asked by every import: follow those expected, let all others pass."""
        asked = get_ident(), name
        if name not in self._expected or asked in self._asking:
            return None
        self._asking.add(asked)
        try:
            spec = self._found(name, path, target)
        finally:
            self._asking.discard(asked)
        if spec is not None and spec.loader is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Followed(spec.loader, self)  # type: ignore[assignment]
        return spec

    def _found(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        """What the others find. Those of our kind ask all others, too, and so us again."""
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: ModuleSpec | None = find(name, path, target)
            if spec is not None:
                return spec
        return None

    def has_run(self, name: str) -> None:
        """A module that was followed is complete."""
        if name in self._expected:
            if not self._again:
                self._expected.discard(name)
            self._arrived(name)


class _Followed:
    """A loader that takes itself out of the module's way before the module runs."""

    def __init__(self, loader: Any, arrivals: Arrivals) -> None:
        self._loader = loader
        self._arrivals = arrivals

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the loader's own."""
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """As the loader's own; then tell."""
        spec = module.__spec__
        module.__loader__ = self._loader
        if spec is not None:
            spec.loader = self._loader
        self._loader.exec_module(module)
        self._arrivals.has_run(module.__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class _HalfMade(ModuleSpec):
    """The spec of a module that runs already, followed by nobody or by one that has ended.

    Its import says only here when the module is complete, or has failed.
    """

    @property
    def _initializing(self) -> bool:
        return bool(vars(self)["_initializing"])

    @_initializing.setter
    def _initializing(self, is_running: bool) -> None:
        vars(self)["_initializing"] = is_running
        awaited_by = None if is_running else _HalfMade.be_whole(self)
        if awaited_by is not None:
            awaited_by.has_run(self.name)

    @staticmethod
    def be_whole(spec: Any) -> Arrivals | None:
        """Make it again what it was; who awaits it, if nobody has been told yet."""
        spec.__class__ = ModuleSpec
        awaited_by: Arrivals | None = vars(spec).pop("_awaited_by", None)
        return awaited_by
