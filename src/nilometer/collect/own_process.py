"""The collector's own process: how many files it may open, where its log goes, how it ends."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import sys
from typing import Final, NoReturn

# A thousand connections, the ones that are told that they are too many, and a few hundred files
# of the tables; the usual 1024 would be used up by connections, and then nothing could be
# committed.
FILES: Final = 4096


def allow_files() -> None:
    """As many open files as are wanted, or as many as we may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def be_heard(log: logging.Logger) -> None:
    """The daemon is the application: where nobody set logging up, it logs to standard error."""
    if not log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)


def leave() -> NoReturn:
    """End the process now with 0: Python would wait for threads that nobody waits for."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()  # closed, or None, where a service has no such stream
    os._exit(0)
