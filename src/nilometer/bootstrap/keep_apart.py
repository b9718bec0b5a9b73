"""Run by Python in each process of `measure --against`: imports come from one version alone.

It lies as `sitecustomize` in a folder that is first on PYTHONPATH, beside a file that says
where both versions are. An editable install points into the checkout that it was made in,
whichever version runs. So all that has been set up by now (paths, finders) is turned to the
version that is measured, and when the process ends it tells which files it imported: what is
set up later, or in a way unknown to us, is not turned, but seen. Three rules:

1. The program must not notice: whatever fails here, it runs on. Who told nothing is noted.
2. Both versions read and write the same number of bytes for this, or it would be measured.
3. A `sitecustomize` that the program had before still runs.
"""

# Every process pays for this, and pathlib takes five times as long.
# ruff: noqa: PTH100, PTH113, PTH118, PTH120, PTH123

from __future__ import annotations

import atexit
import json
import mmap
import os
import sys
from contextlib import suppress
from importlib import util
from importlib.machinery import PathFinder
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
BLOCK_BYTES = 256 * 1024  # 2,000 modules of 100 bytes: rule 2 holds unless there are more
INSTALLED = ("site-packages", "dist-packages")


def run_the_hidden_sitecustomize() -> None:
    """Run the next on the path, not any: one that is before us has run, and looked for us."""
    after = sys.path[sys.path.index(HERE) + 1 :] if HERE in sys.path else []
    spec = PathFinder.find_spec("sitecustomize", after)
    if spec is None or spec.loader is None:
        return
    module = util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


class Checkouts:
    """Where this version is, by all its names, and the one that this process is to import.

    `roots` are the folders in a checkout, relative to it, where packages may lie.
    """

    def __init__(self, tops: list[str], here: str, roots: list[str]) -> None:
        self.tops = tops
        self.here = here
        self.is_elsewhere = here not in tops
        self.roots = [os.path.normpath(os.path.join(here, root)) for root in roots]
        prefixes = {sys.prefix, sys.base_prefix}
        prefixes |= {os.path.realpath(prefix) for prefix in prefixes}
        # What is around the checkout (/usr of /usr/src/app) makes it no environment, and of a
        # checkout that is itself one only the libraries belong to that.
        self.environments = [
            os.path.join(prefix, "lib") if prefix in tops else prefix
            for prefix in prefixes
            if any(is_in(prefix, top) for top in tops)
        ]

    def is_ours(self, path: str) -> bool:
        """Whether it is in the checkout of this version, and no installed package."""
        return (
            any(is_in(path, top) for top in self.tops)
            and not (self.is_elsewhere and is_in(path, self.here))
            and not any(is_in(path, place) for place in self.environments)
            and not is_installed(path)
        )

    def is_own(self, path: str) -> bool:
        """Whether it is of the version that this process is to import."""
        return is_in(path, self.here) if self.is_elsewhere else self.is_ours(path)

    def turned(self, value: Any) -> Any:
        """The same, with paths of this version's checkout turned to the one to import.

        Containers keep their identity: others hold them.
        """
        if isinstance(value, str):
            return self._turned_path(value)
        if isinstance(value, os.PathLike):
            path = os.fspath(value)
            turned = self.turned(path)
            return value if turned == path else type(value)(turned)  # type: ignore[call-arg]
        if isinstance(value, dict):
            value.update({key: self.turned(one) for key, one in value.items()})
        elif isinstance(value, list):
            value[:] = [self.turned(one) for one in value]
        elif isinstance(value, set):
            new = {self.turned(one) for one in value}
            value.clear()
            value.update(new)
        elif type(value) is tuple:
            return tuple(self.turned(one) for one in value)
        return value

    def _turned_path(self, path: str) -> str:
        if not self.is_elsewhere or not self.is_ours(path):
            return path
        top = next(top for top in self.tops if is_in(path, top))
        return self.here + path[len(top) :]


