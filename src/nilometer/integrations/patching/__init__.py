"""Patches that the settings ask for: laid around functions of modules as these are imported.

`Patching` waits for the modules, lays each patch where its target matches, takes it off while
its level is off, and at the end puts back everything exactly. What cannot be patched is said
once, counted, and listed by `nilometer doctor`; the service runs on as without us.
"""

from __future__ import annotations

import sys
from _thread import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

from nilometer.errors import ConfigError, NilometerError
from nilometer.integrations.arrivals import Arrivals
from nilometer.integrations.patching.described import How
from nilometer.integrations.patching.matching import Match, matches
from nilometer.integrations.patching.meters import wrapping
from nilometer.integrations.patching.places import Layer, Place
from nilometer.measure import REGISTRY
from nilometer.model.level import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nilometer.measure import Registry
    from nilometer.model.patch import Patch


class Applied(NamedTuple):
    """One function that a patch was laid around."""

    patch: Patch
    qualname: str
    kind: str
    name: str  # of what is made of it
    place: Place
    layer: Layer

    @property
    def state(self) -> str:
        """Whether it measures now."""
        if not self.place.is_ours:
            return "covered by somebody else's wrapper, or run again"
        return "on" if self.layer.on() else "off by its level"


class Patching:
    """The patches of one system."""

    def __init__(self, patches: Iterable[Patch], *, registry: Registry = REGISTRY) -> None:
        self._patches = dict(enumerate(patches))
        self._registry = registry
        self._lock = RLock()
        self._places: list[Place] = []
        self._arrivals = Arrivals(self._arrived, again=True)
        self.waiting: dict[int, Patch] = dict(self._patches)
        self._applied: dict[tuple[int, str], Applied] = {}
        self.failed: dict[int, tuple[Patch, str]] = {}
        self._said: set[tuple[int, str]] = set()  # of which patch, at which function

    @property
    def applied(self) -> list[Applied]:
        """All that patches lie around now."""
        return list(self._applied.values())

    def begin(self) -> None:
        """Patch what is imported already, and the rest when it is, or is again.

        Of what is just being imported nothing is judged before it is complete.
        """
        self._registry.followers.append(self._follow)
        modules = dict.fromkeys(patch.module for patch in self._patches.values())
        self._arrivals.expect(modules)
        for module in modules:
            if module in sys.modules and not self._arrivals.is_awaited(module):
                self._arrived(module)

    def end(self) -> None:
        """Put everything back."""
        self._arrivals.end()
        if self._follow in self._registry.followers:
            self._registry.followers.remove(self._follow)
        with self._lock:
            for place in self._places:
                place.end()
            self._refresh()
            self._places.clear()
            self._applied.clear()
            self.waiting.clear()

    def reset_after_fork(self) -> None:
        """In a forked child: another thread of the parent may have held the lock."""
        self._lock = RLock()

    def _arrived(self, name: str) -> None:
        module = sys.modules.get(name)
        if module is None:  # it took itself out again
            return
        with self._lock:
            self._forget(name, module)
        for index, patch in self._patches.items():
            if patch.module == name:
                try:
                    self._apply(index, patch, module)
                except Exception as error:  # noqa: BLE001 - the service runs on, unmeasured there
                    self._fail(index, patch, error)
        self._follow()

    def _forget(self, name: str, module: Any) -> None:
        """What was known of a module before it ran again.

        Classes made the last time keep their patches: there may be instances. Those made before
        that are let go, else one more would be kept for ever with each time that it runs.
        """
        asked = {index for index, patch in self._patches.items() if patch.module == name}
        of_it = [key for key in self._applied if key[0] in asked]
        last = {id(self._applied.pop(key).place) for key in of_it}
        for place in self._places:
            if place.owner is module:
                place.layers.clear()
            elif id(place) not in last:
                for index in asked:
                    place.layers.pop(index, None)
        self._refresh()
        self._places = [place for place in self._places if place.layers]

    def _apply(self, index: int, patch: Patch, module: Any) -> None:
        found = matches(module, patch)
        made = [(match, self._layer(patch, match)) for match in found]
        refused = []
        with self._lock:
            for match, layer in made:
                try:
                    place = self._place(match)
                    self._lay(place, index, layer)
                except Exception as error:  # noqa: BLE001 - the others of this patch are laid
                    refused.append((match, error))
                else:
                    self._applied[index, match.qualname] = Applied(
                        patch, match.qualname, match.kind, layer.key[1], place, layer
                    )
            self._settle(index, patch)
        for match, because in refused:
            self._fail(index, patch, because, match.qualname)

    def _layer(self, patch: Patch, match: Match) -> Layer:
        name = patch.name_of(match.qualname)
        how = How(
            skipped=1 if patch.tach and isinstance(match.thing, classmethod) else 0,
            is_asked_by_paths=isinstance(match.thing, property) or match.name[:2] == "__",
        )
        around = wrapping(patch, name, self._registry, how)
        return Layer((patch.make, name), around, self._deciding(name, patch.level))

    def _deciding(self, name: str, level: Level) -> Callable[[], bool]:
        return lambda: Level.OFF < level <= self._registry.level_of(name)

    def _place(self, match: Match) -> Place:
        for place in self._places:
            if place.owner is match.owner and place.name == match.name:
                return place
        place = Place(match.owner, match.name)
        self._places.append(place)
        return place

    def _lay(self, place: Place, index: int, layer: Layer) -> None:
        place.layers[index] = layer
        try:
            place.refresh(self._beneath(place))
        except Exception:
            del place.layers[index]
            place.refresh(self._beneath(place))
            raise

    def _settle(self, index: int, patch: Patch) -> None:
        """It has found its place; so have those that stood for the same."""
        for other, one in self._patches.items():
            if other == index or _stand_for_the_same(patch, one):
                self.waiting.pop(other, None)
                self.failed.pop(other, None)

    def _follow(self) -> None:
        """The levels have changed, or something has come."""
        with self._lock:
            self._refresh()

    def _refresh(self) -> None:
        """Let every place be as the levels say; classes after those they inherit from.

        Nothing is logged here: who changes levels holds a lock that a handler may wait for.
        """
        for place in sorted(self._places, key=lambda place: place.depth):
            try:
                place.refresh(self._beneath(place))
            except Exception as error:  # noqa: BLE001 - the other places follow all the same
                for index in place.layers:
                    patch = self._patches[index]
                    self.failed[index] = patch, f"{patch.origin}: {patch}: {error!r}"
                    self._registry.lost("patch", str(patch))

    def _beneath(self, place: Place) -> set[tuple[str, str]]:
        """What measures already in the class that a place inherits from."""
        owner = place.owner
        if not isinstance(owner, type) or not place.is_inherited:
            return set()
        home = next((base for base in owner.__mro__[1:] if place.name in vars(base)), None)
        return {
            layer.key
            for one in self._places
            if one.owner is home and one.name == place.name
            for layer in one.active()
        }

    def _another_may_come(self, patch: Patch) -> bool:
        """Whether one that stands for the same waits for a module that can be; else it ends."""
        others = [i for i, one in self.waiting.items() if _stand_for_the_same(patch, one)]
        for other in others:
            if not _can_be_imported(self.waiting[other].module):
                del self.waiting[other]
        return any(other in self.waiting for other in others)

    def _fail(self, index: int, patch: Patch, error: Exception, qualname: str = "") -> None:
        self.waiting.pop(index, None)
        if self._another_may_come(patch):
            return
        because = str(error) if isinstance(error, NilometerError) else repr(error)
        self.failed[index] = patch, because
        self._registry.lost("patch", str(patch))
        if (index, qualname) in self._said:  # when its module ran the last time
            return
        self._said.add((index, qualname))
        if not isinstance(error, ConfigError):  # which says where and what by itself
            target = f"{patch.module}:{qualname}" if qualname else patch
            because = f"{patch.origin}: {target}: {because}"
        from logging import getLogger  # 4 ms of import that only a failure needs

        getLogger("nilometer").warning("not measured: %s [patch-fails]", because)


def _stand_for_the_same(one: Patch, other: Patch) -> bool:
    return one.either and other.either and one.origin == other.origin


def _can_be_imported(module: str) -> bool:
    """Whether such a name may be a module's: in a module that is no package there is none."""
    parent = sys.modules.get(module.rpartition(".")[0])
    if module in sys.modules or parent is None:
        return True
    if not hasattr(parent, "__path__"):
        return False
    from importlib.util import find_spec  # 4 ms of import that only a failure needs

    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a finder of the service's own may say anything
        return True
