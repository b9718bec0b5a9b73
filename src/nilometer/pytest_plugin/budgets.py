"""A block of code that may make so many statements and requests, and no more."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

from nilometer.errors import NilometerError, nearest
from nilometer.pytest_plugin import instruments
from nilometer.pytest_plugin.listening import LISTENING
from nilometer.pytest_plugin.recording import (
    HEARD,
    MESSAGES,
    REQUESTS,
    STATEMENTS,
    Call,
    Ledger,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

TIMES: Final = "\N{MULTIPLICATION SIGN}"
LINES_MAX: Final = 30  # different calls that a failure shows, the most frequent first
NAMES: Final = {
    STATEMENTS: "SQL statements",
    REQUESTS: "HTTP requests",
    MESSAGES: "messages published",
}
NOWHERE: Final = "(no code of yours: a library did it, or a thread of one)"


class BudgetError(NilometerError, AssertionError):
    """A block did more than its budget allows; the message shows what, and where from."""


class Budget:
    """So many of each in a ``with`` block: `counts` and `calls` tell how many there were.

    All that the process does meanwhile counts, also in other threads and tasks, but what is
    done inside of budgets that were opened beside this one. What the block raises passes
    unchanged, and nothing is checked then.
    """

    def __init__(self, limits: Mapping[str, int]) -> None:
        for name, limit in limits.items():
            if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
                raise BudgetError(
                    f"{name}={limit!r}: a budget is a whole number, 0 or more",
                    slug="budget-invalid",
                )
        self._limits = dict(limits)
        self._ledger = Ledger()
        self._before: dict[str, int | float] = {}
        self._moved: dict[str, int | float] | None = None

    def __enter__(self) -> Self:
        if self._ledger.is_open:
            raise BudgetError(
                "this budget is in use already: make another", slug="budget-invalid"
            )
        LISTENING.begin()
        self._ledger = Ledger()
        self._moved = None
        self._before = instruments.tap().now()
        self._ledger.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, traceback: object
    ) -> None:
        __tracebackhide__ = True  # pytest shows the block, and not us
        self._ledger.close()
        self._moved = instruments.moved(self._before, instruments.tap().now())
        if kind is not None:
            return
        counts = self.counts
        over = {}
        for keyword, limit in self._limits.items():
            counter = _counter(keyword, counts)
            if counter == REQUESTS:
                _warn_of_unheard(keyword)
            if counts[counter] > limit:
                over[keyword] = (counter, counts[counter], limit)
        if over:
            raise BudgetError(_told(over, self._ledger.calls), slug="budget-exceeded")

    @property
    def counts(self) -> dict[str, int | float]:
        """How many of each so far, by the counter's name; those of instruments, too."""
        moved = self._moved
        if moved is None:
            moved = instruments.moved(self._before, instruments.tap().now())
        known = dict.fromkeys((*HEARD, *instruments.known()), 0)
        return {**known, **moved, **self._ledger.counts}

    @property
    def calls(self) -> dict[Call, int]:
        """How often each statement and request was made, and from where."""
        return dict(self._ledger.calls)


def _counter(keyword: str, counts: Mapping[str, int | float]) -> str:
    """The counter that a keyword stands for: its name, dots as underscores."""
    __tracebackhide__ = True
    by_keyword: dict[str, str] = {}
    for counter in counts:
        short = counter.removesuffix(instruments.SAMPLES)
        for name in (counter, short, counter.replace(".", "_"), short.replace(".", "_")):
            by_keyword.setdefault(name, counter)
    if keyword not in by_keyword:
        choice = nearest(keyword, sorted(name for name in by_keyword if "." not in name))
        raise BudgetError(
            f"nothing that can be counted is called {keyword!r}{choice}", slug="budget-unknown"
        )
    return by_keyword[keyword]


def _warn_of_unheard(keyword: str) -> None:
    """Say whose requests nobody counts, though they are in this process."""
    for client, because in LISTENING.unheard.items():
        warnings.warn(
            f"{keyword}: requests of {client} are not counted: {because}", stacklevel=3
        )


def _told(over: Mapping[str, tuple[str, int | float, int]], calls: Mapping[Call, int]) -> str:
    """What was too much, and for statements and requests what they were and where from."""
    lines: list[str] = []
    for keyword, (counter, count, limit) in over.items():
        thing = NAMES.get(counter, f"{counter}")
        lines.append(f"{count} {thing} where {keyword}={limit} allows {limit}")
        lines += call_lines({one: n for one, n in calls.items() if one.kind == counter})
    return "\n".join([*lines, ""])  # our word for it has a line of its own


def call_lines(calls: Mapping[Call, int]) -> list[str]:
    """Statements or requests, the most frequent first, each with where it came from."""
    ranked = sorted(calls.items(), key=lambda item: (-item[1], item[0]))
    shown = ranked[:LINES_MAX]
    width = max((len(f"{times}") for _, times in shown), default=1)
    lines = []
    for call, times in shown:
        lines.append(f"  {TIMES} {times:{width}}  {printable(call.text)}")
        lines.append(f"    {'':{width}}  {printable(call.where or NOWHERE)}")
    if len(ranked) > LINES_MAX:
        rest = sum(times for _, times in ranked[LINES_MAX:])
        lines.append(f"  and {rest} more, of {len(ranked) - LINES_MAX} kinds")
    return lines


def printable(text: str) -> str:
    """A text of somebody else, without what would move the terminal's cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
