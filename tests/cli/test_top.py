"""`nilometer top` and `nilometer agent` beside real processes, alive and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nilometer.cli.top_rows import Looks
from nilometer.measure.arena_layout import Contents, Series
from nilometer.measure.living import Living
from nilometer.model import Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SERVICE = """
import sys, nilometer
nilometer.configure(service=sys.argv[2], arena=sys.argv[1], interval_s=3600)
nilometer.counter("api.requests").bind(tenant="a\\x1b[31m").add(40)
boot = nilometer.timer("instance.boot")
for n in range(1, 101):
    boot.record(n * 1_000_000)
nilometer.gauge("db.pool.used").set(7)
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "values"


@pytest.fixture
def service(folder: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a service that measures, and then waits."""
    started: list[subprocess.Popen[str]] = []
    without = {k: v for k, v in os.environ.items() if not k.startswith("NILOMETER_")}

    def start(name: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVICE, str(folder), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=without,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def shown(quick: Any, *arguments: str, **env: str) -> list[dict[str, Any]]:
    ran = quick("top", "--json", *arguments, **env)
    assert ran.returncode == 0, ran.stderr
    series = json.loads(ran.stdout)["series"]
    return [row for row in series if not row["name"].startswith("nilometer.")]


def test_top_shows_what_every_living_process_measures(
    quick: Any, service: Any, folder: Path
) -> None:
    pids = {service("shop").pid, service("stock").pid}

    rows = shown(quick, NILOMETER_ARENA=str(folder))

    assert {row["pid"] for row in rows} == pids
    assert {row["service"] for row in rows} == {"shop", "stock"}
    shop = {row["name"]: row for row in rows if row["service"] == "shop"}
    assert shop.keys() == {"api.requests", "instance.boot", "db.pool.used"}
    requests, boot, used = (
        shop[name] for name in ("api.requests", "instance.boot", "db.pool.used")
    )
    assert (requests["value"], requests["dimensions"]) == (40, {"tenant": "a\x1b[31m"})
    assert requests["rate"] == pytest.approx(40 / requests["seconds"])
    assert (boot["samples"], boot["average"], boot["maximum"]) == (100, 50_500_000, 10**8)
    assert boot["quantiles"]["0.5"] == pytest.approx(50_000_000, rel=0.011)
    assert boot["quantiles"]["0.99"] == pytest.approx(99_000_000, rel=0.011)
    assert (used["value"], used["rate"]) == (7, None)


def test_looking_takes_nothing_away(quick: Any, service: Any, folder: Path) -> None:
    service("shop")

    values = [
        [
            (row["name"], row["value"], row["samples"])
            for row in shown(quick, "--arena", str(folder))
        ]
        for _ in range(3)
    ]

    assert values[0] == values[1] == values[2]


def test_top_once_is_a_table_for_people_in_which_nothing_is_obeyed(
    quick: Any, service: Any, folder: Path
) -> None:
    process = service("shop")
    (folder / "1-a.arena").write_text("nothing")

    ran = quick("top", "--once", "--arena", str(folder), "--sort", "name")

    assert ran.returncode == 0
    lines = [line.split() for line in ran.stdout.splitlines() if "nilometer." not in line]
    assert lines[0][:4] == ["process", "series", "value", "per"]
    assert lines[1][:5] == ["shop", str(process.pid), "api.requests", "tenant=a·[31m", "40"]
    assert [line[2] for line in lines[2:]] == ["db.pool.used", "instance.boot"]
    assert "1-a.arena: it is none of Nilometer's [arena-unreadable]" in ran.stderr


def test_top_chooses(quick: Any, service: Any, folder: Path) -> None:
    service("shop")
    service("stock")

    given = [
        "--arena",
        str(folder),
        "--service",
        "stock",
        "--prefix",
        "instance.",
        "--limit",
        "1",
    ]
    rows = shown(quick, *given)

    assert [(row["service"], row["name"]) for row in rows] == [("stock", "instance.boot")]


def test_a_killed_process_is_shown_as_ended_until_it_is_collected(
    quick: Any, service: Any, folder: Path
) -> None:
    process = service("shop")
    process.send_signal(signal.SIGKILL)
    process.wait()
    lives = {row["lives"] for row in shown(quick, "--arena", str(folder))}
    sent = quick(
        "agent", "--once", "--arena", str(folder), "--export", f"file://{folder}.jsonl"
    )

    assert lives == {False}
    assert (sent.returncode, "sent what 1 process left" in sent.stderr) == (0, True)
    ran = quick("top", "--once", "--arena", str(folder))
    assert (ran.returncode, "nothing is measured there" in ran.stderr) == (1, True)


def test_top_looks_again_until_ctrl_c(service: Any, folder: Path, python: str) -> None:
    service("shop")
    command = [python, "-m", "nilometer", "top", "--arena", str(folder), "--every", "100ms"]
    top = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert top.stdout is not None
    summaries = 0
    while summaries < 3:
        summaries += "1 process, " in top.stdout.readline()
    top.send_signal(signal.SIGINT)
    top.communicate(timeout=30)

    assert top.returncode == 130


def test_top_refuses_an_interval_that_is_none(quick: Any, folder: Path) -> None:
    ran = quick("top", "--arena", str(folder), "--every", "often")

    assert (ran.returncode, "--every: 'often' is not a duration" in ran.stderr) == (2, True)


def test_a_folder_is_needed_and_has_to_do(quick: Any, folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)

    without, open_to_all = (
        quick("top", "--once"),
        quick("top", "--once", "--arena", str(folder)),
    )

    assert (without.returncode, "[no-arena]" in without.stderr) == (2, True)
    assert (open_to_all.returncode, "[bad-arena]" in open_to_all.stderr) == (2, True)


def test_just_after_a_collect_what_was_seen_before_it_is_shown() -> None:
    def at(collected_ns: int, value: int) -> list[Living]:
        series = Series("counter", "c", "1", "", (), value)
        contents = Contents(Resource("s"), collected_ns, 0, 0, "id", (series,))
        return [Living(Path("f"), True, contents)]

    looks, second = Looks(), 10**9
    rows = [
        looks.rows(at(0, 50), 10 * second),
        looks.rows(at(10 * second, 1), 10 * second + 1000),
        looks.rows(at(10 * second, 20), 14 * second),
    ]

    assert [(row.value, row.rate) for (row,) in rows] == [(50, 5.0), (50, 5.0), (20, 5.0)]


# --- agent -----------------------------------------------------------------------------------


def left_by_killed(service: Any, *names: str) -> None:
    for name in names:
        process = service(name)
        process.kill()
        process.wait()


def test_the_agent_sends_what_was_left_once_while_it_runs(
    service: Any, folder: Path, tmp_path: Path, python: str
) -> None:
    living = service("alive")
    agent = subprocess.Popen(
        [python, "-m", "nilometer", "agent", "--every", "100ms"],
        env={
            **os.environ,
            "NILOMETER_ARENA": str(folder),
            "NILOMETER_EXPORT": f"file://{tmp_path}/sent.jsonl",
        },
    )
    try:
        left_by_killed(service, "one", "two")
        until = time.monotonic() + 60
        while len(list(folder.glob("*.arena"))) > 1 and time.monotonic() < until:
            time.sleep(0.05)
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(30) == 0
    finally:
        agent.kill()
        agent.wait()

    sent = (tmp_path / "sent.jsonl").read_text()
    assert sent.count('"instance.boot"') == 2
    assert sent.count("nilometer.collected") >= 1
    assert [path.name.split("-")[0] for path in folder.glob("*.arena")] == [str(living.pid)]


def test_what_the_receiver_does_not_take_stays(
    quick: Any, service: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nilometer.cli import agent

    monkeypatch.setattr(agent, "ONCE_S", 0.3)
    left_by_killed(service, "one")

    ran = quick("agent", "--once", "--arena", str(folder), "--export", "otlp://127.0.0.1:1")

    assert (ran.returncode, "1 file not sent" in ran.stderr) == (3, True)
    assert len(list(folder.glob("*.arena"))) == 1


def test_the_agent_needs_somewhere_to_send(quick: Any, folder: Path) -> None:
    nowhere = quick("agent", "--once", "--arena", str(folder))
    wrong = quick("agent", "--once", "--arena", str(folder), "--export", "otpl://c1")

    assert (nowhere.returncode, "[no-export]" in nowhere.stderr) == (2, True)
    assert (wrong.returncode, "did you mean 'otlp'" in wrong.stderr) == (2, True)
