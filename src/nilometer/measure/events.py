"""Event sources: one thing that happened, with its dimensions, kept until the next collect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.model.dimensions import text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.model import AttributeValue, Event, Level

# 10 s between collects at a thousand events a second.
EVENTS_MAX: Final = 10_000

# So many events with the usual half KiB of text take 5 MiB; these with all their objects 8.
EVENTS_CHARS_MAX: Final = 8 << 20

# Monasca's limit on a dimension's value, the lowest of the systems we feed; four such
# dimensions still fit a datagram of 1,432 bytes.
TEXT_CHARS_MAX: Final = 255

# Twice what OpenTelemetry's conventions ever ask for, as for spans.
ATTRIBUTES_MAX: Final = 64

# Event attributes go to logs, not to keys: as long as a path or a statement usefully is.
ATTRIBUTE_CHARS_MAX: Final = 4096


class EventSource:
    """Notes single happenings under one name, while it is on."""

    __slots__ = ("_fixed", "_keep", "description", "level", "name", "on", "origin")

    kind = "event"
    unit = "1"
    series_count = 0
    overflowed = 0

    def __init__(
        self,
        keep: Callable[[str, dict[str, Any]], None],
        name: str,
        level: Level,
        description: str,
        origin: str,
    ) -> None:
        self._keep = keep
        self.name = name
        self.level = level
        self.description = description
        self.origin = origin
        self.on = False

    def emit(self, /, **attributes: object) -> None:
        """Note that it happened now. Values that are no text, number or truth become text."""
        if self.on:
            self._keep(self.name, attributes)

    def bind(self, /, **dimensions: object) -> BoundEventSource:
        """Return a source that adds these dimensions to each event."""
        return BoundEventSource(self, dimensions)


class EventBuffer:
    """Events until the next collect, bounded by their number and by the text they carry."""

    __slots__ = ("_chars", "_events", "kept")

    def __init__(self) -> None:
        self.kept = 0  # ever, for what they cost; two threads at once may count one
        self.take()

    @property
    def is_full(self) -> bool:
        """Whether the next event must be counted instead of kept."""
        return len(self._events) >= EVENTS_MAX or self._chars >= EVENTS_CHARS_MAX

    def keep(self, event: Event) -> None:
        """Keep an event; asks no more whether there is room."""
        values = event.attributes.values()
        self._chars += sum(map(len, event.attributes))
        self._chars += sum(len(value) for value in values if isinstance(value, str))
        self.kept += 1
        self._events.append(event)  # a line of its own: a take may swap the list before it

    def take(self) -> tuple[Event, ...]:
        """Return all that was kept, and begin again."""
        taken: list[Event] = getattr(self, "_events", [])
        self._events: list[Event] = []
        self._chars = 0
        return tuple(taken)


class BoundEventSource:
    """An event source with fixed dimensions."""

    __slots__ = ("_dimensions", "_source")

    def __init__(self, source: EventSource, dimensions: dict[str, object]) -> None:
        self._source = source
        self._dimensions = dimensions

    def __getattr__(self, name: str) -> Any:
        if name == "_source":  # not yet set, when a copy is being made
            raise AttributeError(name)
        return getattr(self._source, name)

    def emit(self, /, **attributes: object) -> None:
        """Note that it happened now."""
        self._source.emit(**{**self._dimensions, **attributes})

    def bind(self, /, **dimensions: object) -> BoundEventSource:
        """Return a source that adds these dimensions too."""
        return BoundEventSource(self._source, {**self._dimensions, **dimensions})


def attributes_of(mapping: dict[str, object]) -> dict[str, AttributeValue]:
    """What an event carries: numbers and truth values as they are, all else as clean text.

    >>> attributes_of({"host": "c1", "attempt": 2, "path": ("a", "b")})
    {'host': 'c1', 'attempt': 2, 'path': "('a', 'b')"}
    """
    attributes: dict[str, AttributeValue] = {}
    for name, value in list(mapping.items())[:ATTRIBUTES_MAX]:
        if type(value) in (int, float, bool):
            attributes[name] = value  # type: ignore[assignment]
        else:
            attributes[name] = clean(text_of(value)[:ATTRIBUTE_CHARS_MAX])
    return attributes


def clean(text: str) -> str:
    """The text without lone surrogates, which no encoder downstream would take.

    >>> clean("caf\\udce9")
    'caf?'
    """
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")
