"""The commands as a user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from nilometer.cli import main, terminal

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND_S_MAX = 60
Ran = subprocess.CompletedProcess


def bare_environment() -> dict[str, str]:
    """Ours without settings of Nilometer, and without the width of this terminal."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("NILOMETER_", "COLUMNS"))}


@pytest.fixture(scope="session")
def nilometer() -> Callable[..., Ran[str]]:
    """``nilometer("trace", "list", COLUMNS="80")``: what it wrote, and how it ended."""

    def run(*arguments: str, stdin: str = "", cwd: Any = None, **env: str) -> Ran[str]:
        return subprocess.run(
            [sys.executable, "-m", "nilometer", *arguments],
            env={**bare_environment(), **env},
            input=stdin,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=COMMAND_S_MAX,
            check=False,
        )

    return run


@pytest.fixture
def quick(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran[str]]:
    """The same inside this process, a tenth of a second sooner; its output is a pipe's."""
    for name in set(os.environ) - set(bare_environment()):
        monkeypatch.delenv(name)
    for stderr in (False, True):
        monkeypatch.setattr(terminal.console(stderr=stderr), "_width", terminal.PIPE_COLUMNS)

    def run(*arguments: str, **env: str) -> Ran[str]:
        with monkeypatch.context() as here:
            for name, value in env.items():
                here.setenv(name, value)
            here.setattr(sys, "argv", ["nilometer", *arguments])
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        said = capsys.readouterr()
        return Ran(arguments, int(ended.value.code or 0), said.out, said.err)

    return run
