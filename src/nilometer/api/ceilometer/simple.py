"""Queries in a URL: ``q.field=...&q.op=eq&q.type=&q.value=...``, each once per condition."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl

from nilometer.api.ceilometer.faults import Fault, invalid, unknown
from nilometer.api.ceilometer.told import DATETIME
from nilometer.api.ceilometer.wanted import (
    METADATA,
    OPERATORS,
    TIMES,
    Wanted,
    both,
    by_base_id,
    by_id,
    by_time,
    everything,
    field_named,
    moment_of,
    positive,
    sample_where,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.api.ceilometer.told import Told

LIMIT: Final = 100
"""What Ceilometer answers at most if no limit is told."""

CONDITIONS_MAX: Final = 100
PARTS: Final = ("q.field", "q.op", "q.type", "q.value")
TYPES: Final[dict[str, Callable[[str], Any]]] = {
    "string": str,
    "integer": int,
    "float": float,
    "datetime": str,
}
ONLY: Final = {"event_type": "eq", "message_id": "eq"} | {
    "start_timestamp": "ge",
    "end_timestamp": "le",
}
"""Fields of events that are no traits, and the one operator that each has."""


class Condition(NamedTuple):
    """One condition; `op` is among OPERATORS, `type` may be empty."""

    field: str
    op: str
    type: str
    value: str


class Asked(NamedTuple):
    """What a URL says: its conditions, and its other parameters, each once."""

    conditions: list[Condition]
    told: dict[str, str]

    @property
    def limit(self) -> int:
        """How much is to be answered at most."""
        return positive(self.told.get("limit", LIMIT))


def asked(query: bytes, *known: str) -> Asked:
    """What the URL says; besides conditions and a limit it may have what is `known`."""
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    told: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name in parts:
            parts[name].append(value)
        elif name in ("limit", *known):
            told[name] = value
        else:
            raise unknown(name)
    fields = parts["q.field"]
    if len(fields) > CONDITIONS_MAX:
        raise Fault(f"at most {CONDITIONS_MAX} conditions")
    for part in ("q.op", "q.type"):
        parts[part] = parts[part] or [""] * len(fields)
    for part, values in parts.items():
        if len(values) != len(fields):
            raise invalid(part, len(values), f"as many as q.field are due: {len(fields)}")
    return Asked([_condition(*each) for each in zip(*parts.values(), strict=True)], told)


def _condition(field: str, op: str, kind: str, value: str) -> Condition:
    if op and op not in OPERATORS:
        raise Fault(
            f"Operator {op} is not supported. The supported operators are: {tuple(OPERATORS)}"
        )
    return Condition(field, op or "eq", kind, value)


def wanted_events(conditions: list[Condition]) -> Wanted:
    """The events that meet all the conditions: of type, id and time, and of any trait."""
    return _all(map(_event_where, conditions))


def wanted_samples(conditions: list[Condition]) -> Wanted:
    """The samples that meet all the conditions."""
    return _all(map(_sample_where, conditions))


def _all(each: Any) -> Wanted:
    return reduce(both, each, Wanted(everything))


def _event_where(condition: Condition) -> Wanted:
    field, op, _, value = condition
    if op != ONLY.get(field, op):
        raise Fault(
            f"Operator {op} is not supported. Only `{ONLY[field]}' operator is available for "
            f"field {field}"
        )
    if field == "event_type":
        return Wanted(lambda told: told.event_type == value)
    if field == "message_id":
        return by_id(value)
    if field in ("start_timestamp", "end_timestamp"):
        return by_time(op, moment_of(field, value))
    return _trait_where(condition)


def _trait_where(condition: Condition) -> Wanted:
    """Events with such a trait. Only texts are compared with texts, times with times."""
    field, op, kind, value = condition
    kind = kind or "string"
    if kind not in TYPES:
        raise Fault(
            f"The data type {kind} is not supported. The supported data type list is: "
            f"{list(TYPES)}"
        )
    try:
        TYPES[kind](value)
    except ValueError:
        raise Fault(
            f"Unable to convert the value {value} to the expected data type {kind}."
        ) from None
    if kind == "datetime":
        at = by_time(op, moment_of(field, value))
        return at if field == DATETIME else Wanted(_nothing, "")
    if kind != "string":
        return Wanted(_nothing, "")
    compare = OPERATORS[op]

    def test(told: Told) -> bool:
        found = told.traits.get(field)
        return found is not None and compare(found, value)

    return by_base_id(value, test) if (field, op) == ("base_id", "eq") else Wanted(test)


def _nothing(_told: Told) -> bool:
    return False


def _sample_where(condition: Condition) -> Wanted:
    field, op, _, value = condition
    name = field_named(field)
    if name is None:
        raise unknown(field, "unrecognized field in query")
    if op != "eq" and name not in TIMES:
        raise invalid("op", op, f"unimplemented operator for {field}")
    if op in ("eq", "ne") and name in TIMES:
        raise invalid("op", op, f"unimplemented operator for {field}")
    if name.startswith(METADATA) and condition.type not in ("", "string", "boolean", *TYPES):
        raise Fault(f"The data type {condition.type} is not supported.")
    return sample_where(name, op, value)
