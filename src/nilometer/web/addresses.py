"""Addresses of pages: each says exactly what is shown, so that it can be sent to somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from markupsafe import Markup

from nilometer.api.parameters import pair, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import Request

PAIRS: Final = ("attribute", "where")
"""Parameters that are a key and its value."""


def link(*path: str, **parameters: Any) -> str:
    """The address of a page of ours, from the parts of its path; what is in them stays text.

    >>> link("traces", "a/b", since="1h", error=True, name=None, where=["a=1", "b=2"])
    '/traces/a%2Fb?since=1h&error=true&where=a%3D1&where=b%3D2'
    """
    told = _query(list(parameters.items()))
    return "/" + "/".join(quote(part, safe="") for part in path) + told


def to(*path: str, **parameters: Any) -> Markup:
    """The attribute of a link to a page of ours; none where that page would be refused, as a
    name may be longer than what can be asked for.

    >>> to("requests", "a/b"), to("requests", 5000 * "a"), to("traces", attribute="=1")
    (Markup(' href="/requests/a%2Fb"'), Markup(''), Markup(''))
    """
    return _href(link(*path, **parameters)) if _leads(path, parameters) else Markup()


def here(request: Request, /, **changes: Any) -> Markup:
    """The attribute of a link to this page with other parameters, as those of `to`."""
    return _href(again(request, **changes)) if _leads((), changes) else Markup()


def _href(address: str) -> Markup:
    return Markup(' href="{}"').format(address)


def _leads(path: tuple[str, ...], parameters: Mapping[str, Any]) -> bool:
    """Whether pages take such parts of a path and such parameters."""
    if any(part in ("", ".", "..") for part in path):  # browsers take these away
        return False
    told = [*path, *(value for value in parameters.values() if isinstance(value, str))]
    pairs = [one for key in PAIRS if isinstance(one := parameters.get(key), str)]
    try:
        for text in told:
            plain(text)
        for text in pairs:
            pair(text)
    except ValueError:
        return False
    return True


def again(request: Request, /, **changes: Any) -> str:
    """This page with other parameters: None takes one away, what is not named stays."""
    kept = [
        (key, value)
        for key, value in request.query_params.multi_items()
        if key not in changes and key != "format"
    ]
    path = quote(request.scope["path"], safe="/")
    return path + _query([*kept, *changes.items()])


def _query(pairs: list[tuple[str, Any]]) -> str:
    """`?` and the pairs; those that are None or empty are left out."""
    told = [
        (key, _text(one))
        for key, value in pairs
        for one in (value if isinstance(value, list | tuple) else [value])
        if one is not None and one != ""
    ]
    return f"?{urlencode(told, errors='replace')}" if told else ""


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_local(path: str) -> bool:
    """Whether a text can only be a path of this collector's, wherever a browser reads it.

    >>> [is_local(p) for p in ("/traces?a=1", "//evil", "/\\\\evil", "http://evil", "/\\tx")]
    [True, False, False, False, False]
    """
    plain = all(" " < c < "\x7f" for c in path)
    return plain and path.startswith("/") and "\\" not in path and not path.startswith("//")


def fields(request: Request, *but: str) -> Mapping[str, list[str]]:
    """The parameters of this page, without some: what a form hands on unseen."""
    found: dict[str, list[str]] = {}
    for key, value in request.query_params.multi_items():
        if key not in but and key != "format":
            found.setdefault(key, []).append(value)
    return found
