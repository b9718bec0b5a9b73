"""Laws of the door for OSProfiler's points: 200 means committed, what waits survives."""

from __future__ import annotations

import json

import pytest

from nilometer.collect.budget import Totals
from nilometer.errors import StoreError
from nilometer.wire.osprofiler_points import STARTED, STOPPED, points_of
from tests.collect.doors import NoReader, Tables, visit

BASE = "f09d33fd-1234-4f5e-8d3e-0b8e6b0a9c11"


class Waiting(NoReader):
    """Has points that wait in the tables."""

    def __init__(self, *events):
        self.events = events

    def lone_points(self, _since_ns):
        return self.events


def point(name, own="a", second=1, **info):
    return {
        "name": name,
        "base_id": BASE,
        "trace_id": own,
        "parent_id": BASE,
        "timestamp": f"2026-11-20T10:00:0{second}.000000",
        "info": {"host": "h", **info},
    }


def posted(tmp_path, *bodies, tables=None, reader=None):
    """The answers, one after the other."""

    async def talk(client, _collector):
        sent = [each if isinstance(each, bytes) else json.dumps(each) for each in bodies]
        return [await client.post("/v1/points", content=each) for each in sent]

    return visit(tmp_path, talk, tables=tables, reader=reader or Waiting())


def test_a_pair_is_a_span_and_what_is_none_takes_nothing_along(tmp_path):
    tables = Tables()
    bodies = [[point("x-start"), 7, {"name": "x"}], [point("x-stop", second=3)]]

    answers = posted(tmp_path, *bodies, tables=tables)

    assert [(one.status_code, one.json()) for one in answers] == [
        (200, {"taken": 1, "rejected": {"point": 2}}),
        (200, {"taken": 1, "rejected": {}}),
    ]
    assert [(one.name, one.ended_ns - one.started_ns) for one in tables.spans] == [
        ("x", 2 * 10**9)
    ]
    assert [event.name for event in tables.events] == [STARTED, STOPPED]


@pytest.mark.parametrize("body", [b"", b"{}", b"[" * 10**5, b"[1"])
def test_what_is_no_list_is_refused_for_good(tmp_path, body):
    [answer] = posted(tmp_path, body)

    assert answer.status_code == 400


def test_a_stop_finds_the_start_that_an_earlier_collector_wrote_among_forged_ones(tmp_path):
    before, tables = Tables(), Tables()
    posted(tmp_path, [point("x-start")], tables=before)
    [event] = before.events
    forged = event._replace(body="nonsense")

    posted(tmp_path, [point("x-stop")], tables=tables, reader=Waiting(forged, event))

    assert [span.name for span in tables.spans] == ["x"]


@pytest.mark.parametrize("depth", [101, 500, 900])
def test_a_point_nested_too_deep_is_refused_alone_and_changes_no_pair(tmp_path, depth):
    tables = Tables()
    value = 7
    for _ in range(depth):
        value = [value]
    bodies = [[point("x-start")], [point("x-stop", second=2, deep=value)]]
    bodies += [[point("x-stop", second=3)]]

    answers = posted(tmp_path, *bodies, tables=tables)

    assert [one.json()["rejected"] for one in answers] == [{}, {"too-deep": 1}, {}]
    assert [(one.name, one.ended_ns - one.started_ns) for one in tables.spans] == [
        ("x", 2 * 10**9)
    ]


def test_what_no_json_can_say_is_told_as_text(tmp_path):
    tables = Tables()

    body = json.dumps([point("x-start", n=float("nan"), large=1.5)]).replace("1.5", "-1e999")

    posted(tmp_path, body.encode(), tables=tables)

    [told] = points_of(tables.events)
    assert told.told["info"] == {"host": "h", "n": "NaN", "large": "-1e999"}


def test_points_that_cannot_be_committed_count_in_no_budget_and_wait_for_nobody(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("nilometer.collect.points_door.Totals", lambda _: Totals(2))
    tables = Tables()
    both = [point("x-start"), point("x-stop", second=3)]

    async def talk(client, _collector):
        tables.error = StoreError("the disk is full", slug="store-full")
        refused = [await client.post("/v1/points", json=both) for _ in range(3)]
        tables.error = None
        return [*refused, await client.post("/v1/points", json=both)]

    *refused, taken = visit(tmp_path, talk, tables=tables, reader=Waiting())

    assert [one.status_code for one in refused] == [503] * 3
    assert taken.json() == {"taken": 2, "rejected": {}}
    assert (len(tables.spans), tables.events) == (1, [])
