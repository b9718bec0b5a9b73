"""Paths of one checkout become those of another, in whatever word or variable they stand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nilometer.cli.places import Places, spellings


@pytest.fixture
def places(tmp_path) -> Places:
    """Checkouts in which only ``tests/test_a.py`` and ``a b`` are in both."""
    for at in ("repo", "base"):
        (tmp_path / at / "tests").mkdir(parents=True)
        (tmp_path / at / "tests" / "test_a.py").touch()
        (tmp_path / at / "a b").touch()
    (tmp_path / "repo" / ".venv").mkdir()
    return Places((str(tmp_path / "repo"),), str(tmp_path / "base"))


@pytest.mark.parametrize(
    "text",
    [
        "R",
        "R/",
        "R/tests/test_a.py::test_it[1]",
        "--rootdir=R/tests",
        "-cR/tests",
        "file://R/tests",
        "cd R && pytest 'R/tests/test_a.py'",
        "R/a b",
        "R:R/tests",
    ],
)
def test_paths_that_both_have_are_moved(places, text) -> None:
    [top] = places.tops

    assert places.moved(text.replace("R", top)) == text.replace("R", places.base)


@pytest.mark.parametrize(
    "text", ["R/.venv/bin/pytest", "R-old/tests", "/elsewhereR/tests", "tests", "R/new.py"]
)
def test_what_the_other_lacks_and_what_only_looks_alike_stays(places, text) -> None:
    named = text.replace("R", places.tops[0])

    assert places.moved(named) == named


def test_what_is_lacking_there_is_named_if_it_is_here(places) -> None:
    top = places.tops[0]

    found = list(places.lacking(f"{top}/.venv {top}/tests {top}/nowhere {top}-old"))

    assert found == [Path(top) / ".venv"]


def test_a_home_stays_where_it_is(places) -> None:
    given = {"HOME": places.tops[0], "GITHUB_WORKSPACE": places.tops[0]}

    assert places.environment(given) == {**given, "GITHUB_WORKSPACE": places.base}


def test_a_checkout_is_known_by_the_link_that_the_shell_came_by_too(places, tmp_path) -> None:
    link = tmp_path / "a-longer-link"
    link.symlink_to(places.tops[0])
    top = Path(os.path.realpath(places.tops[0]))

    by_link = spellings(top, top / "tests", {"PWD": str(link / "tests")})

    assert by_link == (str(link), str(top))
    assert spellings(top, top / "tests", {"PWD": "/"}) == (str(top),)
