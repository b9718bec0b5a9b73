"""`make demo-scale`: the store that it makes, and a short run of it."""

from __future__ import annotations

import subprocess
from collections import Counter

import pytest

from examples.scale.made import BAD_HOUR, EACH, HOUR, made
from nilometer.analyze.asking import Wanted, ask, asked_of
from nilometer.analyze.questions import QUESTIONS
from nilometer.analyze.sources import Tables
from nilometer.store.places import Place
from tests.analyze.putting import ENGINE
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return made(tmp_path_factory.mktemp("scale"), 30_000)


def rows(store, name):
    question = QUESTIONS[name]
    asked = asked_of(question, Wanted(), {})
    found = ask(question, [Tables(Place.of(store))], ENGINE, asked, lambda _: None)
    return found.to_pylist()


def test_every_question_has_much_to_say_of_it(store):
    assert [name for name in QUESTIONS if not rows(store, name)] == []


def test_what_was_put_in_is_found(store):
    calls = Counter()
    for row in rows(store, "dependencies"):
        calls[row["callee"]] += row["calls"]
    repeated = rows(store, "n-plus-one")
    slower = {r["operation"] for r in rows(store, "compare") if r["verdict"] == "slower"}
    dearer = [row["ratio"] for row in rows(store, "cost") if row["revision"] == "c"]
    worst = max(rows(store, "anomalies"), key=lambda row: abs(row["score"]))

    assert calls["bank"] == calls["gateway"] == 30_000 // EACH
    assert {row["operation"] for row in repeated} == {"SELECT"}
    assert {row["calls_p50"] for row in repeated} == {5}
    assert sum(row["calls"] for row in repeated) == 30_000 // EACH * 5
    assert slower == {"pay", "checkout", "POST shop", "GET /checkout"}  # they wait for it
    assert worst["operation"] in slower
    assert (worst["measure"], worst["at_ns"] // HOUR) == ("p50_ns", BAD_HOUR)
    assert max(dearer) == pytest.approx(1.2, abs=0.02)


def test_the_same_seed_makes_the_same_rows(store, tmp_path):
    again = made(tmp_path, 30_000)

    assert rows(again, "slowest") == rows(store, "slowest")


def test_another_size_in_the_same_folder_is_refused(store):
    with pytest.raises(SystemExit, match="holds another size"):
        made(store.parent, 20_000)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_both_engines_are_asked_and_their_answers_are_equal(python, tmp_path):
    command = [python, "-m", "examples.scale.demo", "--spans", "2000"]
    command += ["--folder", tmp_path, "--only", "baseline", "--only", "dependencies"]

    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count(": equal") == 2
