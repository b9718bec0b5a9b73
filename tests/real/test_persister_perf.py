"""Upstream's performance test of the persister works on our endpoints: with curl and jq.

The script is made from its description (`tests/data/dropwizard/`); JMeter is a stub that tells
a small service, with the persister's own instruments, to begin.
"""

from __future__ import annotations

import re
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.collector import start

SCRIPT = Path(__file__).parent.parent / "data" / "dropwizard" / "persister_perf.sh"
METRICS = 6000
WAS = 250  # before the script began: it subtracts

SERVICE = """
import sys, time, pathlib, nilometer
go, number, metrics, was = pathlib.Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:5])
where = {"messaging.destination.name": "metrics", "monasca.processor": number}
received = nilometer.counter("monasca.persister.received").bind(**where)
completed = nilometer.counter("monasca.persister.completed").bind(**where)
elsewhere = nilometer.counter("monasca.persister.completed")
elsewhere.bind(**{**where, "messaging.destination.name": "events"}).add(10**9)
received.add(was)
completed.add(was)
while not go.exists():
    time.sleep(0.01)
for batch in range(10):
    received.add(metrics // 10)
    time.sleep(0.05)
    completed.add(metrics // 10)
time.sleep(60)
"""

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


@pytest.fixture
def perf(tmp_path):
    """Runs the script at a port; what it wrote down."""
    go = tmp_path / "go"
    tools = tmp_path / "bin"
    tools.mkdir()
    jmeter = tools / "jmeter"
    jmeter.write_text(f"#!/bin/sh\nprintf '%s ' \"$@\" >{tmp_path}/jmeter.words\n: >{go}\n")
    jmeter.chmod(0o755)

    def run(port, processes):
        words = ["-t", "plan.jmx", "-n", METRICS * processes, "-s", "127.0.0.1", "-p", port]
        done = subprocess.run(
            [SCRIPT, *map(str, words), "-w", "1"],
            cwd=tmp_path,
            env={"PATH": f"{tools}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
            timeout=90,
        )
        assert done.stderr == ""
        assert (tmp_path / "jmeter.words").read_text() == "-n -t plan.jmx "
        return {key: int(n) for key, n in re.findall(r"(.*): (\d+)", done.stdout)}

    run.go = go
    return run


@pytest.fixture
def serve(tmp_path, python, start_process, perf):
    """Starts the service, and returns once it listens where its settings say."""

    def serve_it(number, **settings):
        file = tmp_path / "service.py"
        file.write_text(SERVICE)
        flags = [word for name, value in settings.items() for word in (f"--{name}", value)]
        words = [file, perf.go, str(number), str(METRICS), str(WAS)]
        command = [python, "-m", "nilometer", "run", *flags, "--", python, *words]
        return start_process(command)

    return serve_it


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def totals(said):
    return {name: n for name, n in said.items() if name.split()[0] in ("received", "flushed")}


def test_upstream_s_script_reads_a_process_s_own_endpoint(perf, serve):
    port = free_port()
    serve(0, admin=f"127.0.0.1:{port}")
    until(lambda: counted(f"http://127.0.0.1:{port}/metrics") == WAS)

    assert totals(perf(port, 1)) == {
        "received at start": WAS,
        "flushed at start": WAS,
        "received at end": WAS + METRICS,
        "flushed at end": WAS + METRICS,
    }


def test_upstream_s_script_reads_all_processes_at_the_collector(tmp_path, perf, serve):
    with start(tmp_path, admin="127.0.0.1:0") as collector:
        port = int(re.search(r"DropWizard at http://127.0.0.1:(\d+)", collector.output())[1])
        otlp = collector.url.replace("http", "otlp")
        for number in range(2):
            serve(number, export=otlp, interval="200ms", service="persister")
        until(lambda: counted(f"{collector.url}/dropwizard/metrics") == 2 * WAS)

        assert totals(perf(port, 2)) == {
            "received at start": 2 * WAS,
            "flushed at start": 2 * WAS,
            "received at end": 2 * (WAS + METRICS),
            "flushed at end": 2 * (WAS + METRICS),
        }


def counted(url):
    """What is written so far; nothing while nobody listens."""
    try:
        meters = httpx.get(url).json()["meters"]
    except httpx.ConnectError:
        return 0
    return sum(one["count"] for name, one in meters.items() if name.endswith("].flush-meter"))


def until(is_so):
    give_up = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.05)