def is_in(path: str, folder: str) -> bool:
    """Whether a path is that folder or beneath it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def turn_imports(checkouts: Checkouts) -> None:
    """Turn paths, packages that have no file, and finders that editable installs brought."""
    checkouts.turned(sys.path)
    for module in list(sys.modules.values()):
        if isinstance(getattr(module, "__path__", None), list):
            checkouts.turned(module.__path__)
    for finder in sys.meta_path:
        owner = finder if isinstance(finder, type) else type(finder)
        if owner.__module__.startswith(("_frozen_importlib", "importlib")):
            continue
        for holder in {id(one): one for one in (finder, owner)}.values():
            for name, value in list(getattr(holder, "__dict__", {}).items()):
                if not name.startswith("__") and checkouts.turned(value) != value:
                    setattr(holder, name, checkouts.turned(value))
        if "editable" in owner.__module__:  # setuptools' keep theirs beside the class
            for name, value in list(vars(sys.modules[owner.__module__]).items()):
                if not name.startswith("__"):
                    checkouts.turned(value)
    sys.path_importer_cache.clear()


def is_installed(path: str) -> bool:
    """Whether it lies where installers put packages."""
    return any(f"{os.sep}{name}{os.sep}" in path + os.sep for name in INSTALLED)


def imported(checkouts: Checkouts, script: str) -> dict[str, dict[str, str]]:
    """The files that were imported, by module.

    `own` of the version to import, `other` of this one while that is another, and `copies` of
    what is installed although the version to import has it. `ran` is the script if it is of the
    version to import.
    """
    folders: dict[str, str] = {}
    told: dict[str, dict[str, str]] = {"own": {}, "other": {}, "copies": {}, "ran": {}}
    if checkouts.is_own(script):
        told["ran"]["__main__"] = script
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str):
            continue
        file = os.path.abspath(file)
        folder, base = os.path.split(file)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        real = os.path.join(folders[folder], base)
        if any(is_in(file, top) for top in [checkouts.here, *checkouts.tops]):
            real = os.path.realpath(file)  # strict editable installs are trees of links
        if checkouts.is_elsewhere and checkouts.is_ours(real):
            told["other"][name] = real
        elif checkouts.is_own(file):
            told["own"][name] = file
        elif is_copy(name, file, checkouts) and not checkouts.is_ours(real):
            told["copies"][name] = file
    return told


def is_copy(name: str, file: str, checkouts: Checkouts) -> bool:
    """Whether an installed module, the first of its package, is in the checkout, too."""
    parent = name.rpartition(".")[0]
    is_first = not parent or not getattr(sys.modules.get(parent), "__file__", None)
    if not is_first or not is_installed(file):
        return False
    inside = name.replace(".", os.sep)
    return any(
        os.path.isfile(os.path.join(root, inside + end))
        for root in checkouts.roots
        for end in (os.sep + "__init__.py", ".py")
    )


def script_of(argv: list[str]) -> str:
    """The file that Python was given to run, else "": by its end nobody knows it any more."""
    return os.path.abspath(argv[0]) if argv and os.path.isfile(argv[0]) else ""


def tell(checkouts: Checkouts, script: str = "") -> None:
    """Leave in our folder what was imported; through memory, as writes are counted."""
    text = json.dumps({"parent": os.getppid(), **imported(checkouts, script)}).encode()
    size = -(-len(text) // BLOCK_BYTES) * BLOCK_BYTES
    name = f"{os.getpid()}-{os.urandom(4).hex()}.told"
    path = os.path.join(HERE, name)
    held = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        os.ftruncate(held, size)
        with mmap.mmap(held, size) as memory:
            memory[: len(text)] = text
    finally:
        os.close(held)


def tell_at_the_end(checkouts: Checkouts) -> None:
    """The same, as the last thing that this process does."""
    script = script_of(sys.argv)

    def told() -> None:
        with suppress(Exception):  # rule 1
            tell(checkouts, script)

    atexit.register(told)


def begin() -> None:
    """Turn imports now, and tell of them at the end."""
    with suppress(Exception):  # rule 1
        with open(os.path.join(HERE, "places.json"), encoding="utf-8") as file:
            checkouts = Checkouts(**json.load(file))
        tell_at_the_end(checkouts)
        turn_imports(checkouts)


if __name__ == "sitecustomize":
    try:
        begin()
    finally:
        run_the_hidden_sitecustomize()
