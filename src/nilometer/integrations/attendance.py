"""Who needs each request attended to in Python: while nobody does, most of them pass in C."""

from __future__ import annotations

from typing import Final

from nilometer.integrations.exchange import attend_all

_asking: Final[set[object]] = set()


def attend_for(who: object, on: bool) -> None:
    """Have each request attended to for the sake of `who` from now on, or no more."""
    (_asking.add if on else _asking.discard)(who)
    attend_all(bool(_asking))
