"""`nilometer patch check`: what the patches of the settings match, before a service runs."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from nilometer.cli.collector import json_option
from nilometer.cli.commands import InOrder
from nilometer.cli.exits import Exit
from nilometer.cli.patch_source import Defined, names, nearest_module, source_of
from nilometer.cli.patch_source import matches as matches_of_source
from nilometer.cli.run import flag_of
from nilometer.cli.terminal import cell, say, show, show_json, stop
from nilometer.config import load
from nilometer.errors import ConfigError, InstrumentClashError, nearest
from nilometer.integrations.patching.matching import matches, nearest_of
from nilometer.integrations.patching.meters import wrapping
from nilometer.integrations.patching.places import Layer, wrapped
from nilometer.measure import Registry
from nilometer.model.patch import RETURNED

if TYPE_CHECKING:
    from rich.table import Table

    from nilometer.integrations.patching.matching import Match
    from nilometer.model.patch import Patch


class Checked(NamedTuple):
    """What a patch matches. Of `found` None, only an import can tell; `fault` refuses it, for
    want of its module if that `is_absent`."""

    patch: Patch
    found: list[Defined] | None
    fault: str = ""
    note: str = ""
    is_absent: bool = False


@click.group(cls=InOrder)
def patch() -> None:
    """Functions to measure that are not yours, named in the settings.

    \b
    Example:
      nilometer patch check --import
    """


@patch.command("check")
@click.option(
    "--config",
    metavar="FILE",
    help="The settings file, instead of ./nilometer.toml. [NILOMETER_CONFIG]",
)
@click.option("--tach", metavar="FILE", help="A configuration file of Tach's.")
@click.option(
    "--import",
    "importing",
    is_flag=True,
    help="Import the modules, and so run them: shows also what is inherited or imported.",
)
@json_option
@click.argument("targets", nargs=-1, metavar="[TARGET[=MAKE]]...")
def check(
    config: str | None,
    tach: str | None,
    targets: tuple[str, ...],
    *,
    importing: bool,
    as_json: bool,
) -> None:
    """Show what each patch matches, and what is made of it.

    Reads the [[patch]] tables of the settings, or the TARGETs that are given. Without --import
    the modules' source is read and nothing of it runs. What matches nothing, or cannot be
    measured, is refused with the nearest name; the exit code is then 2.

    \b
    Examples:
      nilometer patch check
      nilometer patch check --config compute.toml --import
      nilometer patch check 'json:d*' 'json.encoder:JSONEncoder.encode=counter' --import
    """
    given: dict[str, Any] = {"tach_config": tach, "patch": list(targets) or None}
    try:
        settings = load(given, argument_origin=flag_of, file=config)
    except ConfigError as error:
        stop(str(error), Exit.USAGE)
    if not settings.patch:
        stop("no [[patch]] is set, and no TARGET given: see docs/patching.md", Exit.USAGE)
    sys.path.insert(0, str(Path.cwd()))  # as for the programs that are started here
    registry = Registry()
    checked = of_either(
        [imported(one, registry) if importing else read(one) for one in settings.patch]
    )
    if as_json:
        show_json([as_document(one) for one in checked])
    else:
        show(table(checked))
    for one in checked:
        if one.fault or one.note:
            say(one.fault or one.note)
    for note in settings.tach_config.notes if settings.tach_config else ():
        say(note)
    if any(one.fault for one in checked):
        raise SystemExit(int(Exit.USAGE))


def read(patch: Patch) -> Checked:
    """What the source says."""
    try:
        source = source_of(patch.module)
    except (OSError, SyntaxError, ValueError) as error:
        return refused(patch, f"{patch.module} cannot be read: {error}")
    if source is None:
        near = nearest_module(patch.module)
        told = refused(patch, f"no module {patch.module!r} is found here{near}")
        return told._replace(is_absent=True)
    found = matches_of_source(source, patch)
    if found is None:
        because = "may be inherited, imported or in C: --import tells"
        return Checked(patch, None, note=f"{patch.origin}: {patch} {because}")
    if not found:
        return refused(patch, f"{patch} matches nothing{nearest_of(*names(source, patch))}")
    for one in found:
        if one.fault:
            return refused(patch, f"{patch.module}:{one.qualname} is {one.fault}")
    return with_parameters(patch, found)


def imported(patch: Patch, registry: Registry) -> Checked:
    """What the module itself says, and whether there can be made of it what is asked for."""
    try:
        module = import_module(patch.module)
    except BaseException as error:  # a module may do anything, also end Python
        if isinstance(error, KeyboardInterrupt):
            raise
        is_absent = isinstance(error, ModuleNotFoundError) and (
            f"{patch.module}.".startswith(f"{error.name}.")
        )
        near = nearest_module(patch.module) if is_absent else ""
        told = refused(patch, f"import {patch.module}: {error!r}{near}")
        return told._replace(is_absent=is_absent)
    found: list[Defined] = []
    try:
        for one in matches(module, patch):
            found.append(_defined(one))
            around = wrapping(patch, patch.name_of(one.qualname), registry)
            layer = Layer((patch.make, ""), around, lambda: True)
            wrapped(one.thing, [layer], in_class=one.in_class, made=[])  # laid nowhere
    except ConfigError as error:
        return Checked(patch, found, str(error))
    except (InstrumentClashError, ValueError) as error:  # a name that is taken, or is none
        return refused(patch, f"{patch}: {error}", found)
    except Exception as error:  # noqa: BLE001  as where it is laid: whatever stands there
        return refused(patch, f"{patch}: {error!r}", found)
    return with_parameters(patch, found)


def _defined(one: Match) -> Defined:
    from nilometer.integrations.patching.described import Parameters

    function = getattr(one.thing, "__func__", getattr(one.thing, "fget", one.thing))
    parameters = Parameters(function)
    known = None if parameters.others else tuple(parameters.names) or None
    return Defined(one.qualname, one.kind, known)


def with_parameters(patch: Patch, found: list[Defined]) -> Checked:
    """Whether each dimension's path starts at a parameter of at least one function."""
    for name, path in patch.dimensions:
        if path.start == RETURNED or path.start.isdigit():
            continue
        lacking = [
            one
            for one in found
            if one.parameters is not None and path.start not in one.parameters
        ]
        if len(lacking) == len(found):
            known = dict.fromkeys(p for one in found for p in one.parameters or ())
            because = f"{patch} has no parameter {path.start!r}{nearest(path.start, known)}"
            return refused(patch, because, found)
        if lacking:
            those = ", ".join(one.qualname for one in lacking)
            because = f"no {path.start!r}, so no dimension {name!r}, for {those}"
            return Checked(patch, found, note=f"{patch.origin}: {patch}: {because}")
    return Checked(patch, found, note=_of_coroutines(patch, found))


