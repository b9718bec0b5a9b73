"""Prints what stays behind of integrations whose library lacks one place that they patch.

Each place of each is made to fail in turn, as if the library were of another version.
"""

from __future__ import annotations

import json
import logging
from importlib import import_module

from nilometer.integrations import Chosen, patches
from nilometer.measure import REGISTRY
from nilometer.trace.trigger import Triggers
from tests.house.declared import HERE, LIBRARIES

_set = patches.Patches._set


class Library:
    """All places that are patched, with what was there; the one of that number is not there."""

    def __init__(self, missing=None):
        self.missing = missing
        self.places = {}
        self.count = 0

    def replaced(self, made, owner, name, value):
        self.count += 1
        if self.count == self.missing:
            raise AttributeError(name)
        self.places.setdefault((id(owner), name), (owner, vars(owner).get(name)))
        _set(made, owner, name, value)

    def install(self, name):
        """Install and take away again: what is left of it, also where it failed."""
        patches.Patches._set = lambda *given: self.replaced(*given)
        followers = len(REGISTRY.followers)
        chosen = Chosen([name], triggers=Triggers(), flush=bool)
        chosen.begin()
        failed = bool(chosen.failed)
        left = self.left(followers) if failed else []
        chosen.end()
        patches.Patches._set = _set
        return [*left, *self.left(followers)]

    def left(self, followers):
        changed = [
            f"{owner.__name__}.{name}"
            for (_, name), (owner, before) in self.places.items()
            if vars(owner).get(name) is not before
        ]
        return changed + ["a follower"] * (len(REGISTRY.followers) > followers)


if __name__ == "__main__":
    logging.disable()
    for library in {LIBRARIES[name] for name in HERE}:
        import_module(library)
    REGISTRY.set_level("", "deep")
    left, tried = [], 0
    for name in HERE:
        (whole := Library()).install(name)
        for missing in range(whole.count + 1):
            tried += 1
            found = Library(missing).install(name)
            left += [f"{name}, without place {missing}: {place}" for place in found]
    print(json.dumps({"left": left, "tried": tried}))
