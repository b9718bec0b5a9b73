"""Laws of the list of suites: each once, that with the latest run first, whatever is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from nilometer.errors import StoreError
from nilometer.store.lake import Lake
from nilometer.store.query import Reader
from nilometer.store.runs import History
from nilometer.testing import FakeTime
from tests.store.batches import NOW_NS
from tests.store.test_runs import run_of


@pytest.fixture
def place(tmp_path):
    return tmp_path / "history"


@pytest.fixture
def history(place):
    found = History(place, clock=FakeTime(wall_ns=NOW_NS).clock)
    yield found
    found.close()


def test_a_suite_is_told_with_its_latest_run_however_its_clock_was(history):
    for one in (run_of(5), run_of(1, suite="other"), run_of(3, revision="r", branch="b")):
        history.append(one)

    found = history.suites()

    assert [(one.suite, one.runs, one.run_id, one.revision) for one in found] == [
        ("unit", 2, "run-3", "r"),
        ("other", 1, "run-1", ""),
    ]
    assert found[0].row_count == 2 * (1 + 1 + 2)
    assert found[0].append > found[1].append


def test_a_run_that_comes_again_is_one_run_and_no_news(history):
    history.append(run_of(1))
    before = history.suites()
    history.append(run_of(1))

    assert history.suites()[0].runs == before[0].runs == 1


def test_there_are_no_suites_before_there_is_a_run(history):
    assert history.suites() == []


def test_a_file_that_cannot_be_read_takes_no_other_suite_along(history, place):
    history.append(run_of(1))
    first = set((place / "runs").rglob("*.parquet"))
    history.append(run_of(2, suite="other"))
    (broken,) = first
    Path(broken).write_bytes(b"PAR1 no more PAR1")

    with_fresh_eyes = History(place)
    found = with_fresh_eyes.suites()
    with_fresh_eyes.close()

    assert [one.suite for one in found] == ["other"]


def test_a_history_that_cannot_be_read_at_all_is_an_error(history, place):
    history.append(run_of(1))
    for path in (place / "runs").rglob("*.json"):
        path.write_text("{")

    with pytest.raises(StoreError):
        History(place).suites()


def test_a_reader_has_the_history_at_its_place_once(tmp_path):
    Lake(tmp_path, durability="os")
    reader = Reader(tmp_path)
    history = reader.history()
    history.append(run_of(1))

    assert reader.history() is history
    assert [one.suite for one in history.suites()] == ["unit"]
    reader.close()
