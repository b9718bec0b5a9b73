"""What stands in a query of Monasca's API, parsed at the door; what is not in its grammar is
refused in its words.

Clients write the same things in several ways: `True` and `true`, lists with commas or repeated,
colons escaped, or twice so by those who escape a link's text again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from nilometer.api.monasca.faults import Fault, unparsable, unprocessable
from nilometer.api.problems import cut
from nilometer.model.moments import NS_MAX, iso_8601_ns

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME_CHARS_MAX: Final = 255
FIELDS_MAX: Final = 64  # of one query; a dozen parameters there are, some may be repeated
KEYS_MAX: Final = 64  # dimensions in one query: more than any series has
LIMIT_MAX: Final = 10_000
PERIOD_S: Final = 300
PERIOD_S_MAX: Final = NS_MAX // 10**9

NAME_NEVER: Final = re.compile(r'[<>={},"\\;&()\s\x00-\x1f]')
DIMENSION_NEVER: Final = re.compile(r'[<>={},"\\;&]')
"""What no name and no dimension of a posted point may hold. Ours may (`disk used`,
`/stock/{sku}`), are listed, and can be asked for."""

SHARE: Final = r"p(100|[0-9]{1,2}(?:\.[0-9]{1,3})?)"
PERCENTILE: Final = re.compile(SHARE)
DERIVED: Final = re.compile(rf"(.+)\.{SHARE}", re.DOTALL)

PLAIN_STATISTICS: Final = ("avg", "min", "max", "count", "sum")
TRUE: Final = ("true", "t", "yes", "y", "1")
FALSE: Final = ("false", "f", "no", "n", "0")

Filter = dict[str, tuple[str, ...]]
"""By dimension the values of which one must hold; none: any value."""


class Window(NamedTuple):
    """A time that is asked for; an end that is left open is None."""

    since_ns: int | None
    until_ns: int | None


class Fields:
    """The parameters of one query as they came."""

    def __init__(self, query: bytes) -> None:
        try:
            pairs = parse_qsl(query.decode("latin-1"), max_num_fields=FIELDS_MAX)
        except ValueError:
            raise unprocessable(f"more than {FIELDS_MAX} parameters") from None
        self.pairs = pairs

    def all(self, name: str) -> list[str]:
        """Every value of a parameter."""
        return [value for key, value in self.pairs if key == name]

    def one(self, name: str) -> str | None:
        """Its only value; None if it is not there."""
        found = self.all(name)
        if len(found) > 1:
            raise unprocessable(f"{name} is given more than once")
        if found and "\x00" in found[0]:
            raise unprocessable(f"{name} holds a NUL")
        return found[0] if found else None

    def words(self, name: str) -> list[str]:
        """The words of a list, whether with commas or repeated."""
        return [word for value in self.all(name) for word in value.split(",") if word]

    def needed(self, name: str, called: str = "") -> str:
        """Its only value; refused if it is not there."""
        value = self.one(name)
        if value is None:
            raise unprocessable(f"Missing {called or name}")
        return value


def name_of(text: str) -> str:
    """The name of a posted metric; what is asked for may have any, as ours do."""
    if len(text) > NAME_CHARS_MAX:
        raise unprocessable(
            f"Metric name must be between 1 and {NAME_CHARS_MAX} characters: {cut(text)}"
        )
    if NAME_NEVER.search(text):
        raise unprocessable(f"invalid characters in metric name {cut(text)!r}")
    return text


def filter_of(fields: Fields) -> Filter:
    """What `dimensions` says: `k:v`, `k` for any value, `k:a|b` for one of them."""
    found: Filter = {}
    for word in fields.words("dimensions"):
        key, _, values = word.partition(":")
        if not key or len(key) > NAME_CHARS_MAX or "\x00" in word:
            raise unprocessable("Dimensions are malformed")
        wanted = tuple(value for value in values.split("|") if value)
        if any(len(value) > NAME_CHARS_MAX for value in wanted):
            raise unprocessable(f"a dimension's value has at most {NAME_CHARS_MAX} characters")
        found[key] = wanted
    if len(found) > KEYS_MAX:
        raise unprocessable(f"at most {KEYS_MAX} dimensions")
    return found


def holds(dimensions: Mapping[str, str], wanted: Filter) -> bool:
    """Whether these dimensions are as wanted."""
    return all(
        key in dimensions and (not values or dimensions[key] in values)
        for key, values in wanted.items()
    )


def moment_of(text: str) -> int:
    """A time in ISO 8601, in nanoseconds; UTC where it does not say."""
    try:
        at_ns = iso_8601_ns(unquote(text))
    except ValueError:
        raise unparsable(text) from None
    if not 0 <= at_ns <= NS_MAX:
        raise unparsable(text)
    return at_ns


def window_of(fields: Fields, *, needed: bool) -> Window:
    """`start_time` and `end_time`."""
    since = fields.needed("start_time", "start time") if needed else fields.one("start_time")
    until = fields.one("end_time")
    window = Window(
        None if since is None else moment_of(since), None if until is None else moment_of(until)
    )
    if None not in window and window.since_ns >= window.until_ns:  # type: ignore[operator]
        raise Fault(400, "start_time must be before end_time")
    return window


def limit_of(fields: Fields) -> int:
    """How many elements, points or statistics a page may hold."""
    text = fields.one("limit")
    if text is None:
        return LIMIT_MAX
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) == 0:
        raise Fault(
            422,
            f"Limit parameter {cut(text)} must be a positive integer",
            title="Invalid limit",
        )
    return min(int(text), LIMIT_MAX)


def flag_of(fields: Fields, name: str) -> bool:
    """A truth value."""
    text = (fields.one(name) or "false").lower()
    if text not in TRUE + FALSE:
        raise unprocessable(f"{name} must be true or false")
    return text in TRUE


def groups_of(fields: Fields) -> tuple[str, ...]:
    """The keys of `group_by`; `*` alone stands for all of them."""
    keys = tuple(dict.fromkeys(fields.words("group_by")))
    if len(keys) > KEYS_MAX or any(len(key) > NAME_CHARS_MAX or "\x00" in key for key in keys):
        raise unprocessable(f"group_by takes at most {KEYS_MAX} keys")
    return ("*",) if "*" in keys else keys


def period_of(fields: Fields) -> int:
    """How long a period is, in nanoseconds."""
    text = fields.one("period")
    if text is None:
        return PERIOD_S * 10**9
    if not re.fullmatch("-?[0-9]{1,18}", text):
        raise unprocessable("Period must be a valid integer")
    if int(text) <= 0:
        raise unprocessable("Period must be a positive integer")
    return min(int(text), PERIOD_S_MAX) * 10**9


def statistics_of(fields: Fields) -> list[str]:
    """The statistics in the order in which they are asked for; `p99` and such are ours."""
    found = [word.lower() for word in fields.words("statistics")]
    if not found:
        raise unprocessable("Missing statistics")
    if len(found) > FIELDS_MAX or not all(
        word in PLAIN_STATISTICS or PERCENTILE.fullmatch(word) for word in found
    ):
        raise unprocessable("Invalid statistic")
    return found


def share_of(statistic: str) -> float | None:
    """The share that a percentile is of; None of other statistics.

    >>> share_of("p99"), share_of("p99.9"), share_of("avg")
    (0.99, 0.999, None)
    """
    match = PERCENTILE.fullmatch(statistic)
    return float(match[1]) * 10 / 1000 if match else None


def derived(name: str) -> tuple[str, str] | None:
    """The metric and the percentile that a derived name stands for; None of others.

    >>> derived("api.latency.p99"), derived("api.latency")
    (('api.latency', 'p99'), None)
    """
    match = DERIVED.fullmatch(name)
    return (match[1], f"p{match[2]}") if match else None
