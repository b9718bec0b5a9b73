"""OTLP's attributes, resources and numbers as ours; shared by the three decoders."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.errors import WireError
from nilometer.model import Batch, Resource
from nilometer.wire.attributes import text_of_any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nilometer.model import AttributeValue, Event, Reading, SpanRecord

TIME_NS_MAX: Final = 2**63 - 1
"""The year 2262. The tables keep 63 bits; one value beyond would fail a whole commit."""

_FIELDS: Final = {
    "service.name": "service",
    "service.version": "version",
    "host.name": "host",
    "cloud.region": "region",
    "cloud.availability_zone": "zone",
}


class Rejected(dict[str, int]):
    """How many items were refused, by reason.

    `example` says what was wrong with the first that has a member of a wrong type.
    """

    __slots__ = ("example",)

    def __init__(self, counts: Mapping[str, int], example: str = "") -> None:
        super().__init__(counts)
        self.example = example


class Decoded(NamedTuple):
    """What a request held: a batch per resource, and how many of its items were refused."""

    batches: tuple[Batch, ...]
    rejected: Rejected

    @property
    def because(self) -> str:
        """The refusals in words for the sender; empty if there are none."""
        counts = ", ".join(f"{reason}: {n}" for reason, n in sorted(self.rejected.items()))
        return f"{counts} ({self.rejected.example})" if self.rejected.example else counts


ROWS_MAX: Final = 1 << 18
"""Of one request: 64 bytes each in the largest body the collector takes; a span without any
attribute has 80. Decoded and made ready for the tables a row takes some 2 kB: 0.5 GB."""


class Inbox:
    """Rows gathered by resource, and refusals by reason, while one request is read."""

    def __init__(self) -> None:
        self._expected = 0
        self.rejected: Counter[str] = Counter()
        self.example = ""  # what was wrong with one of them
        self.buckets = 0  # of all distributions so far
        self._rows: dict[Resource, tuple[list[Any], list[Any], list[Any]]] = {}

    def of(self, resource: Any) -> tuple[list[Reading], list[SpanRecord], list[Event]]:
        """The rows of the resource that this message tells; equal ones share theirs."""
        return self._rows.setdefault(resource_of(resource), ([], [], []))

    def expect(self, rows: int) -> None:
        """So many rows come next; WireError ``too-large`` if all together are too many."""
        self._expected += rows
        if self._expected > ROWS_MAX:
            raise WireError(
                f"more than {ROWS_MAX} spans, points or records; send smaller batches",
                reason="too-large",
            )

    def decoded(self) -> Decoded:
        """What was gathered; resources without any row are left out."""
        batches = [
            Batch(resource, tuple(readings), tuple(spans), tuple(events))
            for resource, (readings, spans, events) in self._rows.items()
            if readings or spans or events
        ]
        return Decoded(tuple(batches), Rejected(self.rejected, self.example))


def value_of(value: Any) -> AttributeValue:
    """An AnyValue; what is no single value is told as JSON text."""
    kind = value.WhichOneof("value")
    if kind in _PLAIN:
        return getattr(value, kind)  # type: ignore[no-any-return]
    return json_text(_nested(value))


def json_text(value: Any) -> str:
    """What is told of a value that no attribute may have: lists, pairs, nothing."""
    return json.dumps(value, ensure_ascii=False)


def base64_text(content: bytes) -> str:
    """As bytes stand in JSON."""
    return b64encode(content).decode()


_PLAIN: Final = frozenset({"string_value", "int_value", "bool_value", "double_value"})


def _nested(value: Any) -> Any:
    """Recursion is bounded by the 100 levels that protobuf allows."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_nested(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _nested(pair.value) for pair in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64_text(value.bytes_value)
    return getattr(value, kind) if kind in _PLAIN else None


def attributes_of(pairs: Iterable[Any]) -> dict[str, AttributeValue]:
    """By key; of a key given twice the last."""
    found: dict[str, AttributeValue] = {}
    for pair in pairs:
        value = pair.value
        # Asking for text first is right for nearly all and three times as fast.
        found[pair.key] = value.string_value or value_of(value)
    return found


def dimensions_of(pairs: Iterable[Any]) -> tuple[tuple[str, str], ...]:
    """Attributes as a series has them: text, sorted by key."""
    if not pairs:
        return ()
    found = attributes_of(pairs)
    return tuple(sorted((key, _text(value)) for key, value in found.items()))


def _text(value: AttributeValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def resource_of(message: Any) -> Resource:
    """The inverse of `otlp_pure.resource_attributes`."""
    told: dict[str, Any] = {}
    others: dict[str, AttributeValue] = {}
    for key, value in attributes_of(message.attributes).items():
        if key in _FIELDS:
            told[_FIELDS[key]] = value if isinstance(value, str) else text_of_any(value)
        elif key == "process.pid" and type(value) is int and value > 0:
            told["pid"] = value
        else:
            others[key] = value
    return Resource(**told, attributes=tuple(sorted(others.items())))
