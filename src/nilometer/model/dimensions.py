"""What tells one series of an instrument from another."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

AttributeValue = str | int | float | bool
"""What a span, an event or a resource may carry under a name. Dimensions are text only."""

Dimensions = tuple[tuple[str, str], ...]
"""Pairs sorted by key: two series with the same dimensions compare and hash equal."""


def text_of(value: object) -> str:
    """A dimension's value as text; truth values as JSON and OpenTelemetry write them.

    A ``__str__`` that fails is told as such: what is measured must not fail by us.

    >>> text_of(200), text_of(True), text_of("GET")
    ('200', 'true', 'GET')
    """
    if type(value) is str:  # no call, which would fail where the stack has no room left
        return value
    if value is True:
        return "true"
    if value is False:
        return "false"
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 (somebody else's __str__ may raise anything)
        return f"<{type(value).__name__}: {type(error).__name__} in str>"


def dimensions_of(mapping: Mapping[str, object]) -> Dimensions:
    """The one form of a set of dimensions.

    >>> dimensions_of({"tenant": "acme", "code": 200})
    (('code', '200'), ('tenant', 'acme'))
    """
    return tuple(sorted((str(key), text_of(value)) for key, value in mapping.items()))
