"""Prometheus' text and OpenMetrics: read strictly by line, one bad line is a fault told."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.counters import exposition
from nilometer.counters.exposition import Family, Sample, counters_of, parse

NODE = Path(__file__).parent.parent / "data" / "counters" / "prometheus" / "node_exporter.txt"
LABEL_NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True)
TEXTS = st.text(max_size=20).filter(lambda text: "\r" not in text and text.isprintable())

OPENMETRICS = """\
# HELP http_requests Requests, by \\"kind\\"\\nand more.
# TYPE http_requests counter
http_requests_total{code="200"} 1027 1395066363.000 # {trace_id="KOO5S4vxi0o"} 0.67 1520879
http_requests_created{code="200"} 1605281325.0
# TYPE latency_seconds histogram
# UNIT latency_seconds seconds
latency_seconds_bucket{le="0.1"} 3 # {trace_id="a}b"} 0.05
latency_seconds_bucket{le="+Inf"} 4
latency_seconds_count 4
latency_seconds_sum 1.5e+00
# TYPE build info
build_info{version="1.2"} 1
# TYPE feature stateset
feature{feature="a"} 1
# TYPE queue gaugehistogram
queue_bucket{le="+Inf"} 3
queue_gcount 3
queue_gsum 9
# TYPE temperature gauge
temperature -3.5
# EOF
"""

TEXT = """\
# HELP http_requests_total The total number.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total { method = "post" , code="400" , }   3
# Minimalistic line:
metric_without_timestamp_and_labels 12.47
something_weird{problem="division by zero \\"x\\" C:\\\\DIR\\nend"} +Inf -3982045
# TYPE rpc_seconds summary
rpc_seconds{quantile="0.5"} 4773
rpc_seconds_sum 1.7560473e+07
rpc_seconds_count 2693
old_total 7
plain 8
{"http.server.duration_count", "http.route"="/a"} 5
"""


def counted(text: str) -> dict[tuple, tuple]:
    return {(s.name, s.labels): (s.value, grows) for s, _, grows in counters_of(parse(text))}


def test_openmetrics_counters_gauges_and_sums_are_read_and_the_rest_left() -> None:
    assert counted(OPENMETRICS) == {
        ("http_requests_total", (("code", "200"),)): (1027, True),
        ("latency_seconds_count", ()): (4, True),
        ("latency_seconds_sum", ()): (1.5, True),
        ("queue_gcount", ()): (3, False),
        ("queue_gsum", ()): (9, False),
        ("temperature", ()): (-3.5, False),
    }
    assert parse(OPENMETRICS).faults == ()
    families = parse(OPENMETRICS).families
    assert families["http_requests"] == Family("counter", 'Requests, by "kind"\nand more.')
    assert families["latency_seconds"].unit == "seconds"


def test_the_older_text_is_read_with_its_escapes_and_spaces() -> None:
    labels = (("problem", 'division by zero "x" C:\\DIR\nend'),)

    assert counted(TEXT) == {
        ("http_requests_total", (("code", "200"), ("method", "post"))): (1027, True),
        ("http_requests_total", (("code", "400"), ("method", "post"))): (3, True),
        ("metric_without_timestamp_and_labels", ()): (12.47, False),
        ("something_weird", labels): (math.inf, False),
        ("rpc_seconds_sum", ()): (17560473, True),
        ("rpc_seconds_count", ()): (2693, True),
        ("old_total", ()): (7, True),
        ("plain", ()): (8, False),
        ("http.server.duration_count", (("http.route", "/a"),)): (5, True),
    }
    assert parse(TEXT).faults == ()


def test_all_that_a_real_exporter_shows_is_read() -> None:
    text = NODE.read_text()
    shown = parse(text)
    lines = [line for line in text.splitlines() if line and line[0] != "#"]

    assert (len(shown.samples), shown.faults) == (len(lines), ())
    assert Sample("node_exporter_build_info", shown.samples[0].labels, 1)
    cpu = [s for s in shown.samples if s.name == "node_cpu_seconds_total"]
    assert {dict(sample.labels)["mode"] for sample in cpu} >= {"idle", "user", "system"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("9name 1", "no name"),
        ("name", "no value"),
        ("name one", "no value"),
        ("name 1 2 3", "no value"),
        ("name 0x10", "no value"),
        ("name 1_000", "no value"),
        ('name{a="1" 1', "labels that cannot be read"),
        ('name{a="1"b="2"} 1', "labels that cannot be read"),
        ("name{a=1} 1", "labels that cannot be read"),
        ('name{a="\\"} 1', "labels that cannot be read"),
        ('name{a="1",a="2"} 1', "a label is there twice"),
        ('{a="1"} 1', "no name"),
        ("good 1", "this series was there before"),
        ("# TYPE name color", "not a type"),
    ],
)
def test_a_line_that_cannot_be_read_is_told_and_the_others_count(line: str, why: str) -> None:
    shown = parse(f"good 1\n{line}\nother 2\n")

    assert [sample.name for sample in shown.samples] == ["good", "other"]
    assert shown.faults == (f"line 2: {why}: {line!r}",)


def test_many_bad_lines_are_told_by_the_first_and_their_number() -> None:
    shown = parse("bad\n" * 10)

    assert (len(shown.faults), shown.faults[-1]) == (4, "7 more such lines")


def test_no_more_samples_are_read_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "SAMPLES_MAX", 2)

    shown = parse("a 1\nb 2\nc 3\nd 4")

    assert [sample.name for sample in shown.samples] == ["a", "b"]
    assert shown.faults == ("line 3 and what follows: over 2 samples",)


@given(
    st.dictionaries(LABEL_NAMES, TEXTS, max_size=4),
    st.integers(-(2**70), 2**70) | st.floats(allow_nan=False),
)
def test_what_is_written_by_the_rules_is_read_back(labels: dict, value: float) -> None:
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    inside = ",".join(f'{name}="{escaped(text)}"' for name, text in labels.items())
    shown = parse(f"m{{{inside}}} {value} 123\n")

    assert shown.faults == ()
    assert shown.samples == (Sample("m", tuple(sorted(labels.items())), value),)


@given(st.text(max_size=300) | st.text(alphabet='a{}="\\#, 1.e+\n', max_size=120))
def test_any_text_is_read_and_never_raises(text: str) -> None:
    shown = parse(text)

    assert all(isinstance(sample.value, int | float) for sample in shown.samples)
    list(counters_of(shown))


def test_no_line_takes_for_ever() -> None:
    hard = 'm{a="' + "\\" * 50_000 + "\n" + "m{" + 'a="",' * 20_000 + "\nm " + " " * 50_000

    assert parse(hard).samples == ()
