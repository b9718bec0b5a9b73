"""Style sheet, scripts and Bokeh's library, each at an address that its content is part of.

So a browser keeps them for good, and never shows a new page with an old script. All of it comes
from installed packages, nothing from another host.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from fastapi import APIRouter, Request, Response

from nilometer.api.parameters import Text  # noqa: TC001 - FastAPI reads annotations
from nilometer.api.problems import missing

MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
OURS: Final = Path(__file__).parent / "static"
BOKEH: Final = ("bokeh.min.js",)
"""Of Bokeh's library the parts that draw our charts."""

FOR_GOOD: Final = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """One file as it is sent."""

    digest: str
    media_type: str
    content: bytes
    packed: bytes


def address(name: str) -> str:
    """Where a page finds the file of that name; KeyError if there is none."""
    return f"/static/{asset(name).digest}/{name}"


@cache
def asset(name: str) -> Asset:
    """The file of that name, read once; KeyError if there is none."""
    content = _places()[name].read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    return Asset(digest, MEDIA_TYPES[Path(name).suffix], content, gzip.compress(content, 6))


@cache
def _places() -> dict[str, Path]:
    """By name, all files there are: a name that is none of them opens nothing."""
    ours = {path.name: path for path in OURS.iterdir() if path.suffix in MEDIA_TYPES}
    spec = find_spec("bokeh")  # not imported: that takes half a second
    for place in (spec.submodule_search_locations or []) if spec else []:
        theirs = Path(place) / "server" / "static" / "js"
        ours |= {name: theirs / name for name in BOKEH if (theirs / name).is_file()}
    return ours


def router() -> APIRouter:
    """The route of all of them."""
    routes = APIRouter()

    @routes.get("/static/{digest}/{name}")
    def static(request: Request, digest: Text, name: Text) -> Response:
        """One file; not asynchronous, as packing a large one takes a thread's time."""
        try:
            found = asset(name)
        except KeyError:
            raise missing("no such file; reload the page that asked for it") from None
        if found.digest != digest:
            raise missing("that file has changed; reload the page that asked for it")
        headers = {"Cache-Control": FOR_GOOD, "Vary": "Accept-Encoding"}
        packs = "gzip" in request.headers.get("accept-encoding", "")
        if packs:
            headers["Content-Encoding"] = "gzip"
        content = found.packed if packs else found.content
        return Response(content, 200, headers, found.media_type)

    return routes
