"""Prints which functions in a library's places refuse calls that the library's own take.

Each is compared by its signature: with all arguments given by their names, with all of them by
position, and with no more than there must be. Where the library's function takes any name, so
must ours, those of our own parameters included.
"""

from __future__ import annotations

import json
import logging
from importlib import import_module
from inspect import Parameter, signature
from types import FunctionType

from nilometer.integrations import Chosen, patches, standing
from nilometer.trace.trigger import Triggers
from tests.house.declared import HERE, LIBRARIES

ANY_NAMES, ANY_NUMBER = Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL
BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
NOT_BY_NAME = (Parameter.POSITIONAL_ONLY, ANY_NUMBER, ANY_NAMES)


def calls(theirs, ours):
    """What a function with the first signature takes: (arguments, named arguments)."""
    first, *rest = theirs.values() if theirs else [None]
    by_position = [one.name for one in rest if one.kind in BY_POSITION]
    only = [one.name for one in rest if one.kind is Parameter.POSITIONAL_ONLY]
    named = {one.name: one for one in rest if one.kind not in NOT_BY_NAME}
    must = [name for name, one in named.items() if one.default is Parameter.empty]
    any_name = any(one.kind is ANY_NAMES for one in theirs.values())
    others = {*ours} - {*theirs} if any_name else set()
    if first is not None and first.kind in BY_POSITION:
        only = [first.name, *only]
        by_position = [first.name, *by_position]
    by_name_alone = [one.name for one in rest if one.kind is Parameter.KEYWORD_ONLY]
    return [
        (only, {*named, *others}),
        (by_position, by_name_alone),
        (only, must),
    ]


def refused(original, measured):
    """The calls that ours refuses."""
    theirs = signature(original).parameters
    ours = signature(measured, follow_wrapped=False)
    found = []
    for given, named in calls(theirs, ours.parameters):
        try:
            ours.bind(*given, **dict.fromkeys(named))
        except TypeError as error:
            found.append(str(error))
    return found


class Library:
    """All functions that are replaced, and what measures them."""

    def __init__(self):
        self.found, self.tried = [], 0
        self.inside = {}  # by what stands for it
        for name in ("replace", "swap"):
            setattr(patches.Patches, name, self.followed(getattr(patches.Patches, name)))
        for name in ("Switch", "Choice"):
            setattr(standing, name, self.noted(getattr(standing, name)))

    def noted(self, stands):
        def make(original, measured):
            made = stands(original, measured)
            self.inside[made] = measured
            return made

        return make

    def followed(self, put):
        def follow(patches_, owner, name, measured):
            def compared(original):
                made = measured(original)
                self.compare(f"{owner.__name__}.{name}", original, made)
                return made

            put(patches_, owner, name, compared)

        return follow

    def compare(self, name, original, made):
        measured = self.inside.get(made, made) if callable(made) else None
        if type(measured) is FunctionType and isinstance(original, FunctionType):
            self.tried += 1
            self.found += [f"{name}: {one}" for one in refused(original, measured)]


if __name__ == "__main__":
    logging.disable()
    for library in {LIBRARIES[name] for name in HERE}:
        import_module(library)
    compared = Library()
    for name in HERE:  # one by one: several may have the same place
        chosen = Chosen([name], triggers=Triggers(), flush=bool)
        chosen.begin()
        chosen.end()
    print(json.dumps({"refused": compared.found, "tried": compared.tried}))
