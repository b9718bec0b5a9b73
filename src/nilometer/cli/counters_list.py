"""`nilometer counters list`: which backends there are, and where each was found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from nilometer.cli.collector import json_option
from nilometer.cli.counters_history import settings_or_stop
from nilometer.cli.terminal import cell, plain, say, show, show_json
from nilometer.counters.backend import (
    BACKENDS,
    SCHEMES,
    BackendError,
    Surroundings,
    foreign,
    found_by,
    module_of,
)
from nilometer.counters.clients import CLIENTS, is_here
from nilometer.counters.target import Target
from nilometer.errors import ConfigError, to_install

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.config import CommandSettings


class Listed(NamedTuple):
    """A backend as the list shows it; `trouble` says why it cannot be used as it is."""

    name: str
    meaning: str
    found: tuple[tuple[str, str], ...]  # where, and how that is known
    library: str
    trouble: str

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "backend": self.name,
            "meaning": self.meaning,
            "found": [{"where": where, "how": how} for where, how in self.found],
            "library": self.library or None,
            "trouble": self.trouble or None,
        }


@click.command("list")
@json_option
def list_backends(*, as_json: bool) -> None:
    """List the backends: what each counts, and where it is.

    A backend is found if the settings name it, if its own clients are configured for it, or if
    a server listens on this machine. Nothing is read.

    \b
    Examples:
      nilometer counters list
      nilometer counters list --json
    """
    listed = backends_here(settings_or_stop())
    if as_json:
        show_json([one.as_json() for one in listed])
        return
    from rich.table import Table

    table = Table("backend", "found", "by", "counts", box=None, pad_edge=False)
    for one in listed:
        state = one.found or (("not found", ""),)
        for place, (where, how) in enumerate(state):
            named = cell(one.name, "bold" if one.found else "") if place == 0 else plain("")
            meaning = cell(one.meaning) if place == 0 else plain("")
            table.add_row(named, cell(where, "" if one.found else "dim"), cell(how), meaning)
        if one.trouble:
            table.add_row("", cell(one.trouble, "yellow"), "", "")
    show(table)


def backends_here(settings: CommandSettings) -> list[Listed]:
    """Each backend, ours and those of other packages, and where it is."""
    surroundings = Surroundings(os.environ, Path.home())
    others = foreign()
    named = _named(settings, {**SCHEMES, **{name: name for name in others}})
    return [_listed(name, surroundings, named.get(name, ())) for name in (*BACKENDS, *others)]


def _named(
    settings: CommandSettings, schemes: Mapping[str, str]
) -> dict[str, list[tuple[str, str]]]:
    """Where the settings say that backends are."""
    found: dict[str, list[tuple[str, str]]] = {}
    origin = settings.origin("backends")
    for text in settings.backends:
        if "://" not in text:
            continue
        try:
            target = Target.parse(text, origin=origin, schemes=schemes)
        except ConfigError as error:  # `collect` refuses it; here it must not hide the others
            say(f"nilometer: {error}")
        else:
            found.setdefault(target.backend, []).append((_where(target), origin))
    return found


def _listed(name: str, surroundings: Surroundings, named: Sequence[tuple[str, str]]) -> Listed:
    client = CLIENTS.get(name)
    library = "" if client is None else client.library
    trouble = ""
    if client is not None and not is_here(client):
        trouble = f"needs {library}: {to_install(client.extra)}"
    try:
        module = module_of(name, origin="counters list")
        meaning = module.MEANING
        targets = found_by(module, name, surroundings)
        found = [(_where(target), target.origin) for target in targets]
    except (BackendError, ConfigError) as error:
        return Listed(name, "", tuple(named), library, str(error))
    except Exception as error:  # noqa: BLE001 - somebody else's backend may raise anything
        return Listed(name, "", tuple(named), library, f"{type(error).__name__}: {error}")
    return Listed(name, meaning, tuple(dict.fromkeys([*named, *found])), library, trouble)


def _where(target: Target) -> str:
    socket = target.option("socket")
    return f"{target.shown}{'?socket=' if socket else ''}{socket}"
