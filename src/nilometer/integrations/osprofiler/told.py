"""What OSProfiler's callers tell of a point, as attributes of a span.

Names are OpenTelemetry's where it has one. Values of the application (arguments, results,
parameters) are kept apart: `values_of` has them, `attributes_of` does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.statement import normalised, operation_of

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES: Final = {
    ("request", "method"): "http.request.method",
    ("request", "path"): "url.path",
    ("request", "scheme"): "url.scheme",
    ("requests", "method"): "http.request.method",
    ("requests", "path"): "url.path",
    ("requests", "scheme"): "url.scheme",
    ("requests", "hostname"): "server.address",
    ("requests", "port"): "server.port",
    ("requests", "status_code"): "http.response.status_code",
    ("function", "name"): "code.function.name",
}
"""Queries are left out: they are where tokens and names of people are."""

VALUES: Final = {
    ("function", "args"): "osprofiler.args",
    ("function", "kwargs"): "osprofiler.kwargs",
    ("function", "result"): "osprofiler.result",
    ("db", "params"): "osprofiler.params",
    ("db", "result"): "osprofiler.result",
}
GROUPS: Final = {group for group, _ in (*NAMES, *VALUES)}
NOT_TOLD: Final = frozenset({"host", "etype", "message"})
"""The host is the resource's; how a point failed is its status."""


def attributes_of(info: Any) -> dict[str, object]:
    """What may be told of a point; nothing of what cannot be read.

    >>> attributes_of({"db": {"statement": "SELECT 'a'", "params": ["secret"]}, "zone": 3})
    {'db.operation.name': 'SELECT', 'db.query.text': 'SELECT ?', 'zone': 3}
    """
    if not isinstance(info, dict):
        return {}
    found: dict[str, object] = {}
    for key, value in info.items():
        if key in GROUPS and isinstance(value, dict):
            found |= _renamed(key, value, NAMES)
            if key == "db":
                found |= _statement(value)
        elif key not in NOT_TOLD:
            found[str(key)] = value
    return found


def values_of(info: Any) -> dict[str, object]:
    """The application's own values, as text; for operators who want them.

    >>> values_of({"function": {"name": "f", "args": "(1,)"}, "db": {"params": {"a": 1}}})
    {'osprofiler.args': '(1,)', 'osprofiler.params': "{'a': 1}"}
    """
    if not isinstance(info, dict):
        return {}
    found: dict[str, object] = {}
    for key, value in info.items():
        if key in GROUPS and isinstance(value, dict):
            told = _renamed(key, value, VALUES)
            found |= {name: str(one) for name, one in told.items() if one is not None}
    return found


def _renamed(
    group: str, told: Mapping[str, Any], names: Mapping[tuple[str, str], str]
) -> dict[str, object]:
    known = {names.get((group, key)): value for key, value in told.items()}
    return {name: value for name, value in known.items() if name is not None}


def _statement(told: Mapping[str, Any]) -> dict[str, object]:
    statement = told.get("statement")
    if not isinstance(statement, str):
        return {}
    return {
        "db.operation.name": operation_of(statement),
        "db.query.text": normalised(statement, double_quotes_strings=None),
    }
