"""A collector that is away for longer than a service's buffer holds, and comes back."""

from __future__ import annotations

import pytest
from deltalake import DeltaTable

import nilometer
from nilometer import assembly
from nilometer.model import Distribution, Kind
from nilometer.store.rows import readings_of
from nilometer.testing import capture
from tests.collector import start

pytestmark = pytest.mark.real

BUFFER_ROWS = 200
INTERVALS = 300


@pytest.fixture
def collector(tmp_path, free_port):
    with start(tmp_path, listen=f"127.0.0.1:{free_port()}") as running:
        yield running


@pytest.fixture
def service(collector, monkeypatch, tmp_path):
    """This process, measured; the test turns its pump."""
    monkeypatch.chdir(tmp_path)
    assembly.shutdown()
    with capture():
        pass
    url = collector.url.replace("http://", "otlp://")
    nilometer.configure(
        service="shop", export=[url], interval_s=3600, queue_rows=BUFFER_ROWS, level="basic"
    )
    system = assembly.current()
    assert system is not None
    yield system
    assembly.shutdown()


def told(collector, name):
    """The readings of an instrument in the tables, by dimensions, the earliest first."""
    rows = DeltaTable(str(collector.store / "readings")).to_pyarrow_table().to_pylist()
    found = {}
    for resource, reading in readings_of(rows):
        if (resource.service, reading.name) == ("shop", name):
            found.setdefault(reading.dimensions, []).append(reading)
    return {
        dimensions: sorted(readings, key=lambda reading: reading.started_ns)
        for dimensions, readings in found.items()
    }


def merged(readings):
    value = readings[0].value
    for reading in readings[1:]:
        value = value.merged(reading.value)
    return value


def test_counters_and_timers_are_exact_after_an_outage_longer_than_the_buffer_lasts(
    collector, service
):
    sold, took = nilometer.counter("outage.sold"), nilometer.timer("outage.took")
    outlet = service.pump.outlets[0]

    def interval(n):
        for kind in range(5):
            sold.bind(kind=kind).add(n + kind)
            took.bind(kind=kind).record(1_000 * n + kind)

    interval(1)
    assert nilometer.flush(20)
    collector.kill()
    for n in range(2, INTERVALS):
        interval(n)
        if n % 100 == 0:
            assert not nilometer.flush(
                0.2
            )  # an attempt in between, of what then stays as it is
        else:
            service.pump.cycle()
        assert outlet.rows <= BUFFER_ROWS
    lost = dict(outlet.lost)
    collector.restart()
    interval(INTERVALS)
    assert nilometer.flush(20)
    state = outlet.state
    produced = INTERVALS + 1

    assert (lost, state.lost, state.buffered) == ({}, {}, 0)
    assert state.merged > 10 * BUFFER_ROWS
    took_in_tables = told(collector, "outage.took")
    sold_in_tables = told(collector, "outage.sold")
    assert {
        dimensions: sum(reading.value for reading in readings)
        for dimensions, readings in sold_in_tables.items()
    } == {
        (("kind", str(kind)),): sum(n + kind for n in range(1, produced)) for kind in range(5)
    }
    assert {
        dimensions: merged(readings) for dimensions, readings in took_in_tables.items()
    } == {
        (("kind", str(kind)),): Distribution.of([1_000 * n + kind for n in range(1, produced)])
        for kind in range(5)
    }
    for readings in [*sold_in_tables.values(), *took_in_tables.values()]:
        assert readings[0].kind in (Kind.COUNTER, Kind.DISTRIBUTION)
        assert 2 < len(readings) < INTERVALS / 5  # merged, and not all into one
        ends = [reading.ended_ns for reading in readings]
        assert [r.started_ns for r in readings[1:]] == ends[:-1]  # no gap, nothing twice
