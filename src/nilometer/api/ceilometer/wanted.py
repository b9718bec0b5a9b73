"""What a query of Ceilometer's API asks for: a test, and what of it the tables can look up."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.api.ceilometer.faults import Fault, invalid
from nilometer.api.ceilometer.told import RESOURCE, SOURCE, TYPE, UNIT, VOLUME
from nilometer.model.identity import id_bytes
from nilometer.model.moments import NS_MAX, iso_8601_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.api.ceilometer.told import Told

    Test = Callable[[Told], bool]
    Field = Callable[[Told], Any]

OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "lt": operator.lt,
    "le": operator.le,
    "eq": operator.eq,
    "ne": operator.ne,
    "ge": operator.ge,
    "gt": operator.gt,
}
METADATA: Final = ("metadata.", "resource_metadata.")

SAMPLE_FIELDS: Final[dict[str, Field]] = {
    "message_id": lambda told: told.id,
    "counter_name": lambda told: told.name,
    "counter_type": lambda _: TYPE,
    "counter_unit": lambda _: UNIT,
    "counter_volume": lambda _: VOLUME,
    "resource_id": lambda told: told.resource_id,
    "project_id": lambda _: None,
    "user_id": lambda _: None,
    "source": lambda _: SOURCE,
    "timestamp": lambda told: told.at_ns,
    "recorded_at": lambda told: told.at_ns,
}
ALIASES: Final = {
    "id": "message_id",
    "meter": "counter_name",
    "type": "counter_type",
    "unit": "counter_unit",
    "volume": "counter_volume",
    "resource": "resource_id",
    "project": "project_id",
    "user": "user_id",
}
TIMES: Final = ("timestamp", "recorded_at")

_IDENT: Final = re.compile(r"([0-9a-f]{32})-[0-9a-f]{16}-(?:start|stop)")


class Wanted(NamedTuple):
    """What passes `test`. None of it is elsewhere than in this trace, and in this time.

    An empty `trace_id` is one that cannot be.
    """

    test: Test
    trace_id: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None


def everything(_told: Told) -> bool:
    """The test that all pass."""
    return True


def both(one: Wanted, other: Wanted) -> Wanted:
    """What is wanted by both."""
    traces = {each.trace_id for each in (one, other)} - {None}
    starts = [each.since_ns for each in (one, other) if each.since_ns is not None]
    ends = [each.until_ns for each in (one, other) if each.until_ns is not None]
    return Wanted(
        lambda told: one.test(told) and other.test(told),
        "" if len(traces) > 1 else next(iter(traces), None),
        max(starts, default=None),
        min(ends, default=None),
    )


def by_id(ident: str) -> Wanted:
    """The one of that id."""
    found = _IDENT.fullmatch(ident)
    return Wanted(lambda told: told.id == ident, found[1] if found else "")


def by_base_id(base_id: str, test: Test) -> Wanted:
    """What passes the test, all in the trace that OSProfiler calls so."""
    return Wanted(test, id_bytes(base_id, 16).hex())


def by_time(op: str, at_ns: int) -> Wanted:
    """Before or after that moment."""
    compare = OPERATORS[op]
    wanted = Wanted(lambda told: compare(told.at_ns, at_ns))
    if op in ("ge", "gt", "eq"):
        wanted = wanted._replace(since_ns=at_ns)
    if op in ("le", "lt", "eq"):
        wanted = wanted._replace(until_ns=at_ns + 1)
    return wanted


def moment_of(field: str, value: object) -> int:
    """The time that a query names, in nanoseconds."""
    try:
        at_ns = iso_8601_ns(str(value))
    except ValueError:
        raise invalid(field, value, "invalid timestamp format") from None
    return min(max(at_ns, 0), NS_MAX - 1)


def field_named(name: str) -> str | None:
    """The name of a sample's field in Ceilometer's tables; None if it has no such one."""
    name = ALIASES.get(name, name)
    return name if name in SAMPLE_FIELDS or name.startswith(METADATA) else None


def field_of(name: str) -> Field:
    """What reads the field of that name, as `field_named` answers it."""
    if name in SAMPLE_FIELDS:
        return SAMPLE_FIELDS[name]
    key = name.partition(".")[2].replace(":", ".")
    return lambda told: next(
        (value for name, value in told.metadata.items() if name.replace(":", ".") == key), None
    )


def sample_where(name: str, op: str, value: str | float | bool) -> Wanted:
    """Samples with such a value in the field of that name; what has none has no such."""
    if name in TIMES:
        return by_time(op, moment_of(name, value))
    read, compare = field_of(name), OPERATORS[op]

    def test(told: Told) -> bool:
        found = read(told)
        return found is not None and compared(compare, found, value)

    if op == "eq" and name == "message_id":
        return by_id(str(value))
    if op == "eq" and name == "resource_id":
        base_id = str(value)
        if not base_id.startswith(RESOURCE):
            return Wanted(test, "")
        return by_base_id(base_id.removeprefix(RESOURCE), test)
    if op == "eq" and name in ("metadata.base_id", "resource_metadata.base_id"):
        return by_base_id(str(value), test)
    return Wanted(test)


def compared(compare: Callable[[Any, Any], bool], found: object, value: object) -> bool:
    """As numbers where the query has a number, else as texts."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return compare(str(found), str(value))
    try:
        return compare(float(str(found)), value)
    except ValueError:
        return False


def positive(limit: object) -> int:
    """A limit; OSProfiler asks for 100,000."""
    try:
        told = int(str(limit))
    except ValueError:
        raise invalid("limit", limit, "unable to convert to int") from None
    if told <= 0:
        raise Fault("Limit must be positive")
    return told
