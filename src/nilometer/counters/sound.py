"""What a backend gave, made sure of: anybody may have written it, and it will be stored."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from nilometer.counters.figures import Fact, Figures

if TYPE_CHECKING:
    from nilometer.counters.figures import Number, Series

SHOWN_MAX: Final = 3
SHOWN_CHARS_MAX: Final = 80  # a line of a terminal holds one, and a counter's name fits


def sound_figures(given: object) -> Figures:
    """The figures without what is no number of a counter; a note says what was left out.

    JSON has no infinity, and nothing can be subtracted from one. Raises TypeError for what are
    no figures at all.
    """
    if not isinstance(given, Figures) or not isinstance(given.values, Mapping):
        raise TypeError(f"read() gave {_shown(given)}, which are no Figures")
    texts = given.incarnation, given.version, given.unseen, given.unread
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(
            "read() gave Figures whose incarnation, version, unseen or unread is no text"
        )
    values = given.values
    if all(_is_series(series) and _is_finite(value) for series, value in values.items()):
        return given
    kept: dict[Series, Number] = {}
    left: list[str] = []
    for series, value in values.items():
        if _is_series(series) and _is_finite(value):
            kept[series] = value
        else:
            left.append(f"{_shown(series)} = {_shown(value)}")
    more = f", and {len(left) - SHOWN_MAX} more" if len(left) > SHOWN_MAX else ""
    note = f"left out, being no finite number of a counter: {', '.join(left[:SHOWN_MAX])}{more}"
    return given._replace(values=kept, notes=(*given.notes, note))


def sound_facts(given: object) -> Mapping[str, Fact]:
    """The facts, if they are any. Raises TypeError."""
    if not isinstance(given, Mapping):
        raise TypeError(f"facts() gave {_shown(given)}, which is no mapping")
    wrong = next((one for one in given.values() if not isinstance(one, Fact)), None)
    if wrong is not None:
        raise TypeError(f"facts() gave {_shown(wrong)}, which is no Fact")
    return given


def _is_series(series: Any) -> bool:
    """Whether it is a name and pairs of texts."""
    if type(series) is not tuple or len(series) != 2 or not isinstance(series[0], str):
        return False
    return series[1] == () or (
        type(series[1]) is tuple
        and all(
            type(pair) is tuple
            and len(pair) == 2
            and all(isinstance(text, str) for text in pair)
            for pair in series[1]
        )
    )


def _is_finite(value: Any) -> bool:
    if type(value) is int:
        return True
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and isfinite(value))


def _shown(value: object) -> str:
    """As much of it as a line has room for; a counter without parts by its name."""
    if _is_series(value) and value[1] == ():  # type: ignore[index]
        value = value[0]  # type: ignore[index]
        text = str(value)
    else:
        text = repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[: SHOWN_CHARS_MAX - 1]}…"
