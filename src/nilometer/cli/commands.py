"""How groups of commands list and find them, and what is said of a word that none knows."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from nilometer.cli.garbage import left_alone
from nilometer.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping


def with_choice(error: click.ClickException) -> click.ClickException:
    """That error; of an option that the command lacks, with the nearest one and all it has."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return error
    options = (one for one in error.ctx.command.get_params(error.ctx) if not _is_hidden(one))
    known = [name for one in options for name in (*one.opts, *one.secondary_opts)]
    name = error.option_name
    return click.UsageError(f"no option {name!r}{nearest(name, known)}", error.ctx)


def _is_hidden(parameter: click.Parameter) -> bool:
    return not isinstance(parameter, click.Option) or parameter.hidden


class OneOf(click.Choice):  # type: ignore[type-arg] # click 8.1 has no generic one
    """A value out of few; an error has the nearest one and all."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """As click does, but for what is said."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r}{nearest(value, self.choices)}", param, ctx)


class InOrder(click.Group):
    """Lists its commands as they were added, not by the alphabet; helps with misspelt ones."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names in the order in which a newcomer meets them."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an error has the nearest one and all."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}{nearest(args[0], known)}")
        return super().resolve_command(ctx, args)


class Later(InOrder):
    """Imports a command's module when that command is asked for, and no other.

    `later` has the module of each command, which is the function of that name in it, or of the
    name after a colon. All modules together take five times as long to import as the longest.
    """

    def __init__(self, *args: Any, later: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._later = later

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names, without importing anything."""
        return list(self._later)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, its module imported now."""
        if cmd_name not in self._later:
            return None
        module, _, name = self._later[cmd_name].partition(":")
        with left_alone():
            found: click.Command = getattr(import_module(module), name or cmd_name)
        return found
