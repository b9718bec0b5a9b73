"""Runs on another host or server are compared, and that is said."""

from __future__ import annotations

import pytest

from nilometer.gate.verdict import Outcome, judge
from nilometer.model.run import BackendRead
from tests.gate.histories import run, runs

FIGURES = {"Com_select": 800}


def at(instance: str) -> tuple[BackendRead, ...]:
    return (BackendRead("mysql", instance, "10.11.6"),)


def test_another_host_and_another_server_are_told() -> None:
    history = runs(6, FIGURES, host="ci-1", backends=at("db1:3306"))
    now = run(6, FIGURES, host="laptop", backends=at("db2:3306"))

    said = judge(now, history)

    assert (said.outcome, said.notes) == (
        Outcome.PASS,
        (
            "this run was on the host laptop; most earlier ones were on ci-1",
            "mysql: this run read db2:3306; most earlier ones read db1:3306",
        ),
    )


@pytest.mark.parametrize(
    ("hosts", "now"),
    [
        (["ci-1"] * 6, "ci-1"),  # the same
        ([f"container-{number}" for number in range(6)], "container-7"),  # each its own
        ([""] * 6, "ci-1"),  # nobody knows
        (["ci-1"] * 6, ""),
    ],
)
def test_nothing_is_said_of_places_that_are_the_same_or_always_new(hosts, now) -> None:
    history = [
        run(number, FIGURES, host=host, backends=at(f"{host}:3306"))
        for number, host in enumerate(hosts)
    ]
    if not now or not hosts[0]:
        history = [one._replace(backends=at("db:3306")) for one in history]
    instance = "db:3306" if not now or not hosts[0] else f"{now}:3306"

    assert judge(run(9, FIGURES, host=now, backends=at(instance)), history).notes == ()
