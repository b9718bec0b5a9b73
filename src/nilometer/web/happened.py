"""One request or one resource: all that happened to it, in order, with the time in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Query, Request, Response

from nilometer.api.happenings import History, Sums, rows_of, sums_of
from nilometer.api.moments import iso_8601
from nilometer.api.parameters import Text  # noqa: TC001 - FastAPI reads annotations
from nilometer.api.problems import missing
from nilometer.model.operations import attempts_of
from nilometer.web.drawing import Page
from nilometer.web.moments import MomentText, window
from nilometer.web.sheet import Sheet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nilometer.api.happenings import HappeningRow
    from nilometer.model.happening import Happening
    from nilometer.model.operations import Attempt
    from nilometer.web.moments import Window
    from nilometer.web.parts import Parts

LIMIT: Final = 300
"""A page shows no more lines at once, each with 600 bytes of what was told at most; its data
have all up to LIMIT_MAX, whole, or as many as are asked for."""

LIMIT_MAX: Final = 10_000
"""Of so many lines, the latest, pages and data sum up; they take half a second."""

ALWAYS: Final = "1970-01-01"
WENT_MAX: Final = 100  # attempts above the table, the latest
RELATED_MAX: Final = 12  # ids of others that are named above the table
LANE: Final = 1000  # how many parts a lane's width has
SHARE_LONG: Final = 0.1  # of the whole time: so long a gap stands out

COLUMNS: Final = (
    *("at", "gap_ns", "kind", "name", "service", "host", "state", "text", "duration_ns"),
    *("is_error", "request_id", "resource_id", "project_id", "id"),
)
"""Of a happening in a sheet."""

Limit = Annotated[int | None, Query(ge=1, le=LIMIT_MAX)]
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
    """Of which request or resource, and when; so many lines are told at most, those before the
    `skip` latest; `is_page` is whether people read them."""

    kind: str
    id: str
    ends: Window | None
    is_page: bool
    limit: int
    skip: int


class Told(NamedTuple):
    """What a page and its data say alike: the sums, of so many lines, and the attempts, of all
    that was looked at; the rows, and which these are of all. `more` is whether there were
    others before all of these."""

    sums: Sums
    went: list[Went]
    rows: list[HappeningRow]
    first: int
    last: int
    lines: int
    more: bool


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
        limit: Limit = None,
        skip: Skip = 0,
    ) -> Response:
        ends = _ends(parts, since, until)
        asked = Asked("Request", request_id, ends, *_how_many(request, limit), skip)
        return await _answer(parts, request, parts.reader.of_request, asked)

    @routes.get("/resources/{resource_id:text}")
    async def show_resource(
        request: Request,
        resource_id: Text,
        since: MomentText = "",
        until: MomentText = "",
        limit: Limit = None,
        skip: Skip = 0,
    ) -> Response:
        ends = _ends(parts, since, until)
        asked = Asked("Resource", resource_id, ends, *_how_many(request, limit), skip)
        return await _answer(parts, request, parts.reader.of_resource, asked)


def _ends(parts: Parts, since: str, until: str) -> Window | None:
    return window(since or ALWAYS, until, parts.clock) if since or until else None


def _how_many(request: Request, limit: int | None) -> tuple[bool, int]:
    """Whether people read it, and how many lines it has at most."""
    if request.query_params.get("format", "html") == "html":
        return True, min(limit or LIMIT, LIMIT)
    return False, limit or LIMIT_MAX


async def _answer(
    parts: Parts, request: Request, ask: Callable[..., Sequence[Happening]], asked: Asked
) -> Response:
    """The answer, made in a thread to its last letter: it may be of ten thousand lines."""

    def answer() -> Response:
        page = _page(asked, _found(ask, asked))
        return parts.drawing.answer(request, page)

    return await parts.queries.run(f"/{asked.kind.lower()}s/ID", answer)


def _found(ask: Callable[..., Sequence[Happening]], asked: Asked) -> Sequence[Happening]:
    """What is known, the latest first, and one more than is looked at."""
    if not asked.id.strip():  # an empty text stands in everything
        raise missing("write the id of a request or a resource behind the last /")
    ends = asked.ends
    found = ask(
        asked.id,
        since_ns=None if ends is None else ends.since_ns,
        until_ns=None if ends is None else ends.until_ns,
        limit=LIMIT_MAX + 1,
    )
    if not found:
        raise missing(
            f"nothing is known of {asked.id!r}{'' if ends is None else ' in that time'}; "
            "notifications and log lines are here some seconds after they were sent"
        )
    return found


def _page(asked: Asked, found: Sequence[Happening]) -> Page:
    kept = list(reversed(found[:LIMIT_MAX]))
    told = _told(asked, kept, more=len(found) > LIMIT_MAX)
    shown = _shown(asked, kept, told) if asked.is_page else {}
    data = {} if asked.is_page else _data(asked, told)
    title = f"{asked.kind} {asked.id}"
    return Page("happened.html", title, shown, data, Sheet(COLUMNS, cells(told.rows)))


def _told(asked: Asked, kept: Sequence[Happening], *, more: bool) -> Told:
    last = max(len(kept) - asked.skip, 0)
    first = max(last - asked.limit, 0)
    return Told(
        sums_of(kept),
        sorted(map(_went, attempts_of(kept)), key=lambda one: one.at_ns),
        rows_of(kept[first:last], kept[first - 1] if first else None),
        first,
        last,
        len(kept),
        more,
    )


def _shown(asked: Asked, kept: Sequence[Happening], told: Told) -> dict[str, Any]:
    skipped = min(asked.skip, told.lines)
    return {
        "kind": asked.kind,
        "id": asked.id,
        "told": told,
        "lines": lines(told.rows, told.sums),
        "before": asked.skip + asked.limit if told.first else None,
        "after": max(skipped - asked.limit, 0) if skipped else None,
        "until": iso_8601(kept[0].at_ns + 1),  # others may have happened in the same moment
        "went": told.went[-WENT_MAX:],
        "related": related(kept, asked.id),
    }


def _data(asked: Asked, told: Told) -> dict[str, Any]:
    more = told.more or told.first > 0
    history = History(id=asked.id, **told.sums._asdict(), happenings=told.rows, more=more)
    operations = [one._asdict() for one in told.went]
    return {**history.model_dump(), "lines": told.lines, "operations": operations}


def _went(one: Attempt) -> Went:
    outcome = "failed" if one.failed else "ended" if one.end is not None else "not ended"
    outcome = "ended, and nobody told its start" if one.start is None else outcome
    first = one.start or one.either
    return Went(one.operation, first.at_ns, one.duration_ns, one.either.host, outcome)


def cells(rows: Sequence[HappeningRow]) -> list[list[Any]]:
    """Rows of a sheet."""
    return [[getattr(one, name) for name in COLUMNS] for one in rows]


def lines(rows: Sequence[HappeningRow], sums: Sums) -> list[Line]:
    """The lines of the table, each with its place in the whole time."""
    whole = max(sums.duration_ns, 1)
    found = []
    for row in rows:
        begin = (row.at_ns - sums.started_ns) / whole * LANE
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


def related(happened: Sequence[Happening], told: str) -> dict[str, list[str]]:
    """The ids of others in it: the page that shows each kind, and the first of them."""
    found: dict[str, dict[str, None]] = {"requests": {}, "resources": {}, "traces": {}}
    for row in happened:
        found["requests"][row.request_id] = None
        found["resources"][row.resource_id] = None
        if row.kind == "span":
            found["traces"][row.id] = None
    return {
        page: kept[:RELATED_MAX]
        for page, ids in found.items()
        if (kept := [one for one in ids if one and one != told])
    }
