"""Whether a request can be traced in this process: until one can, what is OFF may rest.

Somebody has to have a key, or may join, or record for himself, or begin a trace in code. Once
that was so it stays so: what follows has been put to work, and knows when to pass calls on.
"""

from __future__ import annotations

from nilometer.measure.registry import follow_all


class _Process:
    can_trace = False


def can_trace() -> bool:
    """Whether a request can be traced from now on."""
    return _Process.can_trace


def may_trace() -> None:
    """From now on one can; who follows levels follows this."""
    if not _Process.can_trace:
        _Process.can_trace = True
        follow_all()
