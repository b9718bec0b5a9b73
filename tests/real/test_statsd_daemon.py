"""Etsy's own statsd into carbon into a whisper file: the totals there are ours, exactly.

Both daemons are the real ones: statsd from npm (node_modules), carbon and whisper from PyPI
(.cache/carbon); `make setup` installs them, by scripts/setup and scripts/install-carbon.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from nilometer.export import Outlet, open_exporter
from nilometer.model import Batch, Distribution, Kind, Reading, Resource

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
CARBON = ROOT / ".cache" / "carbon" / "bin"
STATSD = ROOT / "node_modules" / "statsd" / "stats.js"
FLUSH_S = 2  # whisper keeps one value a second: two flushes never meet in one


@pytest.fixture
def graphite(tmp_path, free_port, start_process):
    """carbon-cache on free ports; gives its text port and the folder of its whisper files."""
    if not (CARBON / "carbon-cache.py").exists():
        pytest.fail("carbon is not installed: run scripts/install-carbon", pytrace=False)
    port = free_port()
    conf = tmp_path / "conf"
    for folder in (conf, tmp_path / "storage" / "log", tmp_path / "storage" / "whisper"):
        folder.mkdir(parents=True)
    settings = {
        "LINE_RECEIVER_INTERFACE": "127.0.0.1",
        "LINE_RECEIVER_PORT": port,
        "PICKLE_RECEIVER_INTERFACE": "127.0.0.1",
        "PICKLE_RECEIVER_PORT": free_port(),
        "CACHE_QUERY_INTERFACE": "127.0.0.1",
        "CACHE_QUERY_PORT": free_port(),
        "LOCAL_DATA_DIR": tmp_path / "storage" / "whisper",
        "STORAGE_DIR": tmp_path / "storage",
        "LOG_DIR": tmp_path / "storage" / "log",
        "MAX_CREATES_PER_MINUTE": "inf",
        "MAX_UPDATES_PER_SECOND": "inf",
        "ENABLE_TAGS": False,
    }
    lines = ["[cache]", *(f"{name} = {value}" for name, value in settings.items())]
    (conf / "carbon.conf").write_text("\n".join(lines) + "\n")
    (conf / "storage-schemas.conf").write_text("[all]\npattern = .*\nretentions = 1s:1h\n")
    start_process(
        [CARBON / "python", CARBON / "carbon-cache.py", f"--config={conf / 'carbon.conf'}",
         "--nodaemon", "start"],
        ready=port,
        env={"GRAPHITE_ROOT": str(tmp_path)},
    )  # fmt: skip
    return port, tmp_path / "storage" / "whisper"


@pytest.fixture
def statsd(graphite, tmp_path, free_port, start_process, program):
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
        "graphitePort": graphite[0],
        "backends": ["./backends/graphite"],
        "flushInterval": FLUSH_S * 1000,
        "graphite": {"legacyNamespace": False},
        "deleteIdleStats": True,
    }
    (tmp_path / "statsd.js").write_text(json.dumps(settings))
    start_process([node, STATSD, tmp_path / "statsd.js"], ready=management, cwd=STATSD.parent)
    return port


def totals(folder: Path) -> dict[str, list[float]]:
    """Every value of every whisper file, oldest first, read by whisper itself."""
    program = (
        "import json, pathlib, sys, time, whisper\n"
        "root, found = pathlib.Path(sys.argv[1]), {}\n"
        "for file in root.rglob('*.wsp'):\n"
        "    _, values = whisper.fetch(str(file), 0, time.time() + 60)\n"
        "    name = '.'.join(file.relative_to(root).with_suffix('').parts)\n"
        "    found[name] = [value for value in values if value is not None]\n"
        "print(json.dumps(found))"
    )
    told = subprocess.run(
        [CARBON / "python", "-c", program, folder], capture_output=True, text=True, check=True
    )
    return json.loads(told.stdout)


def counter(name, value, **dimensions):
    return Reading(name, Kind.COUNTER, tuple(sorted(dimensions.items())), value, 0, 0, "1")


def test_what_statsd_wrote_to_whisper_is_what_was_measured(graphite, statsd, wait_until):
    _, whisper = graphite
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
            name: sum(values) for name, values in totals(whisper).items() if name in expected
        }

    wait_until(lambda: found() == expected, what="carbon has written all flushes")

    stored = totals(whisper)
    assert set(stored["stats.timers.boot.min.lower"]) == {3.0}  # ms
    assert set(stored["stats.timers.boot.max.upper"]) == {40.0}
    assert stored["stats.gauges.used"][-1] == -3
    assert (outlet.delivered, outlet.lost) == (3 * 202, {})
