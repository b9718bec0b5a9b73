"""Who made which call: statements and requests go to the ledgers that are open meanwhile.

A ledger takes all that the process does while it is open, in whatever thread or task, but what
tasks beside it do inside of ledgers of their own: a server that a test started in a thread
belongs to the test, and two tasks that each count their statements do not count each other's.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

STATEMENTS: Final = "sql.statements"
REQUESTS: Final = "http.requests"
MESSAGES: Final = "messages.published"
HEARD: Final = (STATEMENTS, REQUESTS, MESSAGES)
"""What is heard of libraries; all else that can be counted are instruments."""

CALLS_MAX: Final = 1_000
"""Different calls that a ledger tells apart, 300 bytes each; a test has tens. What is beyond is
counted together, and the totals stay exact."""

OTHERS: Final = "(others)"


class Call(NamedTuple):
    """One statement, request or message; `where` is ``file:line in function``.

    `text` is a statement without its values, a request's address, a message's exchange.
    """

    kind: str
    text: str
    where: str


class Ledger:
    """What was called how often while it was open.

    `parent` is the ledger in whose context it was opened. One that `takes_all` belongs to
    nobody's context: a whole test.
    """

    __slots__ = ("calls", "counts", "is_open", "parent", "takes_all")

    def __init__(self, *, takes_all: bool = False) -> None:
        self.calls: dict[Call, int] = {}
        self.counts: dict[str, int] = {}
        self.parent: Ledger | None = None
        self.is_open = False
        self.takes_all = takes_all

    def open(self) -> None:
        """Count from now on."""
        if not self.takes_all:
            self.parent = _innermost()
            _INNERMOST.set(self)
        with _lock:
            self.is_open = True
            _open.append(self)

    def close(self) -> None:
        """Count no more. May be called in another context than `open`, as generators do."""
        with _lock:
            self.is_open = False
            if self in _open:  # not in a process that was forked meanwhile
                _open.remove(self)
        if _INNERMOST.get() is self:
            _INNERMOST.set(self.parent)

    def is_inside_of(self, other: Ledger) -> bool:
        """Whether this is `other`, or was opened in its context."""
        ledger: Ledger | None = self
        while ledger is not None and ledger is not other:
            ledger = ledger.parent
        return ledger is other

    def takes(self, inner: Ledger | None) -> bool:
        """Whether calls are its own that are made where `inner` is the innermost ledger."""
        return (
            self.takes_all
            or inner is None
            or inner.is_inside_of(self)
            or self.is_inside_of(inner)
        )

    def note(self, call: Call) -> None:
        """Count one call; under the lock."""
        self.counts[call.kind] = self.counts.get(call.kind, 0) + 1
        if call not in self.calls and len(self.calls) >= CALLS_MAX:
            call = Call(call.kind, OTHERS, "")
        self.calls[call] = self.calls.get(call, 0) + 1


_INNERMOST: Final[ContextVar[Ledger | None]] = ContextVar("nilometer.ledger", default=None)
_open: Final[list[Ledger]] = []
_lock = Lock()


def _innermost() -> Ledger | None:
    """The innermost ledger of this context that is still open."""
    ledger = _INNERMOST.get()
    while ledger is not None and not ledger.is_open:
        ledger = ledger.parent
    return ledger


def heard(kind: str, call: Callable[[], Call | None]) -> None:
    """A call is being made; what it is is only asked if somebody wants to know.

    It is counted even if it cannot be told. Raises nothing: it runs in the user's code.
    """
    if not _open:
        return
    inner = _innermost()
    try:
        told = call()
    except Exception:  # noqa: BLE001 - whatever it was, it is one more
        told = Call(kind, OTHERS, "")
    if told is None:
        return
    with _lock:
        for ledger in _open:
            if ledger.takes(inner):
                ledger.note(told)


def after_fork() -> None:
    """A child has none of the ledgers, and no thread of it holds the lock."""
    global _lock
    _lock = Lock()
    for ledger in _open:
        ledger.is_open = False
    _open.clear()


os.register_at_fork(after_in_child=after_fork)
