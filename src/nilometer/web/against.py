"""One trace against another of the same operation, or against the median of the last hundred:
span by span, what took longer and what only one of them did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastapi import APIRouter, Request, Response

from nilometer.api.parameters import Text, TraceId
from nilometer.api.parameters import trace_id as parsed_id
from nilometer.api.problems import Refusal, missing, not_a_choice, unusable
from nilometer.model.compared import changes_of, only_here, only_there, pairs_of
from nilometer.model.median import median_of
from nilometer.model.tree import tree_of
from nilometer.web.drawing import Page
from nilometer.web.sheet import Sheet
from nilometer.web.trace import summary_of
from nilometer.web.trees import whole_of
from nilometer.web.waterfall import note_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.model.compared import Change, Pair
    from nilometer.model.tree import Tree
    from nilometer.store.query import Reader
    from nilometer.store.traces import TraceSummary
    from nilometer.web.parts import Parts
    from nilometer.web.trees import Trees, Whole

MEDIAN: Final = "median"
OTHERS_MAX: Final = 100  # that the median is of
AROUND_NS: Final = 24 * 3600 * 10**9  # so long before it others are looked for
SHOW: Final = ("changed", "all")
TELLING_PART: Final = 0.01  # of the longer request: what differs by less is not why
CHANGE_PART: Final = 0.001
ROWS_SHOWN: Final = 500
CHANGES_SHOWN: Final = 30
OFFERED: Final = 30
NAME_CHARACTERS_MAX: Final = 200

OFFERED_COLUMNS: Final = ("id", "started_ns", "duration_ns", "spans", "errors")
COLUMNS: Final = (
    *("depth", "name", "service", "note", "here_ns", "there_ns", "longer_ns"),
    *("self_here_ns", "self_there_ns", "self_longer_ns", "span_id", "other_span_id"),
)


class Other(NamedTuple):
    """What a trace is compared with: a trace, or the median of `of` traces."""

    whole: Whole
    of: int
    words: str


def router(parts: Parts, trees: Trees) -> APIRouter:
    """The routes of comparing."""
    routes = APIRouter()

    @routes.get("/traces/{trace_id}/against")
    async def choose(request: Request, trace_id: TraceId) -> Response:
        page = await parts.queries.run(
            "/traces/{id}/against", offered, parts.reader, trees, trace_id
        )
        return parts.drawing.answer(request, page)

    @routes.get("/traces/{trace_id}/against/{other}")
    async def against(
        request: Request, trace_id: TraceId, other: Text, show: Text = "changed"
    ) -> Response:
        if show not in SHOW:
            raise not_a_choice("show", show, SHOW)
        page = await parts.queries.run(
            "/traces/{id}/against/{other}", look, parts.reader, trees, trace_id, other, show
        )
        return parts.drawing.answer(request, page)

    return routes


def offered(reader: Reader, trees: Trees, trace_id: str) -> Page:
    """What a trace can be compared with. Takes a thread's time."""
    whole = trees.of(trace_id)
    found = _alike(reader, whole)
    rows = [one._asdict() for one in found]
    quickest = sorted(found, key=lambda one: one.duration_ns)
    shown = {
        **summary_of(whole),
        "alike": found,
        "offered": found[:OFFERED],
        "quickest": quickest[0] if quickest else None,
        "slowest": quickest[-1] if quickest else None,
        "others_max": OTHERS_MAX,
        "longest_ns": max([one.duration_ns for one in found[:OFFERED]] + [1]),
    }
    title = f"Compare {_name(whole)}"
    data = {**summary_of(whole), "traces": rows}
    sheet = Sheet(OFFERED_COLUMNS, [[row[key] for key in OFFERED_COLUMNS] for row in rows])
    return Page("against_what.html", title, shown, data, sheet)


def _alike(reader: Reader, whole: Whole) -> list[TraceSummary]:
    """Others that began with the same operation; those nearest in time first."""
    root, began_ns = whole.tree.root, whole.started_ns
    assert root is not None
    found = reader.summaries(_near(reader, whole), **_around(whole))
    same = [
        one
        for one in found
        if (one.root, one.service) == (root.span.name, root.resource.service)
    ]
    return sorted(same, key=lambda one: abs(one.started_ns - began_ns))


def _near(reader: Reader, whole: Whole) -> list[str]:
    """The ids of those, in the day before it and the hour after, and of some that only hold
    the operation."""
    root = whole.tree.root
    assert root is not None
    return reader.alike((root.resource, root.span), **_around(whole), limit=OTHERS_MAX)


