"""One trace as a flame graph: which operations, below which others, its time went to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastapi import APIRouter, Request, Response

from nilometer.api.parameters import Text, TraceId  # noqa: TC001 - FastAPI reads annotations
from nilometer.api.problems import not_a_choice, unusable
from nilometer.model.flame import Laid, flame_of, laid_out
from nilometer.model.units import counted, duration
from nilometer.web.addresses import again
from nilometer.web.drawing import Page
from nilometer.web.remarks import share_text
from nilometer.web.sheet import Sheet
from nilometer.web.trace import summary_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.web.parts import Parts
    from nilometer.web.trees import Trees, Whole

BY: Final = ("waited", "total")
"""What makes a frame wide: what the request waited for, or all that spans took themselves."""

LEAST: Final = 0.001  # a pixel of a wide screen; more frames nobody sees
ROWS_SHOWN: Final = 100
ROW_PIXELS: Final = 22
LABEL_LEAST: Final = 0.015  # a narrower frame has no room for a letter
COLOURS: Final = 6
NAME_CHARACTERS_MAX: Final = 200

COLUMNS: Final = (
    *("depth", "path", "name", "service", "count", "errors", "width_ns", "self_ns", "total_ns"),
)
_PATH: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6}){0,999}")


class Box(NamedTuple):
    """A frame as it is drawn: where, in parts of a hundred and in pixels, and what it says."""

    left: float
    width: float
    top: int
    name: str
    words: str
    colour: int
    failed: bool
    link: str


def router(parts: Parts, trees: Trees) -> APIRouter:
    """The route of a trace's flame graph."""
    routes = APIRouter()

    @routes.get("/traces/{trace_id}/flame")
    async def flame(
        request: Request, trace_id: TraceId, by: Text = "waited", at: Text = ""
    ) -> Response:
        if by not in BY:
            raise not_a_choice("by", by, BY)
        if at and not _PATH.fullmatch(at):
            raise unusable("at", at, "it is where a frame stands, as the page itself says it")
        whole = await parts.queries.run("/traces/{id}/flame", trees.of, trace_id)
        return parts.drawing.answer(request, _page(request, whole, by, at))

    return routes


def _page(request: Request, whole: Whole, by: str, at: str) -> Page:
    frames = flame_of(whole.tree, whole.waited if by == "waited" else None)
    path = [int(place) for place in at.split(".")] if at else []
    laid = list(laid_out(frames, least=LEAST, below=path))
    first = min((each.depth for each in laid), default=0)
    services = sorted({node.resource.service for node in whole.nodes})
    width_ns = sum(each.frame.width_ns for each in laid if each.depth == first) or 1
    boxes = [_box(request, each, first, services, width_ns) for each in laid]
    rows = [_row(each) for each in laid]
    root = whole.tree.root
    shown = {
        **summary_of(whole),
        "boxes": boxes,
        "height": (max((each.depth for each in laid), default=0) - first + 1) * ROW_PIXELS,
        "row_height": ROW_PIXELS,
        "label_least": 100 * LABEL_LEAST,
        "by": by,
        "at": at,
        "up": ".".join(at.split(".")[:-1]),
        "widest": sorted(laid, key=lambda one: -one.frame.self_ns)[:ROWS_SHOWN],
        "width_ns": width_ns,
        "share": share_text,
        "service_colours": [
            (service, place % COLOURS + 1) for place, service in enumerate(services)
        ],
    }
    return Page(
        "flame.html",
        f"Flame of {root.span.name[:NAME_CHARACTERS_MAX] if root else ''}",
        shown,
        {**summary_of(whole), "by": by, "frames": rows},
        Sheet(COLUMNS, [[row[key] for key in COLUMNS] for row in rows]),
    )


def _box(
    request: Request, laid: Laid, first: int, services: Sequence[str], whole_ns: int
) -> Box:
    frame, operation = laid.frame, laid.frame.operation
    name = operation.name[:NAME_CHARACTERS_MAX] or "(no name)"
    words = (
        f"{name} of {operation.service[:NAME_CHARACTERS_MAX]}: {duration(frame.width_ns)}, "
        f"{share_text(frame.width_ns / whole_ns)}; itself {duration(frame.self_ns)}; "
        f"{counted(frame.count, 'span')}"
        + (f", {frame.errors:,} failed" if frame.errors else "")
    )
    return Box(
        100 * laid.left,
        100 * laid.width,
        (laid.depth - first) * ROW_PIXELS,
        name,
        words,
        services.index(operation.service) % COLOURS + 1,
        bool(frame.errors),
        again(request, at=".".join(map(str, laid.path))),
    )


def _row(laid: Laid) -> dict[str, Any]:
    frame = laid.frame
    return {
        "depth": laid.depth,
        "path": ".".join(map(str, laid.path)),
        "name": frame.operation.name,
        "service": frame.operation.service,
        "count": frame.count,
        "errors": frame.errors,
        "width_ns": frame.width_ns,
        "self_ns": frame.self_ns,
        "total_ns": frame.total_ns,
    }
