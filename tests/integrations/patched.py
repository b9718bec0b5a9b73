"""A package with every kind of callable, written where a test can import it afresh."""

from __future__ import annotations

import importlib
import sys

SOURCE = '''
import functools


def plain(a, b=2, *rest, key=None, **others):
    """Told."""
    return a


def imported_elsewhere():
    return 1


async def coroutine(a):
    return a


def generator(n):
    sent = yield n
    yield sent
    return "end"


async def async_generator(n):
    for i in range(n):
        yield i


def fails(a):
    raise KeyError(a)


def fails_later(n):
    yield n
    raise KeyError(n)


async def fails_awaited(a):
    raise KeyError(a)


async def fails_on_the_way(n):
    yield n
    raise KeyError(n)


def _private():
    return 1


class Base:
    __slots__ = ("slot",)

    def save(self, instance, context=None):
        return instance

    def load(self):
        return "base"

    @staticmethod
    def static(x):
        return x

    @classmethod
    def of(cls, x):
        return cls, x

    @property
    def size(self):
        return 7

    @functools.lru_cache
    def cached(self):
        return 1

    length = len

    def __init__(self):
        self.slot = None


class Child(Base):
    def load(self):
        return "child of " + super().load()

    class Inner:
        def deep(self):
            return 1


class Own(dict):
    pass


CONSTANT = 3
'''


class Library:
    """The package `patched_lib`, removed again at the end."""

    def __init__(self, folder, monkeypatch) -> None:
        self.folder = folder
        self.write(SOURCE)
        monkeypatch.syspath_prepend(str(folder))

    def write(self, source: str, name: str = "patched_lib") -> None:
        importlib.invalidate_caches()
        (self.folder / f"{name}.py").write_text(source)

    def load(self, name: str = "patched_lib"):
        return importlib.import_module(name)


def library_of(tmp_path, monkeypatch):
    """That package, not imported yet: the body of a fixture."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules), list(sys.meta_path)
    yield Library(tmp_path, monkeypatch)
    for name in set(sys.modules) - before[0]:
        if name.startswith("patched_"):
            del sys.modules[name]
    assert sys.meta_path == before[1]


def patching(registry, *tables):
    """The patches of these tables, begun."""
    from nilometer.integrations.patching import Patching
    from nilometer.setting_patches import patches

    made = Patching(patches(tables, "here"), registry=registry)
    made.begin()
    return made
