"""What OSProfiler's driver wrote to a real Redis, and its reports, are taken over whole."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from osprofiler import notifier, profiler
from osprofiler.drivers.base import get_driver
from redis import Redis

from nilometer.integrations.osprofiler import driver as _ours  # noqa: F401
from tests.brokers import reachable_folder, redis  # noqa: F401
from tests.collector import start

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def collector(tmp_path_factory):
    with start(tmp_path_factory.mktemp("import")) as running:
        yield running


def imported(collector, *words):
    return subprocess.run(
        [sys.executable, "-m", "nilometer", "trace", "import", *words, "--url", collector.url],
        capture_output=True,
        text=True,
        timeout=60,
    )


def told(driver, spans, error=None):
    """Have real OSProfiler tell so many spans in one to that driver; the base id."""
    profiler.clean()
    notifier.set(driver.notify)
    try:
        prof = profiler.init("key")
        profiler.start("wsgi", {"request": {"path": "/v2", "method": "GET"}})
        for number in range(spans):
            profiler.start("db", {"db": {"statement": f"SELECT {number}"}})
            profiler.stop(error)
        profiler.stop()
        return prof.get_base_id()
    finally:
        notifier.set(lambda *_, **__: None)
        profiler.clean()


def test_lists_of_any_length_and_single_texts_are_taken_over_and_again_count_once(
    redis,  # noqa: F811
    collector,
):
    url = f"redis://127.0.0.1:{redis.port}/1"
    theirs = get_driver(url, project="nova", service="api", conf={})
    theirs.filter_error_trace = True
    base_id = told(theirs, 600, {"etype": "ValueError", "message": "no"})
    other = told(theirs, 1)
    database = Redis.from_url(url)
    old = {
        "base_id": "11111111-2222-3333-4444-555555555555",
        "trace_id": "11111111-2222-3333-4444-666666666666",
        "parent_id": "11111111-2222-3333-4444-555555555555",
    }
    for name, second in (("rpc-start", 1), ("rpc-stop", 2)):
        at = f"2026-11-20T10:00:0{second}.000000"
        point = {**old, "name": name, "timestamp": at, "info": {"host": "h"}}
        database.set(f"osprofiler:{old['base_id']}{name}", json.dumps(point))
    database.set("osprofiler:broken", b"\xff{")
    database.set("unrelated", "x")

    first, again = imported(collector, url, "--json"), imported(collector, url, "--json")

    for done in (first, again):
        assert json.loads(done.stdout) == {
            "traces": 3,
            "taken": 2 * 601 + 4 + 2,
            "rejected": {"point": 1},
        }, done.stderr
    ours = get_driver(collector.url.replace("http", "nilometer"))
    for each in (base_id, other):
        theirs.result, theirs.started_at, theirs.finished_at = {}, None, None
        theirs.last_started_at = None
        expected = theirs.get_report(each)
        assert ours.get_report(each)["stats"].keys() == expected["stats"].keys()
        assert by_id(ours.get_report(each)) == by_id(expected)
    [root] = collector.get("traces", old["base_id"].replace("-", ""))["roots"]
    assert (root["name"], root["duration_ns"]) == ("rpc", 10**9)


def test_what_is_none_of_osprofiler_s_ends_no_import(redis, collector):  # noqa: F811
    url = f"redis://127.0.0.1:{redis.port}/2"
    theirs = get_driver(url, project="nova", service="api", conf={})
    told(theirs, 1)
    database = Redis.from_url(url)
    database.lpush("osprofiler:list", "x")
    database.set("osprofiler_opt:text", "x")
    database.hset("osprofiler_opt:hash", "a", "b")
    database.set("osprofiler:large", json.dumps({"name": "x-start", "info": "x" * 3_000_000}))
    database.set("osprofiler:list-of-ids", json.dumps({"name": "x-start", "base_id": []}))

    done = imported(collector, url, "--json")

    assert json.loads(done.stdout)["taken"] == 4, done.stderr
    assert json.loads(done.stdout)["rejected"] == {"point": 2}


def test_points_larger_than_one_request_may_be_come_in_several(redis, collector):  # noqa: F811
    url = f"redis://127.0.0.1:{redis.port}/4"
    theirs = get_driver(url, project="nova", service="api", conf={})
    profiler.clean()
    notifier.set(theirs.notify)
    profiler.init("key")
    for _ in range(40):
        profiler.start("db", {"db": {"statement": "x" * 900_000}})
    notifier.set(lambda *_, **__: None)
    profiler.clean()

    done = imported(collector, url, "--json")

    assert json.loads(done.stdout) == {"traces": 1, "taken": 40, "rejected": {}}, done.stderr


def by_id(report):
    """All points of a report, whatever the order of its siblings."""
    found, waiting = {}, list(report["children"])
    while waiting:
        node = waiting.pop()
        waiting += node["children"]
        found[node["trace_id"]] = {"parent": node["parent_id"], **node["info"]}
    return found


def test_one_trace_can_be_asked_for(redis, collector):  # noqa: F811
    url = f"redis://127.0.0.1:{redis.port}/2"
    theirs = get_driver(url, service="api", conf={})
    wanted = told(theirs, 1)
    told(theirs, 1)

    assert "4 points of 1 traces imported" in imported(collector, url, "--trace", wanted).stderr


def test_a_report_of_osprofiler_s_is_taken_over(redis, collector, tmp_path):  # noqa: F811
    theirs = get_driver(f"redis://127.0.0.1:{redis.port}/3", service="api", conf={})
    base_id = told(theirs, 3)
    report = tmp_path / "report.json"
    report.write_text(json.dumps(theirs.get_report(base_id)))

    done = imported(collector, str(report))

    assert "8 points of 1 traces imported" in done.stderr
    tree = collector.get("traces", base_id.replace("-", ""))
    assert [len(root["children"]) for root in tree["roots"]] == [3]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("redis://127.0.0.1:1/", "127.0.0.1:1"),
        ("mysql://127.0.0.1/", "mysql"),
        ("missing.json", "No such file"),
    ],
)
def test_what_is_not_there_is_told(collector, source, said):
    done = imported(collector, source)

    assert said in done.stderr
    assert done.returncode != 0


def test_a_password_is_used_and_not_shown(reachable_folder, collector):  # noqa: F811
    from examples.servers.brokers import Redis as Server

    with Server(reachable_folder / "locked", password="hunter2") as server:
        right = imported(collector, f"redis://:hunter2@127.0.0.1:{server.port}/")
        wrong = imported(collector, f"redis://:hunter3@127.0.0.1:{server.port}/")

    assert "holds no points" in right.stderr
    assert "WRONGPASS" in wrong.stderr
    assert "hunter" not in right.stderr + wrong.stderr
