"""Queries in a body: a filter that is a tree of conditions, and an order, as JSON in texts."""

from __future__ import annotations

import json
from functools import reduce
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.api.ceilometer.faults import Fault, invalid, unknown
from nilometer.api.ceilometer.wanted import (
    Wanted,
    both,
    everything,
    field_named,
    positive,
    sample_where,
)
from nilometer.api.problems import cut
from nilometer.errors import said_by

if TYPE_CHECKING:
    from collections.abc import Sequence

BODY_BYTES_MAX: Final = 1 << 20  # of a filter of 10,000 conditions
DEPTH_MAX: Final = 50
SIMPLE: Final = {
    "=": "eq",
    "!=": "ne",
    "<": "lt",
    "<=": "le",
    "=<": "le",
    ">": "gt",
    ">=": "ge",
    "=>": "ge",
}
Order = tuple[tuple[str, bool], ...]
"""Fields, the first one first, and whether the greatest value of each comes first."""

NEWEST_FIRST: Final[Order] = (("timestamp", True),)
OLDEST_FIRST: Final[Order] = (("timestamp", False),)


class Query(NamedTuple):
    """Which samples, in which order, how many."""

    wanted: Wanted
    order: Order
    limit: int | None


def query_of(body: bytes) -> Query:
    """The query in a request's body."""
    try:
        told = _loaded(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise Fault("Request is not valid JSON") from None
    if not isinstance(told, dict):
        raise Fault("Request is not a JSON object")
    for key in told:
        if key not in ("filter", "orderby", "limit"):
            raise unknown(key)
    limit = told.get("limit")
    return Query(
        wanted_by(_within("filter", told)),
        order_of(_within("orderby", told)),
        None if limit is None else positive(limit),
    )


def _within(key: str, told: dict[str, Any]) -> Any:
    """What the text under that key is as JSON; None if there is none."""
    text = told.get(key)
    if text is None or text == "":
        return None
    if not isinstance(text, str):
        raise invalid(key, text, "it is a text that holds JSON")
    try:
        return _loaded(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(key, cut(said_by(error))) from None


def _loaded(text: str | bytes) -> Any:
    """What JSON says; ValueError where it says half a surrogate: nothing is called so."""
    told = json.loads(text)
    json.dumps(told, ensure_ascii=False).encode()
    return told


def _wrong(key: str, because: str) -> Fault:
    what = "Filter" if key == "filter" else "Order-by"
    return Fault(f"{what} expression not valid: {because}")


def wanted_by(tree: Any, depth: int = 0) -> Wanted:
    """The samples that a filter lets through."""
    if tree is None and not depth:
        return Wanted(everything)
    if depth > DEPTH_MAX:
        raise _wrong("filter", f"nested deeper than {DEPTH_MAX}")
    op, below = _only("filter", tree)
    op = op.lower()
    if op in ("and", "or"):
        if not isinstance(below, list) or len(below) < 2:
            raise _wrong("filter", f"{op} has a list of two at least")
        each = [wanted_by(one, depth + 1) for one in below]
        return reduce(both, each) if op == "and" else _either(each)
    if op == "not":
        test = wanted_by(below, depth + 1).test
        return Wanted(lambda told: not test(told))
    if op == "in":
        return _among(below)
    if op not in SIMPLE:
        choice = ", ".join(("and", "or", "not", "in", *SIMPLE))
        raise _wrong("filter", f"no operator {cut(op)!r} ({choice})")
    name, value = _compared(below)
    if not isinstance(value, str | int | float):
        raise _wrong("filter", f"{cut(value)!r} is no text, number or boolean")
    return sample_where(name, SIMPLE[op], value)


def _either(each: Sequence[Wanted]) -> Wanted:
    """What any of them lets through; of one trace if all of them are of that one."""
    traces = {one.trace_id for one in each}
    trace_id = next(iter(traces)) if len(traces) == 1 else None
    tests = [one.test for one in each]
    return Wanted(lambda told: any(test(told) for test in tests), trace_id)


def _among(below: Any) -> Wanted:
    name, values = _compared(below)
    if not isinstance(values, list) or not values:
        raise _wrong("filter", "in has a list of one at least")
    if not all(isinstance(value, str | int | float) for value in values):
        raise _wrong("filter", "in has a list of texts and numbers")
    return _either([sample_where(name, "eq", value) for value in values])


def _compared(below: Any) -> tuple[str, Any]:
    """A field, as our tables of them call it, and what stands under it."""
    field, value = _only("filter", below)
    name = field_named(field)
    if name is None:
        raise _wrong("filter", f"no field {cut(field)!r}")
    return name, value


def _only(key: str, found: Any) -> tuple[str, Any]:
    if not isinstance(found, dict) or len(found) != 1:
        raise _wrong(key, f"{cut(found)!r} is no object with one member")
    return next(iter(found.items()))


def order_of(found: Any) -> Order:
    """The fields that decide the order, the first one first."""
    if found is None:
        return NEWEST_FIRST
    if not isinstance(found, list):
        raise _wrong("orderby", "it is a list")
    order = []
    for each in found:
        field, direction = _only("orderby", each)
        name = field_named(field)
        if name is None or "." in name:
            raise _wrong("orderby", f"no field {cut(field)!r}")
        if not isinstance(direction, str) or direction.lower() not in ("asc", "desc"):
            raise _wrong("orderby", f"{cut(direction)!r} is neither asc nor desc")
        order.append((name, direction.lower() == "desc"))
    return tuple(order)
