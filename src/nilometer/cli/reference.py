"""All commands as docs/cli.md lists them: ``python -m nilometer.cli.reference`` prints it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from nilometer.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 92


def commands(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    """The command and all below it, in the order of ``--help``."""
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None, name
            inner = click.Context(
                below, parent=context, info_name=name, max_content_width=WIDTH
            )
            inner.terminal_width = WIDTH
            yield from commands(below, inner)


def as_markdown() -> str:
    """One section a command with what its ``--help`` prints."""
    root = app.make_context(
        "nilometer", ["demo"], max_content_width=WIDTH, terminal_width=WIDTH
    )
    return "\n".join(section(context) for context in commands(app, root))


def section(context: click.Context) -> str:
    """One command's heading and help."""
    text = context.command.get_help(context).rstrip()
    return f"### {context.command_path}\n\n```text\n{text}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
