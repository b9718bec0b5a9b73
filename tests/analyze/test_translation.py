"""Every question's SQL is one that a cluster can be asked, too."""

import pytest
import sqlglot
from sqlglot import exp

from nilometer.analyze.questions import QUESTIONS


@pytest.mark.parametrize("name", QUESTIONS)
def test_no_translation_approximates_what_the_question_reckons(name):
    """SQLGlot takes quantiles by WITHIN GROUP for those that Spark only estimates."""
    [translated] = sqlglot.transpile(QUESTIONS[name].text, read="duckdb", write="spark")

    read = sqlglot.parse_one(translated, read="spark")
    assert not list(read.find_all(exp.ApproxQuantile, exp.ApproxDistinct))
