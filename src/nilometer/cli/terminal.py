"""Where commands print: tables for people by rich, JSON for programs, errors in one shape."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nilometer.cli.exits import Exit

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def show(table: RenderableType) -> None:
    """Print something for a person."""
    out.print(table)


def show_json(value: object) -> None:
    """Print something for a program: one JSON document, nothing else."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def say(message: str) -> None:
    """Tell the person what is going on, beside the output; markup in `message` stays text."""
    err.print(Text(message), soft_wrap=True)


def stop(message: str, code: Exit) -> NoReturn:
    """End the command with an error on stderr."""
    err.print(Text(f"nilometer: {message}", style="red"), soft_wrap=True)
    raise SystemExit(int(code))
