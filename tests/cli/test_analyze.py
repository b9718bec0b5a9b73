"""`nilometer analyze` as it is typed: formats, files, and what wrong words get."""

from __future__ import annotations

import csv
import json
import re

import pyarrow.parquet as pq
import pytest

from nilometer.cli.exits import Exit
from nilometer.model import Batch, Resource, SpanKind, SpanRecord
from nilometer.wire import logline

MS = 10**6
NOW_NS = 1_795_000_000 * 10**9
HOSTILE = "<script>alert(1)</script>\x1b[31m=1+1"


@pytest.fixture
def log(tmp_path):
    """A log with a metric line of each of 30 operations, and two lines that are none."""
    spans = tuple(
        SpanRecord(
            bytes([number] * 16),
            bytes([number] * 8),
            b"",
            f"op {number}" if number > 1 else HOSTILE,
            SpanKind.SERVER,
            NOW_NS,
            NOW_NS + number * MS,
            {},
        )
        for number in range(1, 31)
    )
    lines = logline.encode(Batch(Resource("=shop"), spans=spans))
    file = tmp_path / "metrics.log"
    file.write_text("\n".join([*lines, "good morning", lines[0][:150]]))
    return str(file)


def test_a_table_has_the_first_rows_and_says_what_else_there_is(quick, log):
    ran = quick("analyze", "slowest", "--over", log, "--limit", "2")

    assert ran.returncode == Exit.OK
    heads, first, second = ran.stdout.splitlines()
    assert heads.split()[:3] == ["service", "operation", "kind"]
    assert first.split()[:3] == ["=shop", "op", "30"]
    assert "30.0 ms" in first
    assert "op 29" in second
    assert "these are the first 2 of 30; raise --limit" in ran.stderr
    assert "passed over: 1 of no metric, 1 torn" in ran.stderr


def test_a_narrow_terminal_gets_fewer_columns_and_is_told_which_are_left_out(nilometer, log):
    ran = nilometer("analyze", "slowest", "--over", log, COLUMNS="60")

    assert max(map(len, ran.stdout.splitlines())) <= 60
    assert re.search("no room for .*max_ns; a wider terminal or --format json", ran.stderr)


def test_json_says_what_was_asked_answered_and_passed_over(quick, log):
    ran = quick(
        "analyze", "slowest", "--over", log, "--limit", "1", "--json", "--order", "total"
    )

    told = json.loads(ran.stdout)
    assert told["question"] == "slowest"
    assert told["asked"] == {
        "over": [log],
        "since": None,
        "until": None,
        "service": "*",
        "by": "statement",
        "order": "total",
    }
    assert [row["operation"] for row in told["rows"]] == ["op 30"]
    assert told["total"] == 30
    assert told["skipped"] == {"other": 1, "torn": 1}
    assert {"name": "calls", "unit": "1", "meaning": "how often"} in told["columns"]


def test_every_format_has_the_same_rows(quick, log, tmp_path):
    rows = json.loads(quick("analyze", "slowest", "--over", log, "--json").stdout)["rows"]
    for name in ("a.csv", "a.parquet", "a.json", "a.html"):
        ran = quick("analyze", "slowest", "--over", log, "--output", str(tmp_path / name))
        assert (ran.returncode, ran.stdout) == (Exit.OK, "")

    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        sheet = list(csv.DictReader(file))
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == rows
    assert json.loads((tmp_path / "a.json").read_text())["rows"] == rows
    assert [int(row["self_ns"]) for row in sheet] == [row["self_ns"] for row in rows]
    assert {row["service"] for row in sheet} == {"'=shop"}  # no formula in a spreadsheet
    assert page.count("<tr>") == 31
    assert page.count("<rect") == 30
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "a.csv", "a.html", "a.json", "a.parquet", "metrics.log",
    ]  # fmt: skip


def test_what_a_name_says_is_text_everywhere(quick, log):
    page = quick("analyze", "slowest", "--over", log, "--format", "html").stdout
    table = quick("analyze", "slowest", "--over", log).stdout

    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "default-src 'none'" in page
    assert "\x1b" not in page + table


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("slowst",), Exit.USAGE, "did you mean 'slowest'"),
        (("slowest",), Exit.USAGE, "--over"),
        (("slowest", "--over", "{log}x"), Exit.USAGE, "did you mean '.*metrics.log'"),
        (("slowest", "--over", "{log}", "--by", "statment"), Exit.USAGE, "'statement'"),
        (("slowest", "--over", "{log}", "--since", "5 o'clock"), Exit.USAGE, "ISO 8601"),
        (("slowest", "--over", "{log}", "--engine", "loca"), Exit.USAGE, "mean 'local'"),
        (("slowest", "--over", "{log}", "--format", "jsn"), Exit.USAGE, "mean 'json'"),
        (("slowest", "--over", "{log}", "--format", "parquet"), Exit.USAGE, "--output FILE"),
        (("slowest", "--over", "{log}", "--output", "/no/x"), Exit.USAGE, "No such file"),
        (("n-plus-one", "--over", "{log}", "--least", "x"), Exit.USAGE, "a whole number"),
        (("n-plus-one", "--over", "{log}", "--least", "1"), Exit.USAGE, "the least is 2"),
        (("n-plus-one", "--over", "{log}"), Exit.NOT_FOUND, "nothing of that"),
    ],
)
def test_wrong_words_are_told_with_what_would_be_right(quick, log, words, code, said):
    ran = quick("analyze", *(word.format(log=log) for word in words))

    assert ran.returncode == code
    assert re.search(said, ran.stderr), ran.stderr
    assert ran.stdout == ""


def test_damage_is_a_refusal_and_no_file_is_left(quick, log, tmp_path):
    (tmp_path / "x.json").write_text('{"resourceSpans": [\n')

    ran = quick(
        "analyze",
        "slowest",
        "--over",
        str(tmp_path / "x.json"),
        "--output",
        f"{tmp_path}/a.csv",
    )

    assert ran.returncode == Exit.REFUSED
    assert "x.json begins as JSON and is none, or is cut; nothing was answered" in ran.stderr
    assert not (tmp_path / "a.csv").exists()


def test_an_empty_answer_is_an_answer_for_programs(quick, log):
    ran = quick("analyze", "n-plus-one", "--over", log, "--json")

    assert ran.returncode == Exit.OK
    assert json.loads(ran.stdout)["rows"] == []


def test_without_the_extra_it_is_said_what_to_install(nilometer, tmp_path):
    (tmp_path / "duckdb.py").write_text("raise ModuleNotFoundError(name='duckdb')")

    ran = nilometer("analyze", "slowest", "--over", str(tmp_path), PYTHONPATH=str(tmp_path))

    assert ran.returncode == Exit.USAGE
    assert "questions need duckdb: pip install 'nilometer[analyze]'" in ran.stderr
