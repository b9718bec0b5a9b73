"""Ceilometer's own client, and OSProfiler that read traces by it, against a real collector."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from osprofiler.drivers.base import Driver

from nilometer.store.lake import Lake
from tests.api.test_ceilometer import BASE, BATCHES, POINTS
from tests.collector import start

HOME = Path(__file__).parents[2] / ".cache" / "ceilometerclient"
TOKEN = "a-token-of-the-collector-s-own-0123456789"
BY_SAMPLES = "from osprofiler.cmd.shell import main; main()"

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def collector(tmp_path_factory):
    place = tmp_path_factory.mktemp("ceilometer")
    (place / "tokens").write_text(f"{TOKEN}\n")
    (place / "tokens").chmod(0o600)
    lake = Lake(place / "store", durability="os")
    for batch in BATCHES:
        lake.append([batch])
    with start(place, token_file=place / "tokens") as collector:
        yield collector


def run(*words, **env):
    unset = {key: value for key, value in os.environ.items() if not key.startswith("OS_")}
    return subprocess.run(
        [str(word) for word in words],
        env={**unset, "PYTHONWARNINGS": "ignore", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ceilometer(collector, *words, token=TOKEN):
    where = ("--os-endpoint", collector.url, "--os-token", token)
    return run(HOME / "bin" / "ceilometer", *where, *words)


def column(table, name):
    """The cells of one column of a table, as the command line draws it."""
    rows = [line.strip("|").split("|") for line in table.splitlines() if line[:1] == "|"]
    at = [cell.strip() for cell in rows[0]].index(name)
    return [row[at].strip() for row in rows[1:]]


def osprofiler(collector, *words):
    where = ("--ceilometer-url", collector.url, "--os-auth-token", TOKEN, "trace", "show")
    connection = ("--connection-string", "ceilometer://")
    done = run(HOME / "bin" / "osprofiler", *where, *connection, BASE, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def names(report):
    """The tree by its names, with their milliseconds."""
    info = report["info"]
    below = [names(child) for child in report["children"]]
    return [info["name"], info["started"], info["finished"], below]


TREE = [
    *("total", 0, 4000),
    [["wsgi", 0, 4000, [["db", 1000, 2000, []], ["rpc", 3000, 3000, []]]]],
]


def test_osprofiler_reads_a_trace_by_events_as_it_would_have_told_it(collector):
    report = json.loads(osprofiler(collector, "--json"))

    engine = Driver("test://")
    for told in POINTS:
        ids = told["trace_id"], told["parent_id"], told["name"]
        where = told["project"], told["service"], told["info"]["host"]
        engine._append_results(*ids, *where, told["timestamp"], told)
    assert report == json.loads(json.dumps(engine._parse_results()))
    assert names(report) == TREE


def test_osprofiler_draws_the_trace_it_has_read_and_the_file_that_we_wrote(collector, tmp_path):
    drawn = osprofiler(collector, "--dot")
    words = ("trace", "show", BASE, "--format", "osprofiler", "--url", collector.url)
    token = ("--token-file", collector.settings["token_file"])
    ours = run(sys.executable, "-m", "nilometer", *words, *token)
    report = tmp_path / "report.json"
    report.write_text(ours.stdout)
    ours_drawn = run(HOME / "bin" / "osprofiler", "trace", "show", "--dot", report)
    page = run(HOME / "bin" / "osprofiler", "trace", "show", "--html", report)
    todays = Path(sys.executable).parent / "osprofiler"
    # Today's wants to know a store even if it asks none.
    none = {"OSPROFILER_CONNECTION_STRING": "redis://127.0.0.1:1"}
    read = run(todays, "trace", "show", "--json", report, **none)

    assert "GET /servers.." in drawn
    assert ours_drawn.stdout == drawn
    assert "meta.raw_payload.db-start" in page.stdout
    assert json.loads(read.stdout) == json.loads(ours.stdout)


def test_osprofiler_0_3_reads_it_by_samples(collector):
    python, folder = HOME / "bin" / "python", HOME / "osprofiler-0.3"
    where = ("--ceilometer-url", collector.url, "--os-auth-token", TOKEN)
    done = run(
        *(python, "-c", BY_SAMPLES, *where, "trace", "show", "--json", BASE),
        PYTHONPATH=str(folder),
    )

    report = json.loads(done.stdout)
    [wsgi] = report["children"]
    assert names(report) == TREE
    assert wsgi["info"]["info.request:path"] == "/servers"


def test_ceilometers_command_line_lists_events_samples_and_meters(collector):
    trace = f"resource_id=profiler-{BASE}"
    filter_ = json.dumps({"in": {"meter": ["db-start", "db-stop"]}})
    order = json.dumps([{"timestamp": "asc"}])

    events = ceilometer(collector, "event-list", "--no-traits", "-q", f"base_id={BASE}")
    samples = ceilometer(collector, "sample-list", "-q", trace)
    old = ceilometer(collector, "sample-list", "-m", "wsgi-start", "-l", "1")
    chosen = ceilometer(collector, "query-samples", "-f", filter_, "-o", order, "-l", "9")
    meters = ceilometer(collector, "meter-list", "-q", trace)
    counted = ceilometer(collector, "statistics", "-m", "wsgi-start")
    ident = column(events.stdout, "Message ID")[0]
    event = ceilometer(collector, "event-show", ident)
    sample = ceilometer(collector, "sample-show", ident)

    by_time = ["wsgi-start", "db-start", "db-stop", "rpc-start", "wsgi-stop"]
    assert column(events.stdout, "Event Type") == ["profiler.osapi"] * 5
    assert column(samples.stdout, "Name") == by_time[::-1]
    assert column(old.stdout, "Name") == ["wsgi-start"]
    assert column(chosen.stdout, "Meter") == ["db-start", "db-stop"]
    assert sorted(column(meters.stdout, "Name")) == sorted(by_time)
    assert column(counted.stdout, "Count") == ["1"]
    assert ident in event.stdout
    assert "SELECT" not in event.stdout
    assert f"profiler-{BASE}" in sample.stdout


def test_ceilometers_command_line_tells_what_was_wrong(collector):
    unknown = ceilometer(collector, "event-show", "nothing")
    wrong = ceilometer(collector, "query-samples", "-f", '{"=": {"colour": 1}}')
    stranger = ceilometer(collector, "event-list", token="another")

    assert unknown.returncode == wrong.returncode == stranger.returncode == 1
    assert "nothing" in unknown.stdout + unknown.stderr
    assert "Filter expression not valid: no field 'colour'" in wrong.stderr
    assert "Authentication failed" in stranger.stderr
