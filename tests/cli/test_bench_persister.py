"""`nilometer bench persister`: its load, its two sources, its figures, two runs compared."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner

from nilometer.cli.app import app
from nilometer.cli.bench_chart import html, sparkline, svg
from nilometer.cli.bench_load import Load, Offsets, Plan
from nilometer.cli.bench_report import Sample, compared, rates, report
from nilometer.cli.bench_sources import DropWizard, Monasca, SourceError, Times, Told, each_port
from nilometer.cli.bench_watch import Wanted, Watch

S = 10**9
HANDLER = "monasca.persister.pipeline.event.MetricHandler[metric-{}]"


def told(at_s=0, times=None, **counts):
    """One process's counts; `times` are of its flush timer."""
    flush = {} if times is None else {"flush": Times(*times)}
    return Told(at_s * S, {"p1": counts}, {"p1": flush})


def samples_of(*rows):
    """(second, produced, received, persisted, dropped, duplicated)"""
    return [Sample(int(at * S), *counts, None) for at, *counts in rows]


def reported(samples, *, before=None, after=None, curve=(), missed=0, **more):
    return report(
        samples,
        before or told(),
        after or told(),
        curve=curve,
        missed=missed,
        settings={"source": "dropwizard"},
        **more,
    )


def test_a_run_as_long_as_the_series_has_each_of_them_once():
    plan = Plan(names=4, hosts=5, processes=3, tenants=2)
    metrics = [json.loads(plan.message(n, 1000 * n)) for n in range(plan.series)]
    series = Counter(
        (m["metric"]["name"], *m["metric"]["dimensions"].values(), m["meta"]["tenantId"])
        for m in metrics
    )

    assert set(series.values()) == {1}
    assert len(series) == plan.series == 120
    assert [len({key[at] for key in series}) for at in (0, 1, 2, 4)] == [4, 5, 3, 2]


def test_messages_are_as_monasca_s_api_makes_them():
    message = json.loads(Plan().message(7, 1_700_000_000_123))

    assert sorted(message) == ["creation_time", "meta", "metric"]
    assert sorted(message["metric"]) == [
        *("dimensions", "name", "timestamp", "value", "value_meta"),
    ]
    assert (message["creation_time"], message["metric"]["timestamp"]) == (
        *(1_700_000_000, 1_700_000_000_123),
    )
    assert Plan().series == 600 * 1500 * 22 * 10


def test_loss_is_what_was_produced_and_neither_written_nor_dropped():
    samples = samples_of((0, 0, 0, 0, 0, 0), (1, 100, 100, 80, 5, 0), (2, 100, 110, 95, 5, 10))
    figures = reported(samples, curve=[(0, 0), (S, 100)])

    # 95 were written, 10 of them for the second time, and 5 dropped.
    assert (figures["lost"], figures["duplicated"], figures["dropped"]) == (10, 10, 5)


def test_what_an_interrupted_run_did_not_see_persisted_is_no_loss():
    samples = samples_of((0, 0, 0, 0, 0, 0), (1, 100, 100, 80, 5, 0))
    figures = reported(samples, curve=[(0, 0), (S, 100)], is_whole=False)

    assert (figures["produced"], figures["lost"]) == (100, None)


def test_what_others_produced_is_not_known_and_neither_is_its_loss_nor_its_delay():
    figures = reported(samples_of((0, 0, 0, 0, 0, 0), (1, 0, 100, 80, 0, 0)))

    assert (figures["produced"], figures["lost"], figures["delay_s"]) == (None, None, None)


def test_rates_are_by_interval_and_on_average_until_the_last_was_written():
    samples = samples_of(
        *((0, 0, 0, 0, 0, 0), (1, 50, 50, 10, 0, 0), (3, 100, 100, 100, 0, 0)),
        (9, 100, 100, 100, 0, 0),  # it only looked on
    )
    figures = reported(samples)

    assert rates(samples, "persisted") == [10, 45, 0]
    assert (figures["seconds"], figures["persisted_per_s"]) == (3.0, pytest.approx(100 / 3))
    assert figures["persisted_per_s_max"] == 45


