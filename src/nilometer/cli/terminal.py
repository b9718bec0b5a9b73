"""Where commands print: tables for people by rich, JSON for programs, errors in one shape.

Text from outside is never trusted: what a terminal could take for a command, or what turns
the order of letters round, is shown as a dot. Ids and names are whole where nobody looks: a
pipe has no width, unless COLUMNS gives it one.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import threading
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Final, NoReturn, Self, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from nilometer.cli.exits import Exit

CELL_CHARS_MAX: Final = 500  # four lines of a wide terminal; --json has the rest
PIPE_COLUMNS: Final = 10_000  # wider than any row of CELL_CHARS_MAX a column
QUIET_S: Final = 2.0  # people wait so long without wondering
PIECE_CHARS: Final = 4096  # a pipe takes so many bytes whole or not at all
UNWRITTEN: Final = (errno.ENOSPC, errno.EIO, errno.EDQUOT)
"""What writing to a disk that is full or dead fails with."""

PIPE_BROKEN: Final = 128 + 13  # as a shell calls a process that SIGPIPE ended

_UNSAFE: Final = re.compile(r"[^\x20-\x7e]")


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()  # None where the caller closed it


def _width(stream_is_terminal: bool) -> int | None:
    """None lets rich ask the terminal, or COLUMNS."""
    return None if stream_is_terminal or os.environ.get("COLUMNS") else PIPE_COLUMNS


@cache
def console(*, stderr: bool = False) -> Console:
    """Where people read; made when something is drawn, as rich takes 50 ms to import."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    made = Console(stderr=stderr, highlight=False, width=_width(_is_terminal(stream)))
    if stderr:  # rich would end us, and close our standard output
        made.on_broken_pipe = _nobody_hears  # type: ignore[method-assign]
    return made


def _nobody_hears() -> None:
    """Go on, where standard error is a full disk or a pipe that nobody reads.

    What could not be written waits in the stream: Python would try again as it ends, and end
    with a code of its own. A fresh stream has nothing that waits.
    """
    with suppress(OSError, AttributeError, ValueError):
        number = sys.stderr.fileno()
        sys.stderr = open(number, "w", buffering=1, errors="replace", closefd=False)  # noqa: SIM115


def plain(text: str, style: str = "") -> Text:
    """Text for the console in which nothing is markup."""
    from rich.text import Text

    return Text(text, style)


def leave_quietly() -> NoReturn:
    """End because nobody reads on; nothing more is written, not even as Python ends."""
    _forget_output()
    raise SystemExit(PIPE_BROKEN)


def leave_unwritten(error: OSError) -> NoReturn:
    """End because the output cannot be written, on a full disk for example."""
    from nilometer.cli.exits import Exit

    _forget_output()
    stop(f"standard output: {error.strerror}", Exit.USAGE)


def _forget_output() -> None:
    """What is still buffered goes nowhere, or Python would complain of it as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def one_line(text: str) -> str:
    """Text from outside for one cell: no control characters, no line breaks, not endless.

    >>> one_line("a\\x1b[31mb\\nc\\u202ed")
    'a·[31mb·c·d'
    """
    if len(text) > CELL_CHARS_MAX:
        text = text[: CELL_CHARS_MAX - 1] + "…"
    return "".join(c if c.isprintable() else "·" for c in text)


def lines(text: str) -> str:
    """Text from outside of several lines, made safe for a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "·" for c in text)


def cell(text: str, style: str = "") -> Text:
    """Text from outside as a table's cell; rich's markup in it stays text."""
    return plain(one_line(text), style)


def show(table: RenderableType) -> None:
    """Print something for a person."""
    with console().capture() as drawn:
        console().print(table)
    text = drawn.get()
    if not console().is_terminal:  # columns are filled up, the last one for nobody
        text = "".join(f"{line.rstrip(' ')}\n" for line in text.splitlines())
    write(text)


def show_json(value: object) -> None:
    """Print something for a program: one JSON document, nothing else.

    What is not plain is written as escapes where a terminal could take it for a command, and
    everywhere where the output's encoding does not have it.
    """
    write(json_text(value))


def json_text(value: object) -> str:
    """The same as text."""
    is_unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, indent=2, ensure_ascii=not is_unicode)
    return _UNSAFE.sub(_escaped, text) + "\n"


def show_document(text: str) -> None:
    """Print a file for another tool: as it is, but what a terminal could obey."""
    write((lines(text) if _is_terminal(sys.stdout) else text) + "\n")


def write(text: str) -> None:
    """Bare text to standard output."""
    if sys.stdout is None:  # closed by the caller
        return
    try:
        # In pieces, as an unbuffered stream (python -u) takes the beginning of a large one from
        # us, finds the pipe broken, and says nothing.
        for at in range(0, len(text), PIECE_CHARS):
            sys.stdout.write(text[at : at + PIECE_CHARS])
        sys.stdout.flush()
    except BrokenPipeError:
        leave_quietly()


def _escaped(match: re.Match[str]) -> str:
    c = match[0]
    return c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1]


def say(message: str) -> None:
    """Tell the person what is going on, beside the output; markup in `message` stays text."""
    _tell(plain(lines(message)))


def _tell(text: Text) -> None:
    """Write to standard error. Where that cannot be, on a full disk for example, what a command
    does and how it ends must not depend on it."""
    try:
        console(stderr=True).print(text, soft_wrap=True)
    except OSError:
        _nobody_hears()


def stop(message: str, code: Exit) -> NoReturn:
    """End the command with an error on stderr."""
    _tell(plain(lines(f"nilometer: {message}"), "red"))
    raise SystemExit(int(code))


class Patience:
    """``with Patience("asking") as told:`` says what is waited for once it takes long.

    On a terminal a line that lives and goes away; elsewhere one plain line, once.
    """

    def __init__(self, message: str) -> None:
        self._status = console(stderr=True).status(plain(one_line(message)))
        self._message = message
        self._timer = threading.Timer(QUIET_S, self._begin)
        self._timer.daemon = True

    def _begin(self) -> None:
        if console(stderr=True).is_terminal:
            self._status.start()
        else:
            say(f"{self._message} ...")

    def tell(self, message: str) -> None:
        """Say something newer from now on."""
        self._message = message
        self._status.update(plain(one_line(message)))

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
        self._status.stop()
