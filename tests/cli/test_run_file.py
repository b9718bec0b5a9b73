"""What a command tells of itself is taken where it is whole, and named where it is not."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.cli import run_file
from nilometer.cli.run_file import Told, digest_of, read_junit, read_run_file
from nilometer.model.run import Count

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
nearly = st.fixed_dictionaries(
    {},
    optional={
        "work": json_values,
        "test_set": json_values,
        "counts": json_values
        | st.lists(
            st.fixed_dictionaries(
                {"backend": st.just("tests") | json_values, "counter": st.just("c")},
                optional={
                    "delta": json_values,
                    "unit": json_values,
                    "dimensions": json_values,
                },
            ),
            max_size=4,
        ),
    },
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("told") / "run.json"


def told(file, value):
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return read_run_file(file, taken={"mysql"})


def test_what_is_told_whole_is_taken_whole(file):
    counts = [
        {"backend": "tests", "counter": "sql.statements", "delta": 120},
        {
            "backend": "tests",
            "counter": "sql.statements",
            "delta": 0.5,
            "unit": "By",
            "dimensions": {"test": "a::b", "n": 1},
        },
    ]

    assert told(file, {"work": 40, "test_set": "9f86", "counts": counts}) == Told(
        40,
        "9f86",
        (
            Count("tests", "sql.statements", 120, raw=120),
            Count(
                "tests",
                "sql.statements",
                0.5,
                (("n", "1"), ("test", "a::b")),
                unit="By",
                raw=0.5,
            ),
        ),
    )


def test_a_command_that_tells_nothing_told_nothing(tmp_path):
    assert read_run_file(tmp_path / "none") == Told()


def test_totals_of_what_we_read_ourselves_are_ours_to_tell(file):
    part = {
        "backend": "mysql",
        "counter": "Com_select",
        "delta": 3,
        "dimensions": {"test": "a"},
    }
    total = {"backend": "mysql", "counter": "Com_select", "delta": 3}

    found = told(file, {"counts": [part, total]})

    assert [count.dimensions for count in found.counts] == [(("test", "a"),)]
    assert found.notes == (
        "a count is left out: mysql was read by us; only parts of its counters can be told",
    )


@given(st.binary(max_size=200) | json_values.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_read_without_raising(file, content):
    file.write_bytes(content)

    assert isinstance(read_run_file(file), Told)


@given(nearly)
def test_anything_that_is_nearly_right_is_taken_or_named(file, value):
    found = told(file, value)

    counts = value.get("counts", [])
    lost = len(counts) - len(found.counts) if isinstance(counts, list) else 1
    assert bool(found.notes or found.because) >= bool(lost)
    for count in found.counts:
        assert all(isinstance(text, str) for pair in count.dimensions for text in pair)


@pytest.mark.parametrize(
    ("content", "because"),
    [
        ("[" * 100_000, "what the command told is not JSON: "),
        ("7", "what the command told is no JSON object but '7'"),
        ('{"work": Infinity}', ""),
    ],
    ids=["deep", "number", "infinite"],
)
def test_hostile_json_is_named(file, content, because):
    found = told(file, content)

    assert found.because.startswith(because)
    assert found.because or found.notes


def test_a_pipe_a_link_and_a_directory_are_named_and_nothing_hangs(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "real").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_text("x" * 100)
    monkeypatch.setattr(run_file, "BYTES_MAX", 99)

    found = [read_run_file(tmp_path / n) for n in ("pipe", "link", "folder", "large")]

    assert all(
        one.because.startswith("what the command told cannot be read: ") for one in found
    )


def test_more_counts_than_anybody_needs_are_cut_and_it_is_told(file, monkeypatch):
    monkeypatch.setattr(run_file, "COUNTS_MAX", 2)
    one = {"backend": "tests", "counter": "c", "delta": 1}
    part = {**one, "dimensions": {"test": "a"}}

    parts, totals = (told(file, {"counts": [one, part, last]}) for last in (part, one))

    assert len(parts.counts) == 2
    assert parts.notes == ("of 3 counts the first 2 are kept",)
    assert (totals.counts, totals.because) == ((), "more than 2 counts")


def test_a_total_that_is_not_understood_makes_all_unusable_and_a_part_only_itself(file):
    good = {"backend": "tests", "counter": "sql.statements", "delta": 1}
    total = {"backend": "tests", "counter": "sql.rows", "delta": "many"}
    part = {**total, "dimensions": {"test": "a"}}

    with_total, with_part = (told(file, {"counts": [good, bad]}) for bad in (total, part))

    left_out = "a count is left out: its delta is 'many'"
    assert with_total == Told(because=left_out, notes=(left_out,))
    assert with_part == Told(
        counts=(Count("tests", "sql.statements", 1, raw=1),), notes=(left_out,)
    )


def test_junit_tells_the_tests_that_ran_in_any_order(tmp_path):
    cases = [
        '<testcase classname="a" name="x"/>',
        '<testcase classname="a" name="y"><failure/></testcase>',
        '<testcase classname="a" name="z"><skipped/></testcase>',
    ]
    for name, order in (("one.xml", cases), ("two.xml", cases[::-1])):
        (tmp_path / name).write_text(f"<testsuite>{''.join(order)}</testsuite>")

    expected = Told(2, digest_of(["a::y", "a::x"]))
    assert [read_junit(tmp_path / name) for name in ("one.xml", "two.xml")] == [expected] * 2


BOMB = '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(12)
)


@pytest.mark.parametrize("content", ["", "<a", BOMB + "]><b>&m;</b>", "\x00"])
def test_junit_that_is_none_is_named(tmp_path, content):
    (tmp_path / "out.xml").write_text(content)

    assert "is not JUnit XML" in read_junit(tmp_path / "out.xml").because
