"""What an integration replaced is put back exactly: all of it, and what ends with it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from nilometer.integrations.patches import Patches


def measured(original):
    return lambda: ("measured", original())


def library():
    return SimpleNamespace(ask=lambda: "ask", answer=lambda: "answer")


class Ending:
    def __init__(self, name, told):
        self.end = lambda: told.append(name)


def test_what_cannot_be_replaced_as_a_whole_is_left_as_it_was():
    target, told, patches = library(), [], Patches()
    before = dict(vars(target))

    def install():
        with patches:
            patches.also_end(Ending("pool", told))
            patches.replace(target, "ask", measured)
            patches.swap(target, "not_of_this_version", measured)

    with pytest.raises(AttributeError):
        install()

    assert (vars(target), told, patches.active) == (before, ["pool"], False)


def test_what_ends_with_the_patches_ends_once_the_last_one_first_and_before_they_do():
    target, told, patches = library(), [], Patches()
    before = dict(vars(target))
    above = Patches()

    with patches:
        patches.also_end(Ending("first", told))
        patches.swap(target, "ask", measured)
        above.swap(target, "ask", measured)
        patches.also_end(SimpleNamespace(end=above.undo), Ending("last", told))
    replaced = target.ask()
    patches.undo()
    patches.undo()

    assert replaced == ("measured", ("measured", "ask"))
    assert (vars(target), told) == (before, ["last", "first"])
