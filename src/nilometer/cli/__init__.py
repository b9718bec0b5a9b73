"""The command line; the only part that prints. Needs the extra ``nilometer[cli]``."""

from __future__ import annotations

import errno
import sys


def main() -> None:
    """The console script `nilometer`: ends the process with a code of `exits`."""
    try:
        import click

        from nilometer.cli.app import app
        from nilometer.cli.terminal import leave_quietly, leave_unwritten
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit(
            f"nilometer: the command line needs {error.name}: pip install 'nilometer[cli]' "
            "[cli-not-installed]"
        )
    from nilometer.cli.exits import INTERRUPTED

    for stream in (sys.stdout, sys.stderr):  # a terminal that has no bars shows question marks
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        sys.exit(app.main(prog_name="nilometer", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        leave_quietly()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
            raise
        leave_unwritten(error)
