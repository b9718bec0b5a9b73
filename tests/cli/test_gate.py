"""`nilometer gate steps` and `newest`: what goes in, what comes out, what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.cli.gate import plot, read_series
from nilometer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess as Ran

STEP = json.dumps([5] * 10 + [7] * 10)
STEP_SAID = "the level moved from 5 to 7 (+40.0%, 4.0 times the noise) and stayed for 10 runs"


@pytest.fixture
def found(quick, tmp_path) -> Callable[..., Ran[str]]:
    """``found("[1, 2]", "--json")``: what is said of a file with that text."""

    def run(text: str | bytes, *flags: str) -> Ran[str]:
        path = tmp_path / "series.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return quick("gate", "steps", str(path), *flags)

    return run


def test_json_has_the_index_of_each_step_and_why(found, nilometer) -> None:
    answers = [found(STEP, "--json"), nilometer("gate", "steps", "-", "--json", stdin=STEP)]

    assert [json.loads(answer.stdout) for answer in answers] == [
        {"steps": [{"index": 10, "because": STEP_SAID}]}
    ] * 2
    assert [(answer.returncode, answer.stderr) for answer in answers] == [(0, "")] * 2


@pytest.mark.parametrize("text", ["[]", "[1]", "[null, null]", "[NaN, Infinity, 1e999]"])
def test_a_series_without_a_level_has_no_step(text: str, found) -> None:
    assert json.loads(found(text, "--json").stdout) == {"steps": []}
    assert "no lasting change" in found(text).stdout


def test_the_text_shows_the_series_and_where_it_changed(found) -> None:
    shown = found(STEP).stdout.splitlines()

    assert shown[:2] == ["▁▁▁▁▁▁▁▁▁▁██████████", "          ^"]
    assert shown[3].split()[:3] == ["10", "5", "7"]
    assert STEP_SAID in shown[3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[1", "not JSON"),
        (b"\xff\xfe[", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"a": 1}', "an object instead of a list of numbers"),
        ("null", "null instead of a list of numbers"),
        ("7", "a number instead of a list of numbers"),
        ('[1, "2"]', "number 1: a text instead of a number"),
        ("[1, [2]]", "number 1: a list instead of a number"),
        ("[true]", "number 0: true or false instead of a number"),
        (f"[1{'0' * 400}]", "number 0: more than a float can hold"),
        (f"[0{',0' * 100_000}]", "100001 numbers; at most 100000"),
        (f"[{' ' * (8 << 20)}]", "more than 8 MiB"),
    ],
)
def test_what_is_no_series_is_refused_with_what_it_is(text, said, found) -> None:
    answer = found(text, "--json")

    assert (answer.returncode, answer.stdout) == (2, "")
    assert "series.json: " in answer.stderr
    assert said in answer.stderr
    assert answer.stderr.endswith("[gate-series]\n")


def test_a_file_that_is_not_there_is_refused(quick) -> None:
    answer = quick("gate", "steps", "missing.json")

    assert (answer.returncode, "No such file" in answer.stderr) == (2, True)


@given(
    st.binary()
    | st.recursive(st.none() | st.floats() | st.booleans() | st.text(), st.lists).map(
        lambda v: json.dumps(v).encode()
    )
)
def test_any_bytes_are_a_list_of_numbers_or_refused(text: bytes) -> None:
    try:
        values = read_series(text, origin="x")
    except ConfigError:
        return  # said so; whatever else it raises is a fault

    assert all(value is None or isinstance(value, float) for value in values)


@given(st.lists(st.none() | st.floats(), max_size=300), st.sets(st.integers(0, 299)))
def test_any_series_can_be_drawn(values, changed) -> None:
    drawn = plot(values, [at for at in changed if at < len(values)]).splitlines()

    assert len(drawn) <= 2
    assert all(len(line) <= 72 for line in drawn)


# --- The newest run --------------------------------------------------------------------------

LEVEL = [100, 101, 99, 100, 100, 101, 99, 100]


@pytest.fixture
def newest(quick, tmp_path) -> Callable[..., Ran[str]]:
    """``newest([1, 2], "--json")``: what is said of the last run of such a series."""

    def run(values: list[float | None], *flags: str) -> Ran[str]:
        path = tmp_path / "series.json"
        path.write_text(json.dumps(values))
        return quick("gate", "newest", str(path), *flags)

    return run


def test_the_newest_run_alarms_and_four_repetitions_confirm_it(newest) -> None:
    lasting, alone = [107, 108, 107, 109, 107], [107, 100, 101, 99, 100]

    said = [
        newest([*LEVEL, 107]).stdout,
        newest([*LEVEL, 101]).stdout,
        newest([*LEVEL, *lasting], "--confirm").stdout,
        newest([*LEVEL, *alone], "--confirm").stdout,
    ]

    assert [one.partition(":")[0] for one in said] == ["alarm", "pass", "confirmed", "pass"]
    assert said[0] == "alarm: 107 is above 102.69, which 8 runs around 100 explain\n"
    assert json.loads(newest([*LEVEL, 107], "--json").stdout) == {
        "alarm": True,
        "because": "107 is above 102.69, which 8 runs around 100 explain",
    }


def test_it_is_judged_by_the_runs_since_the_last_step(newest) -> None:
    before = [100 - value / 2 for value in LEVEL * 3]

    assert newest([*before, *LEVEL * 3, 101]).stdout.startswith("pass: ")
    assert newest([*LEVEL * 3, *before, 101]).stdout.startswith("alarm: ")


@pytest.mark.parametrize(
    ("values", "flags", "because"),
    [
        ([*LEVEL, None], [], "a run has no number"),
        (LEVEL[:4], [], "only 3 runs on this level; a bound needs 5 or more"),
        ([*LEVEL, 107, None, 107, 107, 107], ["--confirm"], "a run has no number"),
    ],
)
def test_of_the_newest_run_nobody_can_say_where_it_has_no_number_or_no_level(
    values, flags, because, newest
) -> None:
    assert newest(values, *flags).stdout == f"unknown: {because}\n"
    said = json.loads(newest(values, *flags, "--json").stdout)
    assert said == {"alarm": None, "because": because}


@pytest.mark.parametrize(("values", "flags"), [([], []), (LEVEL[:4], ["--confirm"])])
def test_a_series_that_is_shorter_than_what_is_judged_is_refused(values, flags, newest) -> None:
    said = newest(values, *flags)

    assert said.returncode == 2
    assert "newest" in said.stderr
