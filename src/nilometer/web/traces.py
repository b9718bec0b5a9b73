"""Traces: the latest, those that one looks for, and how long they took as bars to choose by."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from nilometer.api.moments import iso_8601
from nilometer.api.parameters import (  # noqa: TC001 - FastAPI reads annotations
    DurationNs,
    PairText,
    Text,
    TraceId,
)
from nilometer.api.traces import KINDS, LIMIT, LIMIT_MAX, attributes_of, kind_of, longer_than
from nilometer.model.units import counted, duration
from nilometer.store.limits import TRACES_MAX
from nilometer.store.traces import STEPS_NS
from nilometer.web import against, flame, trace
from nilometer.web.addresses import again, link
from nilometer.web.drawing import Page
from nilometer.web.moments import SINCE, MomentText, window
from nilometer.web.sheet import Sheet
from nilometer.web.trees import Trees

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.store.traces import Sought, Took, TraceSummary
    from nilometer.web.moments import Window
    from nilometer.web.parts import Parts

BARS_AROUND: Final = 1  # steps without traces that are shown at either end
PER_DECADE: Final = 6

COLUMNS: Final = (
    *("id", "root", "service", "started_ns", "started", "duration_ns", "spans", "errors"),
)


class Bar(NamedTuple):
    """Traces that took from `from_ns` up to `until_ns`; `share` is of the highest bar."""

    from_ns: int
    until_ns: int
    traces: int
    failed: int
    share: float
    failed_share: float
    chosen: bool
    words: str
    tick: str


ADDRESSES: Final = 30_000
"""So many bytes of a page may be its own address, which each row's service leads to with that
service chosen: where it is long and the rows are many they lead nowhere."""


def router(parts: Parts) -> APIRouter:
    """The routes under /traces."""
    routes = APIRouter()
    trees = Trees(parts.reader, parts.clock)
    for page in (trace, flame, against):
        routes.include_router(page.router(parts, trees))
    _add_list(routes, parts)
    return routes


def _add_list(routes: APIRouter, parts: Parts) -> None:

    @routes.get("/traces")
    async def traces(
        request: Request,
        since: MomentText = SINCE,
        until: MomentText = "",
        service: Text | None = None,
        name: Text | None = None,
        min_duration: DurationNs | None = None,
        max_duration: DurationNs | None = None,
        kind: Text | None = None,
        min_span: DurationNs | None = None,
        max_span: DurationNs | None = None,
        error: bool | None = None,
        request_id: Text | None = None,
        attribute: Annotated[list[PairText], Query()] = [],  # noqa: B006 - FastAPI copies it
        one: Annotated[TraceId | None, Query(alias="trace")] = None,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT,
    ) -> Response:
        if one is not None:
            return RedirectResponse(link("traces", one), 303)
        shown = window(since, until, parts.clock)
        sought: Sought = {
            "service": service,
            "name": name,
            "since_ns": shown.since_ns,
            "until_ns": shown.until_ns,
            "min_duration_ns": min_duration,
            "max_duration_ns": longer_than("max_duration", min_duration, max_duration),
            "kind": kind_of(kind),
            "min_span_ns": min_span,
            "max_span_ns": longer_than("max_span", min_span, max_span),
            "error": error,
            "request_id": request_id,
            "attributes": attributes_of(attribute),
        }
        # Whatever durations were chosen, the bars are of all.
        whatever: Sought = {**sought, "min_duration_ns": None, "max_duration_ns": None}
        run, reader = parts.queries.run, parts.reader
        found, took = await asyncio.gather(
            run("/traces", partial(reader.find_traces, limit=limit + 1, **sought)),
            run("/traces", partial(reader.durations, **whatever)),
        )
        bars = bars_of(took, min_duration, max_duration)
        return parts.drawing.answer(request, _page(request, shown, found, bars, limit))


def bars_of(took: Sequence[Took], least_ns: int | None, most_ns: int | None) -> list[Bar]:
    """A bar for each step from the first that has traces to the last; none if no step has."""
    if not took:
        return []
    counts = {one.from_ns: one for one in took}
    first = max(STEPS_NS.index(took[0].from_ns) - BARS_AROUND, 0)
    last = min(STEPS_NS.index(took[-1].from_ns) + BARS_AROUND, len(STEPS_NS) - 1)
    highest = max(one.traces for one in took)
    return [
        _bar(place, counts.get(STEPS_NS[place]), highest, least_ns, most_ns)
        for place in range(first, last + 1)
    ]


def _bar(
    place: int, took: Took | None, highest: int, least_ns: int | None, most_ns: int | None
) -> Bar:
    from_ns = STEPS_NS[place]
    is_last = place + 1 == len(STEPS_NS)
    until_ns = from_ns * 10 if is_last else STEPS_NS[place + 1]
    traces, failed = (took.traces, took.failed) if took else (0, 0)
    words = f"{duration(from_ns)} to {duration(until_ns)}: {counted(traces, 'trace')}"
    return Bar(
        from_ns,
        until_ns,
        traces,
        failed,
        traces / highest,
        failed / highest,
        (least_ns or 0) < until_ns and (most_ns is None or most_ns > from_ns),
        words + (f", {failed:,} failed" if failed else ""),
        duration(from_ns) if place % PER_DECADE == 1 else "",
    )


def _page(
    request: Request, shown: Window, found: Sequence[TraceSummary], bars: list[Bar], limit: int
) -> Page:
    rows = found[:limit]
    told = [_told(one) for one in rows]
    total = sum(bar.traces for bar in bars)
    more = len(found) > limit
    return Page(
        "traces.html",
        "Traces",
        {
            "window": shown,
            "rows": rows,
            "written": written,
            "length": partial(_length, bars),
            "bars": bars,
            "bar_links": [_choosing(request, bar) for bar in bars],
            "total": total,
            "cut": total >= TRACES_MAX,
            "more": more,
            "limit": limit,
            "limit_max": LIMIT_MAX,
            "narrows": len(rows) * len(str(request.url)) <= ADDRESSES,
            "asked": request.query_params,
            "attributes": request.query_params.getlist("attribute"),
            "kinds": KINDS,
        },
        {
            "since_ns": shown.since_ns,
            "until_ns": shown.ended_ns,
            "traces": told,
            "more": more,
            "durations": [
                {key: getattr(bar, key) for key in ("from_ns", "until_ns", "traces", "failed")}
                for bar in bars
            ],
        },
        Sheet(COLUMNS, [[one[key] for key in COLUMNS] for one in told]),
    )


def _length(bars: Sequence[Bar], duration_ns: int) -> float:
    """How far a duration is along the axis of the bars above, in parts of a hundred."""
    low, high = math.log(max(bars[0].from_ns, 1)), math.log(bars[-1].until_ns)
    return 100 * min(max((math.log(max(duration_ns, 1)) - low) / (high - low), 0.01), 1)


def _told(one: TraceSummary) -> dict[str, Any]:
    return {**one._asdict(), "started": iso_8601(max(0, one.started_ns))}


def written(duration_ns: int) -> str:
    """A duration as one would write it in an address: whole, in the largest unit that can.

    >>> written(15_000_000), written(1_500_000), written(0)
    ('15ms', '1500us', '0s')
    """
    units = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
    unit = next(unit for unit, size in units.items() if duration_ns % size == 0)
    return f"{duration_ns // units[unit]}{unit}"


def _choosing(request: Request, bar: Bar) -> str:
    """This page with the durations of one bar; of the bar that is chosen alone, with all."""
    asked = request.query_params
    least, most = written(bar.from_ns), written(bar.until_ns)
    if (asked.get("min_duration"), asked.get("max_duration")) == (least, most):
        return again(request, min_duration=None, max_duration=None)
    return again(request, min_duration=least, max_duration=most)
