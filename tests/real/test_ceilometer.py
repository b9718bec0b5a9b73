"""Ceilometer's real notification agent hands OSProfiler's points on to the collector."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pika
import pytest

from nilometer.openstack.ceilometer import Forwarder
from tests.brokers import rabbitmq, reachable_folder  # noqa: F401
from tests.collector import start
from tests.conftest import _wait_until
from tests.real.test_notifications import left_in

pytestmark = pytest.mark.real

BIN = Path(__file__).parents[2] / ".cache" / "ceilometer" / "bin"
BASE = "f09d33fd-1234-4f5e-8d3e-0b8e6b0a9c11"

PIPELINE = """
sources: [{name: all, meters: ["*"], sinks: [none]}]
sinks: [{name: none, publishers: ["test://"]}]
"""


@pytest.fixture
def agent(rabbitmq, tmp_path):  # noqa: F811
    """Starts the agent, which tells a collector at that URL."""
    if not (BIN / "ceilometer-agent-notification").exists():
        pytest.fail(
            "Ceilometer is not installed: run scripts/install-ceilometer", pytrace=False
        )
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    conf = tmp_path / "ceilometer.conf"
    conf.write_text(
        "[DEFAULT]\n"
        f"transport_url = rabbit://guest:guest@127.0.0.1:{rabbitmq.port}/\n"
        f"pipeline_cfg_file = {tmp_path}/pipeline.yaml\n"
        "[notification]\nnotification_control_exchanges = nova\npipelines = meter\n"
        f"messaging_urls = rabbit://guest:guest@127.0.0.1:{rabbitmq.port}/\n"
        "[oslo_messaging_notifications]\ntopics = profiler\n"
    )
    started = []

    def begin(url):
        with (tmp_path / "agent.log").open("ab") as log:
            started.append(
                subprocess.Popen(
                    [BIN / "ceilometer-agent-notification", "--config-file", conf],
                    env={**os.environ, "NILOMETER_URL": url},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )

    yield begin
    for process in started:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_points_of_the_agent_s_queues_become_spans(rabbitmq, agent, tmp_path):  # noqa: F811
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.amqp_url))
    channel = connection.channel()
    channel.exchange_declare("nova", "topic")
    channel.queue_declare("profiler.info")
    channel.queue_bind("profiler.info", "nova", "profiler.info")
    for name, second in (("wsgi-start", 1), ("wsgi-stop", 3)):
        payload = {
            "name": name,
            "base_id": BASE,
            "trace_id": "b",
            "parent_id": BASE,
            "timestamp": f"2026-11-20T10:00:0{second}.0",
            "info": {"host": "h"},
            "service": "api",
        }
        message = {
            "message_id": name,
            "publisher_id": "h",
            "event_type": "profiler.api",
            "priority": "INFO",
            "timestamp": "2026-11-20 10:00:00",
            "payload": payload,
        }
        properties = pika.BasicProperties(
            content_type="application/json", content_encoding="utf-8"
        )
        channel.basic_publish("nova", "profiler.info", json.dumps(message), properties)
    connection.close()

    def traces():
        return collector.get("traces", since="2026-11-20T00:00:00Z")["traces"]

    with start(tmp_path) as collector:
        agent(collector.url)
        try:
            _wait_until(lambda: traces(), what="the trace is there", timeout_s=40)
        except BaseException:
            print((tmp_path / "agent.log").read_text()[-3000:])
            raise
        [trace] = traces()

        assert (trace["root"], trace["duration_ns"], trace["spans"]) == ("wsgi", 2 * 10**9, 1)
        assert left_in(rabbitmq, "profiler.info") == 0


def test_what_is_never_taken_is_not_put_back_and_takes_nothing_along(
    tmp_path, monkeypatch, caplog
):
    def told(own, size):
        point = {"name": "x-start", "base_id": BASE, "trace_id": own, "parent_id": BASE}
        return {
            "payload": {**point, "info": {"large": "x" * size}},
            "metadata": {"timestamp": "2026-11-20 10:00:00.000001"},
        }

    with start(tmp_path) as collector:
        monkeypatch.setenv("NILOMETER_URL", collector.url)
        Forwarder().info([told("a", 1), told("b", 17 << 20), told("c", 1)])
        trace = collector.get("traces", BASE.replace("-", ""))
        monkeypatch.setenv("NILOMETER_URL", "http://127.0.0.1:1")
        with pytest.raises(OSError, match="refused"):  # and is put back
            Forwarder().info([told("d", 1)])

    assert trace["spans"] == 2
    assert [record.levelname for record in caplog.records] == ["ERROR"]
