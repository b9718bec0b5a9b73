"""The history, for the commands on counters that read a run of it or add one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from nilometer.cli.exits import Exit
from nilometer.cli.terminal import stop
from nilometer.errors import ConfigError, StoreError, to_install
from nilometer.setting_sources import load_for_commands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.model.run import Run
    from nilometer.setting_sources import CommandSettings
    from nilometer.store.runs import History

LAST: Final = "last"
NAMED_MAX: Final = 5


def settings_or_stop() -> CommandSettings:
    """The settings of commands; what is wrong with them ends the command."""
    try:
        return load_for_commands()
    except ConfigError as error:
        stop(str(error), Exit.USAGE)


def open_history(location: str) -> History:
    """The history there, new if there is none; what is wrong ends the command."""
    try:
        from nilometer.store.runs import History
    except ImportError as error:
        stop(f"a history needs {error.name}: {to_install('store')}", Exit.USAGE)
    try:
        return History(location)
    except (StoreError, ConfigError, OSError) as error:
        stop(str(error), Exit.USAGE)


def run_named(name: str, *, location: str, suite: str | None) -> Run:
    """The run whose id begins so, or the last one; of a suite, if one is named."""
    if "://" not in location and not Path(location).exists():
        why = f"there is no history in {location}; `nilometer measure` makes one"
        stop(why, Exit.NOT_FOUND)
    history = open_history(location)
    try:
        runs = history.runs(suite, limit=1 if name == LAST else None)
    except StoreError as error:
        stop(str(error), Exit.USAGE)
    finally:
        history.close()
    found = runs if name == LAST else [run for run in runs if run.id.startswith(name)]
    if len(found) != 1:
        _stop_without(name, found, "the history" if suite is None else f"suite {suite!r}")
    return found[0]


def _stop_without(name: str, found: Sequence[Run], whose: str) -> NoReturn:
    if found:
        ids = ", ".join(run.id for run in found[:NAMED_MAX])
        stop(f"--run {name}: {whose} has {len(found)} such runs: {ids}", Exit.USAGE)
    what = "no run yet" if name == LAST else f"no run {name!r}"
    stop(f"--run {name}: {whose} has {what}", Exit.NOT_FOUND)
