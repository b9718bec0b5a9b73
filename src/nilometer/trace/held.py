"""What a span on the flight recorder holds, and how many bytes; both twins ask here.

A traced request's span holds values as they were set until it is read. One on the flight
recorder waits for the end of its request, and each request has some: so where it ends, what may
be large, may change or may hold anything becomes text. No code of the application's runs for
that: it may wait for a lock that whoever ends the span has.
"""

from __future__ import annotations

import sys
from itertools import chain
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

from nilometer.trace.limits import (
    ATTRIBUTE_BYTES,
    EVENT_BYTES,
    ITEMS_REPR_MAX,
    NAME_CHARS_MAX,
    SPAN_BYTES,
    bounded,
    class_name,
    name_of,
)

if TYPE_CHECKING:
    from nilometer.model import AttributeValue

    Held = AttributeValue | None
    Happened = tuple[str, int, dict[str, Any]]

ANY_BYTES: Final = sys.maxsize
"""The room of a ring whose bytes nobody counts."""

_CONTAINERS: Final = frozenset(map(id, [list, tuple, dict, set, frozenset]))
_SIMPLE: Final = frozenset(
    map(id, [str, int, float, bool, NoneType, complex, bytes, bytearray, range])
)
"""By id: to look up a class itself asks its metaclass, which is code, for its hash."""

_ELSEWHERE: Final = {
    "datetime": ("datetime", "date", "timedelta"),
    "uuid": ("UUID",),
    "decimal": ("Decimal",),
}
"""By name: most services set none of them, and importing them takes a millisecond."""


def held(value: object) -> Held:
    """What is held of an attribute's value: what `bounded` makes of it, if nobody's code runs.

    A container of other things than numbers, texts and the like is told by its size, and an
    object of a class that is not known by its class.

    >>> class Instance: ...
    >>> held(7), held(["x"]), held(None), held([Instance()]) # doctest: +ELLIPSIS
    (7, "['x']", None, '<list of 1 items>')
    """
    if value is None:
        return None
    kind = type(value)
    if issubclass(kind, str | int | float) or _is_simple(value):
        return bounded(value)
    if id(kind) in _CONTAINERS:
        return f"<{kind.__name__} of {len(value)} items>"  # type: ignore[arg-type]
    return f"<{class_name(kind)}>"


def _is_simple(value: object) -> bool:
    """Whether it consists of known things alone: of so many that they can be looked at."""
    left: list[Any] = [value]
    looked_at = 0
    try:
        while left:
            one = left.pop()
            kind = type(one)
            if id(kind) in _CONTAINERS:
                looked_at += len(one)
                if looked_at > ITEMS_REPR_MAX:
                    return False
                left.extend(chain(one, one.values()) if kind is dict else one)
            elif id(kind) not in _SIMPLE and not _is_simple_elsewhere(one, kind):
                return False
    except RuntimeError:  # another thread changes it just now
        return False
    return True


def _is_simple_elsewhere(value: Any, kind: type) -> bool:
    for module, names in _ELSEWHERE.items():
        known = vars(sys.modules[module]) if module in sys.modules else {}
        if any(kind is known.get(name) for name in names):
            return _is_in_a_known_zone(value, known) if module == "datetime" else True
    return False


def _is_in_a_known_zone(value: Any, known: dict[str, Any]) -> bool:
    """Whether a zone of the application's, which may be anything, has no part in it."""
    if type(value) is not known["datetime"] or value.tzinfo is None:
        return True
    zone: Any = value.tzinfo
    if type(zone) is known["timezone"]:
        return type(zone.utcoffset(None)) is known["timedelta"] and (
            type(zone.tzname(None)) is str
        )
    zoneinfo = sys.modules.get("zoneinfo")
    return (
        zoneinfo is not None
        and type(zone) is vars(zoneinfo).get("ZoneInfo")
        and type(zone.key) in (str, NoneType)
    )


def held_name(value: object) -> str:
    """What is held of a name."""
    return name_of(held(value))


def set_name(span: Any, name: str) -> None:
    """Name a span of the Python twin that has not ended: once it has, its bytes are counted."""
    if span._ended is None:
        span._name = name


def delete_name(span: Any) -> None:
    """Leave it without a name."""
    if span._ended is None:
        del span._name


def held_attributes(given: dict[str, Any]) -> dict[str, Held]:
    """What is held of attributes."""
    return {_name_of(name): held(one) for name, one in given.items()}


def _name_of(name: str) -> str:
    return name if type(name) is str and len(name) <= NAME_CHARS_MAX else held_name(name)


def hold(span: Any) -> int:
    """Let a span of the Python twin hold what it may; its bytes. C's is ``held.h``."""
    span._attributes = held_attributes(span._attributes)
    span._message = held(span._message)
    weight = SPAN_BYTES + _weight_of(span._message) + _weight_of_all(span._attributes)
    if hasattr(span, "name"):
        span._name = held_name(span.name)
        weight += len(span.name)
    events: list[Happened] = []
    for name, at, attributes in span._events or ():
        events.append((held_name(name), at, held_attributes(attributes)))
        weight += EVENT_BYTES + len(events[-1][0]) + _weight_of_all(events[-1][2])
    span._events = events
    return weight


def _weight_of_all(attributes: dict[str, Any]) -> int:
    return sum(
        ATTRIBUTE_BYTES + len(name) + _weight_of(value) for name, value in attributes.items()
    )


def _weight_of(value: Held) -> int:
    """The bytes of a text; a number's are part of its place."""
    if not isinstance(value, str) or not value:
        return 0
    highest = ord(max(value))
    return len(value) * (1 if highest < 2**8 else 2 if highest < 2**16 else 4)
