"""Backends read by pytest itself: for the whole run, or for tests that run one at a time."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nilometer.cli.run_file import read_run_file

pytest_plugins = "pytester"

TESTS = """
from urllib.request import urlopen

def work(times):
    for _ in range(times):
        urlopen("URL/work").read()

def test_one(): work(3)
def test_none(): pass
def test_two(): work(5)
"""


@pytest.fixture
def service(pytester, monkeypatch):
    """A server that counts its work, and tells it at /metrics; its URL."""
    worked = 0

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            nonlocal worked
            worked += self.path == "/work"
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(b"# TYPE work_total counter\nwork_total %d\n" % worked)

        def log_message(self, *words):
            pass

    monkeypatch.setenv("NILOMETER_RUN_FILE", str(pytester.path / "run.json"))
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider -p no:timeout\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{httpd.server_port}"
        pytester.makepyfile(test_it=TESTS.replace("URL", url))
        yield f"{url}/metrics"
        httpd.shutdown()
        thread.join()


def counted(pytester, service, *flags):
    pytester.runpytest_inprocess(
        "--nilometer-json=o.json", "--nilometer-backend", service, *flags
    ).assert_outcomes(passed=3)
    return json.loads((pytester.path / "o.json").read_text())


def test_a_backend_is_put_down_to_tests_that_run_one_at_a_time(pytester, service):
    document = counted(pytester, service, "--nilometer-backends=test")

    by_test = {one["test"]: one["backends"]["prometheus"] for one in document["tests"]}
    assert by_test == {
        "test_it.py::test_none": {"counts": {}},
        "test_it.py::test_one": {"counts": {"work_total": 3}},
        "test_it.py::test_two": {"counts": {"work_total": 5}},
    }
    told = read_run_file(pytester.path / "run.json", taken=["prometheus"])
    parts = {c.dimensions: c.delta for c in told.counts if c.backend == "prometheus"}
    assert parts == {
        (("test", "test_it.py::test_one"),): 3,
        (("test", "test_it.py::test_two"),): 5,
    }
    assert told.notes == ()  # the totals are left to `measure`


def test_of_several_of_a_kind_each_has_the_name_that_measure_gives_it(pytester, service):
    other = service.replace("127.0.0.1", "localhost")

    document = counted(
        pytester, service, "--nilometer-backends=test", f"--nilometer-backend={other}"
    )

    names = [f"prometheus@{url.split('/')[2]}" for url in (service, other)]
    (of_one,) = [one for one in document["tests"] if one["test"].endswith("test_one")]
    assert of_one["backends"] == {name: {"counts": {"work_total": 3}} for name in names}
    told = read_run_file(pytester.path / "run.json", taken=names)
    assert {c.backend for c in told.counts if c.backend != "tests"} == set(names)


@pytest.mark.parametrize("flags", [(), ("-n2",)], ids=["serial", "parallel"])
def test_a_backend_is_counted_for_the_whole_run(pytester, service, flags):
    document = counted(pytester, service, "--nilometer-backends=session", *flags)

    assert document["backends"] == {"prometheus": {"counts": {"work_total": 8}}}


def test_tests_that_run_at_once_cannot_be_told_apart(pytester, service):
    result = pytester.runpytest_inprocess("--nilometer-backends=test", "-n2")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --nilometer-backends test needs one test at a time*"])


def test_a_backend_that_is_none_is_refused_before_any_test(pytester, service):
    result = pytester.runpytest_inprocess(
        "--nilometer-backends=test", "--nilometer-backend=nope://secret"
    )

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --nilometer-backend: no backend for*"])


def test_a_backend_that_cannot_be_read_is_named_and_the_tests_run(pytester, service, free_port):
    result = pytester.runpytest_inprocess(
        "--nilometer-backends=session",
        "--nilometer-report",
        f"--nilometer-backend=http://127.0.0.1:{free_port()}/metrics",
    )

    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["prometheus: *refused*"])


@pytest.mark.parametrize(("mode", "where"), [("session", ""), ("test", "in 3 of 3 tests: ")])
def test_a_backend_that_cannot_be_read_is_told_without_being_asked(
    pytester, service, mode, where
):
    flags = (f"--nilometer-backends={mode}", "--nilometer-backend=redis://127.0.0.1:1")

    ran = pytester.runpytest_inprocess(*flags)

    ran.assert_outcomes(passed=3)
    told = f"nilometer: redis: {where}redis at 127.0.0.1:1: nobody listens there*"
    ran.stdout.fnmatch_lines([told])
