"""Traces: found by what one knows of them, and one as a tree or in another tool's format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Query, Response

from nilometer.api.answers import TraceList, TraceRow, TraceTree
from nilometer.api.moments import iso_8601
from nilometer.api.parameters import (
    DurationNs,
    Moment,
    PairText,
    Text,
    TraceId,
    pair,
)
from nilometer.api.problems import Problem, missing, not_a_choice, ordered, unusable
from nilometer.api.trees import nested
from nilometer.model import SpanKind
from nilometer.model.tree import tree_of
from nilometer.store.limits import POINTS_MAX, SPANS_MAX
from nilometer.wire import chrome, dot, html, osprofiler, speedscope
from nilometer.wire.osprofiler_points import points_of, spans_of_points

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from nilometer.api.queries import Queries
    from nilometer.model import Resource, SpanRecord
    from nilometer.model.tree import Tree
    from nilometer.store.query import Reader

LIMIT: Final = 100
LIMIT_MAX: Final = 1000  # of some 300 bytes each: a page of 300 kB

JSON: Final = "application/json"

FORMATS: Final[Mapping[str, tuple[str, Callable[[Tree], str] | None]]] = {
    "json": (JSON, None),
    "osprofiler": (JSON, osprofiler.encode),
    "chrome": (JSON, chrome.encode),
    "speedscope": (JSON, speedscope.encode),
    "dot": ("text/vnd.graphviz", dot.encode),
    "html": ("text/html", html.encode),
}
"""By name: the media type, and what draws it."""


KINDS: Final = tuple(kind.name.lower() for kind in SpanKind)
"""Of spans, as the tables say them."""


def router(reader: Reader, queries: Queries) -> APIRouter:
    """The routes under /traces."""
    routes = APIRouter(tags=["traces"])
    _add_list(routes, reader, queries)
    _add_one(routes, reader, queries)
    return routes


def _add_list(routes: APIRouter, reader: Reader, queries: Queries) -> None:
    @routes.get("/traces")
    async def find_traces(
        service: Text | None = None,
        name: Text | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        min_duration: DurationNs | None = None,
        max_duration: DurationNs | None = None,
        kind: Text | None = None,
        min_span: DurationNs | None = None,
        max_span: DurationNs | None = None,
        error: bool | None = None,
        request_id: Text | None = None,
        attribute: Annotated[list[PairText], Query()] = [],  # noqa: B006 - FastAPI copies it
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT,
    ) -> TraceList:
        """Traces with a span that started in that time, newest first, each summed up whole.

        What else is given must hold for the trace: `service`, `name`, `kind`, `request_id`,
        each `attribute`, `min_span` and `max_span` for one of its spans.
        """
        found = await queries.run(
            "/traces",
            reader.find_traces,
            service=service,
            name=name,
            since_ns=since if since is None else ordered(since, until),
            until_ns=until,
            min_duration_ns=min_duration,
            max_duration_ns=longer_than("max_duration", min_duration, max_duration),
            kind=kind_of(kind),
            min_span_ns=min_span,
            max_span_ns=longer_than("max_span", min_span, max_span),
            error=error,
            request_id=request_id,
            attributes=attributes_of(attribute),
            limit=limit + 1,
        )
        rows = [
            TraceRow(**one._asdict(), started=iso_8601(one.started_ns)) for one in found[:limit]
        ]
        return TraceList(traces=rows, more=len(found) > limit)


def attributes_of(told: Iterable[str]) -> dict[str, str]:
    """Attributes by key; Refusal where one is to have two values."""
    found: dict[str, str] = {}
    for each in told:
        key, value = pair(each)
        if found.setdefault(key, value) != value:
            raise unusable("attribute", each, f"{key} is to be {found[key]!r} already")
    return found


def kind_of(told: str | None) -> str | None:
    """What kind of span is looked for, if any; Refusal for a word that is none."""
    if told is not None and told not in KINDS:
        raise not_a_choice("kind", told, KINDS)
    return told


def longer_than(parameter: str, least_ns: int | None, most_ns: int | None) -> int | None:
    """`most_ns`; Refusal if nothing takes `least_ns` or longer and less than that."""
    if most_ns is not None and most_ns <= (least_ns or 0):
        least = parameter.replace("max_", "min_")
        raise unusable(parameter, f"{most_ns}ns", f"it must be more than {least}")
    return most_ns


def _add_one(routes: APIRouter, reader: Reader, queries: Queries) -> None:
    @routes.get(
        "/traces/{trace_id}",
        response_model=TraceTree,
        responses={404: {"model": Problem}},
    )
    async def show_trace(
        trace_id: TraceId,
        form: Annotated[
            str, Query(alias="format", json_schema_extra={"enum": list(FORMATS)})
        ] = "json",
    ) -> Response:
        """One trace as a tree; `format` is for other tools' files."""
        if form not in FORMATS:
            raise not_a_choice("format", form, list(FORMATS))
        content = await queries.run("/traces/{trace_id}", drawn, reader, trace_id, form)
        if content is None:
            raise missing(
                f"no trace {trace_id}; spans are here some seconds after they ended, "
                f"see `nilometer trace list`"
            )
        return Response(content, media_type=FORMATS[form][0])


def spans_of_trace(
    reader: Reader, trace_id: str
) -> tuple[list[tuple[Resource, SpanRecord]], bool]:
    """The spans of a trace, and what OSProfiler's points tell of those that are none yet; and
    whether there are more, which started later."""
    pairs = reader.trace(trace_id, limit=SPANS_MAX + 1)
    told = reader.trace_points(trace_id)
    more = len(pairs) > SPANS_MAX or len(told) >= POINTS_MAX
    points = points_of(told)
    if len(pairs) > SPANS_MAX:
        next_ns = pairs.pop()[1].started_ns  # a point from then on may be of a span left out
        points = [point for point in points if point.at_ns < next_ns]
    if points:
        known = {span.span_id for _, span in pairs}
        pairs += spans_of_points(point for point in points if point.span_id not in known)
    return pairs, more


def drawn(reader: Reader, trace_id: str, form: str) -> str | None:
    """The trace in one of FORMATS; None if there is no such trace. Takes a thread's time."""
    pairs, more = spans_of_trace(reader, trace_id)
    if not pairs:
        return None
    tree = tree_of(pairs, more=more)
    draw = FORMATS[form][1]
    return draw(tree) if draw else json.dumps(nested(trace_id, tree), allow_nan=False)
