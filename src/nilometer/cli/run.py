"""`nilometer run -- PROGRAM`: measure a program without touching its source."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from nilometer.cli.exits import Exit
from nilometer.cli.terminal import stop
from nilometer.config import load
from nilometer.errors import ConfigError
from nilometer.setting_table import SETTINGS, Setting

if TYPE_CHECKING:
    from collections.abc import Callable

BOOTSTRAP: Final = Path(__file__).resolve().parent.parent / "bootstrap"
NOT_FOUND: Final = 127  # as a shell says it
NOT_EXECUTABLE: Final = 126

SEVERAL: Final = {
    *("export", "dimensions", "levels", "integrations", "integrations_off", "trace_hosts"),
}
"""Settings whose flag may be given again for one more."""


def flag_of(name: str) -> str:
    """The flag of a setting: ``interval_s`` is ``--interval``, for it takes its unit."""
    return "--" + name.removesuffix("_s").replace("_", "-")


def setting_option(setting: Setting) -> Callable[[Any], Any]:
    """A flag per setting, so that flags, variables and files never differ."""
    return click.option(
        flag_of(setting.name),
        setting.name,
        multiple=setting.name in SEVERAL,
        metavar=setting.form.upper() if len(setting.form) < 12 else "VALUE",
        help=f"{setting.purpose} [{setting.variable}]",
    )


def with_settings(command: Any) -> Any:
    """Every setting as a flag, but for secrets: a command line can be read by every user."""
    for setting in reversed(SETTINGS):
        if not setting.secret:
            command = setting_option(setting)(command)
    return command


@click.command(context_settings={"ignore_unknown_options": False})
@click.option(
    "--config",
    metavar="FILE",
    envvar="NILOMETER_CONFIG",
    help="The settings file, instead of ./nilometer.toml. [NILOMETER_CONFIG]",
)
@with_settings
@click.argument("program", nargs=-1, type=click.UNPROCESSED, required=True)
def run(config: str | None, program: tuple[str, ...], **flags: Any) -> None:
    """Measure a program without touching its source.

    PROGRAM is anything that ends up in Python: python, gunicorn, uvicorn, uwsgi, a script with
    a shebang. It gets the settings in its environment and all integrations (--integrations
    auto), takes this command's place, and so keeps its signals, its output and its exit code.
    Where something cannot be measured it runs on unmeasured, and says so once.

    \b
    Examples:
      nilometer run -- python app.py
      nilometer run --service shop --export otlp://127.0.0.1:4318 -- gunicorn shop:app
      nilometer run --level detail --levels sqlalchemy=off -- uvicorn api:app
    """
    given = {
        name: ",".join(value) if isinstance(value, tuple) else value
        for name, value in flags.items()
        if value not in (None, ())
    }
    environment = dict(os.environ)
    if config:
        environment["NILOMETER_CONFIG"] = config
    try:
        settings = load(given, environ=environment, argument_origin=flag_of)
    except ConfigError as error:
        stop(str(error), Exit.USAGE)
    for name, value in given.items():
        environment[f"NILOMETER_{name.upper()}"] = value
    if settings.origin("integrations") == "default":
        environment["NILOMETER_INTEGRATIONS"] = "auto"
    become(program, with_bootstrap(environment))


def with_bootstrap(environment: dict[str, str]) -> dict[str, str]:
    """The environment in which Python finds our `sitecustomize` before all else."""
    before = environment.get("PYTHONPATH", "")
    paths = [str(BOOTSTRAP), *([before] if before else [])]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}


def become(program: tuple[str, ...], environment: dict[str, str]) -> NoReturn:
    """Replace this process by the program; returns only by ending."""
    path = shutil.which(program[0], path=environment.get("PATH"))
    if path is None:
        stop_with(NOT_FOUND, f"no program {program[0]!r} on PATH")
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(path, program, environment)  # noqa: S606 - the user's own command, no shell
    except OSError as error:
        stop_with(NOT_EXECUTABLE, f"{path}: {error.strerror}")


def stop_with(code: int, message: str) -> NoReturn:
    """End as a shell would."""
    click.echo(f"nilometer: {message}", err=True)
    raise SystemExit(code)
