"""Our report is the one that OSProfiler's own engine makes of the same points."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from osprofiler.drivers.base import Driver

from nilometer.model.tree import tree_of
from nilometer.wire import osprofiler
from nilometer.wire.osprofiler_points import point_of, spans_of_points

BASE = "f09d33fd-1234-4f5e-8d3e-0b8e6b0a9c11"
NAMES = ("wsgi", "db", "rpc", "driver", "neutron_plugin")
BEGAN = datetime(2026, 11, 20, 10, 0, 0, 1, UTC)


def identity(number):
    return str(UUID(int=0x7A2B6C1E_9F00_4A55_B6D7_0C9D_0000_0000 + number))


@st.composite
def messages(draw):
    """Points of one trace as a bus delivers them: in any order, some twice, some never."""
    sent = []
    for number in range(1, draw(st.integers(1, 12)) + 1):
        parent = draw(st.sampled_from([BASE, identity(99), *map(identity, range(1, number))]))
        name = draw(st.sampled_from(NAMES))
        told = {
            "base_id": BASE,
            "trace_id": identity(number),
            "parent_id": parent,
            "project": draw(st.sampled_from(["nova", ""])),
            "service": draw(st.sampled_from(["api", "compute"])),
        }
        host = draw(st.sampled_from(["c1", "c2"]))
        started = draw(st.integers(0, 5000))
        ended = started + draw(st.integers(0, 5000))
        failed = draw(st.sampled_from([{}, {"etype": "ValueError", "message": "no"}]))
        start = {**told, "name": f"{name}-start", "timestamp": at(started)}
        start["info"] = {"host": host, "db": {"statement": "SELECT 1"}}
        stop = {**told, "name": f"{name}-stop", "timestamp": at(ended)}
        stop["info"] = {"host": host, **failed}
        sent += draw(st.sampled_from([[start, stop], [start, stop], [start], [stop]]))
    again = draw(st.lists(st.sampled_from(sent), max_size=3))
    return draw(st.permutations(sent + again))


def at(us):
    return (BEGAN + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%f")


def theirs(sent):
    engine = Driver("test://")
    for told in sent:
        engine._append_results(
            told["trace_id"],
            told["parent_id"],
            told["name"],
            told["project"],
            told["service"],
            told["info"]["host"],
            told["timestamp"],
            told,
        )
    return json.loads(json.dumps(engine._parse_results()))


def ours(sent):
    points = [point_of(json.loads(json.dumps(told))) for told in sent]
    return json.loads(osprofiler.encode(tree_of(spans_of_points(points))))


def in_any_order(report):
    """The report with siblings by their ids, as theirs have none in the same millisecond."""
    waiting = [report]
    while waiting:
        one = waiting.pop()
        one["children"].sort(key=lambda child: child["trace_id"])
        waiting += one["children"]
    return report


def nested_in_itself(report):
    """Names that stand below themselves: the engine adds their time up twice."""
    found, waiting = set(), [(child, frozenset()) for child in report["children"]]
    while waiting:
        one, above = waiting.pop()
        name = one["info"]["name"]
        found |= above & {name}
        waiting += [(child, above | {name}) for child in one["children"]]
    return found


@given(messages())
def test_the_tree_is_the_one_of_osprofilers_engine(sent):
    report, engines = ours(sent), theirs(sent)

    stats, engines_stats = report.pop("stats"), engines.pop("stats")
    assert in_any_order(report) == in_any_order(engines)
    assert {name: told["count"] for name, told in stats.items()} == {
        name: told["count"] for name, told in engines_stats.items()
    }
    for name in set(stats) - nested_in_itself(report):  # it cuts each time to whole ms
        by = abs(stats[name]["duration"] - engines_stats[name]["duration"])
        assert by <= stats[name]["count"]


@given(messages())
def test_siblings_are_in_the_order_in_which_they_started(sent):
    first = {}
    for told in sorted(sent, key=lambda told: told["name"].endswith("-stop")):
        first.setdefault(told["trace_id"], told["timestamp"])
    waiting = [ours(sent)]
    while waiting:
        children = waiting.pop()["children"]
        waiting += children
        starts = [first[child["trace_id"]] for child in children]

        assert starts == sorted(starts)
