"""Annotations and code scanning find the line, whichever project of a repository was tested."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from nilometer.cli.gate_places import WORKSPACE, from_top, top_of
from nilometer.gate.attribution import Place
from nilometer.gate.reports import FORMATS
from nilometer.gate.verdict import judge
from nilometer.store.runs import History
from tests.gate.test_attribution import shop_run

if TYPE_CHECKING:
    from pathlib import Path

FILE = "shop/orders.py"
MOVED = f"services/shop/{FILE}"


@pytest.fixture
def top(tmp_path) -> Path:
    """A repository of many projects, of which one is ``services/shop``."""
    top: Path = tmp_path.resolve() / "repo"
    (top / "services" / "shop" / "shop").mkdir(parents=True)
    (top / MOVED).touch()
    subprocess.run(["git", "init", "-q", str(top)], check=True)
    return top


def places(verdict) -> list[Place]:
    return [part.place for one in verdict.findings for part in one.parts if part.place]


def told(here: Path, environment: dict[str, str]) -> list[Place]:
    verdict = judge(shop_run(25, 80), [shop_run(at, 40) for at in range(25)])
    assert places(verdict) == [Place(FILE, 17)]
    return places(from_top(verdict, here, environment))


def test_a_file_of_a_project_is_told_from_the_top_of_its_repository(top) -> None:
    shop = top / "services" / "shop"

    assert told(shop, {}) == [Place(MOVED, 17)]
    assert told(shop / "shop", {}) == [Place(MOVED, 17)]  # tests begun above where we are
    assert told(shop, {WORKSPACE: str(top / "services")}) == [Place(f"shop/{FILE}", 17)]
    assert told(shop, {WORKSPACE: "/elsewhere"}) == [Place(MOVED, 17)]


def test_a_file_stays_as_it_is_where_it_is_nowhere_and_where_no_repository_is(
    top, tmp_path
) -> None:
    assert told(top, {}) == [Place(FILE, 17)]
    assert told(tmp_path, {}) == [Place(FILE, 17)]
    assert top_of(tmp_path, {}) is None


@pytest.mark.parametrize(
    ("shape", "file"), [("github", MOVED), ("sarif", MOVED), ("bug", FILE)]
)
def test_the_gate_tells_it_to_those_alone_who_look_from_there(
    shape, file, top, quick, tmp_path, monkeypatch
) -> None:
    history = History(tmp_path / "history", durability="os")
    for one in (*[shop_run(at, 40) for at in range(25)], shop_run(25, 80)):
        history.append(one)
    history.close()
    monkeypatch.chdir(top / "services" / "shop")

    said = quick(
        *("gate", "check", "--history", str(tmp_path / "history"), "--format", shape),
        XDG_STATE_HOME=str(tmp_path / "state"),
        GITHUB_WORKSPACE="",
    )

    assert (said.returncode, said.stderr, shape in FORMATS) == (0, "", True)
    if shape == "sarif":
        [found] = json.loads(said.stdout)["runs"][0]["results"]
        [location] = found["locations"]
        assert location["physicalLocation"]["artifactLocation"] == {"uri": file}
    elif shape == "github":
        assert said.stdout.startswith(f"::warning file={file},line=17,title=")
    else:
        assert f"code that the moved parts come from: {file}:17" in said.stdout
