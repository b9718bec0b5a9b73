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
from nilometer.counters.delta import delta
from nilometer.counters.snapshot import snapshot
from nilometer.errors import ConfigError
from nilometer.model.reading import Kind

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
