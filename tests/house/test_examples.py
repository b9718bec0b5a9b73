"""What docstrings show with ``>>>`` is what comes out."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent.parent / "src" / "nilometer"
WITH_EXAMPLES = [
    ".".join(("nilometer", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>>" in path.read_text()
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_what_a_docstring_shows_comes_out(name: str) -> None:
    tried = doctest.testmod(import_module(name.removesuffix(".__init__")))

    assert (tried.failed, tried.attempted > 0) == (0, True)
