"""statsd lines of every dialect are read, and one bad line costs one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.model import Event
from nilometer.wire.statsd import Sample, SampleType, decode, event_of

C, G, MS, H, D, S = (SampleType(word) for word in ("c", "g", "ms", "h", "d", "s"))


def of(packet):
    samples, refused = decode(packet)
    assert refused == {}
    return samples


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # Etsy
        (b"n:3|c", [Sample("n", C, 3, 1.0, ())]),
        (b"n:3|c|@0.1", [Sample("n", C, 3, 10.0, ())]),
        (b"n:320|ms|@0.5", [Sample("n", MS, 320, 2.0, ())]),
        (b"n:1.5|g", [Sample("n", G, 1.5, 1.0, ())]),
        (b"n:+5|g", [Sample("n", G, 5, 1.0, (), relative=True)]),
        (b"n:-5|g", [Sample("n", G, -5, 1.0, (), relative=True)]),
        (b"n:1|g|@0.1", [Sample("n", G, 1, 1.0, ())]),
        (b"users:765|s", [Sample("users", S, 1, 1.0, (), text="765")]),
        (b"n:1|c:2|c", [Sample("n", C, 1, 1.0, ()), Sample("n", C, 2, 1.0, ())]),
        (b"n:1|c:200|ms", [Sample("n", C, 1, 1.0, ()), Sample("n", MS, 200, 1.0, ())]),
        (b"n:1|c|@0.5:7|g", [Sample("n", C, 1, 2.0, ()), Sample("n", G, 7, 1.0, ())]),
        # DogStatsD 1.0
        (b"n:1|c|@0.5|#a:1,b", [Sample("n", C, 1, 2.0, (("a", "1"), ("b", "")))]),
        (b"n:1|c|#a:1,b|@0.5", [Sample("n", C, 1, 2.0, (("a", "1"), ("b", "")))]),
        (b"n:2|h|#z:1,a:2", [Sample("n", H, 2, 1.0, (("a", "2"), ("z", "1")))]),
        (b"u:a:b|s|#k:v", [Sample("u", S, 1, 1.0, (("k", "v"),), text="a:b")]),
        (b"n:-5|g|#k:v", [Sample("n", G, -5, 1.0, (("k", "v"),))]),
        # 1.1 to 1.6
        (
            b"n:1:2|d|#k:v",
            [Sample("n", D, 1, 1.0, (("k", "v"),)), Sample("n", D, 2, 1.0, (("k", "v"),))],
        ),
        (b"n:1|c|#k:v|c:83c0a99c", [Sample("n", C, 1, 1.0, (("k", "v"),))]),
        (
            b"n:1|c|#k:v|T1656581400",
            [Sample("n", C, 1, 1.0, (("k", "v"),), 1656581400 * 10**9)],
        ),
        (b"n:1|d|T1656581400", [Sample("n", D, 1, 1.0, ())]),
        (b"n:1|g|#k:v|c:ci-83c0a99c", [Sample("n", G, 1, 1.0, (("k", "v"),))]),
        (b"n:1|g|#k:v|c:in-1234", [Sample("n", G, 1, 1.0, (("k", "v"),))]),
        (b"n:1|g|#k:v|e:it-false,cn-nginx", [Sample("n", G, 1, 1.0, (("k", "v"),))]),
        (b"n:1|g|#k:v|card:low", [Sample("n", G, 1, 1.0, (("k", "v"),))]),
        # Influx, Librato, SignalFx, Graphite
        (b"n,k=v,k2=v2:32|g", [Sample("n", G, 32, 1.0, (("k", "v"), ("k2", "v2")))]),
        (b"n,u=http://x:32|g", [Sample("n", G, 32, 1.0, (("u", "http://x"),))]),
        (b"n#k=v,b=c:0|c", [Sample("n", C, 0, 1.0, (("b", "c"), ("k", "v")))]),
        (b"n[k=v,b=c]:0|c", [Sample("n", C, 0, 1.0, (("b", "c"), ("k", "v")))]),
        (b"n.a[k=v].b:0|c", [Sample("n.a.b", C, 0, 1.0, (("k", "v"),))]),
        (b"n;k=v;b=c:1|c", [Sample("n", C, 1, 1.0, (("b", "c"), ("k", "v")))]),
        # Monasca, repr and JSON
        (
            b"n:1|c|@0.5|#{'k': 'v', 'b': \"it's\"}",
            [Sample("n", C, 1, 2.0, (("b", "it's"), ("k", "v")))],
        ),
        (
            b'n:1|c|#{"k": "v", "e": "\\u00e9\\ud83d\\ude00"}',
            [Sample("n", C, 1, 1.0, (("e", "\u00e9\U0001f600"), ("k", "v")))],
        ),
        (b"n:5|r|#{u'k': u'v'}", [Sample("n", SampleType.RATE, 5, 1.0, (("k", "v"),))]),
        (b"n:-5|g|#{'k': 'v'}", [Sample("n", G, -5, 1.0, (("k", "v"),))]),
        # statsite
        (b"n:5|kv", [Sample("n", SampleType.KEY_VALUE, 5, 1.0, ())]),
        # line ends of all kinds
        (
            b"n:3|c\r\n\n  \nm:.5e1|ms\n",
            [Sample("n", C, 3, 1.0, ()), Sample("m", MS, 5.0, 1.0, ())],
        ),
    ],
)
def test_every_dialect_is_read(line, expected):
    assert of(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            b"n:1|c|#host:h1,env:prod",
            (("env", "prod"), ("host", "h1")),
        ),  # lost the first letter
        (b"n:1|c|#host:h1,last", (("host", "h1"), ("last", ""))),  # dropped the last
        (b"n:1|c|#url:http://x", (("url", "http://x"),)),  # read as {'http': '//x'}
        (b"n:1|c|#{'k': 'a|b'}", (("k", "a|b"),)),  # SyntaxError
        (b"n:1|c|#{'k': 'a}b', 'l': '{'}", (("k", "a}b"), ("l", "{"))),
        (b"n:1|c|#{'z': 1, 'y': None, 'x': True}", (("x", "true"), ("y", "None"), ("z", "1"))),
        (b"n:1|c|", ()),  # IndexError
        (b"n:1|c|#{}", ()),
        (b"n:1|c|#", ()),
    ],
)
def test_no_dimension_is_lost_or_changed_as_monasca_agent_does(line, expected):
    assert of(line) == [Sample("n", C, 1, 1.0, expected)]


def test_packed_values_are_all_taken():
    assert [s.value for s in of(b"n:1:2:3|c")] == [1, 2, 3]


def test_the_order_of_dimensions_does_not_matter():
    one, other = of(b"n:1|c|#a:1,b:2"), of(b"n:1|c|#b:2,a:1")

    assert one == other


def test_values_given_under_one_key_are_joined_in_one_order():
    assert (
        of(b"n:1|c|#a:2,a:1")[0].dimensions
        == of(b"n:1|c|#a:1,a:2")[0].dimensions
        == (("a", "1,2"),)
    )


BAD = [
    ("encoding", b"n\xff:1|c"),
    ("form", b"rubbish"),
    ("form", b"n|c"),
    ("name", b":1|c"),
    ("name", b"n[k=v:1|c"),
    ("type", b"n:1|x"),
    ("type", b"n:1|"),
    ("value", b"n:|c"),
    ("value", b"n:nan|g"),
    ("value", b"n:inf|g"),
    ("value", b"n:1e999|g"),
    ("value", b"n:1_000|c"),
    ("value", "n:\u0663|c".encode()),
    ("rate", b"n:1|c|@0"),
    ("rate", b"n:1|c|@-1"),
    ("rate", b"n:1|c|@2"),
    ("rate", b"n:1|c|@x"),
    ("rate", b"n:1|c|@1e-300"),
    ("timestamp", b"n:1|c|Tx"),
    ("timestamp", b"n:1|c|T9999999999"),
    ("dimensions", b"n:1|c|#{'k': ['v']}"),
    ("dimensions", b"n:1|c|#{'k': {'v': 1}}"),
    ("dimensions", b"n:1|c|#{'k': 'v'"),
    ("dimensions", b"n:1|c|#{'k'}"),
    ("dimensions", b"n:1|c|#{'k': __import__('os')}"),
    ("dimensions", b"n:1|c|#{'k': '\\UFFFFFFFF'}"),
    ("event", b"_e{9,9}:ab|x"),
    ("event", b"_e{x,1}:a|b"),
    ("service-check", b"_sc|n|7"),
    ("service-check", b"_sc|n"),
    ("service-check", b"_sc|m:"),
]


@pytest.mark.parametrize(("reason", "line"), BAD)
def test_a_bad_line_is_counted_by_its_reason_and_the_rest_of_the_packet_kept(reason, line):
    samples, refused = decode(b"before:1|c\n" + line + b"\nafter:2|c\n")

    assert (samples, refused) == (
        [Sample("before", C, 1, 1.0, ()), Sample("after", C, 2, 1.0, ())],
        {reason: 1},
    )


def test_an_event_has_title_text_and_fields():
    line = b"_e{5,7}:ab|cd|one\\ntw|d:12|h:h1|k:key|p:low|s:src|t:error|#env:prod|c:id"

    [sample] = of(line)

    dims = {
        "aggregation_key": "key",
        "alert_type": "error",
        "env": "prod",
        "host": "h1",
        "priority": "low",
        "source_type_name": "src",
    }
    assert sample == Sample(
        "ab|cd", SampleType.EVENT, 1, 1.0, tuple(dims.items()), 12 * 10**9, text="one\ntw"
    )
    assert event_of(sample, now_ns=1) == Event(
        "ab|cd", 12 * 10**9, dims, severity=17, body="one\ntw"
    )


@pytest.mark.parametrize("line", ["_e{2,2}:\u00e9|ok", "_e{1,2}:\u00e9|ok"])
def test_lengths_of_an_event_may_count_bytes_or_characters(line):
    [sample] = of(line.encode())

    assert (sample.name, sample.text) == ("\u00e9", "ok")


def test_a_service_check_has_a_status_and_a_message_that_may_hold_bars():
    [sample] = of(b"_sc|redis.up|2|d:12|h:h1|#env:prod|m:down|gone\\nnow")

    dims = (("env", "prod"), ("host", "h1"))
    assert sample == Sample(
        "redis.up", SampleType.SERVICE_CHECK, 2, 1.0, dims, 12 * 10**9, text="down|gone\nnow"
    )
    assert event_of(sample, now_ns=1) == Event(
        "redis.up", 12 * 10**9, {**dict(dims), "status": 2}, severity=17, body="down|gone\nnow"
    )


pieces = st.sampled_from(
    [
        b"n",
        b":",
        b"1",
        b"|",
        b"c",
        b"ms",
        b"g",
        b"@",
        b"0.5",
        b"#",
        b"{",
        b"}",
        b"'",
        b'"',
        b"\\",
        b",",
        b"=",
        b"[",
        b"]",
        b";",
        b"_e{1,1}:",
        b"_sc|",
        b"T",
        b"-",
        b"\n",
        b"\xff",
        b" ",
        b"m:",
    ]
)


@given(st.one_of(st.binary(max_size=300), st.lists(pieces, max_size=60).map(b"".join)))
def test_any_bytes_give_samples_and_reasons_never_an_error(packet):
    samples, refused = decode(packet)

    assert all(isinstance(sample, Sample) for sample in samples)
    assert sum(refused.values()) <= packet.count(b"\n") + 1


@given(st.lists(pieces, max_size=60).map(b"".join).filter(lambda line: b"\n" not in line))
def test_no_line_takes_its_neighbours_along(line):
    samples, _ = decode(b"before:1|c\n" + line + b"\nafter:2|c")

    assert (samples[0], samples[-1]) == (
        Sample("before", C, 1, 1.0, ()),
        Sample("after", C, 2, 1.0, ()),
    )


@pytest.mark.parametrize(
    "line",
    [
        b"n:1|c|#{" + b"'" * 60000,
        b"n:1|c|#{'k':" + b"\\" * 60000,
        b"n:" + b"1:" * 30000 + b"1|c",
        b"n" + b"," * 60000 + b":1|c",
        b"n:1|c" + b"|" * 60000,
        b"n:1|c|#" + b"a:b," * 15000,
        b"n:" + b"9" * 60000 + b"|c",
        b"_e{" + b"9" * 60000,
        b"n,k=" + b"1:" * 30000 + b"1|c",
    ],
)
def test_the_largest_hostile_line_is_answered(line):
    samples, refused = decode(line + b"\nafter:2|c")

    assert samples[-1] == Sample("after", C, 2, 1.0, ())
    assert sum(refused.values()) <= 1
