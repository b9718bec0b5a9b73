"""The main job, as `make run` does it: real services, requests, tables and commands."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # the examples are not part of the package

from examples.orders import run  # noqa: E402
from nilometer.cli.processes import Processes  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REQUESTS = 2000
PROBES = 1  # the request that found the order service up

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(300)]


class Done(NamedTuple):
    """The job while everything is still up."""

    here: run.Running
    answers: Counter[tuple[str, int]]
    trace_id: str

    def get(self, path: str) -> Any:
        return run.fetch(f"{self.here.collector}/api/v1/{path}")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    folder = tmp_path_factory.mktemp("orders")
    with Processes(folder) as processes:
        here = run.start(processes, folder)
        answers, trace_id = run.send(here, REQUESTS)
        run.wait_until_visible(here, trace_id, REQUESTS + PROBES + 1)
        yield Done(here, answers, trace_id)


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node["children"]:
        yield from walk(child)


@pytest.mark.slow
def test_every_request_is_counted_once_with_its_status(job: Done) -> None:
    asked = "metrics/http.server.responses/statistics"
    by = "group_by=http.response.status_class&where=service=orders"
    counted = {
        row["group"]["http.response.status_class"]: row["sum"]
        for row in job.get(f"{asked}?{by}")["statistics"]
    }
    expected = Counter({"2xx": 1 + PROBES})  # the signed one, and the probe
    for (_, status), count in job.answers.items():
        expected[f"{status // 100}xx"] += count

    assert counted == dict(expected)


def test_every_kind_of_request_was_answered_as_it_should(job: Done) -> None:
    assert {key for key, count in job.answers.items() if count} == {
        ("broken", 500),
        ("invoice", 200),
        ("missing", 404),
        ("newest", 200),
        ("one", 200),
        ("place", 201),
    }
    assert sum(job.answers.values()) == REQUESTS


def test_the_services_own_counter_agrees_with_the_clients(job: Done) -> None:
    (row,) = job.get("metrics/orders.placed/statistics")["statistics"]

    assert row["sum"] == job.answers["place", 201] + 1


def test_the_signed_request_is_one_tree_across_both_processes(job: Done) -> None:
    tree = job.get(f"traces/{job.trace_id}")
    (root,) = tree["roots"]
    spans = list(walk(root))
    names = Counter((node["service"], node["name"]) for node in spans)
    prices = [node for node in spans if node["name"] == "price of an article"]

    assert (root["service"], tree["errors"], len(spans)) == ("orders", 0, tree["spans"])
    assert names["orders", "price of an article"] == 3
    assert names["stock", "check_customs"] == 3
    assert names["orders", "keep the order"] == 1
    for price in prices:  # in the pool's threads, and in the other process below them
        assert {node["service"] for node in walk(price)} == {"orders", "stock"}
        assert not price["orphan"]
    assert root["attributes"]["http.response.status_code"] == 201


def test_unsigned_requests_are_not_traced(job: Done) -> None:
    assert [row["id"] for row in job.get("traces")["traces"]] == [job.trace_id]


def test_nothing_was_lost_and_nothing_refused(job: Done) -> None:
    assert job.get("losses")["losses"] == []


def test_what_is_printed_is_the_tree_ten_timers_and_our_own_cost(
    job: Done, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run.tell(job.here, job.answers, job.trace_id)
    printed = capfd.readouterr().out
    _, tree, timers, costs = re.split(r"\$ nilometer (?:trace|metrics|doctor) .*", printed)

    assert tree.count("price of an article") == 3
    assert len(re.findall(r"^ [a-z]\S+\.\S+ +[a-z-]+ +[\d,]+ ", timers, re.MULTILINE)) == 10
    assert re.search(r"count +sum +avg +min +max +p50 +p99", timers)
    assert {"orders", "stock"} <= set(re.findall(r"^ (\w+) .*\d", costs, re.MULTILINE))


def test_where_to_look_further_can_be_typed_as_it_stands(
    job: Done, capfd: pytest.CaptureFixture[str]
) -> None:
    """In a narrow terminal, too, and by somebody on whose PATH the command is not."""
    run.point_further(job.here, "now")
    heading, *lines = capfd.readouterr().out.strip().splitlines()
    urls = [line.split()[0] for line in lines if line.startswith("  http:")]
    commands = [line for line in lines if not line.startswith("  http:")]
    typed = subprocess.run(
        ["bash", "-euc", "\n".join(commands)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(job.here.folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert heading == "Where to look further, now:"
    assert typed.returncode == 0, typed.stderr
    assert [run.fetch(url)["traces"][0]["id"] for url in urls] == [job.trace_id]
    assert run.fetch(f"{job.here.collector}/api/v1/openapi.json")["paths"]
    for kept in (job.trace_id, "http.server.request", "SELECT", "readings"):
        assert kept in typed.stdout


def test_the_links_of_the_pages_lead_to_what_just_happened(
    job: Done, capfd: pytest.CaptureFixture[str]
) -> None:
    run.point_to_pages(job.here, job.trace_id, "now")
    heading, *lines = capfd.readouterr().out.strip().splitlines()
    pages = [get(line.split()[0]) for line in lines]

    assert heading == "What just happened, as pages, now:"
    told = ("orders", "price of an article", "http.server.request", "all is well")
    assert [kept in page for kept, page in zip(told, pages, strict=True)] == [True] * 4


def get(url: str) -> str:
    with urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def test_the_job_ends_by_itself_when_told_once_and_leaves_nothing_behind(
    python: str, tmp_path: Path
) -> None:
    ran = subprocess.run(
        [python, "-m", "examples.orders.run", "--once", "--requests", "100"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (list(tmp_path.iterdir()), running_in(tmp_path)) == ([], [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_job_that_is_ended_leaves_nothing_behind(
    python: str,
    tmp_path: Path,
    start_process: Callable[..., Any],
    wait_until: Callable[..., None],
    number: int,
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    job = start_process(
        [python, "-m", "examples.orders.run", "--requests", "50"],
        cwd=ROOT,
        env={"TMPDIR": str(folder)},
        ready=lambda: len(running_in(folder)) >= 3,
    )
    job.popen.send_signal(number)

    assert job.popen.wait(60) == 130
    wait_until(lambda: not running_in(folder), what="all servers are gone")
    assert list(folder.iterdir()) == []
    assert "Traceback" not in job.output()


def test_a_job_that_fails_shows_what_its_servers_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "SPANS_EXPECTED", 10**6)
    monkeypatch.setattr(run, "VISIBLE_S_MAX", 0.1)
    monkeypatch.setattr(run.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(SystemExit, match="spans of the signed request, 1000000 at least"):
        run.do(10, stays_up=False)
    told = capfd.readouterr().out

    assert [name for name in ("collector", "stock", "orders") if f"{name} said:" in told] == [
        "collector",
        "stock",
        "orders",
    ]
    assert list(tmp_path.iterdir()) == []


def running_in(folder: Path) -> list[int]:
    """Processes that name this folder in their command or their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:  # it ended meanwhile, or is somebody else's
            continue
        if f"{folder}/nilometer-orders-".encode() in told:
            found.append(int(process.name))
    return found


def test_a_trace_can_be_had_in_every_format(job: Done) -> None:
    for form in ("osprofiler", "chrome", "speedscope"):
        assert json.loads(run.ask(job.here, "trace", "show", job.trace_id, "--format", form))
    dot = run.ask(job.here, "trace", "show", job.trace_id, "--format", "dot")

    assert dot.startswith("digraph")
