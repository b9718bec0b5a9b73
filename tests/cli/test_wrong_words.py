"""Whatever is misspelt, a command names the nearest that is right, and the full choice."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import click
import pytest

from nilometer.cli.app import app
from nilometer.cli.commands import OneOf
from nilometer.cli.reference import commands
from nilometer.cli.run import flag_of
from nilometer.setting_table import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., subprocess.CompletedProcess[str]]

CONTEXTS = list(commands(app, app.make_context("nilometer", ["demo"])))
OPTION = re.compile(
    r"^  (?:(-\w), )?(--[\w-]+)(?:, (--[\w-]+))*(?: / (--[\w-]+))?", re.MULTILINE
)


def last_line(ran: subprocess.CompletedProcess[str]) -> str:
    assert (ran.returncode, ran.stdout) == (2, "")
    return ran.stderr.splitlines()[-1]


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: context.command_path)
def test_an_option_that_a_command_lacks_is_told_with_all_that_it_has(
    quick: Command, context: click.Context
) -> None:
    _, _, helped = context.command.get_help(context).partition("\nOptions:\n")
    known = [name for found in OPTION.findall(helped) for name in found if name]

    said = last_line(quick(*context.command_path.split()[1:], "--qqq"))

    head, _, choice = said.partition("; choose from ")
    assert head == "Error: no option '--qqq'"
    assert sorted(choice.split(", ")) == sorted(known)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("trace", "show", "ID", "--ulr", "x"),
            (
                "no option '--ulr'; did you mean '--url'? "
                "(--format, --json, --url, --token-file, -h, --help)"
            ),
        ),
        (
            ("trace", "show", "ID", "--collector", "x"),
            (
                "no option '--collector'; choose from "
                "--format, --json, --url, --token-file, -h, --help"
            ),
        ),
        (
            ("trace", "show", "ID", "-z"),
            "no option '-z'; choose from --format, --json, --url, --token-file, -h, --help",
        ),
        (
            ("trace", "show", "ID", "--format", "chorme"),
            (
                "Invalid value for '--format': 'chorme'; did you mean 'chrome'? "
                "(tree, json, osprofiler, chrome, speedscope, dot, html)"
            ),
        ),
        (
            ("gate", "check", "--format", "xyz"),
            (
                "Invalid value for '--format': 'xyz'; choose from "
                "text, markdown, junit, sarif, github, bug, json"
            ),
        ),
        (("trace", "shw"), "no command 'shw'; did you mean 'show'? (new, show, list, import)"),
        (
            ("--versoin",),
            "no option '--versoin'; did you mean '--version'? (--version, -h, --help)",
        ),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
def test_the_nearest_comes_first_and_then_the_full_choice(
    quick: Command, words: tuple[str, ...], said: str
) -> None:
    assert last_line(quick(*words)) == f"Error: {said}"


def test_run_names_the_flag_that_was_meant_and_every_setting(quick: Command) -> None:
    said = last_line(quick("run", "--exprt", "file:///x", "--", "true"))

    assert said.startswith("Error: no option '--exprt'; did you mean '--export'? (--config, ")
    assert {flag_of(each.name) for each in SETTINGS if not each.secret} <= set(
        said.partition("(")[2].rstrip(")").split(", ")
    )


def test_every_choice_out_of_few_says_the_nearest() -> None:
    choices = [
        (context.command_path, parameter.name)
        for context in CONTEXTS
        for parameter in context.command.get_params(context)
        if isinstance(parameter.type, click.Choice) and not isinstance(parameter.type, OneOf)
    ]

    assert choices == []
