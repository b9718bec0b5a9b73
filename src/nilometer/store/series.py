"""Which series of an instrument a question is about, and how they are grouped.

This is decided on the few distinct series, in Python, so that any text may be a dimension's
name or value; the SQL over the many readings then only knows numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from nilometer.store.jsontext import decode_attributes, decode_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.model import AttributeValue, Dimensions

RESOURCE_COLUMNS: Final = ("service", "host", "pid", "region", "zone", "version")


class Series(NamedTuple):
    """One series of an instrument: which process measured it, with which dimensions.

    All that tells two series apart is in here; `resource` are more attributes of the process.
    """

    series: int
    kind: str
    unit: str
    service: str
    host: str
    pid: int
    region: str
    zone: str
    version: str
    resource: Mapping[str, AttributeValue]
    scope: str
    dimensions: Dimensions
    ended_ns: int

    def told(self) -> dict[str, str]:
        """Everything it can be chosen or grouped by; a dimension goes before a column."""
        columns = {name: str(getattr(self, name)) for name in RESOURCE_COLUMNS}
        return columns | dict(self.dimensions)


def series_of(row: Mapping[str, Any]) -> Series:
    """The series that a row tells."""
    pairs = cast("Dimensions", decode_pairs(row["dimensions"]))
    further = decode_attributes(row["resource"])
    return Series(**{**row, "dimensions": pairs, "resource": further})


def matching(found: Sequence[Series], where: Mapping[str, str]) -> list[Series]:
    """Those that have all these values."""
    asked = where.items()
    return [each for each in found if asked <= each.told().items()] if where else list(found)


class Parts(NamedTuple):
    """Which part of the answer each series belongs to: one per group, kind and unit."""

    groups: list[tuple[str | None, ...]]  # by the part's number
    series: list[int]
    parts: list[int]  # the number of the part, by series


def parted(found: Sequence[Series], group_by: Sequence[str]) -> Parts:
    """The series by their values of `group_by`; None stands for a dimension one does not have.

    Instruments of one name and different kind or unit are never added up.
    """
    keys = []
    for each in found:
        told = each.told() if group_by else {}
        keys.append((tuple(told.get(name) for name in group_by), each.kind, each.unit))
    ordered = sorted(set(keys), key=_in_order)
    number = {key: index for index, key in enumerate(ordered)}
    return Parts(
        [group for group, _, _ in ordered],
        [each.series for each in found],
        [number[key] for key in keys],
    )


def _in_order(key: tuple[tuple[str | None, ...], str, str]) -> tuple[Any, ...]:
    """Groups by their values, those without one first."""
    return [(value is not None, value or "") for value in key[0]], key[1:]
