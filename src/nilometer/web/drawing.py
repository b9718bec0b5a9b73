"""Draws a page: as HTML for people, as JSON and CSV for programs, by `?format=`.

Templates escape whatever they are given; what could turn or hide letters of a page is shown as
a question mark, so that a name can neither be a tag nor look like another.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from unicodedata import category

from fastapi import Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from pydantic import BaseModel

from nilometer.api.problems import Refusal, not_a_choice
from nilometer.model.units import ago, counted, duration, moment, quantity
from nilometer.web.addresses import again, fields, here, link, to
from nilometer.web.assets import address
from nilometer.web.moments import QUICK
from nilometer.web.sheet import Sheet, encode

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMATS: Final = ("html", "json", "csv")

NAV: Final = (
    ("services", "Services"),
    ("metrics", "Metrics"),
    ("traces", "Traces"),
    ("requests", "Requests"),
    ("changes", "Changes"),
    ("doctor", "Doctor"),
)
"""The pages, in the order in which they are offered: the first part of the path, and a word."""

TITLES: Final = {
    401: "Please log in",
    403: "Not allowed",
    404: "Not found",
    405: "Not done that way",
    409: "Not now",
    413: "Too large",
    422: "That cannot be shown",
    429: "Too often",
    500: "A fault of the collector's",
    503: "Not just now",
}
NEVER_KEPT: Final = {"Cache-Control": "no-store"}  # who logs out leaves nothing behind


class Page(NamedTuple):
    """One page: `shown` is for the template, `data` for programs, whole numbers with the unit
    in the name; `sheet` is for spreadsheets."""

    template: str
    title: str
    shown: Mapping[str, Any]
    data: Any
    sheet: Sheet | None = None


class Drawing:
    """Templates and what they may call. `login` is whether there is somebody to log out."""

    def __init__(self, *, login: bool) -> None:
        self._environment = Environment(
            loader=PackageLoader("nilometer.web"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_seen,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters |= {
            "duration": duration,
            "quantity": quantity,
            "counted": counted,
            "moment": moment,
            "ago": ago,
            "ends": both_ends,
        }
        self._environment.globals |= {
            "asset": address,
            "link": link,
            "to": to,
            "nav": NAV,
            "quick": QUICK,
            "login": login,
        }

    def answer(self, request: Request, page: Page, status: int = 200) -> Response:
        """The page in the format that the request asks for."""
        form = request.query_params.get("format", "html")
        if form == "json":
            return _answer(_json(page.data), status, "application/json")
        if form == "csv" and page.sheet is not None:
            answer = _answer(encode(page.sheet), status, "text/csv; charset=utf-8")
            answer.headers["Content-Disposition"] = f'attachment; filename="{_name(request)}"'
            return answer
        if form != "html":
            formats = [one for one in FORMATS if one != "csv" or page.sheet is not None]
            raise not_a_choice("format", form, formats)
        return _answer(self._html(request, page), status, "text/html; charset=utf-8")

    def _html(self, request: Request, page: Page) -> str:
        return self._environment.get_template(page.template).render(
            title=page.title,
            formats=[*["json"] * (page.data is not None), *["csv"] * (page.sheet is not None)],
            path=request.scope["path"],
            again=partial(again, request),
            here=partial(here, request),
            fields=partial(fields, request),
            **page.shown,
        )

    def refuse(self, request: Request, error: Refusal) -> Response:
        """An error as a page: what is wrong, with which value, and what to do."""
        problem = error.problem
        told = problem.model_dump(exclude_none=True)
        if request.query_params.get("format", "html") in ("json", "csv"):
            return _answer(_json(told), error.status, "application/json")
        title = TITLES.get(error.status, TITLES[500 if error.status >= 500 else 422])
        shown = {"problem": problem, "status": error.status}
        page = Page("problem.html", title, shown, None)
        return _answer(self._html(request, page), error.status, "text/html; charset=utf-8")


def _answer(text: str, status: int, media_type: str) -> Response:
    # A name may hold half a letter, which no encoding has.
    return Response(text.encode(errors="replace"), status, NEVER_KEPT, media_type)


def _name(request: Request) -> str:
    """What a file of the page is called: the letters of its path."""
    plain = (c if c.isascii() and c.isalnum() else "-" for c in request.scope["path"])
    return f"nilometer{''.join(plain)[:80]}.csv"


def _seen(value: Any) -> Any:
    """A text as a page may show it. Markup stays, and so what ``|e`` makes of the values that
    forms hand on: they are sent back as they are."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(c if c in "\n\t" or category(c)[0] != "C" else "?" for c in value)


def _json(data: Any) -> str:
    """JSON; numbers that it has no word for are null."""
    try:
        return json.dumps(data, allow_nan=False, default=_plain)
    except ValueError:
        return json.dumps(_finite(json.loads(json.dumps(data, default=_plain))))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, partial):  # much, which only who wants JSON is to wait for
        return value()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def both_ends(text: str, room: int) -> str:
    """A text that takes so many bytes of a page at most: of a longer one its beginning and its
    end, as a traceback says last why.

    >>> both_ends("Traceback: line, line, line: no such order", 20)
    'Tracebac...uch order'
    """
    if len(text) <= room and _size(text) <= room:
        return text
    kept = room - 3
    backwards = _fitting(text[: -room - 1 : -1], kept - kept // 2)
    return f"{_fitting(text[:room], kept // 2)}...{backwards[::-1]}"


def _fitting(text: str, room: int) -> str:
    """As much of its beginning as so many bytes hold."""
    lengths = range(len(text) + 1)
    return text[: bisect_right(lengths, room, key=lambda length: _size(text[:length])) - 1]


def _size(text: str) -> int:
    """How many bytes a text takes in a page: a letter up to four, a quotation mark five."""
    return len(escape(text).encode(errors="replace"))
