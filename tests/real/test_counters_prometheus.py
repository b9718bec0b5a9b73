"""Real endpoints for Prometheus: the kernel's exporter, and RabbitMQ's."""

from __future__ import annotations

import pytest

from nilometer.clock import Clock
from nilometer.counters.backend import connect
from nilometer.counters.delta import delta
from nilometer.counters.snapshot import snapshot
from tests.brokers import node_exporter, reachable_folder  # noqa: F401

pytestmark = pytest.mark.real


def test_an_exporter_is_read_and_its_restart_seen(node_exporter) -> None:  # noqa: F811
    backend = connect(f"http://127.0.0.1:{node_exporter.port}/metrics", origin="test")
    shots = [snapshot(backend, Clock()) for _ in range(3)]
    moves = delta(*shots[1:])
    node_exporter.restart()
    after = snapshot(backend, Clock())
    backend.close()

    asked = ("promhttp_metric_handler_requests_total", (("code", "200"),))
    assert moves.because == ""
    assert moves.moved[asked] == 1, "our own"
    assert ("node_context_switches_total", ()) in moves.moved
    assert shots[0].version.startswith("node_exporter 1.")
    assert shots[0].notes == ()
    assert "restarted" in delta(shots[0], after).because
