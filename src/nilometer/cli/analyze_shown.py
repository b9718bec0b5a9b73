"""Answers of `nilometer analyze`: for people a table or a page, for programs the rest."""

from __future__ import annotations

import os
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from rich.cells import cell_len
from rich.table import Table

from nilometer.cli.exits import Exit
from nilometer.cli.terminal import cell, console, json_text, one_line, say, show, stop, write
from nilometer.errors import ConfigError
from nilometer.model.units import duration
from nilometer.web.sheet import Sheet, encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.analyze.question import Column, Question

ENDINGS: Final = {".json": "json", ".csv": "csv", ".parquet": "parquet", ".html": "html"}
TEXT_CELLS_MIN: Final = 12  # of a column of text that is folded


class Shown(NamedTuple):
    """What was asked, the first rows of the answer, how many it has, what was skipped."""

    question: Question
    asked: Mapping[str, Any]
    rows: pa.Table
    total: int
    skipped: Mapping[str, int]


def form_of(form: str | None, output: str | None) -> str:
    """The format that was asked for, or that the file's name says; a table if nothing does."""
    told = form or ENDINGS.get(Path(output or "").suffix.lower(), "table")
    if told == "parquet" and output is None:
        raise ConfigError("--format parquet: it needs --output FILE", slug="bad-parameter")
    return told


def deliver(shown: Shown, form: str, output: str | None) -> None:
    """Print an answer, or put it into a file, which is there once it is whole."""
    if output is not None:
        target = Path(output)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            if form == "parquet":
                pq.write_table(shown.rows, part)
            else:
                part.write_text(_text(shown, form), encoding="utf-8", newline="")
            part.replace(target)
        except OSError as error:
            with suppress(OSError):  # it was not there, or cannot be removed either
                part.unlink()
            stop(f"--output: {output}: {error.strerror or error}", Exit.USAGE)
    elif form == "table":
        if shown.total:
            show(table(shown, console().width))
    else:
        write(_text(shown, form))


def _text(shown: Shown, form: str) -> str:
    if form == "json":
        return json_text(document(shown))
    if form == "csv":
        columns = shown.rows.column_names
        return encode(Sheet(columns, zip(*shown.rows.to_pydict().values(), strict=True)))
    if form == "html":
        from nilometer.cli.analyze_page import page

        return page(shown)
    with console().capture() as drawn:
        console().print(table(shown, console().width))
    return "".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines())


def document(shown: Shown) -> dict[str, Any]:
    """The answer for JSON; a number that JSON cannot say is null."""
    return {
        "question": shown.question.name,
        "asked": shown.asked,
        "columns": [
            {"name": c.name, "unit": c.unit, "meaning": c.meaning}
            for c in shown.question.columns
        ],
        "rows": [
            {name: _plain(value) for name, value in row.items()}
            for row in shown.rows.to_pylist()
        ],
        "total": shown.total,
        "skipped": dict(shown.skipped),
    }


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


def table(shown: Shown, width: int) -> Table:
    """The rows for a person; columns that say nothing, or for which there is no room, go."""
    told = {
        column.name: (column, [written(column, value) for value in values.to_pylist()])
        for column, values in zip(shown.question.columns, shown.rows.columns, strict=True)
    }
    kept = {name: each for name, each in told.items() if set(each[1]) - {"-", ""}}
    fitting = _fitting(kept, width)
    if lacking := [name for name in kept if name not in fitting]:
        say(f"no room for {', '.join(lacking)}; a wider terminal or --format json has all")
    made = Table(box=None, padding=(0, 1))
    for column, _ in fitting.values():
        if pa.types.is_string(column.type):
            made.add_column(heading(column), style="cyan", overflow="fold")
        else:
            made.add_column(heading(column), justify="right", no_wrap=True)
    for row in zip(*(texts for _, texts in fitting.values()), strict=True):
        made.add_row(*map(cell, row))
    return made


Told = dict[str, "tuple[Column, list[str]]"]


def _fitting(told: Told, width: int) -> Told:
    """The columns for which there is room; of numbers the last go first."""
    kept = dict(told)
    numbers = [n for n, (column, _) in told.items() if not pa.types.is_string(column.type)]
    while len(numbers) > 1 and sum(map(_cells, kept.values())) > width:
        del kept[numbers.pop()]
    return kept


def _cells(told: tuple[Column, list[str]]) -> int:
    column, texts = told
    longest = max(map(cell_len, (heading(column), *map(one_line, texts))))
    if pa.types.is_string(column.type):
        longest = min(longest, max(TEXT_CELLS_MIN, len(heading(column))))
    return longest + 2


def heading(column: Column) -> str:
    """What a column is called where its values have their units.

    >>> from nilometer.analyze.question import WHOLE, Column
    >>> [heading(Column(name, WHOLE, "", "")) for name in ("calls_max", "self_ns")]
    ['calls max', 'self']
    """
    return column.name.removesuffix("_ns").replace("_", " ")


def written(column: Column, value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and not isfinite(value):
        return "-"
    if column.unit == "ns":
        return duration(value)
    if column.name.endswith("_share"):
        return f"{100 * value:.1f} %"
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    return f"{text}/s" if column.unit == "1/s" else text


def asked_line(asked: Mapping[str, Any]) -> str:
    """What was asked, in a line."""
    given = ((name, value) for name, value in asked.items() if value is not None)
    return ", ".join(f"{name} {_joined(value)}" for name, value in given)


def _joined(value: Any) -> str:
    return " ".join(value) if isinstance(value, list | tuple) else str(value)
