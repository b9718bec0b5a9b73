"""A Spark cluster and DuckDB say the same; and what a cluster's faults look like."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress

import psutil
import pytest

from examples.servers import spark as servers
from nilometer.analyze import spark
from nilometer.analyze.asking import Wanted, ask, asked_of
from nilometer.analyze.questions import QUESTIONS
from nilometer.analyze.spark import Spark
from nilometer.cli.exits import Exit
from nilometer.errors import EngineError, StoreError
from nilometer.model import Batch
from nilometer.wire import logline
from tests.analyze import fleet
from tests.analyze.putting import ENGINE, SHOP, span

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]  # a cluster starts with the first
HOSTILE_FOLDER = "a {b,c}[d]*? 100%25 #f;'g\" 店"
VARIANTS = {
    "baseline": {"by": "hour"},
    "slowest": {"by": "operation"},
    "n-plus-one": {"least": "2"},
    "critical-path": {"traces": "5"},
    "compare": {"before": "1.0", "after": "1'1"},
    "scaling": {"window": "10ms"},
    "anomalies": {"score": "0.5", "season": "none"},
    "usage": {"timer": "http.*"},
    "pools": {"window": "10s"},
    "cost": {"suite": 'x"y'},
}
each_question = pytest.mark.parametrize("name", QUESTIONS)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """What makes the processes of a session small, as those of the cluster are."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in servers.settings(tmp_path_factory.mktemp("conf")).items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def cluster(environment, tmp_path_factory):
    """A master and two workers, each of them a process."""
    folder = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        master = stack.enter_context(servers.Master(folder / "master"))
        workers = [servers.Worker(folder / f"worker-{n}", master) for n in range(2)]
        for worker in workers:
            stack.callback(worker.stop)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda worker: worker.start(), workers))
        yield master, workers


@pytest.fixture(scope="module")
def engine(cluster):
    with closing(Spark(cluster[0].url, python=servers.PYTHON)) as made:
        yield made


@pytest.fixture(scope="module")
def connected(environment, tmp_path_factory):
    """An engine that asks a server of Spark Connect."""
    with (
        servers.Connect(tmp_path_factory.mktemp("connect")) as server,
        closing(Spark(server.url, python=servers.PYTHON)) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet") / HOSTILE_FOLDER
    return fleet.Files(folder, fleet.batches(1), fleet.runs(2))


@pytest.fixture(scope="module")
def nothing(tmp_path_factory):
    return fleet.Files(tmp_path_factory.mktemp("nothing"))


def answer(engine, name, source, wanted=Wanted(), tell=lambda _: None, **own):  # noqa: B008
    question = QUESTIONS[name]
    return ask(question, [source], engine, asked_of(question, wanted, own), tell)


def same(found, expected):
    """Fail with the rows that differ, not with all."""
    assert found.schema == expected.schema
    pairs = zip(found.to_pylist(), expected.to_pylist(), strict=True)
    assert [pair for pair in pairs if pair[0] != pair[1]][:2] == []


@each_question
def test_a_cluster_says_what_duckdb_says(engine, source, name):
    expected = answer(ENGINE, name, source)

    found = answer(engine, name, source)

    assert found.num_rows > 1
    same(found, expected)


@each_question
def test_of_nothing_a_cluster_says_nothing(engine, nothing, name):
    assert answer(engine, name, nothing).to_pylist() == []


@each_question
def test_a_server_of_spark_connect_says_it_too(connected, source, name):
    """With other parameters, of some services; the sums of which an answer is made, first."""
    question = QUESTIONS[name]
    asked = asked_of(question, Wanted(service="*'*"), VARIANTS.get(name, {}))
    views = {table: source.lots(table) for table in question.tables}
    expected = ENGINE.rows(question.text, views, asked, lambda _: None)

    found = connected.rows(question.text, views, asked, lambda _: None)

    assert found.schema == expected.schema
    same(question.answer(found, asked), question.answer(expected, asked))


def test_on_the_command_line_nothing_of_spark_is_heard(cluster, tmp_path):
    lines = logline.encode(Batch(SHOP, spans=(span(1, name=fleet.OPERATIONS[-1]),)))
    (tmp_path / "metrics.log").write_text("\n".join(lines))
    command = [servers.PYTHON, "-m", "nilometer", "analyze", "baseline", "--json"]
    command += ["--over", tmp_path / "metrics.log"]

    ran = [
        subprocess.run([*command, *more], capture_output=True, text=True, timeout=140)
        for more in ((), ("--engine", cluster[0].url))
    ]

    assert [one.returncode for one in ran] == [Exit.OK, Exit.OK], ran[1].stderr
    assert json.loads(ran[1].stdout) == json.loads(ran[0].stdout)
    assert "WARN" not in ran[1].stderr
    assert "Spark" not in ran[1].stderr


def test_what_takes_long_is_told_as_it_goes_on(engine, source):
    told = []

    answer(engine, "slowest", source, tell=told.append)

    assert told[0] == "looking at 2 files"
    assert any(each.endswith("tasks done") for each in told)


def test_a_damaged_file_is_named_and_nothing_is_answered(engine, tmp_path):
    source = fleet.Files(tmp_path / "x", fleet.batches(3))
    file = tmp_path / "x" / "spans" / "1.parquet"
    content = bytearray(file.read_bytes())
    content[100:5000] = bytes(4900)
    file.write_bytes(content)

    with pytest.raises(StoreError, match=r"x/spans/1\.parquet cannot be read"):
        answer(engine, "baseline", source)


def test_a_file_that_only_this_machine_sees_is_named(engine, source, monkeypatch):
    located = spark._located
    monkeypatch.setattr(
        spark, "_located", lambda *file: located(*file).replace("/spans/", "/elsewhere/spans/")
    )

    with pytest.raises(EngineError, match=r"a worker cannot read .*spans/\d\.parquet.*shared"):
        answer(engine, "baseline", source)


def test_a_master_without_workers_is_given_up(environment, nothing, source, tmp_path):
    with (
        servers.Master(tmp_path) as master,
        closing(Spark(master.url, python=servers.PYTHON, alone_s=2)) as engine,
        pytest.raises(EngineError, match=r"no executor for 2 s: its workers are gone"),
    ):
        answer(engine, "baseline", source)


def test_a_session_that_is_closed_leaves_no_process(cluster, nothing, wait_until):
    engine = Spark(cluster[0].url, python=servers.PYTHON)
    answer(engine, "baseline", nothing)
    group = engine._process.pid
    assert len(living(group)) == 2  # the session and its Java

    engine.close()

    wait_until(lambda: not living(group), what="all processes of the session ended")


def living(group):
    """The processes of a group that are more than an entry in the kernel's table."""
    with suppress(psutil.NoSuchProcess):
        return [
            one.pid
            for one in psutil.process_iter()
            if os.getpgid(one.pid) == group and one.status() != psutil.STATUS_ZOMBIE
        ]
    return living(group)


def test_a_worker_that_dies_in_the_middle_changes_nothing(cluster, engine, source):
    """The other one does its tasks again."""
    victim = cluster[1][0]
    expected = answer(ENGINE, "slowest", source)

    def kill(told):
        if told.startswith("asking"):
            with suppress(ProcessLookupError):  # it was killed before
                os.killpg(victim.pid, signal.SIGKILL)

    found = answer(engine, "slowest", source, tell=kill)

    victim.restart()
    same(found, expected)
