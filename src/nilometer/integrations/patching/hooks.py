"""Functions of others that tell dimensions: found by name, and contained when they fail."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nilometer.errors import ConfigError, nearest
from nilometer.integrations import faults
from nilometer.model.dimensions import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nilometer.measure import Registry
    from nilometer.model.patch import Patch

    Pairs = tuple[tuple[str, str], ...]

ENTRY_POINTS: Final = "nilometer.hooks"
"""Packages register ``name = "package.module:function"`` in this entry point group."""

LABEL: Final = "label"
"""The dimension that holds what a helper of Tach's would have had for a name."""


class Hook:
    """A function of somebody else's: what it raises is counted, said once, and left out.

    What ends the process is not held: a signal's handler may have raised it in the midst of it.
    """

    def __init__(self, name: str, patch: Patch, registry: Registry) -> None:
        origin = patch.origin
        self._name = name
        self._patch = f"{patch}={patch.make}"
        self._origin = origin
        self._registry = registry
        self._function = found(name, origin)
        self._fault: faults.Fault | None = None

    def told(self, /, *args: Any, **kwargs: Any) -> Pairs:
        """The dimensions that it returns, or none."""
        try:
            said = self._function(*args, **kwargs)
            return () if said is None else _pairs(said)
        except Exception as error:  # noqa: BLE001 - the service runs on as without us
            self._fail(error)
            return ()

    def moved(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, skipped: int
    ) -> tuple[tuple[Any, ...], dict[str, Any], Pairs]:
        """What Tach's `app` returns: other arguments, and a label; `skipped` it never saw."""
        try:
            others, words, label = self._function(*args[skipped:], **kwargs)
            return (*args[:skipped], *others), dict(words), _labelled(label)
        except Exception as error:  # noqa: BLE001 - the service runs on as without us
            self._fail(error)
            return args, kwargs, ()

    def answered(
        self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Pairs]:
        """What Tach's `post_app` returns: another result, and a label."""
        try:
            other, label = self._function(result, *args, **kwargs)
            return other, _labelled(label)
        except Exception as error:  # noqa: BLE001 - the service runs on as without us
            self._fail(error)
            return result, ()

    def _fail(self, error: Exception) -> None:
        self._registry.lost("hook", self._name)
        if self._fault is None:
            because = f"{self._origin}: raised {type(error).__name__}"
            what = f"hook {self._name} of {self._patch}"
            self._fault = faults.noted("patch", what, because, self._origin)
        self._fault.count += 1
        if self._fault.count > 1:  # at this function or at another one of the same patch
            return
        from logging import getLogger  # 4 ms of import that only a failure needs

        getLogger("nilometer").warning(
            "%s: hook %s raised %s, its dimensions are missing [hook-fails]",
            self._origin,
            self._name,
            type(error).__name__,
        )


def _pairs(said: Mapping[str, object]) -> Pairs:
    return tuple((str(name), text_of(value)) for name, value in said.items())


def _labelled(label: object) -> Pairs:
    return ((LABEL, text_of(label)),) if label else ()


def found(name: str, origin: str) -> Callable[..., Any]:
    """The function of that name; a ConfigError says why there is none."""
    where, colon, function = name.rpartition(":")
    if not colon:
        return _registered(name, origin)
    try:
        thing: Any = _loaded(Path(where)) if where.endswith(".py") else import_module(where)
        for part in function.split("."):
            thing = getattr(thing, part)
    except Exception as error:
        raise ConfigError(f"{origin}: hook {name}: {error!r}", slug="bad-hook") from error
    if not callable(thing):
        raise ConfigError(f"{origin}: hook {name} is no function", slug="bad-hook")
    hook: Callable[..., Any] = thing
    return hook


def _registered(name: str, origin: str) -> Callable[..., Any]:
    from importlib.metadata import entry_points  # 20 ms that only such a hook costs

    points = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in points:
        raise ConfigError(
            f"{origin}: no hook {name!r} among the entry points {ENTRY_POINTS}"
            + (nearest(name, points) if points else ", of which there are none"),
            slug="bad-hook",
        )
    try:
        hook: Callable[..., Any] = points[name].load()
    except Exception as error:
        raise ConfigError(
            f"{origin}: hook {name}: {points[name].value}: {error!r}", slug="bad-hook"
        ) from error
    return hook


def _loaded(path: Path) -> Any:
    """A helper that lies beside its Tach file, under its own name, once."""
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module in {path}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules.setdefault(path.stem, module)
    return module
