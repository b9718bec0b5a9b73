"""Traces drawn for other tools: nothing lost, nothing that a hostile name can break."""

import json
import re
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.model import Event, Resource, SpanKind, SpanRecord, Status
from nilometer.model.tree import tree_of
from nilometer.wire import chrome, dot, osprofiler, speedscope
from nilometer.wire.lanes import lanes_of

API, WORKER = (
    Resource("api", "c1", 7, attributes=(("service.namespace", "shop"),)),
    Resource("work"),
)
TRACE = bytes(range(16))
MS = 1_000_000


def span(number, parent, name, begins, ends, **more):
    attributes = more.pop("attributes", {})
    return SpanRecord(
        TRACE,
        number.to_bytes(8),
        parent.to_bytes(8) if parent else b"",
        name,
        more.pop("kind", SpanKind.INTERNAL),
        1_700_000_000_000_000_000 + begins,
        1_700_000_000_000_000_000 + ends,
        attributes,
        **more,
    )


ROOT = span(1, 0, "GET /o", 0, 10 * MS, kind=SpanKind.SERVER,
            attributes={"http.request.method": "GET", "url.path": "/o"})  # fmt: skip
QUERY = span(
    2, 1, "db", 1 * MS, 3 * MS, attributes={"db.query.text": "SELECT 1", "nan": float("nan")}
)
ASKED = span(3, 1, "work", 4 * MS, 8 * MS, status=Status.ERROR, status_message="no",
             events=(Event("retry", 1_700_000_000_005_000_000, {"n": 2}),),
             attributes={"error.type": "ValueError"})  # fmt: skip
LATE = span(4, 3, "db", 7 * MS, 9 * MS)
LOST = span(5, 99, "orphan", 2 * MS, 2 * MS)
TREE = tree_of([(API, ROOT), (API, QUERY), (WORKER, ASKED), (WORKER, LATE), (API, LOST)])
UUID = "00010203-0405-0607-0000-00000000000"


def test_a_report_is_what_osprofiler_writes():
    report = json.loads(osprofiler.encode(TREE))

    base = {
        "base_id": "00010203-0405-0607-0809-0a0b0c0d0e0f",
        "project": "shop",
        "service": "api",
    }
    root = report["children"][0]
    ids = {**base, "trace_id": UUID + "1", "parent_id": base["base_id"]}
    assert report["info"] == {
        "name": "total",
        "started": 0,
        "finished": 10,
        "last_trace_started": 7,
    }
    assert report["stats"] == {
        "GET /o": {"count": 1, "duration": 10},
        "db": {"count": 2, "duration": 4},
        "work": {"count": 1, "duration": 4},
        "orphan": {"count": 1, "duration": 0},
    }
    assert {key: value for key, value in root.items() if key != "children"} == {
        "info": {
            "name": "GET /o",
            "project": "shop",
            "service": "api",
            "host": "c1",
            "started": 0,
            "finished": 10,
            "exception": "None",
            "meta.raw_payload.GET /o-start": {
                "name": "GET /o-start",
                **ids,
                "timestamp": "2023-11-14T22:13:20.000000",
                "info": {
                    "host": "c1",
                    "http.request.method": "GET",
                    "url.path": "/o",
                    "request": {"method": "GET", "path": "/o", "query": "", "scheme": ""},
                },
            },
            "meta.raw_payload.GET /o-stop": {
                "name": "GET /o-stop",
                **ids,
                "timestamp": "2023-11-14T22:13:20.010000",
                "info": {"host": "c1"},
            },
        },
        "trace_id": UUID + "1",
        "parent_id": base["base_id"],
    }
    asked = root["children"][1]
    assert [child["info"]["name"] for child in root["children"]] == ["db", "work"]
    assert (asked["info"]["exception"], asked["parent_id"]) == ("ValueError", UUID + "1")
    assert asked["info"]["meta.raw_payload.work-stop"]["info"] == {
        "host": "",
        "etype": "ValueError",
        "message": "no",
    }


WHERE = ("--connection-string", "unused://")  # it insists on one, even to read a file


