"""`nilometer://`, and Ceilometer's plugin: where points go, and by which token."""

import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from textwrap import dedent

import pytest
from osprofiler.drivers.base import get_driver

from nilometer.errors import ConfigError
from nilometer.export.points import Collector
from nilometer.integrations.osprofiler.driver import collector_of
from nilometer.openstack.ceilometer import Forwarder


@contextmanager
def taking(status=lambda _points: 200, answer=b"{}"):
    """A collector's door that answers as told; the port, and what it was sent and took."""
    heard, taken = [], []

    class Door(BaseHTTPRequestHandler):
        def do_POST(self):
            points = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.append((self.headers["Authorization"], len(points)))
            code = status(points)
            if code == 200:
                taken.extend(point["name"] for point in points)
            self.send_response(code)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port, heard, taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def driving(url):
    driver = get_driver(url, project="nova", service="api")
    try:
        yield driver
    finally:
        driver.close()


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("first\n")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    ("url", "where", "token"),
    [
        ("nilometer://", "http://127.0.0.1:4318", ""),
        ("nilometer://c1", "http://c1:4318", ""),
        ("nilometer://c1:99/?tls=true", "https://c1:99", ""),
        ("nilometer://abc@[::1]:99", "http://[::1]:99", "abc"),
        ("nilometer://a%2Fb%3Fc%23%25@c1", "http://c1:4318", "a/b?c#%"),
        ("nilometer://a+b=:c@d@c1", "http://c1:4318", "a+b=:c@d"),
    ],
)
def test_a_url_names_a_collector_and_its_token_is_decoded(monkeypatch, url, where, token):
    monkeypatch.delenv("NILOMETER_TOKEN_FILE", raising=False)

    found = collector_of(url)

    assert (found.url, found._token) == (where, token)


@pytest.mark.parametrize(
    "url",
    [
        "nilometer://secret/b@c1",
        "nilometer://secret?b@c1",
        "nilometer://secret?tls=true&b=c@c1",
        "nilometer://secret#b@c1",
        "nilometer://c1/secret",
        "nilometer://c 1",
        "nilometer://c1:port",
        "nilometer://c1:0",
        "nilometer://c1:65536",
        "nilometer://c1?tls=maybe",
        "nilometer://c1?token=secret",
        "nilometer://secret%0d%0aEvil:1@c1",
        "nilometer://secret%e9@c1",
    ],
)
def test_a_piece_of_a_token_is_never_taken_for_a_host_nor_shown(url):
    with pytest.raises(ConfigError, match=r"%2F %3F .*\[bad-exporter-url\]") as refused:
        get_driver(url)

    assert "secret" not in str(refused.value)


def test_the_token_s_file_is_read_with_each_request(token_file, monkeypatch):
    with taking() as (port, heard, _):
        with driving(f"nilometer://127.0.0.1:{port}?token_file={token_file}") as driver:
            for token in ("first", "second"):
                token_file.write_text(token)
                driver.notify({"name": "x-start"})
                assert driver.flush(10)
        monkeypatch.setenv("NILOMETER_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NILOMETER_TOKEN_FILE", str(token_file))
        agent = Forwarder()
        for token in ("third", "fourth"):
            token_file.write_text(token)
            agent.info([{"payload": {"name": "x-start", "timestamp": ""}}])

    told = [token for token, _ in heard]
    assert told == ["Bearer first", "Bearer second", "Bearer third", "Bearer fourth"]


def test_a_token_file_that_cannot_be_used_is_told_at_start(token_file, monkeypatch):
    token_file.chmod(0o644)
    monkeypatch.setenv("NILOMETER_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("NILOMETER_TOKEN_FILE", str(token_file))

    for begin in (Forwarder, lambda: get_driver("nilometer://c1")):
        with pytest.raises(ConfigError, match="chmod 600"):
            begin()
    monkeypatch.delenv("NILOMETER_URL")
    Forwarder().info([])  # who is asked to do nothing needs none


@pytest.mark.parametrize("code", [400, 413])
def test_what_is_never_taken_takes_nothing_along_and_is_counted(code, caplog):
    def status(points):
        return code if any(point["name"] == "bad" for point in points) else 200

    names = ["a", "bad", "b", "c", "bad", "d", "e"]
    with taking(status) as (port, _, taken), driving(f"nilometer://127.0.0.1:{port}") as driver:
        driver._sender._start = lambda: None  # all in one request
        for name in names:
            driver.notify({"name": name})
        del driver._sender._start
        driver._sender._start()
        assert driver.flush(10)

    assert taken == ["a", "b", "c", "d", "e"]
    [(_, level, said)] = caplog.record_tuples
    assert (level, said.partition(": HTTP Error ")[0]) == (40, "OSProfiler: lost 2 points")


def test_points_that_the_collector_says_it_refused_are_counted_and_said(caplog):
    answer = b'{"taken": 1, "rejected": {"too-deep": 2}}'
    with (
        taking(answer=answer) as (port, _, _),
        driving(f"nilometer://127.0.0.1:{port}") as driver,
    ):
        driver.notify({"name": "a"})
        assert driver.flush(10)

    assert caplog.messages == ["OSProfiler: lost 2 points: refused, too-deep"]


def test_a_process_that_ends_while_the_collector_is_away_says_how_many_points_it_lost():
    program = """
        import sys
        import nilometer.integrations.osprofiler.driver as module
        from osprofiler.drivers.base import get_driver
        module.END_S = 0.2
        driver = get_driver("nilometer://127.0.0.1:1", project="p", service="s")
        for n in range(3):
            driver.notify({"name": f"{n}-start"})
        if sys.argv[1] == "closed":
            driver.close(0.2)
    """
    for how in ("closed", "left"):
        command = [sys.executable, "-c", dedent(program), how]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

        assert ended.stderr.count("OSProfiler: lost 3 points: the process ended before") == 1


def test_what_is_tried_again_is_not_split_and_ceilometer_keeps_it():
    points = ['{"name": "a"}', '{"name": "b"}']
    with taking(lambda _: 503) as (port, heard, _), pytest.raises(OSError, match="503"):
        Collector(f"http://127.0.0.1:{port}", origin="here").send(points)

    assert heard == [(None, 2)]


def test_a_point_that_cannot_be_told_is_counted_and_said(caplog):
    loop = {"name": "x-start"}
    loop["info"] = loop
    with taking() as (port, _, taken), driving(f"nilometer://127.0.0.1:{port}") as driver:
        for bad in (loop, {"name": "x-start", "info": {(1, 2): 3}}):
            driver.notify(bad)
        driver.notify({"name": "x-stop"})
        assert driver.flush(10)

    assert taken == ["x-stop"]
    assert sorted(caplog.messages) == [
        "OSProfiler: lost 1 points: TypeError",
        "OSProfiler: lost 1 points: ValueError",
    ]
