"""Whether a form that changes something was sent by a page of ours: browsers say so."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


def is_from_here(headers: Mapping[str, str]) -> bool:
    """Whether no page of another origin can have sent this.

    Browsers name the origin of every form that they post. What has neither that nor a cookie is
    no browser, and brought its token itself.

    >>> here = {"host": "nilo:4318", "origin": "http://nilo:4318"}
    >>> is_from_here(here), is_from_here({**here, "origin": "http://evil"}), is_from_here({})
    (True, False, True)
    >>> is_from_here({**here, "sec-fetch-site": "cross-site"}), is_from_here({"cookie": "a=b"})
    (False, False)
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    if origin is not None:
        return origin != "null" and urlsplit(origin).netloc == headers.get("host")
    return "cookie" not in headers
