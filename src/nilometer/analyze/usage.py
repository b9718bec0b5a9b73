"""`usage`: who uses a service, and how much, by tenant, region and zone."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from nilometer.analyze.question import (
    NUMBER,
    TEXT,
    WHOLE,
    Chart,
    Column,
    Parameter,
    Question,
    ratio,
    rows_of,
    table_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from nilometer.analyze.question import Asked, Row

TENANTS: Final = "tenant,tenant.id,tenant_id,project_id"

UNITS: Final = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
"""Nanoseconds of the units that timers have."""

COLUMNS: Final = (
    Column("tenant", TEXT, "", "for whom; empty where nothing says it"),
    Column("region", TEXT, "", "in which region"),
    Column("zone", TEXT, "", "in which availability zone"),
    Column("service", TEXT, "", "by which service"),
    Column("requests", WHOLE, "1", "how many requests"),
    Column("request_share", NUMBER, "1", "of all requests"),
    Column("errors", WHOLE, "1", "how many failed"),
    Column("error_share", NUMBER, "1", "errors by requests"),
    Column("total_ns", WHOLE, "ns", "how long they took, all together"),
    Column("time_share", NUMBER, "1", "of the time of all requests"),
    Column("average_ns", NUMBER, "ns", "how long one took on average"),
)


def fold(rows: pa.Table, asked: Asked) -> pa.Table:
    """Readings of one tenant, region, zone and service together; who took most time first."""
    keys = asked["tenant"].split(",")
    found: dict[tuple[str, ...], Row] = {}
    for row in rows_of(rows):
        who = (tenant_of(row, keys), row["region"], row["zone"], row["service"])
        told = found.setdefault(who, dict.fromkeys(("requests", "errors", "total_ns"), 0))
        told["requests"] += row["requests"] or 0
        told["errors"] += int(row["errors"] or 0)
        told["total_ns"] += (row["total"] or Decimal(0)) * UNITS.get(row["unit"], 0)
    for told in found.values():
        told["total_ns"] = int(told["total_ns"])
    return table_of(COLUMNS, _shared(found))


def _shared(found: dict[tuple[str, ...], Row]) -> list[Row]:
    requests = sum(told["requests"] for told in found.values())
    total_ns = sum(told["total_ns"] for told in found.values())
    ordered = sorted(found.items(), key=lambda pair: (-pair[1]["total_ns"], pair[0]))
    return [
        {
            **dict(zip(("tenant", "region", "zone", "service"), who, strict=True)),
            **told,
            "request_share": ratio(told["requests"], requests),
            "error_share": ratio(told["errors"], told["requests"]),
            "time_share": ratio(told["total_ns"], total_ns),
            "average_ns": ratio(told["total_ns"], told["requests"]),
        }
        for who, told in ordered
    ]


def tenant_of(row: Row, keys: Sequence[str]) -> str:
    """The first of these keys that the dimensions have, or else the resource; or nothing."""
    for text in (row["dimensions"], row["resource"]):
        told = _object(text)
        for key in keys:
            if told.get(key) not in (None, ""):
                return str(told[key])
    return ""


def _object(text: str | None) -> dict[str, Any]:
    """The object of a column of JSON; what is none says nothing."""
    try:
        told = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


QUESTION: Final = Question(
    name="usage",
    summary="Who uses what: requests, their time and errors by tenant, region and zone.",
    tables=("readings",),
    heads=("moved",),
    columns=COLUMNS,
    parameters=(
        Parameter("timer", "glob", "*.server.request", "The timers of requests."),
        Parameter(
            "tenant",
            "text",
            TENANTS,
            "Dimensions, or attributes of the resource, that name the tenant: the first found.",
        ),
    ),
    fold=fold,
    because=(
        "Requests and their time are the count and the sum of the timers, errors the counters "
        "`<timer>.errors`: all requests and not only those that were traced. What counts since "
        "a start moved by the difference of two readings, and by all that it says after a "
        "restart. A timer in another unit than a time's counts requests, and no time."
    ),
    chart=Chart("bars", ("tenant", "region", "zone", "service"), ("total_ns",)),
)
