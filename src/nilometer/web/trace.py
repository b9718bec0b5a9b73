"""One trace: where its time went, span by span, and what stands out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from nilometer.api.moments import iso_8601
from nilometer.api.parameters import Text, TraceId  # noqa: TC001 - FastAPI reads annotations
from nilometer.api.problems import not_a_choice, unusable
from nilometer.api.traces import FORMATS
from nilometer.api.trees import plain
from nilometer.model.folded import groups_of
from nilometer.web import span as one_span
from nilometer.web.drawing import NEVER_KEPT, Page
from nilometer.web.remarks import place_of, remarks_of, share_text
from nilometer.web.sheet import Sheet
from nilometer.web.waterfall import note_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.model import Event, Resource
    from nilometer.model.folded import Fold, Group
    from nilometer.model.tree import Node
    from nilometer.store.query import Reader
    from nilometer.web.parts import Parts
    from nilometer.web.trees import Trees, Whole

ROWS_SHOWN: Final = 500  # in HTML, for who has no JavaScript; with it all are shown
GROUPS_SHOWN: Final = 50
FOLDS_SHOWN: Final = 20
EVENTS_SHOWN: Final = 200
EVENTS_WIDE: Final = 50  # so many are shown with 2 kB each; of more each has less, JSON has all
TITLE_CHARACTERS_MAX: Final = 300
MARGIN_NS: Final = 60 * 10**9  # so far from the trace's own time what belongs to it may lie

SHOW: Final = ("all", "path", "errors")
"""Which spans the waterfall shows: all, those that were waited for, those that failed."""

COLUMNS: Final = (
    *("span_id", "parent_id", "depth", "name", "service", "host", "pid", "kind", "status"),
    *("status_message", "offset_ns", "duration_ns", "self_ns", "waited_ns", "note"),
)

SpanId = Annotated[str, Path(pattern="^[0-9a-fA-F]{1,16}$")]


class Cut(NamedTuple):
    """How much of each log the page shows: bytes of its text, how many attributes, and bytes of
    each; those of an exception go before others."""

    text: int
    attributes: int
    value: int

    def first(self, attributes: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """The attributes that are shown."""
        ordered = sorted(
            attributes.items(), key=lambda one: not one[0].startswith("exception.")
        )
        return ordered[: self.attributes]


class State(NamedTuple):
    """What of the trace is shown, as the address says it."""

    span: str
    find: str
    show: str
    fold: str
    closed: str
    zoom: str


def router(parts: Parts, trees: Trees) -> APIRouter:
    """The routes of one trace, its rows and its spans."""
    routes = APIRouter()

    @routes.get("/traces/{trace_id}")
    async def trace(
        request: Request,
        trace_id: TraceId,
        span: Text = "",
        find: Text = "",
        show: Text = "all",
        fold: Text = "yes",
        closed: Text = "",
        zoom: Text = "",
    ) -> Response:
        if show not in SHOW:
            raise not_a_choice("show", show, SHOW)
        if fold not in ("yes", "no"):
            raise not_a_choice("fold", fold, ("yes", "no"))
        state = State(span, find, show, fold, closed, zoom)
        page = await parts.queries.run(
            "/traces/{id}", look, parts.reader, trees, trace_id, state
        )
        return parts.drawing.answer(request, page)

    @routes.get("/traces/{trace_id}/rows")
    async def rows(trace_id: TraceId) -> Response:
        content = await parts.queries.run(
            "/traces/{id}/rows", lambda: JSONResponse(rows_of(trees.of(trace_id)))
        )
        content.headers.update(NEVER_KEPT)
        return content

    @routes.get("/traces/{trace_id}/spans/{span_id}")
    async def span(request: Request, trace_id: TraceId, span_id: SpanId) -> Response:
        whole = await parts.queries.run("/traces/{id}/spans", trees.of, trace_id)
        return parts.drawing.answer(request, _span_page(whole, span_id))

    return routes


def look(reader: Reader, trees: Trees, trace_id: str, state: State) -> Page:
    """The page of a trace. Takes a thread's time."""
    whole = trees.of(trace_id)
    if state.span and whole.node(state.span) is None:
        raise unusable("span", state.span, "this trace has no such span")
    events = reader.events(
        trace_id=trace_id,
        since_ns=whole.started_ns - MARGIN_NS,
        until_ns=whole.started_ns + whole.duration_ns + MARGIN_NS,
        limit=EVENTS_SHOWN + 1,
    )
    return _page(whole, state, events)


