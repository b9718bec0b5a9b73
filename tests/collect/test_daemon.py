"""Laws of the running daemon: one line at its start, an end in order, no acknowledged loss."""

from __future__ import annotations

import http.client
import json
import resource
import signal
import socket
import threading
import time
import urllib.error
from datetime import timedelta

import pytest
from deltalake import DeltaTable
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from nilometer.clock import wall_ns
from nilometer.store.lake import Lake
from nilometer.store.query import Reader
from tests import collector as collector_process
from tests.collector import start

pytestmark = pytest.mark.real

TOKEN = "c2l4dGVlbiBieXRlcyBoZXJl"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
SPANS_PER_REQUEST = 20


def request_of(trace_id, first_span):
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    now = wall_ns()
    scope = resource.scope_spans.add()
    for number in range(first_span, first_span + SPANS_PER_REQUEST):
        scope.spans.add(
            trace_id=trace_id,
            span_id=number.to_bytes(8, "big"),
            name="work",
            start_time_unix_nano=now,
            end_time_unix_nano=now + 1,
        )
    return request.SerializeToString()


class Sender(threading.Thread):
    """Sends until the collector is gone, and remembers what was acknowledged."""

    def __init__(self, collector, trace_id):
        super().__init__()
        self.host = collector.url.removeprefix("http://")
        self.trace_id = trace_id
        self.acknowledged = set()
        self.sent = 0

    def run(self):
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            while True:
                first = 1 + self.sent
                self.sent += SPANS_PER_REQUEST
                connection.request(
                    "POST", "/v1/traces", request_of(self.trace_id, first), PROTOBUF
                )
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    self.acknowledged.update(range(first, first + SPANS_PER_REQUEST))
        except (OSError, http.client.HTTPException):
            connection.close()


def stored_ids(store, trace_id):
    reader = Reader(store)
    try:
        spans = [span for _, span in reader.trace(trace_id.hex())]
    finally:
        reader.close()
    return sorted(int.from_bytes(span.span_id, "big") for span in spans)


@pytest.mark.slow
def test_kill_9_under_load_loses_nothing_that_was_acknowledged(tmp_path):
    with start(tmp_path, window="50ms") as collector:
        acknowledged = 0
        for round_ in range(3):
            senders = [Sender(collector, bytes([1 + round_, n + 1] * 8)) for n in range(4)]
            for sender in senders:
                sender.start()
            time.sleep(1)
            collector.kill()
            for sender in senders:
                sender.join()
            collector.restart()
            for sender in senders:
                found = stored_ids(collector.store, sender.trace_id)
                assert sender.acknowledged <= set(found)
                assert len(found) == len(set(found))
                assert set(found) <= set(range(1, sender.sent + 1))
                acknowledged += len(sender.acknowledged)

    assert acknowledged > 0


@pytest.mark.parametrize("word", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_answers_who_waits_and_writes_what_statsd_gathered(tmp_path, word):
    with start(tmp_path, window="30s", flush="1h") as collector:
        sender = Sender(collector, bytes(range(1, 17)))
        sender.start()
        while not sender.acknowledged:  # the first is committed at once, the second waits
            time.sleep(0.01)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"gathered:7|c", ("127.0.0.1", collector.statsd_port))
        time.sleep(0.2)
        collector.process.send_signal(word)
        code = collector.process.wait(30)
        sender.join()
        with ReaderOf(collector) as reader:
            gathered = reader.statistics("gathered")

    assert code == 0
    assert set(stored_ids(collector.store, sender.trace_id)) == sender.acknowledged
    assert [row.total for row in gathered] == [7]


ENDLESS = """
import time
from nilometer.api import traces
def endless(_):
    print("drawing", flush=True)
    while True:
        time.sleep(0.01)
traces.FORMATS["html"] = ("text/html", endless)
"""


@pytest.mark.parametrize("signals", [1, 2])
def test_a_question_that_never_ends_does_not_keep_it_from_ending(
    tmp_path, monkeypatch, signals
):
    monkeypatch.setattr(collector_process, "_PROGRAM", ENDLESS + collector_process._PROGRAM)
    trace_id = bytes(range(16))
    with start(tmp_path, flush="1h") as collector:
        asking = http.client.HTTPConnection(collector.url.removeprefix("http://"), timeout=30)
        asking.request("POST", "/v1/traces", request_of(trace_id, 1), PROTOBUF)
        asking.getresponse().read()
        asking.request("GET", f"/api/v1/traces/{trace_id.hex()}?format=html")
        while "drawing" not in collector.output():
            time.sleep(0.01)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"gathered:7|c", ("127.0.0.1", collector.statsd_port))
        time.sleep(0.2)
        for _ in range(signals):
            collector.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
        code = collector.process.wait(30)
        asking.close()
        with ReaderOf(collector) as reader:
            gathered = reader.statistics("gathered")

    assert code == 0
    assert [row.total for row in gathered] == [7]


class ReaderOf:
    def __init__(self, collector):
        self.reader = Reader(collector.store)

    def __enter__(self):
        return self.reader

    def __exit__(self, *_):
        self.reader.close()