def test_the_delay_is_the_distance_of_the_two_curves():
    curve = [(0, 0), (10 * S, 1000)]  # 100 a second
    samples = samples_of(
        *((0, 0, 0, 0, 0, 0), (5, 500, 500, 300, 0, 0)), (12, 1000, 1000, 1000, 0, 0)
    )
    figures = reported(samples, curve=curve)

    # The 300th was produced at 3 s and told of at 5, the last at 10 and told of at 12.
    assert figures["delay_s"] == pytest.approx({"p50": 2, "p95": 2, "p99": 2, "max": 2})


def test_processes_and_timers_are_told_apart_and_together():
    before = Told(0, {"p1": {"received": 5}}, {})
    times = {
        process: {"flush": Times(count, mean, mean * 2, {"p99": mean * 1.5})}
        for process, count, mean in (("p1", 1, 0.1), ("p2", 3, 0.5))
    }
    after = Told(S, {"p1": {"received": 15}, "p2": {"received": 7}}, times)
    figures = reported(samples_of((0, 0, 0, 0, 0, 0)), before=before, after=after)

    assert figures["processes"] == {"p1": {"received": 10}, "p2": {"received": 7}}
    assert figures["timers"]["flush"] == pytest.approx(
        {"count": 4, "mean": 0.4, "max": 1.0, "p99": 0.75}
    )


def test_two_runs_are_compared_figure_by_figure():
    old = reported(samples_of((0, 0, 0, 0, 0, 0), (2, 0, 100, 100, 0, 0)))
    new = reported(samples_of((0, 0, 0, 0, 0, 0), (1, 0, 100, 100, 0, 0)))
    changes = {one.name: (one.old, one.new, one.share) for one in compared(old, new)}

    assert changes["persisted_per_s"] == (50, 100, 1.0)
    assert changes["seconds"] == (2, 1, -0.5)
    assert changes["dropped"] == (0, 0, None)
    assert "lost" not in changes


def test_a_chart_has_a_line_for_each_count_and_no_markup_of_others():
    figures = reported(
        samples_of((0, 0, 0, 0, 0, 0), (1, 9, 5, 1, 0, 0), (2, 9, 9, 9, 0, 0)), curve=[(0, 0)]
    )

    assert svg(figures).count("<polyline") == 3
    assert "<script>" not in html(figures, "<script>")
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "▁▁"
    assert len(sparkline(list(range(1000)))) == 60


# --- Sources over sockets --------------------------------------------------------------------


class Answers:
    """A server that answers each path with what it is told, and remembers what was asked."""

    def __init__(self, port=0):
        self.by_path = {}
        self.asked = []
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                path = urlsplit(self.path).path
                query = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
                answers.asked.append((path, query, self.headers.get("X-Auth-Token")))
                answer = answers.by_path.get(path, (404, "nothing"))
                status, body = answer(query) if callable(answer) else answer
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def answers():
    made = Answers()
    yield made
    made.close()


def metrics_of(**meters):
    timer = {
        "count": 4,
        "mean": 0.5,
        "max": 2.0,
        "p50": 0.4,
        "p75": 0.5,
        "p95": 1.0,
        "p99": 2.0,
    }
    return {
        "meters": {name: {"count": count} for name, count in meters.items()},
        "timers": {f"{HANDLER.format(0)}.flush-timer": timer, "other": {**timer, "count": 9}},
    }


def test_dropwizard_s_names_of_both_persisters_are_read(answers):
    java = {
        f"{HANDLER.format(0)}.events-processed-meter": 3,
        f"{HANDLER.format(1)}.events-processed-meter": 4,
        f"{HANDLER.format(1)}.flush-meter": 5,
        "monasca.persister.dropped{error.type=KeyError}": 1,
        "monasca.persister.dropped.by.others": 100,
        "monasca.persister.completed{messaging.destination.name=metrics}": 6,
        "monasca.persister.completed{messaging.destination.name=events}": 100,
    }
    answers.by_path["/metrics"] = 200, metrics_of(**java)
    [(process, counts)] = DropWizard([answers.url], "a-token").read().counts.items()

    assert process == answers.url.removeprefix("http://")
    assert counts == {"received": 7, "persisted": 11, "dropped": 1}
    assert answers.asked[-1] == ("/metrics", {}, "a-token")


