"""One request or one resource: all that happened to it, in order, with the time in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Query, Request, Response

from nilometer.api.happenings import history_of
from nilometer.api.parameters import Text  # noqa: TC001 - FastAPI reads annotations
from nilometer.api.problems import missing
from nilometer.model.operations import attempts_of
from nilometer.web.drawing import Page
from nilometer.web.moments import MomentText, window
from nilometer.web.sheet import Sheet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nilometer.api.happenings import HappeningRow, History
    from nilometer.model.happening import Happening
    from nilometer.model.operations import Attempt
    from nilometer.web.moments import Window
    from nilometer.web.parts import Parts

LIMIT: Final = 300
"""A page shows no more lines at once, each with 600 letters of what was told at most; what it
sums up is of LIMIT_MAX, the latest, and its data have as many, whole."""

LIMIT_MAX: Final = 10_000
WENT_MAX: Final = 100  # attempts above the table, the latest
RELATED_MAX: Final = 12  # ids of others that are named above the table
LANE: Final = 1000  # how many parts a lane's width has
SHARE_LONG: Final = 0.1  # of the whole time: so long a gap stands out

COLUMNS: Final = (
    *("at", "gap_ns", "kind", "name", "service", "host", "state", "text", "duration_ns"),
    *("is_error", "request_id", "resource_id", "project_id", "id"),
)
"""Of a happening in a sheet."""

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX)]
Skip = Annotated[int, Query(ge=0, le=LIMIT_MAX)]


class Line(NamedTuple):
    """One happening as the table shows it: where in the lane it begins, and how wide it is;
    `state` with what it was before; `is_long`: the gap before it stands out."""

    row: HappeningRow
    begin: float
    width: float
    state: str
    is_long: bool


class Asked(NamedTuple):
    """How many happenings are looked at, the latest, and how many of them are shown: those
    before the `skip` latest."""

    looked_at: int
    shown: int
    skip: int


class Went(NamedTuple):
    """An attempt at an operation, as the table shows it."""

    operation: str
    at_ns: int
    duration_ns: int | None
    host: str
    outcome: str


def add(routes: APIRouter, parts: Parts) -> None:
    """The routes of one request and of one resource."""

    @routes.get("/requests/{request_id:text}")
    async def show_request(
        request: Request,
        request_id: Text,
        since: MomentText = "",
        until: MomentText = "",
        limit: Limit = LIMIT,
        skip: Skip = 0,
    ) -> Response:
        ends = window(since, until, parts.clock) if since or until else None
        ask = parts.reader.of_request
        asked = _asked(request, limit, skip)
        page = await _history(parts, "Request", ask, request_id, ends, asked)
        return parts.drawing.answer(request, page)

    @routes.get("/resources/{resource_id:text}")
    async def show_resource(
        request: Request,
        resource_id: Text,
        since: MomentText = "",
        until: MomentText = "",
        limit: Limit = LIMIT,
        skip: Skip = 0,
    ) -> Response:
        ends = window(since, until, parts.clock) if since or until else None
        ask = parts.reader.of_resource
        asked = _asked(request, limit, skip)
        page = await _history(parts, "Resource", ask, resource_id, ends, asked)
        return parts.drawing.answer(request, page)


def _asked(request: Request, limit: int, skip: int) -> Asked:
    """As many as are asked for in data; on a page no more than LIMIT, of all."""
    is_page = request.query_params.get("format", "html") == "html"
    return Asked(LIMIT_MAX, min(limit, LIMIT), skip) if is_page else Asked(limit, limit, 0)


async def _history(
    parts: Parts,
    kind: str,
    ask: Callable[..., Sequence[Happening]],
    told: str,
    ends: Window | None,
    asked: Asked,
) -> Page:
    if not told.strip():  # an empty text stands in everything
        raise missing("write the id of a request or a resource behind the last /")
    found = await parts.queries.run(
        f"/{kind.lower()}s/ID",
        ask,
        told,
        since_ns=None if ends is None else ends.since_ns,
        until_ns=None if ends is None else ends.until_ns,
        limit=asked.looked_at + 1,
    )
    if not found:
        raise missing(
            f"nothing is known of {told!r}{'' if ends is None else ' in that time'}; "
            "notifications and log lines are here some seconds after they were sent"
        )
    history = history_of(told, found, asked.looked_at)
    attempts = attempts_of(found[: asked.looked_at])
    went = sorted(map(_went, attempts), key=lambda one: one.at_ns)
    last = max(len(history.happenings) - asked.skip, 0)
    first = max(last - asked.shown, 0)
    shown = {
        "kind": kind,
        "history": history,
        "lines": lines(history, first, last),
        "first": first,
        "last": last,
        "before": asked.skip + asked.shown if first else None,
        "after": max(asked.skip - asked.shown, 0) if asked.skip else None,
        "went": went[-WENT_MAX:],
        "attempts": len(went),
        "related": related(history, told),
        "limit_max": LIMIT_MAX,
    }
    data = {
        **history.model_dump(),
        "operations": [one._asdict() for one in went],
    }
    rows = Sheet(COLUMNS, cells(history.happenings))
    return Page("happened.html", f"{kind} {told}", shown, data, rows)


def _went(one: Attempt) -> Went:
    outcome = "failed" if one.failed else "ended" if one.end is not None else "not ended"
    outcome = "ended, and nobody told its start" if one.start is None else outcome
    first = one.start or one.either
    return Went(one.operation, first.at_ns, one.duration_ns, one.either.host, outcome)


def cells(rows: Sequence[HappeningRow]) -> list[list[Any]]:
    """Rows of a sheet."""
    return [[getattr(one, name) for name in COLUMNS] for one in rows]


def lines(history: History, first: int, last: int) -> list[Line]:
    """The lines of the table from one up to another, each with its place in the whole time."""
    whole = max(history.duration_ns, 1)
    found = []
    for row in history.happenings[first:last]:
        begin = (row.at_ns - history.started_ns) / whole * LANE
        width = max((row.duration_ns or 0) / whole * LANE, LANE / 250)
        is_long = (row.gap_ns or 0) > whole * SHARE_LONG
        begin = min(begin, LANE - width)
        found.append(Line(row, round(begin, 1), round(width, 1), _state(row), is_long))
    return found


def _state(row: HappeningRow) -> str:
    """The state, and what it was before; the task beside it."""
    told = []
    for new, old in ((row.state, row.old_state), (row.task, row.old_task)):
        if new or old:
            told.append(f"{old} > {new or 'none'}" if old and old != new else new or old)
    return ", ".join(told)


def related(history: History, told: str) -> dict[str, list[str]]:
    """The ids of others in it: the page that shows each kind, and the first of them."""
    found: dict[str, dict[str, None]] = {"requests": {}, "resources": {}, "traces": {}}
    for row in history.happenings:
        found["requests"][row.request_id] = None
        found["resources"][row.resource_id] = None
        if row.kind == "span":
            found["traces"][row.id] = None
    return {
        page: kept[:RELATED_MAX]
        for page, ids in found.items()
        if (kept := [one for one in ids if one and one != told])
    }
