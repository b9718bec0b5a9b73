"""What each integration costs at rest, untraced and traced, beside its peers in the same run.

A case belongs here by its name: ``<what> switched off``, ``<what> untraced`` or ``<what>
traced``, each with or without ``, its call``. Whoever adds cases so named, of ours and of a
peer's, has added a row; nothing here need be changed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OURS: Final = "nilometer C"
JUDGED_BY: Final = "OpenTelemetry"
PEERS: Final = (JUDGED_BY, "ddtrace")
SHARE_MAX: Final = 0.1  # of what OpenTelemetry's instrumentation of the same library takes
OFF, UNTRACED, TRACED = STATES = "switched off", "untraced", "traced"

NO_INTEGRATIONS: Final = frozenset({"span", "coroutine span", "patched span"})
"""What is measured in the same states, and is no library's: our own wrappers."""

_NAME: Final = re.compile(
    rf"(?P<what>.+?) (?P<state>{'|'.join(STATES)})(?P<part>, its call)?"
).fullmatch


def place_of(case: str) -> tuple[str, str] | None:
    """What a case measures, and in which state; None if it is no integration's.

    >>> place_of("psycopg traced, its call"), place_of("span recorded")
    (('psycopg, its call', 'traced'), None)
    """
    found = _NAME(case)
    if found is None or found["what"] in NO_INTEGRATIONS:
        return None
    return found["what"] + (found["part"] or ""), found["state"]


def rows_of(cases: Iterable[Mapping[str, Any]], floor_ns: float) -> list[dict[str, Any]]:
    """A row for each integration, of the figures of one run.

    Each figure is brought to the floor of the whole run by the floor of its own process; a
    share is between two floors, with what is uncertain of either.
    """
    found: dict[str, dict[tuple[str, str], Mapping[str, Any]]] = {}
    for case in cases:
        place = place_of(case["case"])
        if place is not None and not case["failure"]:
            found.setdefault(place[0], {})[case["peer"], place[1]] = case
    return [
        row_of(what, figures, floor_ns)
        for what, figures in found.items()
        if any(peer == OURS for peer, _ in figures)
    ]


def row_of(
    what: str, figures: Mapping[tuple[str, str], Mapping[str, Any]], floor_ns: float
) -> dict[str, Any]:
    """One integration; what was not measured is None."""

    def ns(peer: str, state: str) -> float | None:
        case = figures.get((peer, state))
        return None if case is None else round(case["thread_ns"] * floor_ns / case["floor_ns"])

    shares = {
        state: share_of(figures[OURS, state], figures[JUDGED_BY, state])
        for state in STATES
        if {(OURS, state), (JUDGED_BY, state)} <= figures.keys()
    }
    return {
        "what": what,
        "ns": {peer: {state: ns(peer, state) for state in STATES} for peer in (OURS, *PEERS)},
        "shares": shares,
        "verdict": verdict([share for share in shares.values() if share is not None]),
    }


def share_of(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[float] | None:
    """Our cost by theirs: least, middle and most; None where theirs is noise."""
    if theirs["floors_low"] <= 0:
        return None
    middle = ours["thread_ns"] / ours["floor_ns"] / (theirs["thread_ns"] / theirs["floor_ns"])
    low, high = ours["floors_low"], ours["floors_high"]
    least = low / (theirs["floors_high"] if low > 0 else theirs["floors_low"])
    return [round(share, 4) for share in (least, middle, high / theirs["floors_low"])]


def verdict(shares: list[list[float]]) -> str:
    """Of all states together; nothing where there is nothing to compare with."""
    if not shares:
        return ""
    if any(least > SHARE_MAX for least, _, _ in shares):
        return "missed"
    return "met" if all(most <= SHARE_MAX for _, _, most in shares) else "within noise"


HEADINGS: Final = (
    *("integration", *STATES, "OpenTelemetry", "traced", "ddtrace", "traced"),
    *("share", "traced", "of a tenth"),
)


def cells_of(row: Mapping[str, Any]) -> list[str]:
    """A row as it is shown, in the order of `HEADINGS`."""
    ours, *peers = (row["ns"][peer] for peer in (OURS, *PEERS))
    shown = [ours[state] for state in STATES]
    shown += [peer[state] for peer in peers for state in (UNTRACED, TRACED)]
    figures = ["" if ns is None else f"{ns:,.0f}" for ns in shown]
    shares = [as_share(row["shares"].get(state)) for state in (UNTRACED, TRACED)]
    return [row["what"], *figures, *shares, row["verdict"]]


def as_share(share: list[float] | None) -> str:
    """A share as one part of so many; of what costs nothing, nothing."""
    if share is None:
        return ""
    return f"1/{1 / share[1]:,.0f}" if share[1] > 0 else "0"


def table_of(rows: Iterable[Mapping[str, Any]]) -> Table:
    """All integrations, for a terminal."""
    table = Table(box=None, title_justify="left", padding=(0, 1))
    table.title = "integrations: ns added to a call, and our share of OpenTelemetry's"
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == HEADINGS[0] else "right")
    for row in rows:
        table.add_row(*cells_of(row))
    return table
