"""telegraf's JSON in the form of its documentation; telegraf itself is in no package here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer import clock
from nilometer.clock import Clock
from nilometer.counters import telegraf
from nilometer.counters.backend import BackendError, Surroundings, connect
from nilometer.counters.bracket import Bracket
from nilometer.counters.delta import delta
from nilometer.counters.gather import Gatherer
from nilometer.counters.snapshot import snapshot
from nilometer.errors import ConfigError
from nilometer.model.reading import Kind
from nilometer.testing import FakeTime

NOW = 1_700_000_000


@pytest.fixture(autouse=True)
def it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics grow old while tests wait for each other."""
    monkeypatch.setattr(clock, "wall_ns", lambda: NOW * 10**9)


def metric(name: str, at: int = NOW, tags: dict | None = None, **fields: object) -> dict:
    return {
        "fields": fields,
        "name": name,
        "tags": {"host": "raynor", **(tags or {})},
        "timestamp": at,
    }


def lines(*metrics: object) -> str:
    return "".join(json.dumps(one) + "\n" for one in metrics)


def read(file: Path, text: str, options: str = ""):
    file.write_text(text)
    return snapshot(connect(f"telegraf://{file}{options}", origin="test"), Clock())


def test_the_last_value_of_each_series_counts_and_counters_are_summed(tmp_path: Path) -> None:
    eth0, eth1 = {"interface": "eth0"}, {"interface": "eth1"}
    found = read(
        tmp_path / "m.json",
        lines(
            metric("net", NOW - 20, eth0, bytes_sent=10),
            metric("net", NOW - 10, eth0, bytes_sent=15),
            {"metrics": [metric("net", NOW, eth1, bytes_sent=7), metric("docker", n_images=6)]},
            metric("net", NOW - 30, eth0, bytes_sent=1),
        ),
    )

    assert found.values == {
        ("net.bytes_sent", ()): 22,
        ("net.bytes_sent", (("interface", "eth0"),)): 15,
        ("net.bytes_sent", (("interface", "eth1"),)): 7,
        ("docker.n_images", ()): 6,
    }
    assert found.fact("net.bytes_sent").kind is Kind.COUNTER
    assert found.fact("docker.n_images").kind is Kind.GAUGE
    assert found.notes == ()


@pytest.mark.parametrize("later", [3, None])
def test_a_total_of_which_a_series_vanished_or_began_anew_is_unknown(
    tmp_path: Path, later: int | None
) -> None:
    def gathered(**requests: int | None) -> str:
        shown = {server: n for server, n in requests.items() if n is not None}
        return lines(
            *(metric("nginx", tags={"server": s}, requests=n) for s, n in shown.items())
        )

    file = tmp_path / "m.json"
    backend = connect(f"telegraf://{file}", origin="test")
    file.write_text(gathered(a=500, b=1000))
    before = snapshot(backend, Clock())
    file.write_text(gathered(a=later, b=1700))
    moves = delta(before, snapshot(backend, Clock()))

    assert moves.unknown["nginx.requests", ()] == (
        "not one count throughout: 1 series of it vanished or began anew since the first read"
    )
    assert moves.moved == {("nginx.requests", (("server", "b"),)): 700}


def test_hosts_that_differ_are_told_apart_and_the_only_one_is_not_said(tmp_path: Path) -> None:
    def gathered(*hosts: str | None) -> str:
        tags = ({"server": "localhost", **({"host": h} if h else {})} for h in hosts)
        return lines(
            *(
                {"name": "nginx", "tags": one, "fields": {"requests": 10**n}, "timestamp": NOW}
                for n, one in enumerate(tags)
            )
        )

    file = tmp_path / "m.json"
    backend = connect(f"telegraf://{file}", origin="test")
    found = []
    for text in (gathered("web1"), gathered("web1", "web2"), gathered("web1")):
        file.write_text(text)
        found.append(snapshot(backend, Clock()).values)
    unsaid = read(tmp_path / "n.json", gathered("web1", None)).values

    local = ("server", "localhost")
    web1, web2 = (("nginx.requests", (("host", host), local)) for host in ("web1", "web2"))
    total, alone = ("nginx.requests", ()), ("nginx.requests", (local,))
    assert found == [
        {alone: 1, total: 1},
        {web1: 1, web2: 10, total: 11},
        {web1: 1, total: 1},
    ]
    assert unsaid == {web1: 1, alone: 10, total: 11}


def test_what_is_a_sum_already_is_not_added_to_what_it_sums(tmp_path: Path) -> None:
    cpus = {"cpu0": 4, "cpu1": 5, "cpu-total": 9}
    of_each = [metric("cpu", tags={"cpu": cpu}, time_user=n) for cpu, n in cpus.items()]

    found = read(tmp_path / "m.json", lines(*of_each))
    alone = read(tmp_path / "n.json", lines(*of_each[:2]))

    assert (found.totals(), alone.totals()) == ({"cpu.time_user": 9}, {"cpu.time_user": 9})


