"""What `--engine` takes for a cluster, and what wrong words, hosts and machines get."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import closing

import pytest

from nilometer.analyze import cluster as clusters
from nilometer.analyze import spark
from nilometer.analyze.asking import Wanted, ask, asked_of
from nilometer.analyze.cluster import cluster_of, reach
from nilometer.analyze.questions import QUESTIONS
from nilometer.analyze.spark import Spark
from nilometer.errors import ConfigError, EngineError, StoreError
from nilometer.store.places import Place
from tests.analyze import fleet


def asked(engine, source):
    question = QUESTIONS["baseline"]
    return ask(question, [source], engine, asked_of(question, Wanted(), {}), lambda _: None)


@pytest.fixture
def nothing(tmp_path):
    return fleet.Files(tmp_path / "nothing")


@pytest.fixture
def silent():
    """A port of somebody who takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("text", "shown", "hosts", "is_connect"),
    [
        ("spark://c1:7077", "spark://c1:7077", [("c1", 7077)], False),
        ("spark://c1:1,[::1]:2", "spark://c1:1,[::1]:2", [("c1", 1), ("::1", 2)], False),
        ("sc://c1", "sc://c1", [("c1", 15002)], True),
        ("sc://c1:9/;token=nile;use_ssl=true", "sc://c1:9", [("c1", 9)], True),
    ],
)
def test_a_url_says_which_cluster(text, shown, hosts, is_connect):
    assert cluster_of(text) == (text, shown, tuple(hosts), is_connect)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("loca", "'loca'; did you mean 'local'?"),
        ("sprk://c1:7077", "'sprk://c1:7077'; did you mean 'spark://c1:7077'?"),
        ("SPARK://c1:7077", "did you mean 'spark://c1:7077'?"),
        ("spark:c1", "'spark:c1'; choose from local, spark://HOST:PORT, sc://HOST:PORT"),
        ("spark://", "did you mean 'spark://HOST:7077'?"),
        ("spark://c1", "did you mean 'spark://c1:7077'?"),
        ("spark://c1:70770", "did you mean 'spark://c1:7077'?"),
        ("spark://c1:7077/x", "did you mean 'spark://c1:7077'?"),
        ("spark://c1:7077,", "did you mean 'spark://HOST:7077'?"),
        ("spark://me@c1:7077", "did you mean 'spark://me:7077'?"),
        ("sc://c1:9/token=nile", "did you mean 'sc://c1:9'?"),
        ("k8s://c1:443", "choose from local, spark://HOST:PORT"),
    ],
)
def test_what_is_no_url_is_told_with_the_nearest(text, said):
    with pytest.raises(ConfigError) as failure:
        cluster_of(text)

    assert said in str(failure.value)
    assert str(failure.value).startswith("--engine: ")


def test_a_token_is_never_told(free_port):
    port = free_port()
    with pytest.raises(ConfigError) as wrong:
        cluster_of("sq://c1:15002/;token=secret")
    with pytest.raises(EngineError) as away:
        reach(cluster_of(f"sc://127.0.0.1:{port}/;token=secret"))

    assert "secret" not in f"{wrong.value} {away.value}"


def test_a_cluster_that_is_not_there_is_told_at_once(nothing, free_port):
    url = f"spark://127.0.0.1:{free_port()}"
    with closing(Spark(url)) as engine, pytest.raises(EngineError) as failure:
        asked(engine, nothing)

    assert failure.value.slug == "engine-unreachable"
    assert f"{url} cannot be reached" in str(failure.value)
    assert "Connection refused" in str(failure.value)
    assert "--engine local" in str(failure.value)


def test_of_several_masters_one_that_answers_is_enough(silent, free_port):
    there = cluster_of(f"spark://127.0.0.1:{free_port()},127.0.0.1:{silent}")

    assert reach(there) == "127.0.0.1"


def test_without_java_it_is_said_how_to_have_it(nothing, silent, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", "/no/java")
    with (
        closing(Spark(f"spark://127.0.0.1:{silent}")) as engine,
        pytest.raises(
            ConfigError, match=r"'/no/java', has no bin/java: apt-get install openjdk"
        ),
    ):
        asked(engine, nothing)


def test_without_pyspark_it_is_said_how_to_have_it(nothing, silent, monkeypatch):
    monkeypatch.setattr(clusters, "need_java", lambda _: None)
    monkeypatch.setattr(spark, "need_java", lambda _: None)
    with (
        closing(Spark(f"sc://127.0.0.1:{silent}", python=sys.executable)) as engine,
        pytest.raises(ConfigError, match=r"needs pyspark: pip install 'nilometer\[spark\]'"),
    ):
        asked(engine, nothing)


def test_who_takes_connections_and_says_nothing_is_given_up(
    nothing, silent, monkeypatch, tmp_path
):
    """Whatever holds the session up: here it is a program that only waits."""
    waiting = tmp_path / "python"
    waiting.write_text("#!/bin/sh\nexec sleep 60\n")
    waiting.chmod(0o755)
    monkeypatch.setattr(spark, "START_S", 0.5)
    began = time.monotonic()
    with (
        closing(Spark(f"sc://127.0.0.1:{silent}", python=waiting)) as engine,
        pytest.raises(EngineError, match=r"no session began: nobody answered in 0\.5 s"),
    ):
        asked(engine, nothing)

    assert time.monotonic() - began < 30


def test_a_session_that_ends_by_itself_says_its_last_words(nothing, silent, tmp_path):
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho 'Error: no memory' >&2\nexit 1\n")
    dying.chmod(0o755)
    with (
        closing(Spark(f"sc://127.0.0.1:{silent}", python=dying)) as engine,
        pytest.raises(EngineError, match=r"the session ended: Error: no memory; nothing was"),
    ):
        asked(engine, nothing)


def test_a_file_of_another_s_is_named_before_anything_is_asked(tmp_path, free_port):
    source = fleet.Files(tmp_path / "x", fleet.batches(1))
    file = tmp_path / "x" / "spans" / "1.parquet"
    file.write_bytes((tmp_path / "x" / "readings" / "1.parquet").read_bytes())
    with (
        closing(Spark(f"spark://127.0.0.1:{free_port()}")) as engine,
        pytest.raises(StoreError, match=r"spans/1\.parquet .* no column trace_id, so it is no"),
    ):
        asked(engine, source)


def test_a_file_that_is_gone_is_named(tmp_path, free_port):
    source = fleet.Files(tmp_path / "x", fleet.batches(1))
    (tmp_path / "x" / "spans" / "1.parquet").unlink()
    with (
        closing(Spark(f"spark://127.0.0.1:{free_port()}")) as engine,
        pytest.raises(StoreError, match=r"spans/1\.parquet"),
    ):
        asked(engine, source)


def test_a_file_of_another_s_behind_a_url_is_named(tmp_path, free_port):
    source = fleet.Files(tmp_path / "x", fleet.batches(1))
    source.place = Place.of(f"file://{tmp_path}/x")
    file = tmp_path / "x" / "spans" / "1.parquet"
    file.write_bytes((tmp_path / "x" / "readings" / "1.parquet").read_bytes())
    with (
        closing(Spark(f"spark://127.0.0.1:{free_port()}")) as engine,
        pytest.raises(StoreError, match=r"file://.*/spans/1\.parquet .* no column trace_id"),
    ):
        asked(engine, source)
