"""The bench of statistics asks for what it has filled the tables with."""

from __future__ import annotations

from bench import monasca
from nilometer.clock import wall_ns
from nilometer.store import rollups
from nilometer.store.query import Reader


def test_the_tables_hold_every_reading_once_and_are_rolled_up(tmp_path, monkeypatch):
    monkeypatch.setattr(monasca, "PROCESSES", 2)
    monkeypatch.setattr(rollups, "ROWS_MIN", 1)

    filled = monasca.fill(tmp_path, 600, clock_ns=wall_ns())

    reader = Reader(tmp_path)
    rows = reader.statistics(monasca.NAME, group_by=("pid", "route"), period_ns=300 * 10**9)
    assert filled.rows == 2 * monasca.ROUTES * 60
    assert [row.samples for row in rows] == [30 * monasca.SAMPLES] * (2 * monasca.ROUTES * 2)
    assert reader._questions.listed("rollups")
