"""What stands in a query, parsed at the door; an error names parameter, value and remedy.

The types are for FastAPI: each parses text, and tells OpenAPI what it takes.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from starlette.convertors import PathConvertor, register_url_convertor

from nilometer.clock import wall_ns

if TYPE_CHECKING:
    from collections.abc import Callable

NS: Final[dict[str, int]] = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86_400 * 10**9,
    "w": 604_800 * 10**9,
}
"""Units of durations."""

NS_MAX: Final = 2**63 - 1  # the year 2262: times are 64 bits in the tables
TEXT_CHARS_MAX: Final = 4096

# What a bare number of so many digits counts, since 1970: seconds till 5138, then finer units.
_EPOCH_UNITS: Final = ((11, 10**9), (14, 10**6), (17, 10**3), (20, 1))

_DURATION: Final = re.compile(rf"([0-9]{{1,19}}(?:\.[0-9]{{1,9}})?)({'|'.join(NS)})")
_EPOCH: Final = re.compile(r"([0-9]{1,19})(\.[0-9]{1,9})?")


def duration_ns(text: object) -> int:
    """A duration with its unit, in nanoseconds.

    >>> duration_ns("250ms"), duration_ns("1.5s")
    (250000000, 1500000000)
    """
    match = _DURATION.fullmatch(str(text))
    if match is None:
        raise ValueError(f"write a number with its unit, as in 250ms ({', '.join(NS)})")
    whole, _, fraction = match[1].partition(".")
    unit = NS[match[2]]
    # Whole numbers throughout: a float would be off by hundreds of nanoseconds at the far end.
    value = int(whole) * unit + _fraction(fraction, unit)
    if value > NS_MAX:
        raise ValueError("that is longer than 292 years")
    return value


def moment_ns(text: object) -> int:
    """A moment, in nanoseconds since 1970: ISO 8601, a number since 1970, or how long ago.

    >>> moment_ns("1970-01-01T00:00:01Z"), moment_ns("1"), moment_ns("1500000000000000000")
    (1000000000, 1000000000, 1500000000000000000)
    """
    told = str(text).strip()
    if told == "now":
        return wall_ns()
    if _DURATION.fullmatch(told):
        return max(wall_ns() - duration_ns(told), 0)
    epoch = _EPOCH.fullmatch(told)
    value = _since_1970(epoch) if epoch else iso_8601_ns(told)
    if not 0 <= value <= NS_MAX:
        raise ValueError("times go from 1970 to 2262")
    return value


def _since_1970(epoch: re.Match[str]) -> int:
    whole, fraction = epoch[1], (epoch[2] or ".")[1:]
    unit = next(unit for digits, unit in _EPOCH_UNITS if len(whole) <= digits)
    return int(whole) * unit + _fraction(fraction, unit)


def _fraction(digits: str, unit: int) -> int:
    """So many whole nanoseconds are the digits after the point."""
    return int(digits.ljust(9, "0")) * unit // 10**9


def iso_8601_ns(told: str) -> int:
    """Nanoseconds since 1970; without an offset it is UTC. Raises ValueError for other text."""
    # A + that was not quoted arrives as a space; nothing else puts one before the offset.
    told = re.sub(r" (?=\d\d:?\d\d$)", "+", told) if "T" in told else told
    try:
        moment = datetime.fromisoformat(told)
    except ValueError:
        raise ValueError(
            "write ISO 8601 as in 2026-11-20T08:30:00Z, seconds or nanoseconds since 1970, "
            f"or how long ago, as in 15m ({', '.join(NS)})"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


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
    _schema(pattern=f"^{_DURATION.pattern}$", examples=["250ms", "1.5s"]),
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
