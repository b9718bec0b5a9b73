"""The command line; the only part that prints. Needs the extra ``nilometer[cli]``."""

from __future__ import annotations

import sys


def main() -> None:
    """The console script `nilometer`."""
    try:
        from nilometer.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit(
            f"nilometer: the command line needs {error.name}: pip install 'nilometer[cli]' "
            "[cli-not-installed]"
        )
    app()
