"""Of which topic something is that a source of `nilometer bench persister` tells."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

TOPIC: Final = "messaging.destination.name"
"""The dimension that tells it."""

METRICS: Final = "metrics"

_IN_NAME: Final = re.compile(rf"[{{,]{re.escape(TOPIC)}=([^,}}]*)")


class Of(NamedTuple):
    """Which of what is told is of one topic; `is_told` where anything is said to be.

    What says no topic, as the Java persister's names, is of metrics, or of the only one.
    """

    topic: str
    is_told: bool

    @classmethod
    def these(cls, topic: str, told: Collection[str]) -> Of:
        """Of all the topics that are told, "" where none is."""
        return cls(topic, topic in told)

    def fits(self, told: str) -> bool:
        """Whether what tells this topic is meant."""
        if told:
            return told == self.topic
        return self.topic == METRICS or not self.is_told


def topic_in(name: str) -> str:
    """The topic that one of DropWizard's names tells in its dimensions, "" if none.

    >>> topic_in("monasca.persister.received{messaging.destination.name=events,thread=1}")
    'events'
    """
    match = _IN_NAME.search(name)
    return match[1] if match else ""
