"""What was lost or refused, as counters tell it: whether it wants a person, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

LOST: Final = "nilometer.lost"
REJECTED: Final = "nilometer.collector.rejected"
DUPLICATES: Final = "nilometer.collector.duplicates"

LOSSES: Final = {
    LOST: ("what", "reason"),
    "nilometer.series.overflow": ("instrument",),
    REJECTED: ("door", "reason"),
    "nilometer.collector.commit.failed": ("reason",),
    "nilometer.collector.clamped": ("kind",),
    DUPLICATES: ("kind",),
}
"""The counters of whatever was lost, refused, misdated or taken for a duplicate, and what says
what and why."""

_BY_COUNTER: Final = {
    "nilometer.series.overflow": (
        "An instrument has more series than it may: give its dimensions fewer values, or let "
        "it have more in the settings."
    ),
    "nilometer.collector.commit.failed": (
        "The tables refused commits: see whether the disk is full. Senders come again."
    ),
    "nilometer.collector.clamped": (
        "A sender's clock is off by weeks: set it. Of old traces that were imported: nothing, "
        "they are kept from the day they came."
    ),
    DUPLICATES: "Nothing: what was sent again counts once.",
}
_BY_REASON: Final = {
    "ring_full": "More spans ended than were sent: shorten the interval, or trace less.",
    "budget_spans": "One request made more spans than spans_per_trace allows: raise that.",
    "limit": "More attributes or events than a span may have: set fewer.",
    "buffer_full": (
        "The exporter's receiver was away for longer than the buffer lasts: see whether it "
        "runs, and whether the URL is right."
    ),
    "process_killed": "A process was killed in the midst of an interval: look for what did it.",
    "kernel-buffer-full": (
        "Datagrams came faster than they could be read: raise net.core.rmem_max, or have "
        "senders put more into each."
    ),
    "torn": "A commit was cut off, by a power cut for instance; nothing can be done about it.",
    "unreadable": "Files of the tables cannot be read: restore them; they are read again then.",
    "no-token": "Somebody asked without a token: give the sender one, if it is yours.",
    "wrong-token": "Somebody asked with a wrong token: renew it, if the sender is yours.",
    "path": "A sender was told a path that is none: OTLP goes to /v1/traces, metrics and logs.",
    "overloaded": "The collector was busy; senders come again. If it lasts, give it more CPU.",
    "foreign-host": "Somebody asked by a name that is not this machine's: start with tokens.",
}
_ELSE: Final = "Look at the reason in the docs' messages, and at the log of the service."


class Loss(NamedTuple):
    """So many items, of a service, by the counter and the dimensions that say what and why."""

    service: str
    name: str
    dimensions: Mapping[str, str]
    items: int

    @property
    def wants_a_person(self) -> bool:
        """Whether something is missing."""
        return wants_a_person(self.name, self.dimensions)

    @property
    def advice(self) -> str:
        """What to do about it."""
        if self.name in _BY_COUNTER:
            return _BY_COUNTER[self.name]
        if not self.wants_a_person:
            return "Nothing: a question was refused, and said so; nobody's data was lost."
        return _BY_REASON.get(self.dimensions.get("reason", ""), _ELSE)


def wants_a_person(name: str, dimensions: Mapping[str, str]) -> bool:
    """Whether something is missing: a question that was refused lost nobody's data, and rows
    that came again are there once."""
    return dimensions.get("door") != "rest" and name != DUPLICATES
