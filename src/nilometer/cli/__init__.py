"""The command line; the only part that prints. Needs the extra ``nilometer[cli]``."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from nilometer.errors import to_install


def main() -> None:
    """The console script `nilometer`: ends the process with a code of `exits`."""
    try:
        from nilometer.cli.garbage import left_alone

        with left_alone():
            import click

            from nilometer.cli.app import app
            from nilometer.cli.commands import with_choice
            from nilometer.cli.terminal import UNWRITTEN, leave_quietly, leave_unwritten

        if find_spec("rich") is None:  # loaded only when something is drawn
            raise ModuleNotFoundError(name="rich")
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        if sys.argv[1:] == ["doctor"]:  # who asks what is wrong gets an answer all the same
            sys.exit(_plain_doctor())
        sys.stderr.write(
            f"nilometer: the command line needs {error.name}: {to_install('cli')} "
            "[cli-not-installed]\n"
        )
        sys.exit(2)
    from nilometer.cli.exits import INTERRUPTED

    for stream in (sys.stdout, sys.stderr):  # a terminal that has no bars shows question marks
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        sys.exit(app.main(prog_name="nilometer", standalone_mode=False) or 0)
    except click.ClickException as error:
        with_choice(error).show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        leave_quietly()
    except OSError as error:
        if error.errno not in UNWRITTEN:
            raise
        leave_unwritten(error)


def _plain_doctor() -> int:
    """`nilometer doctor` without the terminal libraries: the same findings, one a line."""
    from nilometer.cli.exits import Exit
    from nilometer.doctor import report

    found = report()
    for one in found.findings:
        because = f" ({one.because})" if one.because else ""
        mark = "" if one.healthy else "! "
        sys.stdout.write(f"{mark}{one.topic}: {one.name}: {one.value}{because}\n")
    return Exit.OK if found.healthy else Exit.UNHEALTHY
