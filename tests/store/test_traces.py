"""A list of traces says of each what the trace itself says, however its spans lie in time."""

import random

import pytest

from nilometer.model import Batch, Resource, SpanKind, Status
from nilometer.store import traces
from nilometer.store.lake import Lake
from nilometer.store.query import Reader
from tests.store.batches import NOW_NS, span

MINUTE_NS = 60 * 10**9
HOUR_NS = 60 * MINUTE_NS
SERVICES = ["api", "compute", "network"]


def kept(place, *batches):
    lake = Lake(place, durability="os")
    for service, spans in batches:
        lake.append([Batch(Resource(service), (), tuple(spans))])
    return Reader(place)


def test_a_trace_of_hours_is_summed_up_whole_in_a_list_of_its_last_hour(tmp_path):
    began = NOW_NS - 3 * HOUR_NS
    root = span(
        1, at_ns=began, took_ns=3 * HOUR_NS - 1, name="nightly report", status=Status.ERROR
    )
    pages = [
        span(n, parent=1, at_ns=began + n * 10 * MINUTE_NS, took_ns=MINUTE_NS, name="page")
        for n in range(2, 18)
    ]
    reader = kept(tmp_path, ("batch", [root]), ("batch", pages))
    whole = [("nightly report", "batch", 3 * HOUR_NS - 1, 17, 1)]

    for asked in ({}, {"error": True}, {"min_duration_ns": 2 * HOUR_NS}):
        found = reader.find_traces(since_ns=NOW_NS - HOUR_NS, **asked)
        assert [(f.root, f.service, f.duration_ns, f.spans, f.errors) for f in found] == whole
    assert reader.find_traces(since_ns=NOW_NS - HOUR_NS, error=False) == []


def test_a_service_whose_clock_is_off_counts_in_its_traces(tmp_path):
    behind = span(3, parent=1, at_ns=NOW_NS - 13 * HOUR_NS, name="behind", status=Status.ERROR)
    reader = kept(tmp_path, ("api", [span(1), span(2, parent=1)]), ("skewed", [behind]))
    other = span(4, trace=2, at_ns=NOW_NS + 1)
    Lake(tmp_path, durability="os").append([Batch(Resource("api"), (), (other,))])
    since = NOW_NS - HOUR_NS

    (plain,) = [f for f in reader.find_traces(since_ns=since) if f.spans != 1]
    assert (plain.root, plain.spans, plain.errors) == ("op1", 3, 1)
    for asked in ({"error": True}, {"service": "skewed"}, {"name": "behind"}):
        assert reader.find_traces(since_ns=since, **asked) == [plain]
    assert reader.find_traces(since_ns=since, service="api", name="behind") == []


def summed_up(found):
    """What a trace's own spans say of it."""
    roots = [pair for pair in found if not pair[1].parent_id] or found
    resource, root = min(roots, key=lambda pair: (pair[1].started_ns, pair[1].span_id))
    spans = [each for _, each in found]
    began = min(each.started_ns for each in spans)
    return traces.TraceSummary(
        spans[0].trace_id.hex(),
        root.name,
        resource.service,
        began,
        max(0, max(each.ended_ns for each in spans) - began),
        len(spans),
        sum(each.status is Status.ERROR for each in spans),
    )


@pytest.fixture(scope="module")
def scattered(tmp_path_factory):
    """Sixty traces of spans of three services over four days: the reader, and what is so."""
    chance = random.Random(7)
    batches, number = [], 0
    for _ in range(20):
        spans = []
        for _ in range(chance.randint(1, 20)):
            number += 1
            spans.append(
                span(
                    number,
                    trace=chance.randint(1, 60),
                    parent=chance.choice([0, 1, 2]),
                    at_ns=NOW_NS - chance.randrange(96 * HOUR_NS),
                    took_ns=chance.randrange(2 * HOUR_NS),
                    name=chance.choice("abc"),
                    kind=chance.choice([SpanKind.SERVER, SpanKind.CLIENT]),
                    attributes={
                        "http.route": f"/{chance.choice('ab')}",
                        "n": chance.choice([1, 2]),
                    },
                    status=chance.choice([Status.OK, Status.OK, Status.ERROR]),
                )
            )
        batches.append((chance.choice(SERVICES), spans))
    reader = kept(tmp_path_factory.mktemp("scattered"), *batches)
    return reader, [reader.trace(f"{trace:032x}") for trace in range(1, 61)]


