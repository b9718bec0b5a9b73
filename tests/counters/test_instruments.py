"""Instruments of the services under test as counters of a run."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

import nilometer.clock
from nilometer.clock import Clock
from nilometer.counters.backend import BackendError, connect
from nilometer.counters.bracket import Bracket
from nilometer.counters.delta import Delta, delta
from nilometer.counters.gather import Gatherer, read_once
from nilometer.counters.snapshot import Snapshot
from nilometer.errors import ConfigError
from nilometer.export import open_exporter
from nilometer.model import Batch, Distribution, Kind, Reading, Resource
from nilometer.wire import jsonlines
from tests.collector import start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nilometer.counters.backend import Backend

SHOP = Resource("shop")
GET = (("method", "GET"),)


def line(*readings: Reading) -> bytes:
    return jsonlines.encode(Batch(SHOP, readings))


def reading(name: str, kind: Kind, value: object, dimensions: tuple = ()) -> Reading:
    return Reading(name, kind, dimensions, value, 1, 2, "ns" if name == "boot" else "")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "out.jsonl"
    path.write_bytes(
        line(
            reading("orders", Kind.COUNTER, 3),
            reading("calls", Kind.COUNTER, 2, GET),
            reading("boot", Kind.DISTRIBUTION, Distribution.of([5, 7])),
            reading("used", Kind.GAUGE, 9),
            reading("nilometer.overhead", Kind.COUNTER, 99),
        )
    )
    return path


def test_a_file_s_readings_are_added_up_and_gauges_keep_the_last(file: Path) -> None:
    backend = connect(f"nilometer://{file}", origin="-b")
    backend.read()
    with file.open("ab") as stream:
        stream.write(line(reading("orders", Kind.COUNTER, 4), reading("used", Kind.GAUGE, 1)))

    assert dict(backend.read().values) == {
        ("orders", ()): 7,
        ("calls", ()): 2,
        ("calls", GET): 2,
        ("boot.samples", ()): 2,
        ("boot.total", ()): 12,
        ("used", ()): 1,
    }
    assert backend.facts()["boot.total"].unit == "ns"
    assert backend.facts()["used"].kind is Kind.GAUGE


def test_a_line_that_is_being_written_waits_and_a_wrong_one_is_told(file: Path) -> None:
    backend = connect(f"nilometer://{file}", origin="-b")
    whole = line(reading("orders", Kind.COUNTER, 4))
    with file.open("ab") as stream:
        stream.write(b"not a batch\n" + whole[:20])

    early = backend.read()
    with file.open("ab") as stream:
        stream.write(whole[20:])

    assert early.notes == ("1 lines are no batches, and are not counted",)
    assert (early.values["orders", ()], backend.read().values["orders", ()]) == (3, 7)


def test_another_file_of_the_name_is_another_incarnation(file: Path) -> None:
    backend = connect(f"nilometer://{file}", origin="-b")
    first = backend.read().incarnation
    file.rename(file.with_suffix(".1"))
    file.write_bytes(line(reading("orders", Kind.COUNTER, 1)))

    second = backend.read()

    assert second.incarnation != first
    assert dict(second.values) == {("orders", ()): 1}


def test_a_file_that_a_service_has_yet_to_write_is_waited_for_and_counts_from_zero(
    tmp_path: Path,
) -> None:
    path = tmp_path / "none.jsonl"
    backend = connect(f"nilometer://{path}", origin="-b")
    before = read_once(backend, Clock())
    path.write_bytes(line(reading("orders", Kind.COUNTER, 3)))
    after = read_once(backend, Clock())

    assert isinstance(before, Snapshot)
    assert isinstance(after, Snapshot)
    assert (dict(before.values), after.unread) == ({}, "")
    assert before.unread == (
        f"nilometer at {path}: nothing is there yet; all is counted that a service "
        f"writes there (nilometer run --export file://{path} -- ...)"
    )
    assert delta(before, after) == Delta({("orders", ()): 3}, {})


def test_a_file_that_nobody_wrote_in_the_end_is_told_and_counts_as_no_zero(
    tmp_path: Path,
) -> None:
    path = tmp_path / "none.jsonl"
    backend = connect(f"nilometer://{path}", origin="-b")
    bracket = Bracket(Gatherer([backend], Clock()), Clock(), idle_s=0, quiesce_s_max=0)
    bracket.open()
    told = bracket.unread()

    [read], counts = bracket.close()

    assert "nothing is there yet" in read.because
    assert (told, counts) == ([read.because], ())


def test_a_file_in_no_folder_and_one_that_went_away_are_told(
    file: Path, tmp_path: Path
) -> None:
    backend = connect(f"nilometer://{file}", origin="-b")
    backend.read()
    file.unlink()

    with pytest.raises(BackendError, match="No such file"):
        backend.read()
    with pytest.raises(BackendError, match=r"no folder '.*/nowhere'"):
        connect(f"nilometer://{tmp_path}/nowhere/out.jsonl", origin="-b").read()


@pytest.mark.parametrize("said", ["0", "-1", "x", "nan", "1e9"])
def test_a_wrong_interval_is_told(said: str) -> None:
    with pytest.raises(ConfigError, match="interval_s="):
        connect(f"nilometer:///f?interval_s={said}", origin="-b")


def test_a_collector_is_asked_what_a_service_reported_since_the_first_read(
    tmp_path: Path,
) -> None:
    token = "hush-hush-hush-hush-hush"
    (tmp_path / "token").write_text(token)
    (tmp_path / "token").chmod(0o600)
    with start(tmp_path, token_file=tmp_path / "token") as collector:
        port = collector.url.rpartition(":")[2]
        backend = connect(
            f"nilometer://127.0.0.1:{port}/shop?password_file={tmp_path}/token", origin="-b"
        )
        before = backend.read()
        now = nilometer.clock.wall_ns()
        send = open_exporter(f"otlp://127.0.0.1:{port}?token_file={tmp_path}/token")
        for service in ("shop", "other"):
            made = [
                reading("orders", Kind.COUNTER, 4, GET),
                reading("orders", Kind.COUNTER, 5),
                reading("boot", Kind.DISTRIBUTION, Distribution.of([5, 7])),
            ]
            send(Batch(Resource(service), tuple(r._replace(ended_ns=now) for r in made)))
        after = backend.read()
        with pytest.raises(BackendError, match="401"):
            connect(f"nilometer://127.0.0.1:{port}", origin="-b").read()

    assert dict(before.values) == {}
    assert dict(after.values) == {
        ("orders", ()): 9,
        ("boot.samples", ()): 2,
        ("boot.total", ()): 12,
    }
    assert before.incarnation == after.incarnation


@pytest.fixture
def answering() -> Iterator[tuple[Backend, list[object]]]:
    """A backend, and what the server that it asks will answer next."""
    answers: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = json.dumps(answers.pop(0)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield connect(f"nilometer://127.0.0.1:{server.server_port}/shop", origin="-b"), answers
        server.shutdown()


@pytest.mark.parametrize(
    ("answer", "because"),
    [
        ([{"name": "orders"}], "no list of metrics: it is no collector"),
        ({"metrics": {}}, "no list of metrics"),
        ({"metrics": ["orders"]}, "no list of metrics"),
        ({"metrics": [{"name": None}] * 1000}, "1000 metrics or more were reported"),
    ],
    ids=["another server", "another shape", "names only", "too many"],
)
def test_a_collector_that_does_not_tell_all_is_not_taken_to_have_nothing(
    answering: tuple[Backend, list[object]], answer: object, because: str
) -> None:
    backend, answers = answering
    answers.append(answer)

    with pytest.raises(BackendError, match=because):
        backend.read()


def test_a_clock_that_was_set_back_makes_what_a_collector_tells_unknown(
    answering: tuple[Backend, list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, answers = answering
    answers += [{"metrics": []}] * 2
    backend.read()
    wall_ns = nilometer.clock.wall_ns

    monkeypatch.setattr("nilometer.clock.wall_ns", lambda: wall_ns() + 3600 * 10**9)
    assert dict(backend.read().values) == {}  # later is no harm: all of it is told
    monkeypatch.setattr("nilometer.clock.wall_ns", lambda: wall_ns() - 10**9)

    with pytest.raises(BackendError, match="the clock was set back since the first read"):
        backend.read()