def topics(query):
    """Monasca's API: 5 of metrics and 50 of events, everywhere."""
    names = query["statistics"].split(",")
    elements = [
        {
            "dimensions": {"messaging.destination.name": topic},
            "columns": ["timestamp", *names],
            "statistics": [["1970-01-01T00:00:00Z", *[count] * len(names)]],
        }
        for topic, count in (("metrics", 5), ("events", 50))
        if "messaging.destination.name" in query.get("group_by", "")
    ]
    return 200, {"links": [], "elements": elements}


@pytest.mark.parametrize(("topic", "count"), [("metrics", 5), ("events", 50)])
def test_only_the_topic_that_is_asked_for_counts(answers, topic, count):
    event = "monasca.persister.received{messaging.destination.name=events,thread=1}"
    meters = {f"{HANDLER.format(0)}.events-processed-meter": 5, event: 50}
    answers.by_path["/metrics"] = 200, metrics_of(**meters)
    answers.by_path["/v2.0/metrics/statistics"] = topics
    sources = [DropWizard([answers.url], topic=topic), Monasca(answers.url, topic=topic)]
    told = [source.read() for source in sources]

    assert [one.sum("received") for one in told] == [count, count]
    assert told[1].times["all"]["flush"].count == count


def test_a_process_that_has_java_s_names_only_counts_for_no_other_topic(answers):
    other = Answers()
    try:
        answers.by_path["/metrics"] = (
            200,
            metrics_of(**{f"{HANDLER.format(0)}.events-processed-meter": 1000}),
        )
        event = "monasca.persister.received{messaging.destination.name=events,thread=1}"
        other.by_path["/metrics"] = 200, metrics_of(**{event: 5})
        told = [
            DropWizard([answers.url, other.url], topic=topic).read().sum("received")
            for topic in ("metrics", "events")
        ]
    finally:
        other.close()

    assert told == [1000, 5]


def test_of_a_range_of_ports_those_are_read_that_answer(answers):
    answers.by_path["/metrics"] = 200, metrics_of()
    port = int(answers.url.rpartition(":")[2])
    source = DropWizard([f"http://127.0.0.1:{port}-{port + 1}"])

    assert list(source.read().counts) == [f"127.0.0.1:{port}"]
    with pytest.raises(SourceError, match="has no ports"):
        list(each_port("http://c1:9000-8000"))


def counting(received):
    return 200, metrics_of(**{f"{HANDLER.format(0)}.events-processed-meter": received})


def test_a_process_that_begins_anew_goes_on_from_what_the_one_before_it_had(answers):
    source = DropWizard([answers.url])
    found = []
    for count in (10, 4, 6, 1):
        answers.by_path["/metrics"] = counting(count)
        told = source.read()
        found.append((told.sum("received"), told.restarts))

    assert found == [(10, 0), (14, 1), (16, 1), (17, 2)]


def test_what_a_process_told_that_ended_stays_and_it_is_named_until_nobody_answers(answers):
    other = Answers()
    try:
        answers.by_path["/metrics"] = counting(10)
        other.by_path["/metrics"] = counting(5)
        source = DropWizard([answers.url, other.url])
        assert source.read().missing == {}
    finally:
        other.close()
    told = source.read()

    assert told.sum("received") == 15
    assert list(told.missing) == [other.url.removeprefix("http://")]
    assert "Connection refused" in next(iter(told.missing.values()))
    answers.by_path["/metrics"] = 503, "busy"
    with pytest.raises(SourceError, match="503"):
        source.read()


@pytest.fixture
def neighbours():
    """A server at the first of two ports, and what starts one at the second."""
    for _ in range(20):
        first = Answers()
        port = int(first.url.rpartition(":")[2])
        with suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
            break
        first.close()
    made = [first]

    def start():
        made.append(Answers(port + 1))
        return made[-1]

    yield first, f"http://127.0.0.1:{port}-{port + 1}", start
    for one in made:
        one.close()


def test_a_process_that_begins_later_in_the_range_counts_whole(neighbours):
    first, ports, start = neighbours
    first.by_path["/metrics"] = counting(10)
    source = DropWizard([ports])
    before = source.read()
    start().by_path["/metrics"] = counting(3)
    after = source.read()

    assert (before.sum("received"), after.sum("received"), after.restarts) == (10, 13, 0)