def _around(whole: Whole) -> dict[str, int]:
    began_ns = whole.started_ns
    return {"since_ns": began_ns - AROUND_NS, "until_ns": began_ns + AROUND_NS // 24}


def look(reader: Reader, trees: Trees, trace_id: str, other: str, show: str) -> Page:
    """The page that compares them. Takes a thread's time."""
    here = trees.of(trace_id)
    there = _median(reader, here) if other == MEDIAN else _one(trees, here, other)
    return _page(here, there, show, other)


def _one(trees: Trees, here: Whole, other: str) -> Other:
    try:
        other_id = parsed_id(other)
    except ValueError as error:
        raise unusable("other", other, f"{error}, or it is {MEDIAN!r}") from None
    if other_id == here.id:
        raise unusable("other", other, "that is the same trace; choose another")
    return Other(trees.of(other_id), 1, other_id[:8])


def _median(reader: Reader, here: Whole) -> Other:
    trees = map(tree_of, reader.traces(_near(reader, here)).values())
    found = [tree for tree in trees if _begins_as(tree, here.tree)]
    if not found:
        raise _alone(here)
    median = median_of(found)
    return Other(whole_of(MEDIAN, median.tree), median.trees, f"median of {median.trees}")


def _begins_as(tree: Tree, other: Tree) -> bool:
    """Whether both began with the same operation."""
    one, two = tree.root, other.root
    if one is None or two is None:
        return False
    return (one.span.name, one.resource.service) == (two.span.name, two.resource.service)


def _alone(here: Whole) -> Refusal:
    return missing(
        f"there is no other trace of {_name(here)!r} in the day before this one to compare it "
        "with"
    )


def _name(whole: Whole) -> str:
    root = whole.tree.root
    return root.span.name[:NAME_CHARACTERS_MAX] if root else ""


def _page(here: Whole, there: Other, show: str, other: str) -> Page:
    pairs = pairs_of(here.tree, there.whole.tree)
    changes = changes_of(pairs)
    longest_ns = max(here.request_ns, there.whole.request_ns, 1)
    telling = pairs if show == "all" else telling_of(pairs, longest_ns * TELLING_PART)
    rows = [_row(pair) for pair in pairs]
    shown = {
        **summary_of(here),
        "there": there,
        "other": other,
        "is_median": other == MEDIAN,
        "here_ns": here.request_ns,
        "there_ns": there.whole.request_ns,
        "longest_ns": longest_ns,
        "changes": [
            one
            for one in changes
            if abs(one.longer_ns) >= longest_ns * CHANGE_PART
            or one.count_here != one.count_there
        ][:CHANGES_SHOWN],
        "most_ns": max((abs(one.longer_ns) for one in changes), default=0) or 1,
        "pairs": [(pair, note_of(pair.either)) for pair in telling[:ROWS_SHOWN]],
        "telling": len(telling),
        "pair_count": len(pairs),
        "only_here": sum(1 for _ in only_here(pairs)),
        "only_there": sum(1 for _ in only_there(pairs)),
        "show": show,
    }
    data = {
        "here": summary_of(here),
        "there": {**summary_of(there.whole), "traces": there.of},
        "changes": [_told(one) for one in changes],
        "spans": rows,
    }
    sheet = Sheet(COLUMNS, [[row[key] for key in COLUMNS] for row in rows])
    return Page("against.html", f"{_name(here)} against {there.words}", shown, data, sheet)


def telling_of(pairs: Sequence[Pair], least_ns: float) -> list[Pair]:
    """The pairs whose own time differs by that much, and all that they stand below."""
    kept = [False] * len(pairs)
    above: list[int] = []  # the places of the ancestors of the pair that is looked at
    for place, pair in enumerate(pairs):
        del above[pair.depth :]
        above.append(place)
        if place == 0 or abs(pair.self_longer_ns) >= least_ns:
            for ancestor in reversed(above):
                if kept[ancestor]:
                    break
                kept[ancestor] = True
    return [pair for pair, is_kept in zip(pairs, kept, strict=True) if is_kept]


def _row(pair: Pair) -> dict[str, Any]:
    here, there, either = pair.here, pair.there, pair.either
    return {
        "depth": pair.depth,
        "name": either.span.name,
        "service": either.resource.service,
        "note": note_of(either),
        "here_ns": here and here.duration_ns,
        "there_ns": there and there.duration_ns,
        "longer_ns": pair.longer_ns,
        "self_here_ns": here and here.self_ns,
        "self_there_ns": there and there.self_ns,
        "self_longer_ns": pair.self_longer_ns,
        "span_id": here.span.span_id.hex() if here else "",
        "other_span_id": there.span.span_id.hex() if there else "",
    }


def _told(change: Change) -> dict[str, Any]:
    operation = change.operation
    return {
        "service": operation.service,
        "name": operation.name,
        "statement": operation.statement,
        "count_here": change.count_here,
        "count_there": change.count_there,
        "self_here_ns": change.self_here_ns,
        "self_there_ns": change.self_there_ns,
        "longer_ns": change.longer_ns,
    }
