"""`nilometer counters import`: files of devstack's jobs, into the history."""

from __future__ import annotations

from pathlib import Path

import pytest

from nilometer.store.runs import History

DATA = Path(__file__).parent.parent / "data" / "devstack"
FILES = [str(DATA / f"performance-{version}.json") for version in ("v1", "v2")]


def test_files_become_runs_of_the_history_each_once(nilometer, tmp_path) -> None:
    place = str(tmp_path / "history")
    flags = ("--suite", "tempest", "--history", place, "--revision", "abc", "--work", "1500")

    first = nilometer("counters", "import", *flags, *FILES)
    again = nilometer("counters", "import", *flags, FILES[0])

    history = History(place)
    runs = history.runs("tempest")
    history.close()
    assert (first.returncode, again.returncode) == (0, 0), first.stderr
    assert [(run.revision, run.work, len(run.backends)) for run in runs] == [
        ("abc", 1500, 4)
    ] * 2
    db = {c.counter: c.delta for c in runs[1].counts if c.backend == "devstack.db"}
    assert db["neutron.SELECT"] == 130421
    assert "devstack.services: left out: MemoryCurrent that is not set" in first.stderr
    assert f"{FILES[1]}: run {runs[1].id} with 26 counters" in first.stderr


@pytest.mark.parametrize(
    ("flags", "because"),
    [
        ((FILES[0],), "--suite is missing"),
        (("--suite", "t", FILES[0], "none.json"), "FILE none.json: No such file"),
        (("--suite", "t", __file__), "not JSON"),
        (("--suite", "t"), "Missing argument 'FILE...'"),
    ],
)
def test_what_cannot_be_imported_is_told_and_nothing_added(
    nilometer, tmp_path, flags, because
) -> None:
    place = tmp_path / "history"

    ran = nilometer("counters", "import", "--history", str(place), *flags)

    assert ran.returncode == 2
    assert because in ran.stderr
    assert not place.exists()
