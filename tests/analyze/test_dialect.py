"""What a question's SQL becomes for Spark."""

from nilometer.analyze.dialect import in_java, in_spark
from nilometer.analyze.questions import QUESTIONS


def test_values_are_named_and_never_pasted():
    hostile = "x'; DROP TABLE spans; --"

    translated = in_spark("SELECT $a AS a, $b AS b", {"a": hostile, "b": 7, "c": 9})

    assert translated.text == "SELECT :a AS a, CAST(:b AS BIGINT) AS b"
    assert translated.values == {"a": hostile, "b": 7}


def test_a_pattern_means_to_java_what_it_means_to_duckdb():
    assert in_java(r"\s+") == r"[\t\n\f\r ]+"
    assert in_java(r"'(?:[^'\\]|\\.)*'?") == r"'(?:[^'\\]|\\[^\n])*+'?"
    assert in_java(r"\\.[.\s]") == r"\\[^\n][.\s]"
    assert in_java(r"\.(?:a|b)+") == r"\.(?:a|b)++"


def test_every_question_s_values_are_bound_by_name():
    for question in QUESTIONS.values():
        named = {one.key for one in question.parameters}
        asked = dict.fromkeys(["since_ns", "last_ns", "sight_ns"], 1) | {"service": "%"}

        translated = in_spark(question.text, asked | dict.fromkeys(named))

        assert {"service", "last_ns"} <= set(translated.values)
        assert "$" not in translated.text.replace("$[", "").replace("'$.", "").replace(
            "\\$", ""
        )