def _of_coroutines(patch: Patch, found: list[Defined]) -> str:
    """What a service may stumble over that asks for the very type of Python's coroutines."""
    if patch.make not in ("timer", "span") or patch.dimensions:
        return ""
    those = ", ".join(one.qualname for one in found if one.kind.endswith("coroutine function"))
    because = "make coroutines that in C are none for inspect.iscoroutine"
    return f"{patch.origin}: {patch}: {those} will {because}" if those else ""


def refused(patch: Patch, because: str, found: list[Defined] | None = None) -> Checked:
    """What cannot be used, in the form of all errors of settings."""
    fault = ConfigError(f"{patch.origin}: {because}", slug="patch-matches-nothing")
    return Checked(patch, found or [], str(fault))


def of_either(checked: list[Checked]) -> list[Checked]:
    """Of those that stand for the same, the one that is found; else the fault of the first
    whose module is there."""
    kept: dict[object, Checked] = {}
    for at, one in enumerate(checked):
        key = one.patch.origin if one.patch.either else at
        known = kept.get(key)
        if known is None or _says_less(known, one):
            kept[key] = one
    return list(kept.values())


def _says_less(known: Checked, one: Checked) -> bool:
    if known.fault and one.fault:
        return known.is_absent and not one.is_absent
    return bool(known.fault)


def table(checked: list[Checked]) -> Table:
    """A row for each function, under the patch that means it."""
    from rich.table import Table

    drawn = Table(box=None, padding=(0, 1))
    for heading in ("target", "function", "kind", "makes", "name", "from"):
        drawn.add_column(heading, overflow="fold")
    for one in checked:
        patch = one.patch
        if not one.found:
            unknown = "?" if one.found is None else "nothing"
            drawn.add_row(*map(cell, (str(patch), unknown, "", "", "", patch.origin)))
        for at, function in enumerate(one.found or ()):
            made = (patch.make, patch.name_of(function.qualname), "" if at else patch.origin)
            target = "" if at else str(patch)
            drawn.add_row(*map(cell, (target, function.qualname, function.kind, *made)))
    return drawn


def as_document(one: Checked) -> dict[str, Any]:
    """The same for a program."""
    patch = one.patch
    functions = [
        {"function": f.qualname, "kind": f.kind, "name": patch.name_of(f.qualname)}
        for f in one.found or ()
    ]
    return {
        "target": str(patch),
        "origin": patch.origin,
        "make": patch.make,
        "functions": None if one.found is None else functions,
        "fault": one.fault,
        "note": one.note,
    }