def test_osprofilers_own_command_reads_the_report(tmp_path, capsys):
    shell = import_module("osprofiler.cmd.shell")
    report = tmp_path / "report.json"
    wsgi = span(1, 0, "wsgi", 0, 5)
    report.write_text(osprofiler.encode(tree_of([(API, wsgi), (API, span(2, 1, "rpc", 1, 2))])))

    shell.main(["trace", "show", str(report), "--json", *WHERE])
    shown = json.loads(capsys.readouterr().out)
    shell.main(["trace", "show", str(report), "--html", *WHERE])
    page = capsys.readouterr().out

    assert shown == json.loads(report.read_text())
    assert "meta.raw_payload.rpc-start" in page
    # Its --dot asks for a Python package that it does not install; it reads these members.
    top = shown["children"][0]["info"]
    assert top["meta.raw_payload.wsgi-start"]["info"]["request"] == dict.fromkeys(
        ("method", "path", "query", "scheme"), ""
    )
    rpc = shown["children"][0]["children"][0]["info"]
    assert rpc["meta.raw_payload.rpc-start"]["info"]["function"] == {"name": "rpc"}


def test_siblings_within_one_millisecond_keep_their_order():
    spans = [span(1, 0, "a", 0, 900), *(span(9 - i, 1, f"s{i}", i, i + 1) for i in range(1, 5))]
    report = json.loads(osprofiler.encode(tree_of([(API, one) for one in spans])))

    names = [child["info"]["name"] for child in report["children"][0]["children"]]
    assert names == ["s1", "s2", "s3", "s4"]


def test_the_time_of_a_name_within_itself_counts_once():
    spans = [span(1, 0, "f", 0, 9 * MS), span(2, 1, "g", 0, 8 * MS), span(3, 2, "f", 0, 7 * MS)]
    report = json.loads(osprofiler.encode(tree_of([(API, one) for one in spans])))

    assert report["stats"]["f"] == {"count": 2, "duration": 9}