ASKED = [
    {},
    {"error": True},
    {"error": False},
    {"service": "compute"},
    {"name": "b"},
    {"service": "api", "name": "c"},
    {"min_duration_ns": 20 * HOUR_NS},
    {"service": "network", "error": True, "min_duration_ns": HOUR_NS},
    {"max_duration_ns": 20 * HOUR_NS},
    {"min_duration_ns": HOUR_NS, "max_duration_ns": 40 * HOUR_NS},
    {"min_span_ns": HOUR_NS},
    {"service": "compute", "name": "b", "max_span_ns": HOUR_NS // 2},
    {"name": "a", "min_span_ns": HOUR_NS // 2, "max_span_ns": HOUR_NS},
    {"kind": "server"},
    {"kind": "client", "min_span_ns": HOUR_NS, "service": "api"},
    {"attributes": {"http.route": "/a"}},
    {"attributes": {"http.route": "/b", "n": "2"}, "name": "a"},
]


def is_as_asked(pairs, asked):
    told = summed_up(pairs)
    return (
        any(
            resource.service == asked.get("service", resource.service)
            and each.name == asked.get("name", each.name)
            and each.kind.name.lower() == asked.get("kind", each.kind.name.lower())
            and asked.get("min_span_ns", 0) <= each.ended_ns - each.started_ns
            and each.ended_ns - each.started_ns < asked.get("max_span_ns", 2**63)
            and all(
                str(each.attributes[key]) == value
                for key, value in asked.get("attributes", {}).items()
            )
            for resource, each in pairs
        )
        and told.duration_ns >= asked.get("min_duration_ns", 0)
        and told.duration_ns < asked.get("max_duration_ns", told.duration_ns + 1)
        and (told.errors > 0) is asked.get("error", told.errors > 0)
    )


@pytest.mark.parametrize("asked", ASKED, ids=str)
@pytest.mark.parametrize("window", [(1, 0), (24, 3), (96, 48)])
def test_a_list_says_of_a_trace_what_the_trace_itself_says(scattered, asked, window):
    reader, traces = scattered
    since, until = (NOW_NS - hours * HOUR_NS for hours in window)

    found = reader.find_traces(since_ns=since, until_ns=until, **asked)

    expected = [
        summed_up(pairs)
        for pairs in traces
        if any(since <= each.started_ns < until for _, each in pairs)
        and is_as_asked(pairs, asked)
    ]
    assert found == sorted(expected, key=lambda one: (-one.started_ns, one.id))
    steps = reader.durations(since_ns=since, until_ns=until, **asked)
    assert [(step.from_ns, step.traces, step.failed) for step in steps] == bars_of(expected)


def bars_of(summaries):
    """How many of these traces, and how many with errors, lie at which step."""
    counts: dict[int, list[int]] = {}
    for one in summaries:
        step = max(each for each in traces.STEPS_NS if each <= one.duration_ns)
        bar = counts.setdefault(step, [0, 0])
        bar[0] += 1
        bar[1] += one.errors > 0
    return [(step, *counts[step]) for step in sorted(counts)]


ODD_ATTRIBUTES = [
    ("http.response.status_code", 500, "500"),
    ("ok", True, "true"),
    ("share", 0.5, "0.5"),
    ("a/b~c", "x", "x"),
    ('say "no"', "'; DROP TABLE spans", "'; DROP TABLE spans"),
    ("$.a[0]", "*", "*"),
    ("", "empty", "empty"),
    ("0", "naught", "naught"),
]


@pytest.mark.parametrize(("key", "value", "text"), ODD_ATTRIBUTES)
def test_an_attribute_is_found_by_its_text_whatever_it_is_called(tmp_path, key, value, text):
    reader = kept(
        tmp_path,
        ("api", [span(1, trace=1, attributes={key: value})]),
        ("api", [span(2, trace=2, attributes={"other": text})]),
    )

    assert [int(f.id, 16) for f in reader.find_traces(attributes={key: text})] == [1]
    assert reader.find_traces(attributes={key: text + "!"}) == []


@pytest.mark.parametrize("times", [1, 2, 5])
def test_of_a_trace_so_many_spans_are_read_each_once_however_often_they_came(tmp_path, times):
    spans = [span(n, at_ns=NOW_NS + n // 2) for n in range(1, 8)]
    batches = [("api", spans), ("api", spans[:3])] * times
    reader = kept(tmp_path, *batches, ("api", [span(50, trace=2)] * 9))
    trace_id = spans[0].trace_id.hex()

    for limit in (1, 4, 6, 7, 8, 100):
        read = [each for _, each in reader.trace(trace_id, limit=limit)]
        assert read == spans[:limit]


def test_several_traces_are_read_at_once_each_as_it_is_alone(scattered):
    reader, whole = scattered
    ids = [pairs[0][1].trace_id.hex() for pairs in whole if pairs]

    found = reader.traces(ids)

    assert found == {pairs[0][1].trace_id.hex(): pairs for pairs in whole if pairs}
    assert reader.traces([]) == {}


def test_of_several_traces_together_too_large_the_small_ones_are_read_whole(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(traces, "SPANS_MAX", 4)
    large = [span(n, trace=1) for n in range(1, 4)]
    small = [span(n, trace=2) for n in range(4, 6)]
    reader = kept(tmp_path, ("api", large + small))

    found = reader.traces([f"{trace:032x}" for trace in (1, 2)])

    assert {int(trace, 16): len(pairs) for trace, pairs in found.items()} == {2: 2}


def test_traces_alike_are_those_nearest_and_first_those_that_begin_alike(tmp_path):
    def at(minutes, trace, **more):
        return span(trace, trace=trace, at_ns=NOW_NS + minutes * MINUTE_NS, name="a", **more)

    here = at(0, 1)
    others = [at(-3, 2), at(2, 3), at(1, 4, parent=9), at(-50, 5), at(-70, 6)]
    reader = kept(tmp_path, ("api", [here, *others]), ("db", [at(0, 7)]))
    around = {"since_ns": NOW_NS - HOUR_NS, "until_ns": NOW_NS + HOUR_NS}

    found = reader.alike((Resource("api"), here), **around, limit=10)
    summed = reader.summaries(found, **around)

    assert found == [others[n].trace_id.hex() for n in (1, 0, 3, 2)]
    assert [one.id for one in summed] == [others[n].trace_id.hex() for n in (1, 2, 0, 3)]
    assert reader.alike((Resource("api"), here), **around, limit=1) == found[:1]


def test_traces_that_begin_below_a_parent_that_is_nowhere_have_others_that_do_first(tmp_path):
    def at(minutes, trace, number=1, parent=99, name="a"):
        at_ns = NOW_NS + minutes * MINUTE_NS
        return span(number, trace=trace, at_ns=at_ns, name=name, parent=parent)

    here = at(0, 1)
    below = [one for n in (2, 3, 4) for one in (at(0, n, 5, 0, "b"), at(0, n, 6, 5))]
    begin = [at(3, 7), at(-2, 8), at(1, 9, parent=0)]
    reader = kept(tmp_path, ("api", [here, *below, *begin]))
    around = {"since_ns": NOW_NS - HOUR_NS, "until_ns": NOW_NS + HOUR_NS}

    found = reader.alike((Resource("api"), here), **around, limit=4)

    assert [int(one, 16) for one in found] == [9, 8, 7, 2]


def test_what_is_as_asked_in_the_time_asked_for_is_looked_at_first(tmp_path, monkeypatch):
    monkeypatch.setattr(traces, "TRACES_MAX", 3)
    rare = span(1, trace=1, at_ns=NOW_NS)
    many = [span(n, trace=n, at_ns=NOW_NS + n) for n in range(2, 9)]
    reader = kept(tmp_path, ("rare", [rare]), ("common", many))

    found = reader.find_traces(since_ns=NOW_NS, service="rare")
    assert [int(one.id, 16) for one in found] == [1]


def test_of_an_object_store_files_of_the_days_around_are_enough(tmp_path):
    near = span(2, parent=1, at_ns=NOW_NS - 20 * HOUR_NS)
    far = span(3, parent=1, at_ns=NOW_NS - 30 * HOUR_NS)
    kept(tmp_path, ("api", [span(1)]), ("api", [near]), ("api", [far]))

    for asked in ({}, {"service": "api"}):
        (found,) = Reader(tmp_path.as_uri()).find_traces(since_ns=NOW_NS - HOUR_NS, **asked)
        assert (found.spans, found.root) == (2, "op1")
