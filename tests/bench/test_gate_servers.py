"""What `make bench-gate` takes for a promise kept."""

from __future__ import annotations

import pytest

from bench.gate.servers import Score, is_as_promised


def score(unchanged: int, alarms: int, seen: int = 10) -> Score:
    return Score("PostgreSQL", unchanged, ("idx_scan",) * alarms, {"n1": (seen, 10)}, 1.0)


@pytest.mark.parametrize(
    ("unchanged", "alarms", "is_kept"),
    [(20, 0, True), (20, 1, False), (99, 1, False), (100, 1, True), (199, 2, False)],
)
def test_one_false_alarm_needs_a_hundred_unchanged_runs(unchanged, alarms, is_kept) -> None:
    assert is_as_promised(score(unchanged, alarms)) is is_kept


def test_a_change_that_was_not_seen_breaks_the_promise() -> None:
    assert not is_as_promised(score(100, 0, seen=9))
