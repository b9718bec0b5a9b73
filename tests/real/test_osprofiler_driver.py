"""OSProfiler's own engine and command line on a real collector, by `nilometer://`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from osprofiler import notifier, profiler
from osprofiler.drivers.base import get_driver

from nilometer.integrations.osprofiler import driver as ours
from tests.collector import start
from tests.counters.servers import serving

pytestmark = pytest.mark.real

OSPROFILER = [
    sys.executable,
    "-c",
    "import nilometer.integrations.osprofiler.driver, osprofiler.cmd.shell as s; s.main()",
]


@pytest.fixture(scope="module")
def collector(tmp_path_factory):
    with start(tmp_path_factory.mktemp("driver")) as running:
        yield running


@pytest.fixture
def driver(collector):
    made = get_driver(
        collector.url.replace("http", "nilometer"), project="nova", service="api", host="h1"
    )
    notifier.set(made.notify)
    yield made
    notifier.set(lambda *_, **__: None)
    profiler.clean()
    made.close()


def traced(error=""):
    """Have real OSProfiler tell a request of three spans; its base id."""
    profiler.clean()
    prof = profiler.init("key")
    profiler.start("wsgi", {"request": {"path": "/v2", "method": "GET", "query": ""}})
    for statement in ("SELECT 1", "</script>"):
        profiler.start("db", {"db": {"statement": statement, "params": {"n": 1}}})
        profiler.stop({"etype": error, "message": "no"} if error else None)
    profiler.stop()
    profiler.clean()
    return prof.get_base_id()


def test_the_report_is_that_of_osprofiler_s_own_engine_on_the_same_points(driver):
    told = []
    notifier.set(lambda info, **_: (told.append(dict(info)), driver.notify(info)))
    base_id = traced()
    assert driver.flush(10)

    mine = driver.get_report(base_id)
    theirs = ours.base.Driver("", "nova", "api", "h1")
    for info in told:
        payload = {**info, "project": "nova", "service": "api"}
        theirs._append_results(
            info["trace_id"], info["parent_id"], info["name"], "nova", "api",
            info["info"]["host"], info["timestamp"], payload,
        )  # fmt: skip

    assert mine == theirs._parse_results()
    assert driver.get_report(base_id) == mine  # and asked again the same


def test_the_real_command_line_shows_and_lists_what_the_collector_has(driver):
    base_id = traced(error="ValueError")
    assert driver.flush(10)
    url = ["--connection-string", driver.connection_str]

    def said(*words):
        return subprocess.run(
            [*OSPROFILER, "trace", *words, *url], capture_output=True, text=True, timeout=60
        )

    shown = json.loads(said("show", base_id, "--json").stdout)
    [root] = shown["children"]
    assert root["info"]["name"] == "wsgi"
    assert [child["info"]["exception"] for child in root["children"]] == ["ValueError"] * 2
    assert base_id in said("list").stdout
    assert base_id in said("list", "--error-trace", "true").stdout
    assert base_id in said("show", base_id, "--html").stdout
    missing = said("show", "f09d33fd-1234-4f5e-8d3e-0b8e6b0a9c11", "--json")
    assert "not found" in missing.stdout + missing.stderr


def test_under_nilometer_run_the_driver_is_there_without_any_import(driver):
    base_id = traced()
    assert driver.flush(10)
    script = str(Path(sys.executable).parent / "osprofiler")

    done = subprocess.run(
        [
            *(sys.executable, "-m", "nilometer", "run", "--", script, "trace", "show"),
            *(base_id, "--json", "--connection-string", driver.connection_str),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert json.loads(done.stdout)["stats"]["db"]["count"] == 2, done.stderr


def test_a_collector_that_is_away_costs_no_request_anything_and_gets_the_points_later(tmp_path):
    collector = start(tmp_path)
    away = get_driver(collector.url.replace("http", "nilometer"), service="api")
    port = collector.url.rpartition(":")[2]
    collector.stop()
    notifier.set(away.notify)
    base_id = traced()
    assert not away.flush(0.3)

    collector.settings["listen"] = f"127.0.0.1:{port}"
    with collector:
        collector.restart()
        assert away.flush(20)
        report = away.get_report(base_id)
    notifier.set(lambda *_, **__: None)
    away.close()

    assert report["stats"]["wsgi"]["count"] == 1


def test_large_points_are_sent_in_requests_that_a_collector_takes(driver):
    profiler.clean()
    base_id = profiler.init("key").get_base_id()
    for _ in range(30):
        profiler.start("db", {"db": {"statement": "\N{SNOWMAN}" * 400_000}})
        profiler.stop()
    profiler.clean()

    assert driver.flush(60)
    assert driver.get_report(base_id)["stats"]["db"]["count"] == 30


def test_who_answers_no_http_is_asked_again_and_nothing_is_lost(collector):
    def answer(sock):
        sock.recv(65536)
        sock.sendall(b"220 mail.example ESMTP\r\n")

    with serving(answer) as port:
        driver = get_driver(f"nilometer://127.0.0.1:{port}", service="api")
        notifier.set(driver.notify)
        base_id = traced()
        notifier.set(lambda *_, **__: None)
        assert not driver.flush(1)
        driver._collector.url = collector.url

        assert driver.flush(20)
    assert driver.get_report(base_id)["stats"]["db"]["count"] == 2
    driver.close()


def test_what_is_no_point_is_told_and_the_others_are_taken(collector):
    import httpx

    point = {"name": "x-start", "base_id": "a", "trace_id": "b", "parent_id": "a",
             "timestamp": "2026-11-20T10:00:00.0"}  # fmt: skip

    def posted(content):
        answer = httpx.post(f"{collector.url}/v1/points", content=content)
        return answer.status_code, answer.json()

    assert posted(json.dumps([point, {}, 7])) == (200, {"taken": 1, "rejected": {"point": 2}})
    assert [posted(bad)[0] for bad in (b"{", b"{}", b"[" * 100_000)] == [400] * 3
    assert re.search("list", posted(b"{}")[1]["detail"])


OTLP = """
import sys
from opentelemetry import trace
from oslo_config import cfg
from osprofiler import initializer, opts, profiler
conf = cfg.ConfigOpts()
conf([], project="tests", default_config_files=[])
for group, options in opts.list_opts():
    conf.register_opts(options, group)
