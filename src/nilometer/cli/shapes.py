"""What the collector's answers look like; whatever answers otherwise is not our collector.

An answer is checked once, at the door; inside, commands trust it. A shape is a type, a tuple of
types, ``[shape]`` for a list, or a dict of the members that commands read.
"""

from __future__ import annotations

from types import NoneType
from typing import Any, Final

Shape = Any
NUMBER: Final = (int, float)
MAYBE: Final = (int, float, NoneType)

TRACES: Final[Shape] = {
    "traces": [
        {
            "id": str,
            "root": str,
            "service": str,
            "started_ns": int,
            "duration_ns": int,
            "spans": int,
            "errors": int,
        }
    ],
    "more": bool,
}

_NODE: Final[dict[str, Shape]] = {
    "name": str,
    "service": str,
    "started_ns": int,
    "duration_ns": int,
    "self_ns": int,
    "status": str,
    "status_message": str,
    "attributes": dict,
    "orphan": bool,
}
_NODE["children"] = [_NODE]

TRACE: Final[Shape] = {
    "id": str,
    "started_ns": int,
    "duration_ns": int,
    "spans": int,
    "errors": int,
    "roots": [_NODE],
}

METRICS: Final[Shape] = {
    "metrics": [
        {"name": str, "kind": str, "unit": str, "description": str, "dimensions": [str]}
    ],
    "more": bool,
}

STATISTICS: Final[Shape] = {
    "kind": str,
    "unit": str,
    "statistics": [
        {
            "period_started_ns": int,
            "group": dict,
            "kind": str,
            "count": int,
            "sum": MAYBE,
            "avg": MAYBE,
            "min": MAYBE,
            "max": MAYBE,
            "last": MAYBE,
            "rate": MAYBE,
            "quantiles": dict,
        }
    ],
}

REQUESTS: Final[Shape] = {
    "requests": [
        {
            "id": str,
            "started_ns": int,
            "duration_ns": int,
            "notifications": int,
            "errors": int,
            "last": str,
            "project_id": str,
        }
    ],
    "more": bool,
}

HISTORY: Final[Shape] = {
    "duration_ns": int,
    "errors": int,
    "happenings": [
        {
            "kind": str,
            "at_ns": int,
            "gap_ns": (int, NoneType),
            "name": str,
            "service": str,
            "host": str,
            "id": str,
            "resource_id": str,
            "state": str,
            "old_state": str,
            "task": str,
            "old_task": str,
            "text": str,
            "duration_ns": (int, NoneType),
            "is_error": bool,
        }
    ],
    "more": bool,
}

_TIMED: Final[dict[str, Shape]] = {
    "operation": str,
    "count": int,
    "min": MAYBE,
    "max": MAYBE,
    "avg": MAYBE,
    "quantiles": dict,
    "failed": int,
    "end_only": int,
}
TIMINGS: Final[Shape] = {
    "timings": [{**_TIMED, "project_id": (str, NoneType), "unfinished": int}]
}
KPI: Final[Shape] = {"kpi": [{**_TIMED, "project_id": str}]}

LOSSES: Final[Shape] = {
    "losses": [{"service": str, "name": str, "dimensions": dict, "count": NUMBER}]
}


def misfit(value: object, shape: Shape) -> str:
    """Where the value is not of the shape, ``""`` if it is; not recursive, as traces are deep.

    >>> misfit({"traces": [], "more": False}, TRACES), misfit({"traces": [7]}, TRACES)
    ('', '/more')
    """
    waiting: list[tuple[object, Shape, str]] = [(value, shape, "")]
    while waiting:
        one, wanted, place = waiting.pop()
        if isinstance(wanted, dict):
            if not isinstance(one, dict):
                return place or "/"
            waiting += [(one.get(key), of, f"{place}/{key}") for key, of in wanted.items()]
        elif isinstance(wanted, list):
            if not isinstance(one, list):
                return place or "/"
            waiting += [(item, wanted[0], f"{place}/{at}") for at, item in enumerate(one)]
        elif not isinstance(one, wanted):
            return place or "/"
    return ""
