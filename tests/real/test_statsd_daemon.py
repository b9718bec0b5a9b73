"""Etsy's own statsd into carbon into a whisper file: the totals there are ours, exactly.

Both daemons are the real ones: statsd from npm (node_modules), carbon and whisper from PyPI
(.cache/carbon); `make setup` installs them, by scripts/setup and scripts/install-carbon.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from nilometer.export import Outlet, open_exporter
from nilometer.model import Batch, Distribution, Kind, Reading, Resource
from tests.carbon import carbon, written  # noqa: F401

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
STATSD = ROOT / "node_modules" / "statsd" / "stats.js"
FLUSH_S = 2  # whisper keeps one value a second: two flushes never meet in one


@pytest.fixture
def statsd(carbon, tmp_path, free_port, start_process, program):  # noqa: F811
    """statsd that flushes into that carbon; gives its UDP port."""
    node = program("node", install="apt-get install nodejs npm")
    if not STATSD.exists():
        pytest.fail("Etsy's statsd is not installed: run make setup", pytrace=False)
    port, management = free_port(udp=True), free_port()
    settings = {
        "port": port,
        "address": "127.0.0.1",
        "mgmt_port": management,
        "mgmt_address": "127.0.0.1",
        "graphiteHost": "127.0.0.1",
        "graphitePort": carbon.port,
        "backends": ["./backends/graphite"],
        "flushInterval": FLUSH_S * 1000,
        "graphite": {"legacyNamespace": False},
        "deleteIdleStats": True,
    }
    (tmp_path / "statsd.js").write_text(json.dumps(settings))
    start_process([node, STATSD, tmp_path / "statsd.js"], ready=management, cwd=STATSD.parent)
    return port


def counter(name, value, **dimensions):
    return Reading(name, Kind.COUNTER, tuple(sorted(dimensions.items())), value, 0, 0, "1")


def test_what_statsd_wrote_to_whisper_is_what_was_measured(carbon, statsd, wait_until):  # noqa: F811
    outlet = Outlet("statsd", open_exporter(f"statsd://127.0.0.1:{statsd}"))
    boots = [3_000_000, 40_000_000, 7_500_000]  # ns
    for interval in range(3):  # each in a flush of its own
        outlet.offer(
            Batch(
                Resource("shop"),
                (
                    *(counter("api.requests", 100 + n, n=str(n)) for n in range(200)),
                    Reading("boot", Kind.DISTRIBUTION, (), Distribution.of(boots), 0, 0, "ns"),
                    Reading("used", Kind.GAUGE, (), interval - 5, 0, 0, "1"),
                ),
            )
        )
        outlet.deliver()
        time.sleep(FLUSH_S)
    outlet.close()
    expected = {f"stats.counters.api.requests.n.{n}.count": 3 * (100 + n) for n in range(200)}
    expected |= {"stats.counters.boot.count.count": 9, "stats.counters.boot.sum.count": 151.5}

    def found() -> dict[str, float]:
        return {
            name: sum(values)
            for name, values in written(carbon.whisper).items()
            if name in expected
        }

    wait_until(lambda: found() == expected, what="carbon has written all flushes")

    stored = written(carbon.whisper)
    assert set(stored["stats.timers.boot.min.lower"]) == {3.0}  # ms
    assert set(stored["stats.timers.boot.max.upper"]) == {40.0}
    assert stored["stats.gauges.used"][-1] == -3
    assert (outlet.delivered, outlet.lost) == (3 * 202, {})