def test_a_run_is_told_by_metrics_that_were_gathered_after_it_however_seldom_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time, file = FakeTime(NOW * 10**9), tmp_path / "m.json"
    jobs = 5

    def gather(seconds: int) -> None:
        with file.open("a") as written:
            written.write(lines(metric("app", NOW + seconds, jobs=jobs)))

    def sleep_s(seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            time.advance(0.1)
            if time.clock.elapsed_ns() % (30 * 10**9) == 0:
                gather(time.clock.elapsed_ns() // 10**9)

    monkeypatch.setattr(clock, "wall_ns", time.clock.wall_ns)
    monkeypatch.setattr(clock, "elapsed_ns", time.clock.elapsed_ns)
    backend = connect(f"telegraf://{file}?counters=app.jobs", origin="test")
    ours = time.clock._replace(sleep_s=sleep_s)
    bracket = Bracket(Gatherer([backend], ours), ours, idle_s=0)
    gather(0)
    sleep_s(3)
    jobs = 7  # before the run, and not gathered by then

    bracket.open()
    jobs = 107
    _, counts = bracket.close()

    assert [(count.counter, count.delta) for count in counts] == [("app.jobs", 100)]


def test_what_telegraf_never_gathers_is_unknown_and_not_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time, file = FakeTime(NOW * 10**9), tmp_path / "m.json"
    monkeypatch.setattr(clock, "wall_ns", time.clock.wall_ns)
    monkeypatch.setattr(clock, "elapsed_ns", time.clock.elapsed_ns)
    file.write_text(lines(metric("app", NOW - 5, jobs=5)))
    backend = connect(f"telegraf://{file}?counters=app.jobs", origin="test")
    bracket = Bracket(Gatherer([backend], time.clock), time.clock, idle_s=0)

    bracket.open()
    _, (jobs,) = bracket.close()

    because = "it had not collected its figures 60 s after the run"
    assert (jobs.counter, jobs.delta, jobs.because) == ("app.jobs", None, because)


def test_metrics_from_later_than_now_are_not_believed(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="its newest metric is of 3600 s from now"):
        read(tmp_path / "m.json", lines(metric("a", NOW + 3600, x=1)))


def test_counters_of_other_inputs_can_be_named(tmp_path: Path) -> None:
    text = lines(metric("app", jobs_total=3, level=2))

    found = read(tmp_path / "m.json", text, "?counters=app.*_total,other.x")

    assert found.fact("app.jobs_total").kind is Kind.COUNTER
    assert found.fact("app.level").kind is Kind.GAUGE


def test_what_is_no_metric_is_told_and_the_rest_counts(tmp_path: Path) -> None:
    text = lines(metric("a", x=1, text="t", yes=True), 7, {"name": "b"}) + "no json\n{half"

    found = read(tmp_path / "m.json", text)

    assert found.values == {("a.x", ()): 1}
    assert found.notes == ("3 lines that are no metrics",)


def test_a_document_on_many_lines_is_read_too(tmp_path: Path) -> None:
    found = read(tmp_path / "m.json", json.dumps({"metrics": [metric("a", x=1)]}, indent=4))

    assert found.values == {("a.x", ()): 1}


def test_only_the_end_of_a_long_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telegraf, "TAIL_BYTES_MAX", 300)

    found = read(tmp_path / "m.json", lines(*(metric("a", x=number) for number in range(50))))

    assert (found.values, found.notes) == ({("a.x", ()): 49}, ())


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_old_metrics_are_told_whatever_the_unit_of_their_time(
    tmp_path: Path, unit: int
) -> None:
    old = read(tmp_path / "m.json", lines(metric("a", (NOW - 100) * unit, x=1)))
    new = read(tmp_path / "m.json", lines(metric("a", NOW * unit, x=1)))

    assert old.notes == ("its newest metric is 100 s old: does telegraf run?",)
    assert new.notes == ()


def test_a_command_is_run_and_its_output_read(tmp_path: Path) -> None:
    script = tmp_path / "gather.py"
    script.write_text(f"print({json.dumps(metric('net', bytes_sent=4))!r})")
    backend = connect(f"telegraf://?command={sys.executable}+{script}", origin="test")

    moves = delta(snapshot(backend, Clock()), snapshot(backend, Clock()))

    assert moves.moved == {("net.bytes_sent", ()): 0}
    assert backend.settle_s == 0.0


@pytest.mark.parametrize(
    ("command", "because"),
    [
        ("nowhere-to-be-found --once", "No such file"),
        ("false", "it ended with 1"),
        ("true", "no metric of telegraf's JSON in it"),
        ("sleep 60", "it has not ended in 0.3 s"),
    ],
)
def test_a_command_that_gives_nothing_is_told(
    command: str, because: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telegraf, "COMMAND_S", 0.3)
    backend = connect(f"telegraf://?command={command.replace(' ', '+')}", origin="test")

    with pytest.raises(BackendError, match=because):
        backend.read()


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="No such file or directory"):
        connect(f"telegraf://{tmp_path}/none", origin="test").read()


@pytest.mark.parametrize(
    "url", ["telegraf://", "telegraf://host/x", "telegraf:///x?command=y", "telegraf://?file=x"]
)
def test_it_is_a_file_or_a_command(url: str) -> None:
    with pytest.raises(ConfigError):
        connect(url, origin="test")


@given(st.text(max_size=200) | st.text(alphabet='{}[]":,namefieldstags1\n', max_size=100))
def test_any_text_is_read_or_counted_as_fault(text: str) -> None:
    values, faults, newest_s = telegraf.last_values(telegraf.metrics(text))

    assert faults >= 0
    assert newest_s >= 0
    assert all(isinstance(value, int | float) for value in values.values())


@given(st.integers() | st.floats() | st.none() | st.text() | st.booleans())
def test_any_time_is_some_seconds(stamp: object) -> None:
    assert 0 <= telegraf._seconds(stamp) <= telegraf.FAR_S


def test_it_is_never_looked_for() -> None:
    assert telegraf.find(Surroundings({}, Path("/nowhere"))) == []
