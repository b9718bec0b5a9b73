"""Which version's files the Python processes of a command imported: each tells, we judge."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

BOOTSTRAP: Final = Path(__file__).resolve().parent.parent / "bootstrap" / "keep_apart.py"
PLACES_BYTES: Final = 16 * 1024  # four paths of 4,096 bytes; both sides read the same number
ROOTS: Final = ("", "src", "lib")
STRICT: Final = "__editable__."  # the tree of links that setuptools makes in build/
SHOWN_MAX: Final = 3
PYTHONS: Final = ("python", "pypy")
QUOTES: Final = str.maketrans("'\"", "  ")
LINE_BYTES: Final = 4 * 1024  # as long as a path may be
WRITTEN_BY_PIP: Final = b"'''exec'"  # a second line, where a path is too long for the first


class Told(NamedTuple):
    """What the Python processes of one run imported, by module.

    `own` of the version that was to run, `other` of this one while that is another, `copies`
    of what is installed although the version has it; `ran` are scripts of that version that
    they ran. `is_first` if the command itself told.
    """

    is_first: bool
    own: Mapping[str, str]
    other: Mapping[str, str]
    copies: Mapping[str, str]
    ran: Mapping[str, str]


class Side(NamedTuple):
    """A folder from which Python processes learn what to import, and where they tell."""

    private: Path

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """The variables with which Python processes find it."""
        paths = [str(self.private), *filter(None, [given.get("PYTHONPATH")])]
        return {**given, "PYTHONPATH": os.pathsep.join(paths)}

    def told(self) -> Told:
        """What they have told since it was asked last."""
        found: list[dict[str, Any]] = []
        for file in sorted(self.private.glob("*.told")):
            if text := file.read_bytes().rstrip(b"\0"):
                found.append(json.loads(text))
            file.unlink()
        kinds = [{k: v for one in found for k, v in one[kind].items()} for kind in KINDS]
        return Told(any(one["parent"] == os.getpid() for one in found), *kinds)


KINDS: Final = Told._fields[1:]


@contextmanager
def sides(tops: Sequence[str], base: Path, inside: Path) -> Iterator[tuple[Side, Side]]:
    """That of the base and that of this version; `inside` is where in them the command runs."""
    with TemporaryDirectory(prefix="nilometer-", ignore_cleanup_errors=True) as private:
        found = []
        for name, here in (("a", str(base.resolve())), ("b", os.path.realpath(tops[0]))):
            folder = Path(private) / name
            folder.mkdir()
            shutil.copyfile(BOOTSTRAP, folder / "sitecustomize.py")
            roots = sorted({str(at / root) for at in (Path(), inside) for root in ROOTS})
            places = {"tops": list(tops), "here": here, "roots": roots}
            (folder / "places.json").write_text(json.dumps(places).ljust(PLACES_BYTES))
            found.append(Side(folder))
        yield found[0], found[1]


def why_not_apart(
    told: Told, ignored: Callable[[Sequence[str]], set[str]], shared: Collection[str]
) -> str:
    """Why a run did not measure its own version, or "" if nothing speaks against it.

    `ignored` tells of files of this checkout which git ignores: those are of no version.
    `shared` names what may be the same for both: modules, and packages with all in them.
    """
    known = ignored(list(told.other.values()))
    strays = {
        name: file
        for name, file in told.other.items()
        if file not in known and not _is_shared(name, shared)
    }
    copies = {name: file for name, file in told.copies.items() if not _is_shared(name, shared)}
    if strays:
        return (
            f"it imported {_shown(strays)}, the files of this version. Install the project "
            "so that its import path can be exchanged, with pip install -e . and without "
            "editable_mode=strict, or let COMMAND install it into an environment of its own. "
            + _how_to_share(strays)
        )
    if copies:
        return (
            f"it imported {_shown(copies)}, a copy that is installed, so both versions "
            "would run the same. Install the project with pip install -e . "
            + _how_to_share(copies)
        )
    return ""


def _is_shared(name: str, shared: Collection[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in shared)


def _how_to_share(modules: Mapping[str, str]) -> str:
    names = sorted({name.partition(".")[0] for name in modules})
    flags = " ".join(f"--shared {name}" for name in names)
    return f"If both are to run the same of it, say so: {flags}"


def is_python(program: str, path: str | None) -> bool:
    """Whether a command is Python, or a script that Python runs, as far as its start tells."""
    file = shutil.which(program, path=path)
    if file is None:
        return False
    with suppress(OSError), Path(file).open("rb") as script:
        first, second = script.readline(LINE_BYTES), script.readline(LINE_BYTES)
        if first.startswith(b"#!"):
            return _names_python(first[2:]) or (
                second.startswith(WRITTEN_BY_PIP) and _names_python(second)
            )
    return Path(file).name.startswith(PYTHONS)


def _names_python(line: bytes) -> bool:
    """Whether a word of a line is a path to Python: that is what such a line starts.

    >>> _names_python(b"/usr/bin/env -S python3 -u"), _names_python(b"/srv/python/bin/sh -e")
    (True, False)
    """
    words = line.decode(errors="replace").translate(QUOTES).split()
    return any(word.rpartition("/")[2].startswith(PYTHONS) for word in words)


def not_in_git(told: Told, base: Path, top: str, ignored: Callable[..., set[str]]) -> list[str]:
    """The files that this version imported of its checkout, which no worktree can have.

    They are ignored by git, as what a build makes is: extensions in C, files of versions.
    """
    here = {file: file.removeprefix(top.rstrip("/") + "/") for file in told.own.values()}
    lacking = [file for file, path in here.items() if not os.path.lexists(base / path)]
    known = ignored(lacking)
    return sorted(here[f] for f in lacking if f in known or STRICT in here[f])


def why_not_built(lacking: Sequence[str]) -> str:
    """What to do where the worktree lacks what a build has made."""
    if any(STRICT in path for path in lacking):
        return (
            f"this version imports {_some(lacking)}, a tree of links to its own files. "
            "Install it without editable_mode=strict: pip install -e ."
        )
    return (
        f"this version imports {_some(lacking)}, which git ignores and a worktree therefore "
        "lacks. Say how it is built there, for example "
        "--prepare 'python setup.py build_ext --inplace'"
    )


def _shown(modules: Mapping[str, str]) -> str:
    names = sorted(modules, key=lambda name: (name.count("."), name))
    return _some([f"{name} from {modules[name]}" for name in names])


def _some(things: Sequence[str]) -> str:
    more = len(things) - SHOWN_MAX
    return ", ".join(things[:SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
