"""The words that every report uses, made of text that may come from anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.gate.attribution import CALLER_KEYS, FILE_KEYS, LINE_KEYS

if TYPE_CHECKING:
    from nilometer.gate.attribution import Part
    from nilometer.gate.finding import Finding
    from nilometer.gate.verdict import Verdict

CHARS_MAX: Final = 300  # of a statement or a test's name: its beginning tells which it is
FINDINGS_MAX: Final = 10  # shown of one run; one change moves a dozen counters, JSON has all

_PLACES: Final = {*FILE_KEYS, *LINE_KEYS, *CALLER_KEYS}


def flat(text: str) -> str:
    r"""Text from anywhere for one line: no line breaks or control characters, not endless.

    >>> flat("SELECT 1;\n\x1b[31m")
    'SELECT 1;··[31m'
    """
    if len(text) > CHARS_MAX:
        text = text[: CHARS_MAX - 1] + "…"
    return "".join(c if c.isprintable() else "·" for c in text)


def number(value: float) -> str:
    """A count in groups, or what is left of it after dividing by work.

    >>> number(12345.0), number(-40.0), number(0.5), number(1e21)
    ('12,345', '-40', '0.5', '1e+21')
    """
    if abs(value) < 1e15 and float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.6g}"


def moved(delta: float, expected: float) -> str:
    """``+40 (+5.0 %)``; from nought there is no share."""
    sign = "+" if delta > 0 else ""
    share = f"{delta / abs(expected) * 100:+,.1f} %" if expected else "from 0"
    return f"{sign}{number(delta)} ({share})"


def name(finding: Finding) -> str:
    """Which counter: ``mysql:Com_select``."""
    return flat(str(finding.key))


def headline(finding: Finding) -> str:
    """``mysql:Com_select +40 (+5.0 %)``."""
    return f"{name(finding)} {moved(finding.delta, finding.expected)}"


def evidence(finding: Finding) -> str:
    """From where to where, and how sure it is."""
    known = finding.standing
    what = f"{number(finding.now)} instead of {number(finding.expected)}"
    away = f"; went away: {flat(finding.went_away)}" if finding.went_away else ""
    sure = f"{known.stability.value} over {known.runs} runs"
    since = f"; {flat(finding.since)}" if finding.since else ""
    return f"{what}, {finding.scales:.1f} scales; {sure}{since}{away}"


def which(part: Part) -> str:
    """Which part: its dimensions as text, but where in the code it is from."""
    pairs = [f"{key} {value}" for key, value in part.key.dimensions if key not in _PLACES]
    return flat(", ".join(pairs) or part.key.counter)


def whence(part: Part) -> str:
    """``from digest SELECT ..., db shop (statement.calls +40) at shop/orders.py:17``."""
    how = f"{flat(part.key.counter)} {moved(part.delta, part.expected)}"
    place = f" at {flat(str(part.place))}" if part.place else ""
    return f"from {which(part)} ({how}){place}"


def title(verdict: Verdict) -> str:
    """What happened, in one line."""
    suite = flat(verdict.run.suite)
    if not verdict.findings:
        return f"{verdict.outcome.value}: {suite}"
    more = len(verdict.findings) - 1
    rest = f" and {more} more" if more else ""
    return f"{headline(verdict.findings[0])}{rest} in {suite}"


def standing_of(verdict: Verdict) -> str:
    """``warn``, or what it is only advised."""
    return "advice" if verdict.is_advisory else verdict.outcome.value
