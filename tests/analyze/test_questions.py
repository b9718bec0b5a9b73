"""What holds for every question: any rows, few rows, rows that came twice, another dialect."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import sqlglot
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nilometer.analyze import question as questions
from nilometer.analyze.questions import QUESTIONS
from nilometer.model import Batch
from tests.analyze.putting import SHOP, answer, span
from tests.analyze.test_slowest import traces
from tests.analyze.test_usage import failed, timed
from tests.store.batches import batches

FOLDER = Path(questions.__file__).parent / "sql"
each_question = pytest.mark.parametrize("name", QUESTIONS)


@each_question
def test_it_says_what_it_asks_and_what_each_column_means(name):
    question = QUESTIONS[name]

    assert (FOLDER / f"{name}.sql").read_text().startswith("-- ")
    assert question.summary.endswith(".")
    assert len(question.because.split()) > 20
    assert [column.name for column in question.columns if not column.meaning] == []
    assert all(c.unit == "ns" for c in question.columns if c.name.endswith("_ns"))


@each_question
def test_its_chart_draws_columns_that_it_has(name):
    question = QUESTIONS[name]
    names = {column.name for column in question.columns}

    drawn = question.chart and {*question.chart.x, *question.chart.y, *question.chart.by}

    assert (drawn or set()) <= names


@each_question
def test_it_can_be_translated_for_spark(name):
    [translated] = sqlglot.transpile(
        QUESTIONS[name].text, read="duckdb", write="spark", unsupported_level=None
    )

    assert sqlglot.parse_one(translated, read="spark").find(sqlglot.exp.Select)
    assert "APPROX" not in translated


@each_question
def test_of_nothing_it_says_nothing(name):
    assert answer(name, []) == []


@each_question
def test_one_row_is_enough(name):
    readings = (timed(1, 10), failed(1))

    rows = answer(name, [Batch(SHOP, readings, (span(1),))])

    assert len(rows) <= 5


@each_question
def test_what_came_twice_and_in_another_order_gives_the_same_answer(name):
    given = [
        *traces(7),
        *(Batch(SHOP, (timed(n, n * 10, at=n), failed(1, at=n))) for n in range(9)),
    ]
    again = [*given, *given]
    Random(1).shuffle(again)

    assert answer(name, again) == answer(name, given)


@each_question
@given(given=st.lists(batches, max_size=3))
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],  # to shrink batches takes many minutes
)
def test_any_rows_have_an_answer(name, given):
    rows = answer(name, given)

    assert all(list(row) == [c.name for c in QUESTIONS[name].columns] for row in rows)
