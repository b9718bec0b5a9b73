"""One question put to an engine over sources: values parsed, files chosen, the answer made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from nilometer.errors import ConfigError, StoreError, nearest
from nilometer.model.moments import duration_ns, moment_ns
from nilometer.store.limits import SIGHT_NS, ends
from nilometer.store.reading import TRIES, needed
from nilometer.store.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from nilometer.analyze.engine import Engine, Lot
    from nilometer.analyze.question import Asked, Parameter, Question
    from nilometer.analyze.sources import Source

ANY: Final = "*"

LAST_NS: Final = 2**62 - 1
"""The year 2116. Whatever stands in a span, no question looks before 1970 or beyond this: so
two times can be added, and taken off each other, within 64 bits."""


class Wanted(NamedTuple):
    """What every question can be told: from when till when, of which services."""

    since_ns: int | None = None
    until_ns: int | None = None
    service: str = ANY


def asked_of(question: Question, wanted: Wanted, given: Mapping[str, str | None]) -> Asked:
    """The values for a question's SQL and fold; `given` has texts by parameters' names.

    Raises ConfigError, which names the parameter, for a text that is not what is asked for.
    """
    first, last = ends(wanted.since_ns, wanted.until_ns)
    first, last = max(first, 0), min(last, LAST_NS)
    asked: Asked = {
        "since_ns": first,
        "last_ns": last,
        "sight_ns": max(first - SIGHT_NS, 0),
        "service": pattern(wanted.service),
    }
    for one in question.parameters:
        text = given.get(one.name)
        asked[one.key] = parsed(one, one.default if text is None else text)
    return asked


def pattern(glob: str) -> str:
    """A name in which a star is anything and a question mark any character, as LIKE has it.

    >>> pattern("shop-*"), pattern("100%_?")
    ('shop-%', '100!%!__')
    """
    marks = {"*": "%", "?": "_", "%": "!%", "_": "!_", "!": "!!"}
    return "".join(marks.get(each, each) for each in glob)


def parsed(parameter: Parameter, text: str | None) -> Any:
    """The value of a parameter that somebody wrote."""
    if text is None:
        return None
    if parameter.choices and text not in parameter.choices:
        _refuse(parameter, text, nearest(text, parameter.choices)[2:])
    try:
        value = _READERS[parameter.kind](text)
    except (ValueError, OverflowError) as error:
        because = str(error) if parameter.kind in ("duration", "moment") else ""
        _refuse(parameter, text, because or f"write a {parameter.kind} number, as in 5")
    least, greatest = parameter.least, parameter.greatest
    if least is not None and not value >= least:
        _refuse(parameter, text, f"the least is {least:g}")
    if greatest is not None and not value <= greatest:
        _refuse(parameter, text, f"the greatest is {greatest:g}")
    return value


def _refuse(parameter: Parameter, text: str, because: str) -> NoReturn:
    raise ConfigError(f"--{parameter.name}: {text!r}; {because}", slug="bad-parameter")


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "text": str,
    "glob": pattern,
    "whole": int,
    "number": float,
    "duration": duration_ns,
    "moment": moment_ns,
}


def ask(
    question: Question,
    sources: Sequence[Source],
    engine: Engine,
    asked: Asked,
    tell: Callable[[str], None],
) -> pa.Table:
    """The whole answer. Raises StoreError where not all of the files can be read."""
    for tries_left in reversed(range(TRIES)):
        views = {table: _lots(table, sources, asked) for table in question.tables}
        try:
            rows = engine.rows(question.text, views, asked, tell)
        except FileNotFoundError as error:
            if tries_left:
                continue  # maintenance took a file away: ask again with the new list
            raise StoreError(
                f"{error}; nothing was answered", slug="store-unreadable"
            ) from error
        return question.answer(rows, asked)
    raise AssertionError("the last try returns or raises")


def _lots(table: str, sources: Sequence[Source], asked: Asked) -> list[Lot]:
    """The files that may hold rows of that time; of readings also what they moved from."""
    since = asked["sight_ns" if table == "readings" else "since_ns"]
    time = {TABLES[table].time: (since, asked["last_ns"])}
    lots = (lot for source in sources for lot in source.lots(table))
    chosen = (lot._replace(files=needed(lot.files, time)) for lot in lots)
    return [lot for lot in chosen if lot.files]
