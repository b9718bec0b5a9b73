"""What points into one checkout is turned to the other, wherever editable installs keep it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from nilometer.bootstrap import keep_apart
from nilometer.bootstrap.keep_apart import Checkouts

HEAD, BASE = "/repo", "/worktree"


@pytest.fixture
def turned(monkeypatch) -> Checkouts:
    monkeypatch.setattr(sys, "prefix", "/repo/.venv")
    return Checkouts([HEAD], BASE, [""])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/repo", "/worktree"),
        ("/repo/src", "/worktree/src"),
        (Path("/repo/src"), Path("/worktree/src")),
        (("/repo", 1), ("/worktree", 1)),
        ("/repository/src", "/repository/src"),
        ("/repo/.venv/src/dependency", "/repo/.venv/src/dependency"),
        ("/repo/env/lib/python3/site-packages", "/repo/env/lib/python3/site-packages"),
        (None, None),
    ],
)
def test_paths_of_the_checkout_are_turned_and_those_of_its_environments_stay(
    turned, before, after
) -> None:
    assert turned.turned(before) == after


def test_this_version_is_left_as_it_is() -> None:
    assert Checkouts([HEAD], HEAD, [""]).turned(["/repo/src"]) == ["/repo/src"]


def test_an_environment_around_the_checkout_does_not_make_it_one(monkeypatch) -> None:
    monkeypatch.setattr(sys, "base_prefix", "/usr")

    assert Checkouts(["/usr/src/app"], BASE, [""]).turned("/usr/src/app/a") == "/worktree/a"


def test_finders_of_whatever_kind_are_turned_in_place(turned, monkeypatch) -> None:
    class Redirecting:
        known = {"shop": "/repo/shop/__init__.py"}  # noqa: RUF012 - as build backends have it

        def __init__(self) -> None:
            self.folders = {"shop": {"/repo/shop"}}
            self.root = "/repo"

    finder, known = Redirecting(), Redirecting.known
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    monkeypatch.setattr(sys, "path", ["/repo/src", *sys.path])
    namespace = ModuleType("namespace")
    namespace.__path__ = ["/repo/src/namespace"]
    monkeypatch.setitem(sys.modules, "namespace", namespace)

    keep_apart.turn_imports(turned)

    assert known == {"shop": "/worktree/shop/__init__.py"}
    assert (finder.folders, finder.root) == ({"shop": {"/worktree/shop"}}, "/worktree")
    assert sys.path[0] == "/worktree/src"
    assert namespace.__path__ == ["/worktree/src/namespace"]


def test_what_is_told_takes_as_many_bytes_whatever_it_is(tmp_path, monkeypatch) -> None:
    """Else a longer path would cost more than a shorter one, and be told as a change."""
    monkeypatch.setattr(keep_apart, "HERE", str(tmp_path))

    keep_apart.tell(Checkouts([HEAD], HEAD, [""]))
    keep_apart.tell(Checkouts([os.path.realpath(Path.cwd())], BASE, [""]))

    sizes = {file.stat().st_size for file in tmp_path.glob("*.told")}
    assert sizes == {keep_apart.BLOCK_BYTES}


def test_the_script_that_ran_is_told_if_it_is_of_the_version(tmp_path, monkeypatch) -> None:
    """A script that is of no version, as one that nobody committed, is nobody's stray."""
    here, elsewhere = tmp_path / "here", tmp_path / "there"
    for place in (here, elsewhere):
        place.mkdir()
        (place / "work.py").touch()
    monkeypatch.chdir(elsewhere)
    checkouts = Checkouts([str(here)], str(elsewhere), [""])

    scripts = [keep_apart.script_of(argv) for argv in (["work.py", "x"], ["-c"], ["-m"], [])]

    assert scripts == [str(elsewhere / "work.py"), "", "", ""]
    assert keep_apart.imported(checkouts, scripts[0])["ran"] == {"__main__": scripts[0]}
    told = keep_apart.imported(checkouts, str(here / "work.py"))
    assert (told["ran"], told["other"]) == ({}, {})
