"""`os-collect-counters`: the command of os-performance-tools, with its flags, on our backends.

It prints what that command printed, in the same places, and more beside it; it loads neither
click nor rich, because it is started often and should cost nothing that can be seen.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, HelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from nilometer import clock
from nilometer.cli.collecting import backends, collected, read_earlier
from nilometer.cli.exits import Exit
from nilometer.cli.garbage import left_alone
from nilometer.cli.terminal import UNWRITTEN, leave_quietly, write
from nilometer.counters.document import DocumentError
from nilometer.errors import ConfigError, nearest, to_install

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.counters.document import Document

SECTIONS: Final = ("mysql", "queues")  # which its readers expect, empty or not
LEVELS: Final = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
LINE: Final = "%(asctime)s %(levelname)s %(message)s"
WIDTH: Final = 80  # of the help; asking the terminal imports what packs and unpacks archives


class Log(NamedTuple):
    """What this command has to say goes to standard error, if it is as grave as `level`.

    Mostly it has nothing to say, and logging takes as long to import as one backend to read.
    """

    level: int

    def say(self, severity: str, message: str, *words: object) -> None:
        """One line, its words put in as logging does."""
        if LEVELS[severity] < self.level:
            return
        import logging

        log = logging.getLogger("nilometer.counters")
        if not log.handlers:
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter(LINE))
            log.addHandler(handler)
        log.setLevel(self.level)
        log.log(LEVELS[severity], message, *words)


def main(words: Sequence[str] | None = None) -> int:
    """Collect and print; the exit code is 3 if a backend could not be read."""
    given = _parser().parse_args(words)
    log = Log(given.loglevel)
    try:
        earlier = None if given.delta is None else read_earlier(given.delta)
        chosen = backends(given.backend or ())
        found = collected(chosen, prefix=given.meta_prefix or "", since=earlier)
    except (ConfigError, DocumentError) as error:
        log.say("ERROR", "%s", error)
        return Exit.USAGE
    whole = found.as_json()
    for section in SECTIONS:
        whole.setdefault(section, {})
    content = json.dumps(whole, indent=1, sort_keys=True, allow_nan=False) + "\n"
    if given.output is not None:
        try:
            Path(given.output).write_text(content)
        except OSError as error:
            log.say("ERROR", "--output %s: %s", given.output, error.strerror or error)
            return Exit.USAGE
    if given.subunit is None:
        write(content)
    elif not _write_subunit(content, given.subunit, log):
        return Exit.USAGE
    return _told(found, log)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        "os-collect-counters",
        description="Print what databases, brokers and the kernel have counted, as JSON.",
        epilog="As `nilometer counters collect`, with the flags of os-performance-tools.",
        formatter_class=lambda prog: HelpFormatter(prog, width=WIDTH),
    )
    parser.add_argument(
        "--loglevel",
        type=_level,
        default=LEVELS["INFO"],
        help=f"one of {', '.join(LEVELS)}, or a number",
    )
    parser.add_argument(
        "--delta", metavar="FILE", help="how far they moved since this document"
    )
    parser.add_argument(
        "--subunit",
        metavar="NAME",
        nargs="?",
        const="counters.json",
        help="print a subunit stream that has the document as a file of this name",
    )
    parser.add_argument("--output", metavar="FILE", help="write the document there, too")
    parser.add_argument("--meta-prefix", metavar="TEXT", help="kept under __meta__ as prefix")
    parser.add_argument(
        "--backend", metavar="NAME|URL", action="append", help="read this one; repeatable"
    )
    return parser


def _level(text: str) -> int:
    """A level by its name or number, as logging takes them. Raises ArgumentTypeError."""
    if text.isascii() and text.isdigit():
        return int(text)
    if text.upper() not in LEVELS:
        choice = nearest(text, [level.lower() for level in LEVELS])
        raise ArgumentTypeError(f"{text!r} is no number and no level{choice}")
    return LEVELS[text.upper()]


def _write_subunit(content: str, file_name: str, log: Log) -> bool:
    from nilometer.wire.subunit import attached

    try:
        stream = attached(content.encode(), wall_ns=clock.wall_ns(), file_name=file_name)
    except ModuleNotFoundError as error:
        log.say("ERROR", "--subunit needs %s: %s", error.name, to_install("subunit"))
        return False
    sys.stdout.buffer.write(stream)
    sys.stdout.flush()
    return True


def _told(found: Document, log: Log) -> int:
    """Name what is missing."""
    unread, invalid = found.told.get("unread", {}), found.told.get("invalid", {})
    for key, because in found.told.get("passed_over", {}).items():
        log.say("DEBUG", "%s is passed over: %s", key, because)
    for because in unread.values():
        log.say("ERROR", "%s", because)
    for key, because in invalid.items():
        if key not in unread:
            log.say("ERROR", "%s cannot be compared: %s", key, because)
    return Exit.UNREACHABLE if unread or invalid else Exit.OK


def run() -> NoReturn:
    """The program: ends the process with the exit code.

    It leaves garbage alone, and does not take the interpreter apart at its end: both together
    are a seventh of its time, and connections are closed by then.
    """
    try:
        with left_alone():
            code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        leave_quietly()
    except OSError as error:
        if error.errno not in UNWRITTEN:
            raise
        sys.stderr.write(f"os-collect-counters: standard output: {error.strerror}\n")
        code = Exit.USAGE
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
