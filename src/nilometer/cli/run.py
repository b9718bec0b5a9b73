"""`nilometer run -- PROGRAM`: measure a program without touching its source."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from nilometer.assembly import chosen_integrations
from nilometer.cli.exits import Exit
from nilometer.cli.terminal import say, stop
from nilometer.config import FILE_NAME, load
from nilometer.errors import ConfigError
from nilometer.export.address import anchored
from nilometer.setting_table import PREFIX, SETTINGS, Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.config import Settings

BOOTSTRAP: Final = Path(__file__).resolve().parent.parent / "bootstrap"
NOT_FOUND: Final = 127  # as a shell says it
NOT_EXECUTABLE: Final = 126

NOWHERE: Final = (
    "nilometer: nothing is sent anywhere unless the program itself says where to; "
    "to send to a collector here add --export otlp://127.0.0.1:4318"
)

SEVERAL: Final = {
    *("export", "dimensions", "levels", "integrations", "integrations_off", "trace_hosts"),
    *("dropwizard_names", "patch"),
}
"""Settings whose flag may be given again for one more."""


PATHS: Final = ("trace_key_file", "token_file", "admin_token_file", "state")
"""Settings that name a file or a folder."""

FLAGS: Final = {"tach_config": "tach"}
"""Settings whose flag is called otherwise."""


def flag_of(name: str) -> str:
    """The flag of a setting: ``interval_s`` is ``--interval``, for it takes its unit."""
    return "--" + FLAGS.get(name, name.removesuffix("_s").replace("_", "-"))


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


@click.command()
@click.option(
    "--config",
    metavar="FILE",
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
      nilometer run --export otlp://127.0.0.1:4318 -- python app.py
      nilometer run --service shop --export otlp://127.0.0.1:4318 -- gunicorn shop:app
      nilometer run --config shop.toml --level detail --levels db=off -- uvicorn api:app
    """
    given = {
        name: ",".join(value) if isinstance(value, tuple) else value
        for name, value in flags.items()
        if value not in (None, "", (), ("",))  # as in a variable: empty is not given
    }
    environment = dict(os.environ)
    try:
        settings = load(given, argument_origin=flag_of, file=config)
        chosen_integrations(settings)
    except ConfigError as error:
        stop(str(error), Exit.USAGE)
    if config:
        environment["NILOMETER_CONFIG"] = config
    if not settings.export and settings.admin is None:
        say(NOWHERE)
    for name, value in given.items():
        environment[f"{PREFIX}{name.upper()}"] = value
    if settings.origin("integrations") == "default":
        environment["NILOMETER_INTEGRATIONS"] = "auto"
    become(program, with_bootstrap(wherever_it_goes(environment, settings)))


def wherever_it_goes(environment: dict[str, str], settings: Settings) -> dict[str, str]:
    """Files by their whole path: the program, or its children, may change the directory."""
    found = dict(environment)
    config = environment.get("NILOMETER_CONFIG") or FILE_NAME
    if Path(config).is_file():
        found["NILOMETER_CONFIG"] = str(Path(config).absolute())
    for name in PATHS:
        if path := getattr(settings, name):
            found[f"{PREFIX}{name.upper()}"] = str(Path(path).absolute())
    if settings.tach_config is not None:
        found["NILOMETER_TACH_CONFIG"] = str(Path(settings.tach_config.path).absolute())
    export = tuple(anchored(url, Path.cwd()) for url in settings.export)
    if export != settings.export:
        found["NILOMETER_EXPORT"] = ",".join(url.replace(",", "%2C") for url in export)
    return found


def with_bootstrap(environment: dict[str, str]) -> dict[str, str]:
    """The environment in which Python finds our `sitecustomize` before all else."""
    before = environment.get("PYTHONPATH", "")
    paths = [
        str(BOOTSTRAP),
        *(one for one in before.split(os.pathsep) if one != str(BOOTSTRAP)),
    ]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths if before else paths[:1])}


def become(program: tuple[str, ...], environment: dict[str, str]) -> NoReturn:
    """Replace this process by the program; returns only by ending."""
    path = executable(program[0], environment.get("PATH"))
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # the caller may have closed it
            stream.flush()
    # Python ignores these two for itself; a program that is started expects them as they were.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execve(path, program, environment)  # noqa: S606 - the user's own command, no shell
    except OSError as error:
        hint = ""
        if error.errno == errno.ENOEXEC:
            hint = f"; it has no shebang: nilometer run -- python {program[0]}"
        stop_with(NOT_EXECUTABLE, f"{path}: {error.strerror}{hint}")


def executable(name: str, path: str | None) -> str:
    """The file that a shell would start for `name`; ends as a shell would if there is none."""
    found = shutil.which(name, path=path)
    here = Path(name)
    if found is None and os.sep not in name:
        hint = f"; for the one in this directory write python {name}" if here.is_file() else ""
        stop_with(NOT_FOUND, f"no program {name!r} on PATH{hint}")
    if found is None and not here.exists():
        stop_with(NOT_FOUND, f"{name}: no such file")
    if found is None:
        because = (
            "is a directory" if here.is_dir() else f"may not be executed; write python {name}"
        )
        stop_with(NOT_EXECUTABLE, f"{name}: {because}")
    return found


def stop_with(code: int, message: str) -> NoReturn:
    """End as a shell would."""
    say(f"nilometer: {message}")
    raise SystemExit(code)