def test_a_stranger_in_the_range_is_left_out_and_one_that_wants_a_token_is_not(neighbours):
    first, ports, start = neighbours
    first.by_path["/metrics"] = counting(10)
    second = start()
    source = DropWizard([ports])
    assert len(source.read().counts) == 1
    second.by_path["/metrics"] = counting(3)
    assert len(source.read().counts) == 1

    second.by_path["/metrics"] = 401, "this wants a token"
    with pytest.raises(SourceError, match="401"):
        DropWizard([ports]).read()


def test_several_timers_of_one_process_are_told_together(answers):
    timer = {"p50": 1.0, "p75": 1.0, "p95": 1.0, "p99": 1.0}
    one = {**timer, "count": 1, "mean": 1.0, "max": 4.0}
    other = {**timer, "count": 3, "mean": 5.0, "max": 2.0, "p99": 3.0}
    timers = {f"{HANDLER.format(n)}.flush-timer": each for n, each in enumerate((one, other))}
    answers.by_path["/metrics"] = 200, {"meters": {}, "timers": timers}
    [times] = DropWizard([answers.url]).read().times.values()

    quantiles = {"p50": 1.0, "p75": 1.0, "p95": 1.0, "p99": 3.0}
    assert times == {"flush": Times(4, 4.0, 4.0, quantiles)}


def test_what_is_no_dropwizard_is_said(answers):
    answers.by_path["/metrics"] = 200, {"meters": {}}
    with pytest.raises(SourceError, match=r"these are no metrics of DropWizard's.*'timers'"):
        DropWizard([answers.url]).read()
    with pytest.raises(SourceError, match="404"):
        DropWizard([f"{answers.url}/elsewhere"]).read()


HANDLER_METER = f"{HANDLER.format(0)}.flush-meter"
HOSTILE = [
    *(None, [], 7, "text", {}, {"meters": [], "timers": {}}, {"elements": None}),
    {"meters": {HANDLER_METER: {"count": 1e999}}, "timers": {}},
    {"meters": {HANDLER_METER: {"count": "many"}}, "timers": {}},
    {"meters": {HANDLER_METER: None}, "timers": {}},
    {"meters": {}, "timers": {f"{HANDLER.format(0)}.flush-timer": {"count": 1}}},
    {"elements": [{"dimensions": {}, "columns": ["sum"], "statistics": [[]]}]},
    {"elements": [{"dimensions": {}, "columns": ["timestamp"], "statistics": [["now"]]}]},
    {"elements": [{"dimensions": [], "columns": ["sum", "count"], "statistics": [[1, 2]]}]},
    {"elements": [{"dimensions": {}, "columns": ["sum"], "statistics": [["x"]]}]},
]


@pytest.mark.parametrize("body", HOSTILE, ids=repr)
def test_answers_without_the_shape_of_one_are_said_to_be_none(answers, body):
    for path, source in (("/metrics", DropWizard([answers.url])), ("", Monasca(answers.url))):
        answers.by_path[path or "/v2.0/metrics/statistics"] = 200, body
        with pytest.raises(SourceError, match="these are no"):
            source.read()


def statistics(*, percentiles=True):
    """Monasca's API: 7 received by each of two processes, flushes in both.

    As a real one it refuses what InfluxDB refuses: a period of 2**63 ns or more.
    """

    def answer(query):
        names = query["statistics"].split(",")
        period = query["period"]
        if int(period) * S >= 2**63:
            because = f"overflowed duration {period}s: choose a smaller duration or INF"
            return 500, {"title": "Internal Server Error", "description": because}
        if not percentiles and any(name.startswith("p") for name in names):
            return 422, {"title": "Unprocessable Entity", "description": "Invalid statistic"}
        what = query["name"].removeprefix("monasca.persister.")
        kinds = {"received": ["pid"], "flush": [], "completed": ["pid"]}.get(what)
        if kinds is None:
            return 200, {"links": [], "elements": []}
        each = [{"hostname": "h1", "pid": pid} for pid in ("1", "2")] if kinds else [{}]
        values = {"sum": 7.0, "count": 2, "avg": 0.5, "max": 1.0}
        row = ["1970-01-01T00:00:00Z", *(values.get(name, 0.9) for name in names)]
        elements = [
            {"dimensions": one, "columns": ["timestamp", *names], "statistics": [row]}
            for one in each
        ]
        return 200, {"links": [], "elements": elements}

    return answer


