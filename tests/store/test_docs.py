"""docs/tables.md shows the tables as they are; NILOMETER_WRITE_DOCS=1 brings it up to date."""

import os
from pathlib import Path

import pytest
import sqlglot

from nilometer.store import reading, tables

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"
MARK = "<!-- generated: nilometer.store.tables -->\n"
SQL = sorted(path.stem for path in (Path(reading.__file__).parent / "sql").glob("*.sql"))
# What begins with a WITH, one file after the other, and what goes on with it.
TAILS = {
    ("plain", "moved"): ("measured", "extremes", "buckets", "bounds", "points"),
    ("plain", "added"): ("measured", "buckets"),
    ("chosen",): ("chosen_traces", "durations"),
    ("told",): ("notices", "notice_bodies", "operations", "requests"),
}
WHOLE = {(*heads, tail) for heads, tails in TAILS.items() for tail in tails}
ALONE = {(name,) for name in SQL} - {(name,) for names in WHOLE for name in names}


def test_the_page_shows_the_tables_as_they_are():
    head, _, shown = PAGE.read_text().partition(MARK)
    if os.environ.get("NILOMETER_WRITE_DOCS"):
        PAGE.write_text(head + MARK + "\n" + tables.as_markdown())
        shown = PAGE.read_text().partition(MARK)[2]

    assert shown == "\n" + tables.as_markdown()


def test_every_version_of_the_schema_has_a_line_of_history():
    assert sorted(tables.HISTORY) == list(range(1, tables.VERSION + 1))


@pytest.mark.parametrize("names", sorted(WHOLE | ALONE), ids=" ".join)
def test_every_question_can_be_translated_for_spark(names):
    text = "".join(map(reading.sql, names))

    [translated] = sqlglot.transpile(text, read="duckdb", write="spark", unsupported_level=None)

    assert translated.split()[0] in ("SELECT", "WITH", "/*")
    assert sqlglot.parse_one(translated, read="spark").find(sqlglot.exp.Select)


@pytest.mark.parametrize("name", SQL)
def test_every_question_says_what_it_asks(name):
    assert reading.sql(name).startswith("-- ")