def _page(whole: Whole, state: State, events: list[tuple[Resource, Event]]) -> Page:
    root = whole.tree.root
    assert root is not None
    statements = [
        group for group in groups_of(whole.nodes, whole.waited) if group.operation.statement
    ]
    remarks = remarks_of(whole)
    logs = [_event(whole, *one) for one in reversed(events[:EVENTS_SHOWN])]
    title = root.span.name[:TITLE_CHARACTERS_MAX] or "(no name)"
    data = {
        **summary_of(whole),
        "remarks": [one._asdict() for one in remarks],
        "operations": [_told_group(each) for each in whole.operations],
        "statements": [_told_group(each) for each in statements],
        "repeated": [_told_fold(fold) for fold in whole.folds],
        "gaps": [
            {"where": place_of(gap), "duration_ns": gap.duration_ns} for gap in whole.gaps
        ],
        "events": logs,
        "spans": partial(_spans, whole),
    }
    selected = state.span or root.span.span_id.hex()
    shown = {
        **summary_of(whole),
        "root": root,
        "whole_ns": whole.request_ns or 1,
        "remarks": remarks,
        "operations": whole.operations[:GROUPS_SHOWN],
        "statements": statements[:GROUPS_SHOWN],
        "folds": whole.folds[:FOLDS_SHOWN],
        "gaps": [(place_of(gap).rstrip(","), gap) for gap in whole.gaps],
        "events": logs,
        "more_events": len(events) > EVENTS_SHOWN,
        "cut": Cut(600, 8, 100) if len(logs) <= EVENTS_WIDE else Cut(240, 3, 50),
        "state": state,
        "rows": _shown_rows(whole, state),
        "rows_shown": ROWS_SHOWN,
        "share": share_text,
        "files": list(FORMATS),
        "request_ids": _request_ids(whole),
        **_span_shown(whole, selected),
    }
    return Page("trace.html", title, shown, data, _sheet(whole))


def summary_of(whole: Whole) -> dict[str, Any]:
    """What a trace is, as all of its pages tell it."""
    tree = whole.tree
    return {
        "id": whole.id,
        "started_ns": whole.started_ns,
        "started": iso_8601(max(0, whole.started_ns)),
        "duration_ns": whole.duration_ns,
        "span_count": tree.spans,
        "errors": tree.errors,
        "duplicates": tree.duplicates,
        "more": tree.more,
        "services": sorted({node.resource.service for node in whole.nodes}),
    }


def _span_page(whole: Whole, span_id: str) -> Page:
    shown = _span_shown(whole, span_id.lower().zfill(16))
    span = shown["span"]
    if span is None:
        raise unusable("span", span_id, "this trace has no such span")
    title = span.node.span.name[:TITLE_CHARACTERS_MAX] or "(no name)"
    told = one_span.told(span)
    sheet = Sheet(("what", "value"), one_span.rows_of(told))
    return Page("span.html", title, {**shown, "id": whole.id}, told, sheet)


def _span_shown(whole: Whole, span_id: str) -> dict[str, Any]:
    span = one_span.span_of(whole, span_id)
    return {"span": span, "happened": one_span.happened(span) if span else []}


def _shown_rows(whole: Whole, state: State) -> list[tuple[Any, str, float, float]]:
    """Spans, notes, and where their bars begin and how wide they are, in parts of a hundred."""
    began_ns, whole_ns = whole.started_ns, max(whole.duration_ns, 1)
    wanted = state.find.lower()
    found: list[tuple[Any, str, float, float]] = []
    for node in whole.nodes:
        note = note_of(node)
        if state.show == "path" and id(node) not in whole.waited:
            continue
        if state.show == "errors" and not node.is_error:
            continue
        if wanted not in f"{node.span.name} {node.resource.service} {note}".lower():
            continue
        left = 100 * (node.span.started_ns - began_ns) / whole_ns
        found.append((node, note, left, max(100 * node.duration_ns / whole_ns, 0.2)))
        if len(found) == ROWS_SHOWN:
            break
    return found


def _request_ids(whole: Whole) -> list[str]:
    """The ids of the request that spans tell, the first few: of a request it is one or two."""
    told = (str(node.span.attributes.get(one_span.REQUEST, "")) for node in whole.nodes)
    return list(dict.fromkeys(one for one in told if one))[:5]


def _event(whole: Whole, resource: Resource, event: Event) -> dict[str, Any]:
    span_id = event.span_id.hex()
    return {
        "at_ns": event.at_ns,
        "offset_ns": event.at_ns - whole.started_ns,
        "name": event.name,
        "service": resource.service,
        "severity": event.severity,
        "text": event.body,
        "attributes": plain(event.attributes),
        "span_id": span_id if span_id in whole.places else "",
    }


def _told_group(group: Group) -> dict[str, Any]:
    operation = group.operation
    return {
        "service": operation.service,
        "name": operation.name,
        "kind": operation.kind.name.lower(),
        "statement": operation.statement,
        "count": group.spans,
        "errors": group.errors,
        "total_ns": group.total_ns,
        "self_ns": group.self_ns,
        "waited_ns": group.waited_ns,
        "min_ns": group.minimum_ns,
        "avg_ns": round(group.average_ns),
        "max_ns": group.maximum_ns,
    }


def _told_fold(fold: Fold) -> dict[str, Any]:
    return {
        "parent_id": fold.parent.span.span_id.hex() if fold.parent else "",
        "statements": fold.statements,
        **_told_group(fold.group),
    }


def _spans(whole: Whole) -> list[dict[str, Any]]:
    return [dict(zip(COLUMNS, _cells(whole, node), strict=True)) for node in whole.nodes]


def _sheet(whole: Whole) -> Sheet:
    return Sheet(COLUMNS, (_cells(whole, node) for node in whole.nodes))


def _cells(whole: Whole, node: Node) -> tuple[Any, ...]:
    span, resource = node.span, node.resource
    return (
        span.span_id.hex(),
        span.parent_id.hex(),
        node.depth,
        span.name,
        resource.service,
        resource.host,
        resource.pid,
        span.kind.name.lower(),
        span.status.name.lower(),
        span.status_message,
        span.started_ns - whole.started_ns,
        node.duration_ns,
        node.self_ns,
        whole.waited.get(id(node), 0),
        note_of(node),
    )
