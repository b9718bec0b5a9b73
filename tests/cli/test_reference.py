"""docs/cli.md says what the commands say of themselves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nilometer.cli.exits import Exit
from nilometer.cli.run import SEVERAL, flag_of, run
from nilometer.setting_table import SETTINGS

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def test_the_page_holds_what_help_prints() -> None:
    _, _, shown = PAGE.partition("nilometer.cli.reference -->\n\n")

    # In a process of its own: click keeps what a command was called with first, by any test.
    made = subprocess.run(
        [sys.executable, "-m", "nilometer.cli.reference"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert shown == made, "run: python -m nilometer.cli.reference, and paste"


def test_every_exit_code_is_explained() -> None:
    explained = re.findall(r"^\| (\d) \| `([A-Z_]+)` \|", PAGE, re.MULTILINE)

    assert explained == [(str(code.value), code.name) for code in Exit]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_but_a_secret_is_a_flag_of_run(setting) -> None:
    flags = {option for parameter in run.params for option in parameter.opts}

    assert (flag_of(setting.name) in flags) is not setting.secret


def test_every_command_shows_an_example() -> None:
    sections = PAGE.split("\n### ")[1:]

    assert [s.splitlines()[0] for s in sections if "Example" not in s] == []


def test_settings_that_take_several_values_are_settings() -> None:
    assert {setting.name for setting in SETTINGS} >= SEVERAL
