"""Numbers as people read them: durations with their unit, counts in groups, times of day."""

from __future__ import annotations

from datetime import UTC, datetime

NS_MAX = 2**63  # 292 years; what is longer is no duration, whoever told it
EXACT_MAX = 10**18  # with its commas that is as wide as a column may be
FLOAT_MAX = 10**308
_STEPS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"))


def duration(ns: float | None) -> str:
    """Nanoseconds in the unit that leaves three or more figures.

    >>> [duration(v) for v in (None, 0, 812, 53_400, 2_500_000, 61_000_000_000)]
    ['-', '0 ns', '812 ns', '53.4 us', '2.50 ms', '61.0 s']
    """
    if ns is None:
        return "-"
    if abs(ns) > NS_MAX:
        return "-beyond-"
    for size, unit in _STEPS:
        if abs(ns) >= size:
            value = ns / size
            digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
            return f"{value:.{digits}f} {unit}"
    return f"{ns:.0f} ns"


def ago(ns: int) -> str:
    """How long ago, in whole units.

    >>> [ago(s * 10**9) for s in (0, 4, 59, 61, 7300, 200_000)]
    ['now', '4 s ago', '59 s ago', '1 min ago', '2 h ago', '2 d ago']
    """
    seconds = ns // 10**9
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "now"


def counted(number: int, thing: str) -> str:
    """So many of a thing whose plural ends in s.

    >>> counted(1, "span"), counted(0, "span"), counted(2500, "span")
    ('1 span', '0 spans', '2,500 spans')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def quantity(value: float | None, unit: str) -> str:
    """A value of any metric with its UCUM unit; times as durations.

    >>> quantity(2_500_000, "ns"), quantity(2000, "1"), quantity(0.25, "{order}")
    ('2.50 ms', '2,000', '0.25 order')
    """
    if value is None:
        return "-"
    if unit == "ns":
        return duration(value)
    if abs(value) > EXACT_MAX:
        text = f"{float(value) if abs(value) < FLOAT_MAX else FLOAT_MAX:.4g}"
    else:
        text = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"
    word = unit.strip("{}")
    return text if word in ("", "1") else f"{text} {word}"


def moment(ns: int) -> str:
    """A wall-clock time, in UTC, to the millisecond."""
    if not 0 <= ns <= NS_MAX:
        return "-beyond-"
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
