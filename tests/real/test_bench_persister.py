"""`nilometer bench persister` with the real persister, a Kafka, InfluxDB and a collector."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

from examples.servers.monasca import InfluxDB, MockKafka, Persister, message
from tests.collector import Collector

TOTAL = 3000
FIRST = 4  # that make the topic, before anything is measured

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """The persister, measured both ways: its ports, the collector, brokers, InfluxDB."""
    folder = tmp_path_factory.mktemp("bench")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        first = sock.getsockname()[1]
    with (
        Collector(folder) as collector,
        MockKafka(folder / "kafka") as kafka,
        InfluxDB(folder / "influxdb") as influxdb,
    ):
        settings = {
            "admin": f"127.0.0.1:{first}-{first + 9}",
            "export": collector.url.replace("http://", "otlp://"),
            "interval_s": "300ms",
            "service": "persister",
        }
        kafka.produce("metrics", [message(n) for n in range(FIRST)])
        with Persister(folder / "persister", kafka, influxdb, measured=settings):
            yield (
                f"http://127.0.0.1:{first}-{first + 9}",
                collector.url,
                kafka.brokers,
                influxdb,
            )


def bench(*words):
    command = [sys.executable, "-m", "nilometer", "bench", "persister", "--json"]
    done = subprocess.run(
        [*command, "--total", str(TOTAL), "--rate", "2000", "--every", "250ms", *words],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["dropwizard", "monasca"])
def test_all_that_is_produced_is_seen_received_and_persisted(running, source):
    admin, collector, brokers, influxdb = running
    before = influxdb.points()
    at = admin if source == "dropwizard" else collector
    told = bench("--source", source, "--at", at, "--brokers", brokers)

    assert told["produced"] == TOTAL
    assert TOTAL <= told["received"] <= TOTAL + FIRST  # those may come within the first run
    assert (told["lost"], told["dropped"]) == (0, 0)
    assert TOTAL <= influxdb.points() - before <= TOTAL + FIRST
    assert sum(one["persisted"] for one in told["processes"].values()) == told["persisted"]
    assert told["lag_max"] >= told["lag_end"] >= 0  # Kafka's client commits when it likes
    assert told["delay_s"]["max"] > 0
    assert told["timers"]["flush"]["p99"] <= told["timers"]["flush"]["max"]
    assert told["timers"]["process"]["count"] >= TOTAL
