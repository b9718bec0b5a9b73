"""What stands in a query, parsed at the door; an error names parameter, value and remedy.

The types are for FastAPI: each parses text, and tells OpenAPI what it takes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from starlette.convertors import PathConvertor, register_url_convertor

from nilometer.model.moments import DURATION, duration_ns, moment_ns

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT_CHARS_MAX: Final = 4096


def trace_id(text: object) -> str:
    """A trace's id as 32 hex digits; dashes, as in a UUID, may stand in it.

    >>> trace_id("4BF92F35-77B3-4DA6-A3CE-929D0E0E4736")
    '4bf92f3577b34da6a3ce929d0e0e4736'
    """
    told = str(text).replace("-", "").lower()
    if not re.fullmatch("[0-9a-f]{32}", told):
        raise ValueError("a trace's id is 32 hex digits, as `nilometer trace list` prints it")
    return told


def pair(text: object) -> tuple[str, str]:
    """``key=value``; the value may hold further equals signs.

    >>> pair("url=http://x/?a=b")
    ('url', 'http://x/?a=b')
    """
    key, equals, value = str(text).partition("=")
    if not (key and equals):
        raise ValueError("write key=value, as in http.request.method=GET")
    return key, value


def quantile(text: object) -> tuple[str, float]:
    """A share from 0 to 1, with the text it was asked by.

    >>> quantile("0.99")
    ('0.99', 0.99)
    """
    told = str(text)
    if not re.fullmatch(r"[01]|[01]?\.[0-9]{1,9}|0|1", told) or not 0 <= float(told) <= 1:
        raise ValueError("a quantile is a number from 0 to 1, as in 0.99")
    return told, float(told)


def plain(text: object) -> str:
    """Any text that can be in the tables."""
    told = str(text)
    if len(told) > TEXT_CHARS_MAX:
        raise ValueError(f"texts have at most {TEXT_CHARS_MAX} characters")
    if "\x00" in told:
        raise ValueError("texts hold no NUL")
    return told


def _that_parses(parse: Callable[[object], object]) -> Callable[[str], str]:
    """A check that leaves the text: FastAPI has lists of texts only, the route parses again."""

    def checked(text: str) -> str:
        parse(plain(text))
        return text

    return checked


def _schema(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **schema})


Moment = Annotated[
    int,
    BeforeValidator(moment_ns),
    _schema(
        description="ISO 8601, seconds or nanoseconds since 1970, or how long ago (15m).",
        examples=["15m", "2026-11-20T08:30:00Z", "1795163304"],
    ),
]
DurationNs = Annotated[
    int,
    BeforeValidator(duration_ns),
    _schema(pattern=f"^{DURATION.pattern}$", examples=["250ms", "1.5s"]),
]
TraceId = Annotated[
    str,
    BeforeValidator(trace_id),
    _schema(
        pattern="^([0-9a-fA-F]-?){31}[0-9a-fA-F]$",
        examples=["4bf92f3577b34da6a3ce929d0e0e4736"],
    ),
]
PairText = Annotated[
    str,
    AfterValidator(_that_parses(pair)),
    _schema(pattern="^[^=]+=", examples=["service=api"]),
]
QuantileText = Annotated[
    str,
    AfterValidator(_that_parses(quantile)),
    _schema(pattern=r"^(0|1|0?\.[0-9]{1,9})$", examples=["0.5", "0.99"]),
]
Text = Annotated[
    str, BeforeValidator(plain), _schema(maxLength=TEXT_CHARS_MAX, pattern=r"^[^\u0000]*$")
]


class _TextConvertor(PathConvertor):
    """``{name:text}`` in a path: any text, also newlines, which Starlette's own stops at."""

    regex = r"[\s\S]*"


register_url_convertor("text", _TextConvertor())