def test_monasca_s_api_is_asked_for_sums_by_process_and_for_quantiles(answers):
    answers.by_path["/v2.0/metrics/statistics"] = statistics()
    said = Monasca(f"{answers.url}/v2.0/", "a-token").read()

    assert said.counts == {
        "h1:1": {"received": 7, "persisted": 7},
        "h1:2": {"received": 7, "persisted": 7},
    }
    quantiles = {"p50": 0.9, "p75": 0.9, "p95": 0.9, "p99": 0.9}
    assert said.times == {"all": {"flush": Times(2, 0.5, 1.0, quantiles)}}
    assert {asked[2] for asked in answers.asked} == {"a-token"}


def test_a_monasca_without_percentiles_is_read_without_them(answers):
    answers.by_path["/v2.0/metrics/statistics"] = statistics(percentiles=False)

    assert Monasca(answers.url).read().times == {"all": {"flush": Times(2, 0.5, 1.0, {})}}


# --- The command -----------------------------------------------------------------------------


def command(*words):
    return CliRunner().invoke(app, ["bench", "persister", *map(str, words)])


@pytest.fixture
def moving(answers):
    """A persister whose counts move by 10 at each reading."""
    read = iter(range(0, 10**6, 10))

    def metrics(_query):
        n = next(read)
        names = (f"{HANDLER.format(0)}.{meter}" for meter in ("events-processed-meter",))
        meters = dict.fromkeys(names, n)
        return 200, metrics_of(**meters, **{f"{HANDLER.format(0)}.flush-meter": max(0, n - 10)})

    answers.by_path["/metrics"] = metrics
    return answers.url


def test_it_looks_until_so_many_more_are_persisted_and_saves_what_it_saw(moving, tmp_path):
    saved, drawn = tmp_path / "run.json", tmp_path / "run.svg"
    words = ["--at", moving, "--total", 40, "--every", "50ms"]
    words += ["--save", saved, "--chart", drawn]
    done = command(*words, "--json")
    figures = json.loads(done.stdout)

    assert done.exit_code == 0
    assert figures == json.loads(saved.read_text())
    assert (figures["received"], figures["persisted"], figures["missed"]) == (50, 40, 0)
    assert drawn.read_text().startswith("<svg ")
    shown = command("--at", moving, "--total", 40, "--every", "50ms").stdout
    assert "persisted/s" in shown
    assert "flush" in shown
    both = command("--compare", saved, saved, "--json")
    assert {one["share"] for one in json.loads(both.stdout)} <= {0.0, None}


def test_one_that_makes_no_progress_is_given_up_with_what_there_is(answers):
    answers.by_path["/metrics"] = 200, metrics_of()
    done = command("--at", answers.url, "--every", "50ms", "--timeout", "300ms", "--json")

    assert done.exit_code == 3
    assert json.loads(done.stdout)["persisted"] == 0