def test_the_first_line_says_where_it_listens_and_where_the_store_lies(tmp_path):
    with start(tmp_path) as collector:
        (line,) = collector.output().splitlines()

    assert line == (
        f"OTLP and REST at {collector.url} for this machine only; "
        f"statsd at {collector.statsd}; store in {collector.store}"
    )


def test_what_is_stored_is_not_for_every_user_of_the_machine(tmp_path):
    with start(tmp_path) as collector:
        sender = Sender(collector, bytes(range(1, 17)))
        sender.start()
        while not sender.acknowledged:
            time.sleep(0.01)
    sender.join()

    made = [collector.store, *collector.store.rglob("*")]
    assert len(made) > 5
    assert [path for path in made if path.stat().st_mode & 0o007] == []


def refused(tmp_path, **settings):
    """What a collector says that cannot start."""
    with pytest.raises(RuntimeError) as failure:
        start(tmp_path, **settings)
    return str(failure.value)


@pytest.mark.parametrize("door", ["listen", "statsd"])
def test_an_address_that_is_taken_is_told_in_one_line(tmp_path, door):
    kind = socket.SOCK_STREAM if door == "listen" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if door == "listen":
            taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refused(tmp_path, **{door: address})

    assert f"--{door}: cannot listen at {address}: Address already in use" in said
    assert "Traceback" not in said


def test_a_directory_that_is_not_ours_is_left_alone(tmp_path):
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("years of work")

    said = refused(tmp_path, store=tmp_path / "papers")

    assert "thesis.txt" in said
    assert "[store-foreign]" in said
    assert "Traceback" not in said
    assert [path.name for path in (tmp_path / "papers").iterdir()] == ["thesis.txt"]


def opens(collector, token):
    try:
        return collector.get("health", token=token)["status"] == "ok"
    except urllib.error.HTTPError:
        return False


def test_with_a_token_file_nobody_else_gets_in(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    tokens.chmod(0o600)

    with start(tmp_path, token_file=tokens) as collector:
        with pytest.raises(urllib.error.HTTPError) as stranger:
            collector.get("health")
        status = collector.get("health", token=TOKEN)["status"]

        tokens.write_text(TOKEN[::-1])
        give_up = time.monotonic() + 20
        while not opens(collector, TOKEN[::-1]) and time.monotonic() < give_up:
            time.sleep(0.05)
        now_open = [opens(collector, TOKEN), opens(collector, TOKEN[::-1])]

    assert now_open == [False, True]
    assert stranger.value.code == 401
    assert status == "ok"
    assert TOKEN not in collector.output()


def test_what_it_refuses_it_counts_in_its_own_tables_and_then_is_quiet(tmp_path):
    with start(tmp_path, flush="100ms") as collector:
        connection = http.client.HTTPConnection(collector.url.removeprefix("http://"))
        for content_type in ("text/plain", "application/json"):
            connection.request("POST", "/v1/logs", b"{", {"Content-Type": content_type})
            connection.getresponse().read()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"nonsense", ("127.0.0.1", collector.statsd_port))
        connection.close()
        while "statsd: refused" not in collector.output():
            time.sleep(0.02)
        collector.restart()
        losses = collector.get("losses")["losses"]

    assert {
        (row["service"], row["dimensions"]["door"], row["dimensions"]["reason"], row["count"])
        for row in losses
    } == {
        ("nilometer-collector", "otlp", "content-type", 1),
        ("nilometer-collector", "otlp", "json", 1),
        ("nilometer-collector", "statsd", "form", 1),
    }


def test_rows_of_a_wrong_clock_are_kept_and_told_among_the_losses(tmp_path):
    old_ns = wall_ns() - 90 * 24 * 3600 * 10**9
    record = {"timeUnixNano": str(old_ns), "eventName": "old"}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record] * 3}]}]})
    with start(tmp_path) as collector:
        connection = http.client.HTTPConnection(collector.url.removeprefix("http://"))
        connection.request("POST", "/v1/logs", body, {"Content-Type": "application/json"})
        assert connection.getresponse().status == 200
        connection.close()
        collector.restart()
        losses = collector.get("losses")["losses"]
        with ReaderOf(collector) as reader:
            kept = [event.at_ns for _, event in reader.events(name="old")]

    assert losses == [
        {
            "service": "nilometer-collector",
            "name": "nilometer.collector.clamped",
            "dimensions": {"kind": "events"},
            "count": 3,
        }
    ]
    assert kept == [old_ns] * 3


def test_a_trace_of_years_ago_that_is_imported_outlives_the_upkeep(tmp_path):
    common = {"base_id": "7f" * 16, "trace_id": "1f" * 16, "parent_id": "7f" * 16}
    common |= {"project": "nova", "service": "api", "info": {"host": "node-1"}}
    points = [
        {"name": f"wsgi-{end}", "timestamp": f"2019-03-01T00:00:0{second}.000000", **common}
        for second, end in enumerate(("start", "stop"))
    ]
    with start(tmp_path, keep="1h") as collector:
        connection = http.client.HTTPConnection(collector.url.removeprefix("http://"))
        connection.request("POST", "/v1/points", json.dumps(points))
        assert connection.getresponse().status == 200
        connection.close()
        collector.stop()

        Lake(collector.store).maintain(keep=timedelta(hours=1))

        with ReaderOf(collector) as reader:
            assert [one.spans for one in reader.find_traces()] == [1]


