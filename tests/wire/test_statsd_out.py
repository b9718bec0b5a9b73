"""What statsd daemons get from us, and that they combine it rightly."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.model import Distribution, Kind, Reading, dimensions_of
from nilometer.wire.statsd import Dialect, Sample, SampleType, datagrams, decode, encode

TENANT = (("method", "GET"), ("tenant", "acme"))


def counter(value=3, dims=TENANT, name="api.requests", **more):
    return Reading(name, Kind.COUNTER, dims, value, 0, 10, **more)


def gauge(value, dims=()):
    return Reading("pool.used", Kind.GAUGE, dims, value, 0, 10)


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (Dialect.ETSY, b"api.requests.method.GET.tenant.acme:3|c\n"),
        (Dialect.DOGSTATSD, b"api.requests:3|c|#method:GET,tenant:acme\n"),
        (Dialect.MONASCA, b'api.requests:3|c|#{"method": "GET", "tenant": "acme"}\n'),
    ],
)
def test_each_dialect_has_one_way_to_write_dimensions(dialect, expected):
    assert encode([counter()], dialect) == [expected]


def test_a_prefix_and_the_dimensions_of_the_process_are_added_and_yield_to_the_reading():
    lines = encode(
        [counter()],
        Dialect.DOGSTATSD,
        prefix="shop",
        dimensions=(("host", "c1"), ("tenant", "process")),
    )

    assert lines == [b"shop.api.requests:3|c|#host:c1,method:GET,tenant:acme\n"]


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (Dialect.ETSY, "boot.count:4|c boot.sum:10.5|c boot.min:1|ms boot.max:5|ms"),
        (Dialect.DOGSTATSD, "boot.count:4|c boot.sum:10.5|c boot.min:1|d boot.max:5|d"),
        (Dialect.MONASCA, "boot.count:4|c boot.sum:10500000|c boot.min:1|g boot.max:5|g"),
    ],
)
def test_a_timer_goes_out_as_milliseconds_in_types_that_combine_rightly(dialect, expected):
    values = Distribution.of([1_000_000, 2_000_000, 2_500_000, 5_000_000])
    reading = Reading("boot", Kind.DISTRIBUTION, (), values, 0, 10, unit="ns")

    lines = [line.decode().strip() for line in encode([reading], dialect)]

    assert lines[:4] == expected.split()
    assert [line.partition(":")[0] for line in lines[4:]] == [
        "boot.p50",
        "boot.p90",
        "boot.p99",
    ]


@pytest.mark.parametrize("dialect", [Dialect.ETSY, Dialect.DOGSTATSD])
def test_a_far_end_tells_count_sum_extremes_and_average_of_all_processes(dialect):
    workers = [[3, 1000, 700], [1, 8], [5000]]
    packet = b"".join(
        line
        for values in workers
        for line in encode(
            [Reading("t", Kind.DISTRIBUTION, (), Distribution.of(values), 0, 10)], dialect
        )
    )

    samples, refused = decode(packet)

    everything = [value for values in workers for value in values]
    by_name = {
        name: [s.value for s in samples if s.name == name]
        for name in ("t.count", "t.sum", "t.min", "t.max")
    }
    assert refused == {}
    assert (sum(by_name["t.count"]), sum(by_name["t.sum"])) == (6, sum(everything))
    assert (min(by_name["t.min"]), max(by_name["t.max"])) == (1, 5000)


class Agent:
    """Adds up as monasca-agent does: counters are made whole by `int()` at each flush."""

    def __init__(self):
        self.told = Counter()

    def flush(self, lines):
        added = Counter()
        for line in lines:
            samples, _ = decode(line)
            for one in samples:
                if one.type is SampleType.COUNTER:
                    added[one.name] += one.value
        self.told.update({name: int(value) for name, value in added.items()})


@pytest.mark.parametrize(
    ("unit", "value"), [("ns", 700), ("us", 0.7), ("ms", 0.0007), ("s", 0.0000007)]
)
def test_of_short_times_monasca_s_agent_keeps_the_whole_sum(unit, value):
    agent = Agent()
    times = Distribution.of([value] * 3)
    readings = [Reading("t", Kind.DISTRIBUTION, (), times, 0, 10, unit=unit)]
    readings.append(counter(value, dims=(), name="busy", unit=unit))
    for _ in range(10):
        agent.flush(encode(readings, Dialect.MONASCA))

    assert agent.told == {"t.count": 30, "t.sum": 21_000, "busy": 7_000}


def test_a_negative_gauge_is_set_from_zero_in_one_packet_never_cut_apart():
    lines = encode([gauge(1), gauge(-5)], Dialect.ETSY)

    assert lines == [b"pool.used:1|g\n", b"pool.used:0|g\npool.used:-5|g\n"]
    assert list(datagrams(lines, 30)) == [lines[0], lines[1]]


@pytest.mark.parametrize("dialect", [Dialect.DOGSTATSD, Dialect.MONASCA])
def test_a_negative_gauge_with_tags_is_absolute_and_no_zero_comes_before_it(dialect):
    (line,) = encode([gauge(-5, dims=(("pool", "main"),))], dialect)
    (sample,), _ = decode(line)

    assert line.startswith(b"pool.used:-5|g|#")
    assert (sample.value, sample.relative) == (-5, False)


def test_what_others_count_from_their_start_is_not_added_up_again():
    assert encode([counter(cumulative=True, dims=())], Dialect.ETSY) == [b"api.requests:3|g\n"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, b"0.1"),
        (3.0, b"3"),
        (2**70, b"1180591620717411303424"),
        (1e22, b"1e+22"),
        (-0.0, b"0"),
    ],
)
def test_numbers_are_written_as_short_as_they_read_back(value, text):
    assert encode([gauge(value)], Dialect.ETSY) == [b"pool.used:" + text + b"|g\n"]


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), pytest.param(10**5000, id="digits")]
)
def test_what_no_statsd_can_read_is_left_out_and_counted(value):
    lost = Counter()

    assert encode([gauge(value), gauge(1)], Dialect.ETSY, lost=lost) == [b"pool.used:1|g\n"]
    assert lost == {"not_finite": 1}


HOSTILE = "a|b:1|c\nx:1|c#,@{}'\"\\;&=\u2028\udcff\x00 "


@pytest.mark.parametrize("dialect", Dialect)
def test_hostile_names_and_values_stay_one_line_of_one_series(dialect):
    reading = counter(name=HOSTILE, dims=((HOSTILE, HOSTILE),))

    [line] = encode([reading], dialect)
    samples, refused = decode(line)

    assert (line.count(b"\n"), len(samples), refused) == (1, 1, {})
    assert samples[0].value == 3
    assert len(samples[0].dimensions) == (0 if dialect is Dialect.ETSY else 1)


def test_monasca_is_spared_what_makes_it_refuse_a_measurement():
    dims = (("__k", "v"), ("empty", ""), ("long", "x" * 300))

    [line] = encode([counter(dims=dims)], Dialect.MONASCA)

    assert line == b'api.requests:3|c|#{"k": "v", "long": "' + b"x" * 255 + b'"}\n'


def test_a_name_with_any_of_our_suffixes_is_as_long_as_monasca_takes():
    [line] = encode([counter(name="n" * 300)], Dialect.MONASCA)

    assert len(line.partition(b":")[0] + b".count") == 255


def test_no_line_is_cut_or_lost_and_one_too_long_is_counted():
    lines = [b"a" * 9 + b"\n", b"b" * 19 + b"\n", b"c" * 31 + b"\n", b"d" * 29 + b"\n"]
    lost = Counter()

    packets = list(datagrams(lines, 30, lost=lost))

    assert packets == [lines[0] + lines[1], lines[3]]
    assert list(datagrams(lines[:2], 29)) == lines[:2]
    assert lost == {"too_long": 1}


names = st.text(st.sampled_from("abc_.-|:\n#,@{}'\"\u00e9\ud800 "), max_size=8)
readings = st.builds(
    Reading,
    names,
    st.sampled_from([Kind.COUNTER, Kind.GAUGE]),
    st.dictionaries(names, names, max_size=3).map(dimensions_of),
    st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
    st.just(0),
    st.just(0),
)


@given(st.lists(readings, max_size=8), st.sampled_from(Dialect), st.integers(60, 300))
def test_what_was_encoded_is_decoded(series, dialect, bytes_max):
    lost = Counter()
    lines = encode(series, dialect, lost=lost)
    packets = list(datagrams(lines, bytes_max, lost=lost))

    assert b"".join(packets) == b"".join(line for line in lines if len(line) <= bytes_max)
    assert all(len(packet) <= bytes_max for packet in packets)
    decoded = [decode(line) for line in lines]
    assert [refused for _, refused in decoded] == [{}] * len(lines)
    assert [samples[-1].value for samples, _ in decoded] == [
        r.value if abs(r.value) < 10**18 else float(r.value) for r in series
    ]


def tags_of(dims):
    return tuple((key, value) for key, value in dims if key)


clean = st.text(st.sampled_from("abcXYZ019_.-/ \u00e9"), min_size=1, max_size=8).map(str.strip)
clean_dims = st.dictionaries(
    clean.filter(lambda k: k and not k.startswith("_")), clean.filter(bool), max_size=3
)


@given(clean_dims, st.sampled_from([Dialect.DOGSTATSD, Dialect.MONASCA]))
def test_clean_dimensions_come_back_as_they_were(mapping, dialect):
    dims = tuple((k.replace(" ", "_"), v) for k, v in sorted(mapping.items()))
    dims = dimensions_of(dict(dims))

    [line] = encode([counter(dims=dims)], dialect)

    assert decode(line)[0] == [Sample("api.requests", SampleType.COUNTER, 3, 1.0, dims)]
