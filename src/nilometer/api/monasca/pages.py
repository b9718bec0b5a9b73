"""Pages of answers: links that can be followed as they are, and where the next one goes on."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, unquote

from nilometer.api.moments import iso_8601
from nilometer.api.monasca.faults import unprocessable
from nilometer.api.monasca.grammar import moment_of
from nilometer.api.problems import cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import Request

    from nilometer.api.monasca.grammar import Fields

NS_PER_MS: Final = 10**6

# Legal in a query as they are. So a time or a filter looks the same to a client that escapes a
# link's text once more and to one that does not.
LEFT: Final = ":,*/"


def self_link(request: Request) -> dict[str, str]:
    """The link to what was asked for, as it was asked for."""
    return {"rel": "self", "href": str(request.url)}


def page(
    request: Request, fields: Fields, elements: Sequence[Any], offset: str | None
) -> dict[str, Any]:
    """An answer; with an offset, where it goes on, there is a next one."""
    links = [self_link(request)]
    if offset is not None:
        told = [pair for pair in fields.pairs if pair[0] != "offset"]
        query = "&".join(
            f"{quote(key, safe=LEFT)}={quote(value, safe=LEFT)}"
            for key, value in [*told, ("offset", offset)]
        )
        links.append({"rel": "next", "href": str(request.url.replace(query=query))})
    return {"links": links, "elements": list(elements)}


def listed(
    request: Request,
    fields: Fields,
    found: Sequence[tuple[str, Any]],
    limit: int,
    *,
    ordered: bool,
) -> dict[str, Any]:
    """A page of a list; each element stands with its offset, `ordered` or not."""
    begin, after = 0, fields.one("offset")
    if after is not None:
        offsets = [offset for offset, _ in found]
        if ordered:
            begin = bisect_right(offsets, after)
        elif after in offsets:
            begin = offsets.index(after) + 1
        else:
            raise lost(after)
    shown = found[begin : begin + limit]
    offset = shown[-1][0] if begin + limit < len(found) else None
    return page(request, fields, [element for _, element in shown], offset)


class Place(NamedTuple):
    """Where to go on: after this moment of the metric, group or part with this id.

    An id that is left out stands for the first group.
    """

    id: str
    after_ns: int


def offset_of(ident: str, at_ns: int) -> str:
    """Where the next page goes on, in the form that clients know."""
    return f"{ident}_{iso_8601(at_ns)}"


def place_of(fields: Fields) -> Place | None:
    """The place that the query's offset tells; None if there is none.

    Links of ours tell it to the nanosecond; else it is as answers show times, to the
    millisecond, and all of that one is over.
    """
    text = fields.one("offset")
    if text is None:
        return None
    ident, _, moment = unquote(text).rpartition("_")
    whole = re.fullmatch(r"(.+)\.([0-9]{9})Z", moment)
    if whole is None:
        return Place(ident, moment_of(moment) + NS_PER_MS - 1)
    return Place(ident, moment_of(whole[1] + "Z") + int(whole[2]))


def lost(offset: str) -> Exception:
    """The offset's metric is not there any more; to go on elsewhere would leave some out."""
    return unprocessable(
        f"no metric has the id in the offset {cut(offset)!r} any more; begin again without it"
    )
