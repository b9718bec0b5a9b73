"""`nilometer counters push`: documents and runs arrive where they are sent, or it is said."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from nilometer.clock import Clock
from nilometer.model.run import BackendRead, Count, Run
from nilometer.store.runs import History
from tests.collector import start

if TYPE_CHECKING:
    from collections.abc import Iterator

END_NS = 1_700_000_000 * 10**9
MOVED = {
    "__meta__": {"unixtime": 1.7e9, "delta_seconds": 12.5, "prefix": "gate"},
    "mysql": {"Queries": 9, "Com_select": -4},
}


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        yield sock


def test_a_difference_from_a_pipe_goes_to_statsd(nilometer, udp) -> None:
    url = f"statsd://127.0.0.1:{udp.getsockname()[1]}"

    ran = nilometer("counters", "push", "--to", url, stdin=json.dumps(MOVED))

    assert ran.returncode == 0
    assert udp.recv(65_535) == b"gate.testrun:12500|g\ngate.mysql.Queries:9|c\n"
    assert ran.stderr == (
        "nilometer: left out: gate.mysql.Com_select: it went back by 4\n"
        f"nilometer: sent 2 readings to {url}\n"
    )


def test_what_is_no_number_is_told_as_left_out(nilometer, udp) -> None:
    url = f"statsd://127.0.0.1:{udp.getsockname()[1]}"
    document = '{"mysql": {"Queries": 9, "text": "5", "nan": NaN, "yes": true}}'

    ran = nilometer("counters", "push", "--to", url, stdin=document)

    assert ran.stderr.splitlines()[:-1] == [
        f"nilometer: left out: mysql.{name}: it is not a number"
        for name in ("text", "nan", "yes")
    ]


@pytest.mark.parametrize("given", ["prefix", "backend", "counter"])
def test_text_of_a_document_begins_no_line_of_its_own(nilometer, udp, given) -> None:
    evil = "a\n::error::run me"
    named = {name: evil if name == given else name for name in ("prefix", "backend", "counter")}
    document = {
        "__meta__": {"unixtime": 1.7e9, "delta_seconds": 1, "prefix": named["prefix"]},
        named["backend"]: {named["counter"]: -4, "well": 1},
    }
    url = f"statsd://127.0.0.1:{udp.getsockname()[1]}"

    ran = nilometer("counters", "push", "--to", url, stdin=json.dumps(document))

    assert "::error::run me" in ran.stderr
    assert all(line.startswith("nilometer: ") for line in ran.stderr.splitlines())


def test_a_file_goes_to_graphite(nilometer, tmp_path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(MOVED))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        url = f"graphite://127.0.0.1:{server.getsockname()[1]}?prefix=ci"

        ran = nilometer("counters", "push", str(tmp_path / "c.json"), "--to", url)

        with server.accept()[0] as taken:
            received = taken.makefile("rb").read()
    assert ran.returncode == 0
    assert received == (
        b"ci.gate.testrun 12500 1700000000\nci.gate.mysql.Queries 9 1700000000\n"
    )


def test_a_difference_goes_to_a_collector_which_adds_up_moves(nilometer, tmp_path) -> None:
    now_s = Clock().wall_ns() / 1e9
    with start(tmp_path) as collector:
        url = collector.url.replace("http", "otlp")
        for ago_s in (40, 20):
            meta = {"unixtime": now_s - ago_s, "delta_seconds": 12.5, "prefix": "gate"}
            moved = {"__meta__": meta, "mysql": {"Queries": 9}}
            ran = nilometer("counters", "push", "--to", url, stdin=json.dumps(moved))
            assert ran.returncode == 0, ran.stderr

        stats = ("metrics", "stats", "gate.mysql.Queries", "--json", "--url", collector.url)
        told = nilometer(*stats)

    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    [row] = found["statistics"]
    assert (found["kind"], row["count"], row["sum"]) == ("counter", 2, 18)


def test_one_variable_brings_the_token_of_services_and_commands_alike(
    nilometer, tmp_path, python
) -> None:
    file = tmp_path / "tokens"
    file.write_text("a-token-of-the-collectors\n")
    file.chmod(0o600)
    moved = {"__meta__": {"unixtime": Clock().wall_ns() / 1e9}, "mysql": {"Queries": 9}}
    with start(tmp_path, token_file=file) as collector:
        url = collector.url.replace("http", "otlp")
        token = {"NILOMETER_TOKEN_FILE": str(file)}
        pushed = nilometer("counters", "push", "--to", url, stdin=json.dumps(moved), **token)
        served = nilometer(
            *("run", "--export", url, "--", python, "-c"),
            "import nilometer; nilometer.counter('orders').add()",
            **token,
        )
        told = nilometer("metrics", "list", "--json", "--url", collector.url, **token)

    assert (pushed.returncode, served.returncode, served.stderr) == (0, 0, ""), pushed.stderr
    names = [one["name"] for one in json.loads(told.stdout)["metrics"]]
    assert {"mysql.Queries", "orders"} <= set(names)


@pytest.fixture
def history(tmp_path) -> str:
    place = History(tmp_path / "history")
    for number, suite in enumerate(("unit", "unit", "slow")):
        counts = (
            Count("mysql", "calls", number),
            Count("mysql", "calls", number, (("digest", "SELECT 1"),)),
        )
        at_ns = END_NS + number * 10**9
        read = (BackendRead("mysql"),)
        place.append(Run(f"run-{number}", suite, at_ns, at_ns + 1, 2_000_000, counts, read))
    place.close()
    return str(tmp_path / "history")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--run", "last"), b"testrun:2|g\nmysql.calls:2|c\n"),
        (("--run", "last", "--suite", "unit"), b"testrun:2|g\nmysql.calls:1|c\n"),
        (
            ("--run", "run-0", "--parts"),
            b"testrun:2|g\nmysql.calls:0|c\nmysql.calls.digest.SELECT_1:0|c\n",
        ),
    ],
)
def test_a_run_of_the_history_goes_the_same_way(
    nilometer, history, udp, flags, expected
) -> None:
    url = f"statsd://127.0.0.1:{udp.getsockname()[1]}"

    ran = nilometer("counters", "push", "--history", history, *flags, "--to", url)

    assert (ran.returncode, udp.recv(65_535)) == (0, expected), ran.stderr


@pytest.mark.parametrize(
    ("flags", "code", "because"),
    [
        (("--run", "run-"), 2, "--run run-: the history has 3 such runs: run-0, run-1, run-2"),
        (("--run", "x"), 1, "--run x: the history has no run 'x'"),
        (("--run", "last", "--suite", "s"), 1, "--run last: suite 's' has no run yet"),
        (("--run", "last", "c.json"), 2, "choose one"),
    ],
)
def test_a_run_that_is_not_one_is_told(nilometer, history, flags, code, because) -> None:
    url = "statsd://127.0.0.1"

    ran = nilometer("counters", "push", "--history", history, *flags, "--to", url)

    assert ran.returncode == code
    assert because in ran.stderr


@pytest.mark.parametrize(
    "scheme", ["statsd", "dogstatsd", "graphite", "graphite+pickle", "otlp"]
)
def test_where_nobody_listens_the_exit_code_says_so(nilometer, free_port, scheme) -> None:
    url = f"{scheme}://127.0.0.1:{free_port(udp=scheme.endswith('statsd'))}"

    ran = nilometer("counters", "push", "--to", url, stdin=json.dumps(MOVED))

    assert ran.returncode == 3
    assert ran.stderr.splitlines()[-1].startswith(f"nilometer: {url}: ")
    assert "Connection refused" in ran.stderr


@pytest.mark.parametrize(
    ("content", "to", "code", "because"),
    [
        ("{", "statsd://127.0.0.1", 2, "FILE -: not JSON"),
        ("{}", "statsd://127.0.0.1", 1, "there are no counters in it"),
        ("{}", "statd://127.0.0.1", 2, "--to: no exporter for 'statd://127.0.0.1'; did you"),
    ],
)
def test_what_cannot_be_sent_is_told(nilometer, content, to, code, because) -> None:
    ran = nilometer("counters", "push", "--to", to, stdin=content)

    assert ran.returncode == code
    assert because in ran.stderr