def test_an_idle_collector_writes_nothing_about_itself(tmp_path):
    with start(tmp_path, flush="100ms") as collector:
        time.sleep(0.5)  # five flushes of nothing
        collector.stop()

    assert DeltaTable(str(collector.store / "readings")).to_pyarrow_table().num_rows == 0


def test_a_unix_socket_takes_statsd_too(tmp_path):
    path = str(tmp_path / "statsd.sock")
    with start(tmp_path, statsd=f"unix:{path}", flush="1h") as collector:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            for _ in range(1000):
                sender.sendto(b"gathered:1|c", path)
        collector.stop()
        with ReaderOf(collector) as reader:
            assert [row.total for row in reader.statistics("gathered")] == [1000]


def test_a_flood_that_is_no_http_is_counted_and_said_once(tmp_path):
    with start(tmp_path) as collector:
        host, port = collector.url.removeprefix("http://").split(":")
        for _ in range(50):
            with socket.create_connection((host, int(port))) as raw:
                raw.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
                raw.recv(1000)
        said = [line for line in collector.output().splitlines()[1:] if line]
        collector.restart()
        losses = collector.get("losses")["losses"]

    assert said == ["http: refused, not-http (1 times)"]
    assert [(row["dimensions"], row["count"]) for row in losses] == [
        ({"door": "http", "reason": "not-http"}, 50)
    ]


def test_a_slow_sender_does_not_keep_the_others_waiting(tmp_path):
    with start(tmp_path) as collector:
        host, port = collector.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(
                b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
                b"Content-Type: application/x-protobuf\r\n\r\n\x0a"
            )
            connection = http.client.HTTPConnection(host, int(port), timeout=10)
            connection.request(
                "POST", "/v1/traces", request_of(bytes(range(1, 17)), 1), PROTOBUF
            )
            status = connection.getresponse().status
            connection.close()

    assert status == 200


def post_span(collector, number):
    connection = http.client.HTTPConnection(collector.url.removeprefix("http://"), timeout=30)
    try:
        body = request_of(bytes(range(1, 17)), number * SPANS_PER_REQUEST)
        connection.request("POST", "/v1/traces", body, PROTOBUF)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def test_while_nothing_can_be_written_nothing_is_acknowledged_and_then_all_goes_on(tmp_path):
    with start(tmp_path, flush="100ms") as collector:
        before = post_span(collector, 1)
        _, hard = resource.prlimit(collector.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(collector.pid, resource.RLIMIT_FSIZE, (0, hard))  # no file may grow
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"gathered:7|c", ("127.0.0.1", collector.statsd_port))
        full = [post_span(collector, number) for number in (2, 3)]
        failed = collector.get("health")["commits_failed"]
        resource.prlimit(collector.pid, resource.RLIMIT_FSIZE, (hard, hard))
        after = post_span(collector, 4)
        code = collector.stop()
        with ReaderOf(collector) as reader:
            gathered = reader.statistics("gathered")

    assert (before, full, after, code) == (200, [503, 503], 200, 0)
    assert failed >= 2
    assert stored_ids(collector.store, bytes(range(1, 17))) == [
        *range(SPANS_PER_REQUEST, 2 * SPANS_PER_REQUEST),
        *range(4 * SPANS_PER_REQUEST, 5 * SPANS_PER_REQUEST),
    ]
    assert [row.total for row in gathered] == [7]


def test_it_takes_as_many_files_as_connections_and_commits_need(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))  # what its starter left it
    try:
        with start(tmp_path) as collector:
            taken, _ = resource.prlimit(collector.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert taken == (4096 if hard == resource.RLIM_INFINITY else min(4096, hard))


def test_the_command_serves_says_so_and_ends_with_0(tmp_path, start_process, python):
    words = ["serve", "--store", tmp_path / "store", "--listen", "127.0.0.1:0"]

    process = start_process(
        [python, "-m", "nilometer", *words, "--statsd", "127.0.0.1:0"], ready="OTLP and REST at"
    )
    code = process.end()

    assert code == 0
    assert f"store in {tmp_path / 'store'}" in process.output()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--listen", "0.0.0.0:0"], 2, "[open-without-token]"),
        (["--keep", "soon"], 2, "[bad-duration]"),
        (["--statsd", "unix:/no/such/directory/s"], 3, "[cannot-listen]"),
        (["--store", "/proc/self"], 4, "[store-"),
    ],
)
def test_the_command_that_cannot_serve_says_why_and_ends_with_its_code(
    tmp_path, start_process, python, words, code, said
):
    usual = ["--store", tmp_path / "store", "--listen", "127.0.0.1:0", "--statsd", "off"]

    process = start_process([python, "-m", "nilometer", "serve", *usual, *words])

    assert (process.popen.wait(30), said in process.output()) == (code, True)
    assert "Traceback" not in process.output()
