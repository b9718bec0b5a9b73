"""The arithmetic of a fleet, by hand."""

from __future__ import annotations

import pytest

from bench.sizing import Figures, cpu_s, fleet

# Ten microseconds a span in all, so that a core at 60 % takes some 60,000 spans a second.
TOLD = Figures(
    idle_s=0.01,
    commit_cpu_s=0.02,
    span_s=6e-6,
    merge_s=4e-6,
    commit_s=0.25,
    message_bytes=250.0,
    stored_bytes=50.0,
)


def test_a_store_takes_as_many_commits_as_its_log_and_as_many_rows_as_its_merger():
    of_log = 0.6 / 0.25 * 50_000
    of_merger = 0.6 / 4e-6

    assert (of_log, of_merger) == (pytest.approx(120_000), pytest.approx(150_000))
    assert fleet(120_000, TOLD).stores == 1
    assert fleet(120_001, TOLD).stores == 2
    assert fleet(150_001, TOLD._replace(commit_s=0.01)).stores == 2


def test_collectors_are_as_many_for_each_store_as_its_work_takes():
    made = fleet(1_000_000, TOLD)

    assert made.stores == 9
    # 1.11 cores for each store, by 0.59 of a core for each collector
    assert made.collectors == 9 * 2
    assert made.partitions == 2 * made.collectors
    assert made.cores == pytest.approx(1_000_000 * 10e-6 + 20 * 0.02 + 18 * 0.01)


def test_rates_and_rooms_are_of_the_whole_fleet():
    made = fleet(1_000_000, TOLD)

    assert made.commits == pytest.approx(1_000_000 / 9 / 50_000)
    assert made.network_mb == pytest.approx(250)
    assert made.stored_gb_a_day == pytest.approx(4_320)
    assert made.files_a_day == 86_400


def test_what_a_collector_works_is_the_sum_of_what_each_part_costs():
    assert cpu_s(TOLD, seconds=60, spans=5_000, commits=120) == pytest.approx(
        60 * 0.01 + 5_000 * 6e-6 + 120 * 0.02
    )
