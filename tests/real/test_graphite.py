"""Real carbon, both its protocols: what it wrote is what was sent, and whisper can read it."""

from __future__ import annotations

import pytest

from nilometer.clock import Clock
from nilometer.export import Outlet, open_exporter
from nilometer.model import Batch, Distribution, Kind, Reading, Resource
from tests.carbon import carbon, written  # noqa: F401

pytestmark = [pytest.mark.real]


@pytest.mark.parametrize("scheme", ["graphite", "graphite+pickle"])
def test_carbon_writes_what_is_sent(carbon, scheme, wait_until) -> None:  # noqa: F811
    port = carbon.port if scheme == "graphite" else carbon.pickle_port
    outlet = Outlet(scheme, open_exporter(f"{scheme}://127.0.0.1:{port}?prefix=gate"))
    now_ns = Clock().wall_ns()
    dims = (("db", "shop"), ("digest", "SELECT * FROM `a b`;~x"))
    boots = Distribution.of([3_000_000, 40_000_000])
    outlet.offer(
        Batch(
            Resource("shop"),
            (
                *(
                    Reading(f"mysql.c{n}", Kind.COUNTER, (), n, 0, now_ns, "1")
                    for n in range(1200)
                ),
                Reading("mysql.statement.calls", Kind.COUNTER, dims, 7, 0, now_ns, "1"),
                Reading("boot", Kind.DISTRIBUTION, (), boots, 0, now_ns, "ns"),
                Reading("level", Kind.GAUGE, (), -2.5, 0, now_ns, "1"),
            ),
        )
    )
    outlet.deliver()
    expected = {f"gate.mysql.c{n}": [n] for n in range(1200)}
    expected |= {"gate.boot.count": [2], "gate.boot.sum": [43], "gate.level": [-2.5]}

    wait_until(
        lambda: len(written(carbon.whisper)) == 1200 + 1 + 7 + 1, what="carbon has written all"
    )

    found = written(carbon.whisper)
    assert {name: found[name] for name in expected} == expected
    assert [values for name, values in found.items() if "digest" in name] == [[7]]
    assert (outlet.delivered, outlet.lost) == (1203, {})
    outlet.close()