def test_ctrl_c_ends_a_run_with_what_there_is_and_its_files(moving, tmp_path, monkeypatch):
    left = iter([0.0, 0.0])

    def sleep_s(_clock, _seconds):
        if next(left, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr("nilometer.clock.Clock.sleep_s", sleep_s)
    saved = tmp_path / "run.json"
    done = command("--at", moving, "--save", saved, "--json")

    assert done.exit_code == 130
    assert json.loads(done.stdout) == json.loads(saved.read_text())
    assert json.loads(done.stdout)["received"] == 20


def test_a_process_that_ends_meanwhile_is_told_and_the_others_are_waited_for(moving):
    other = Answers()

    def once(_query):
        other.server.socket.close()
        return counting(7)

    other.by_path["/metrics"] = once
    done = command("--at", moving, "--at", other.url, "--total", 30, "--every", "50ms")
    other.server.shutdown()
    other.thread.join()

    assert done.exit_code == 0
    assert done.stderr.count(f"not read: {other.url.removeprefix('http://')}") == 1
    assert "missed" in done.stdout


def test_where_no_kafka_answers_nothing_is_begun(moving, monkeypatch):
    monkeypatch.setattr("nilometer.cli.bench_load.REACH_S", 0.3)
    done = command("--at", moving, "--brokers", "127.0.0.1:1")

    assert (done.exit_code, done.stdout) == (3, "")
    assert "--brokers: no Kafka at 127.0.0.1:1" in done.stderr


class Taken:
    """A load of which Kafka took all but two messages, and the group's lag."""

    def __init__(self, *_args, total=0, **_more):
        self.taken, self.failed, self.because, self.is_over = total - 2, 1, "too large", True
        self.curve = []

    def start(self):
        self.note()

    def note(self):
        self.curve.append((self.taken, self.taken))

    def read(self):
        return Offsets((0,), (0,))

    stop = close = lambda _self: None


def test_what_kafka_did_not_take_is_told_and_ends_with_4(moving, monkeypatch):
    for name in ("Load", "Lag"):
        monkeypatch.setattr(f"nilometer.cli.bench_watch.{name}", Taken)
    words = ["--at", moving, "--brokers", "b", "--total", 22, "--every", "50ms", "--json"]
    done = command(*words)

    assert done.exit_code == 4
    assert "Kafka took 20 of 22: too large" in done.stderr
    assert (json.loads(done.stdout)["failed"], json.loads(done.stdout)["produced"]) == (1, 20)


@pytest.mark.parametrize(
    ("lags", "code"), [([30, 10, 0], 4), ([30] * 100, 3)], ids=["taken", "stuck"]
)
def test_what_was_there_before_is_waited_for_and_in_no_figure(moving, monkeypatch, lags, code):
    left, order = iter(lags), []

    class Before(Taken):
        def start(self):
            order.append("produced")
            super().start()

        def read(self):
            order.append(next(left, 0))
            # Others put on more meanwhile.
            return Offsets((100 - order[-1],), (99 + len(order),))

    for name in ("Load", "Lag"):
        monkeypatch.setattr(f"nilometer.cli.bench_watch.{name}", Before)
    words = ["--at", moving, "--brokers", "b", "--total", 22, "--every", "50ms"]
    done = command(*words, "--timeout", "400ms", "--json")
    figures = json.loads(done.stdout)

    assert (done.exit_code, figures["backlog"]) == (code, 30)
    assert "waiting until 1_metrics is through with 30 of before" in done.stderr
    if code == 4:
        assert order[:5] == [30, 10, 0, 0, "produced"]
        assert figures["received"] in (20, 30)
        assert figures["lost"] == 0
    else:
        assert "produced" not in order
        assert "took none for 0.4 s; nothing was produced" in done.stderr


def test_what_is_left_of_before_is_known_by_partition():
    before = Offsets((5, 5), (10, 10))

    assert before.lag == 10
    assert Offsets((30, 7), (40, 10)).left_of(before) == 3  # others' went through the first


def test_what_others_put_on_the_topic_meanwhile_is_said_and_waited_for(moving, monkeypatch):
    ends = iter([0, 0])  # as it begins

    class Others(Taken):
        def read(self):
            return Offsets((0, 0), (0, next(ends, 20 + 1 + 30)))

    for name in ("Load", "Lag"):
        monkeypatch.setattr(f"nilometer.cli.bench_watch.{name}", Others)
    words = ["--at", moving, "--brokers", "b", "--total", 22, "--every", "50ms", "--json"]
    done = command(*words)
    figures = json.loads(done.stdout)

    assert (figures["produced"], figures["others"], figures["persisted"]) == (20, 30, 50)
    assert (figures["lost"], figures["delay_s"]) == (0, None)
    assert "others put 30 messages on metrics meanwhile: received, persisted" in done.stderr


def test_the_load_itself_remembers_when_how_many_were_taken(monkeypatch):
    now = [0]

    class Producer:
        """Kafka that takes each message a hundredth of a second later."""

        def __init__(self, _settings):
            pass

        def list_topics(self, *_, **__):
            pass

        def produce(self, _topic, message, *, on_delivery):
            now[0] += 10_000_000
            on_delivery(None, message)

        poll = flush = lambda *_: None

    kafka = SimpleNamespace(Producer=Producer, KafkaException=OSError)
    monkeypatch.setitem(sys.modules, "confluent_kafka", kafka)
    monkeypatch.setattr("nilometer.cli.bench_load.elapsed_ns", lambda: now[0])
    load = Load("b", "metrics", Plan(), total=500, per_second=0)
    load.start()
    load.stop()

    # Of the five seconds that one reading takes.
    assert len(load.curve) == 101
    assert {at // taken for at, taken in load.curve} == {10_000_000}
    samples = samples_of((0, 0, 0, 0, 0, 0), (6, 500, 500, 200, 0, 0))
    assert reported(samples, curve=load.curve)["delay_s"]["p50"] == pytest.approx(4)


@pytest.mark.parametrize(
    ("done", "waited_s"), [([0, 0, 50], 1), ([50] * 99, 15)], ids=["received", "persisted"]
)
def test_the_wait_for_what_was_half_done_before_is_no_part_of_the_run(
    monkeypatch, done, waited_s
):
    now, left = [0], iter([50, 0, 0])
    fifty = iter(done)

    class Half:
        def read(self):
            told_s = now[0] // S
            return told(told_s, received=50, persisted=next(fifty))

    def sleep_s(_clock, seconds):
        now[0] += int(seconds * S)

    monkeypatch.setattr("nilometer.clock.Clock.sleep_s", sleep_s)
    monkeypatch.setattr("nilometer.cli.bench_watch.elapsed_ns", lambda: now[0])
    wanted = Wanted("dropwizard", (), "b", "metrics", "g", Plan(), 10, 0, 1.0, 60.0)
    watch = Watch(wanted, Half())
    stuck = watch.cleared(SimpleNamespace(read=lambda: Offsets((50 - next(left),), (50,))))
    figures = watch.report(None)

    assert stuck is None
    assert now[0] == (1 + waited_s) * S  # the first second until Kafka has none left
    assert [one["at_ns"] for one in figures["samples"]] == now
    assert (figures["received"], figures["persisted"]) == (0, 0)


def test_of_runs_with_different_settings_that_is_said(moving, tmp_path):
    for total in (20, 30):
        command(
            "--at", moving, "--every", "50ms", "--total", total, "--save", tmp_path / f"{total}"
        )
    done = command("--compare", tmp_path / "20", tmp_path / "30")

    assert done.exit_code == 0
    assert "these runs are of different settings: total" in done.stderr


@pytest.mark.parametrize(
    "damaged", ["[1]", "{", '{"version": 1, "samples": [1], "settings": 3}']
)
def test_a_file_that_is_no_report_is_refused(damaged, tmp_path):
    file = tmp_path / "run.json"
    file.write_text(damaged)
    done = command("--compare", file, file)

    assert done.exit_code == 2
    assert "this is no report of this command" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--at", "http://me:hush@x"], "a URL has no user in it"),
        (["--at", "http://x:99999"], "is no URL"),
        (["--at", "x", "--brokers", "b", "--group", ""], "--group is empty"),
        (["--at", "x", "--brokers", ""], "--brokers is empty"),
        (["--at", "x", "--rate", "nan"], "--rate: nan is no number"),
        (["--at", "x", "--save", "/nonexistent/run.json"], "--save: /nonexistent/run.json"),
        ([], "--at: say where to ask"),
        (["--at", "x", "--every", "soon"], "--every: 'soon' is not a duration"),
        (["--at", "ftp://x"], "is no URL"),
        (["--source", "monasca", "--at", "a", "--at", "b"], "Monasca's API is at one place"),
        (["--at", "x", "--chart", "x.png"], "neither .svg nor .html"),
        (["--at", "x", "--token-file", "/nonexistent"], "--token-file"),
        (["--compare", "/nonexistent", "/nonexistent"], "--compare: /nonexistent"),
        (["--source", "jmx", "--at", "x"], "'jmx'"),
    ],
)
def test_what_cannot_be_used_is_said(words, said):
    done = command(*words)

    assert done.exit_code == 2
    assert said in done.stderr
    assert "hush" not in done.stderr
