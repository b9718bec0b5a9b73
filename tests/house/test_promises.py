"""Each promise of docs/promises.md names the test, or the make target, that keeps it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PROMISES = [
    line
    for line in (ROOT / "docs" / "promises.md").read_text().splitlines()
    if line.startswith("- ")
]
LINE = re.compile(r"- .+ — (?P<keepers>`[^`]+`(?:, `[^`]+`)*)$")
each_promise = pytest.mark.parametrize("promise", PROMISES)
LEFT_OUT = re.compile(r"\b(skip|skipif|xfail)\b")


@each_promise
def test_a_promise_is_kept_by_a_test_that_runs(promise: str) -> None:
    line = LINE.fullmatch(promise)
    assert line, "write: - what is promised — `tests/x.py::test_y`, or `make target`"
    for keeper in re.findall(r"`([^`]+)`", line["keepers"]):
        if keeper.startswith("make "):
            assert f"\n{keeper.removeprefix('make ')}:" in (ROOT / "Makefile").read_text()
        else:
            assert_runs(keeper)


def assert_runs(keeper: str) -> None:
    """The test is there, and neither it, its class nor its module is left out."""
    file, *names = keeper.split("::")
    path = ROOT / file
    assert path.is_file(), f"no file {file}"
    if not names:
        return
    body: list[ast.stmt] = ast.parse(path.read_text()).body
    marks = [node for node in body if "pytestmark" in ast.unparse(node)]
    for name in names:
        found = [node for node in body if getattr(node, "name", "") == name]
        assert len(found) == 1, f"{file} has {len(found)} {name}"
        node = found[0]
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        marks += node.decorator_list  # type: ignore[arg-type]
        body = node.body
    assert names[-1].startswith("test_")
    assert [ast.unparse(mark) for mark in marks if LEFT_OUT.search(ast.unparse(mark))] == []


def test_there_are_promises() -> None:
    assert PROMISES