conf.set_override("enabled", True, "profiler")
conf.set_override("connection_string", sys.argv[1], "profiler")
initializer.init_from_conf(conf, None, "nova", "api", "h1")
prof = profiler.init("key")
request = {"path": "/v2", "method": "GET", "query": "", "scheme": "http"}
profiler.start("wsgi", {"request": request})
profiler.start("db", {"db": {"statement": "SELECT 1", "params": {}}})
profiler.stop({"etype": "ValueError", "message": "no"})
profiler.stop()
print(prof.get_base_id())
trace.get_tracer_provider().force_flush()
"""


def test_osprofiler_s_own_otlp_driver_is_understood(collector):
    url = collector.url.replace("http", "otlp")

    done = subprocess.run(
        [sys.executable, "-c", OTLP, url], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    trace_id = done.stdout.strip().replace("-", "")
    [root] = collector.get("traces", trace_id)["roots"]
    [child] = root["children"]
    assert (root["name"], root["service"], root["attributes"]) == (
        "WSGI_GET_/v2",
        "nova-api",
        {"http.request.method": "GET", "url.path": "/v2", "url.scheme": "http"},
    )
    assert (root["status"], child["status"]) == ("unset", "error")
    assert (child["name"], child["status_message"], child["events"]) == ("SQL_SELECT", "no", [])
    assert child["attributes"] == {
        "db.query.text": "SELECT 1",
        "osprofiler.params": "{}",
        "error.type": "ValueError",
    }
    listed = collector.get("traces", error="true", limit=1000)["traces"]
    assert trace_id in [row["id"] for row in listed]
    report = collector.get("traces", trace_id, format="osprofiler")
    [drawn] = report["children"][0]["children"]
    assert drawn["info"]["exception"] == "ValueError"
    started = drawn["info"]["meta.raw_payload.SQL_SELECT-start"]
    assert started["info"]["db"] == {"statement": "SELECT 1", "params": "{}"}