def test_chrome_gets_a_process_per_resource_and_microseconds():
    events = json.loads(chrome.encode(TREE))["traceEvents"]

    names = {(e["pid"], e["args"]["name"]) for e in events if e["ph"] == "M"}
    spans = [
        (e["name"], e["pid"], e["tid"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"
    ]
    assert names == {(1, "api c1 7"), (2, "work")}
    assert spans == [
        ("GET /o", 1, 1, 0, 10000),
        ("db", 1, 1, 1000, 2000),
        ("orphan", 1, 2, 2000, 0),
        ("work", 2, 1, 4000, 4000),
        ("db", 2, 2, 7000, 2000),
    ]
    [query] = [e for e in events if e["name"] == "db" and e["pid"] == 1]
    [asked] = [e for e in events if e["name"] == "work"]
    [retry] = [e for e in events if e["ph"] == "i"]
    assert query["args"] == {
        "db.query.text": "SELECT 1",
        "nan": "nan",
        "span_id": "0000000000000002",
        "self_ms": 2.0,
    }
    assert (asked["args"]["error"], asked["cat"]) == ("no", "internal")
    assert (retry["ts"], retry["pid"], retry["args"]) == (5000, 2, {"n": 2})


def test_speedscope_gets_a_profile_per_lane():
    document = json.loads(speedscope.encode(TREE))

    assert document["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert document["shared"]["frames"][:2] == [
        {"name": "GET /o", "file": "api"},
        {"name": "db", "file": "api"},
    ]
    assert [p["name"] for p in document["profiles"]] == [
        "api c1 7 lane 1",
        "api c1 7 lane 2",
        "work lane 1",
        "work lane 2",
    ]
    assert document["profiles"][0] == {
        "type": "evented",
        "name": "api c1 7 lane 1",
        "unit": "nanoseconds",
        "startValue": 0,
        "endValue": 10 * MS,
        "events": [
            {"type": "O", "frame": 0, "at": 0},
            {"type": "O", "frame": 1, "at": 1 * MS},
            {"type": "C", "frame": 1, "at": 3 * MS},
            {"type": "C", "frame": 0, "at": 10 * MS},
        ],
    }


def test_dot_draws_boxes_and_arrows():
    assert dot.encode(TREE).splitlines() == [
        "digraph trace {",
        '  node [shape=box, fontname="sans-serif"];',
        '  n0 [label="api: GET /o\\n10.000 ms, self 4.000 ms"];',
        '  n1 [label="api: db\\n2.000 ms, self 2.000 ms"];',
        '  n2 [label="work: work\\n4.000 ms, self 3.000 ms", color="red", tooltip="no"];',
        '  n3 [label="work: db\\n2.000 ms, self 2.000 ms"];',
        '  n4 [label="api: orphan\\n0.000 ms, self 0.000 ms", style="dashed"];',
        "  n0 -> n1;",
        "  n0 -> n2;",
        "  n2 -> n3;",
        "}",
    ]


HOSTILE = '"];\n}\\N\\"&lt;\u2028\ud800\u202e\u2066</script>' + "x" * 200


def texts_of(document):
    """All texts in a JSON document, keys too."""
    if isinstance(document, dict):
        document = [*document, *document.values()]
    if isinstance(document, list):
        return [text for part in document for text in texts_of(part)]
    return [document]


def test_hostile_names_stay_text_in_every_format():
    bad = span(1, 0, HOSTILE, 0, 5, attributes={HOSTILE: HOSTILE}, status=Status.ERROR,
               status_message=HOSTILE)  # fmt: skip
    tree = tree_of([(Resource(HOSTILE), bad)])

    for codec in (osprofiler, chrome, speedscope):
        text = codec.encode(tree)
        assert text.isascii()
        assert HOSTILE in texts_of(json.loads(text, parse_constant=pytest.fail))
    [label, tooltip] = re.findall(r'="((?:[^"\\]|\\.)*)"', dot.encode(tree).splitlines()[2])[
        ::2
    ]
    assert len(dot.encode(tree).splitlines()) == 4
    assert '\\"];?}\\\\N\\\\\\"&amp;lt;????</script>xxx' in label
    assert dot.encode(tree).encode()
    assert tooltip.endswith("...")


def test_an_empty_trace_is_drawn():
    empty = tree_of([])

    assert json.loads(osprofiler.encode(empty)) == {
        "info": {"name": "total", "started": 0, "finished": None, "last_trace_started": None},
        "children": [],
        "stats": {},
    }
    assert json.loads(chrome.encode(empty)) == {"displayTimeUnit": "ns", "traceEvents": []}
    assert json.loads(speedscope.encode(empty))["profiles"] == []
    assert dot.encode(empty).splitlines()[-1] == "}"


def test_a_trace_deeper_than_python_recurses_is_drawn():
    deep = tree_of([(API, span(i, i - 1, "f", i, 99_999 - i)) for i in range(1, 5000)])

    def spans_in(nodes):
        return sum(1 + spans_in(node["children"]) for node in nodes)

    assert spans_in(json.loads(osprofiler.encode(deep))["children"]) == 4999
    assert osprofiler.encode(deep).count('"trace_id"') == 3 * 4999
    assert len(json.loads(chrome.encode(deep))["traceEvents"]) == 1 + 4999
    assert len(json.loads(speedscope.encode(deep))["profiles"][0]["events"]) == 2 * 4999
    assert dot.encode(deep).count("->") == 4998


trees = st.lists(
    st.tuples(
        st.sampled_from([API, WORKER]),
        st.builds(
            lambda number, parent, begins, lasts: span(
                number, parent, "f", begins, begins + lasts
            ),
            st.integers(1, 12),
            st.integers(0, 12),
            st.integers(0, 20),
            st.integers(-2, 20),
        ),
    ),
    max_size=12,
).map(tree_of)


@given(trees)
def test_in_a_lane_spans_nest_within_their_parents_only(tree):
    drawn = []
    for lane in lanes_of(tree):
        stack, now_ns = [], 0
        for step in lane.steps:
            assert step.at_ns >= now_ns
            now_ns = step.at_ns
            if step.opens:
                assert step.node.resource == lane.resource
                assert not stack or step.node in stack[-1].children
                assert step.at_ns == step.node.span.started_ns - tree.started_ns
                stack.append(step.node)
                drawn.append(step.node)
            else:
                assert stack.pop() is step.node
                assert (
                    step.at_ns
                    == step.node.span.started_ns - tree.started_ns + step.node.duration_ns
                )
        assert stack == []

    assert sorted(map(id, drawn)) == sorted(id(node) for node in tree.walk())


@given(trees)
def test_every_span_is_in_every_drawing(tree):
    assert osprofiler.encode(tree).count('\n{"info"') == tree.spans
    assert json.loads(osprofiler.encode(tree))["info"]["name"] == "total"
    assert chrome.encode(tree).count('"ph":"X"') == tree.spans
    assert speedscope.encode(tree).count('"type":"O"') == tree.spans
    assert len(re.findall(r"n\d+ \[", dot.encode(tree))) == tree.spans
