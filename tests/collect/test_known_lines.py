"""Lines that came before are not read again, and say what they would if they were."""

import pytest

from nilometer.clock import Clock
from nilometer.collect import aggregate, known_lines
from nilometer.collect.aggregate import Aggregator
from nilometer.wire.statsd import decode

NAMES = [
    *(b"a", b"a.b", b"\xc3\xa9", b"\xff", b" a", b"a\t", b""),
    *(b"a,k=v", b"a[k=v]", b"a[k", b"a#k=v", b"a;k=v", b"n" * 300),
]
VALUES = [
    *(b"1", b"07", b"2.5", b"+3", b"-3", b"1e3", b"1.", b".5", b"nan", b"9" * 16, b"1:2"),
    *(b"", b"x", b"\xd9\xa3", b"1_0", b" 1", b"4", b"0.75", b"0"),
]
REST = [
    *(b"c", b"ms", b"g", b"h", b"d", b"s", b"r", b"kv", b"x", b"", b"c\r", b" c "),
    *(b"c|@0.1", b"ms|@0.3", b"c|@2", b"h|@0.5", b"g|@0.1", b"c|@0.5:3|c", b"c:2|ms"),
    *(b"c|#k:v", b"c|#b:2,a:1", b"c|#a:1,b:2", b"ms|#{'k': 'v'}", b"c|#\xff", b"g|c:abc"),
    *(b"c|T1700000000", b"g|T1700000000", b"ms|T1700000000", b"c|#k:" + b"v" * 300),
]
SPECIAL = [b"", b" ", b"noise", b"_e{1,1}:a|b", b"_sc|up|0", b"_sc|up|1"]
SPECIAL += [b"_sc:1|up|0", b"_sc|up:1|0", b"_sc|up:2|0"]


class Forgetful(known_lines.KnownLines):
    """Reads every line anew."""

    def remember(self, *_):
        pass


def told(packets, monkeypatch, *, known):
    monkeypatch.setattr(aggregate, "KnownLines", known)
    aggregator = Aggregator(Clock(lambda: 5, lambda: 7))
    refused = [dict(aggregator.take(packet)) for packet in packets]
    return refused, aggregator.flush()


@pytest.mark.parametrize("said", REST)
@pytest.mark.parametrize("name", NAMES)
def test_what_came_before_is_taken_as_if_it_were_read(name, said, monkeypatch):
    lines = [b"%b:%b|%b" % (name, value, said) for value in VALUES]
    packets = [b"\n".join([*SPECIAL, *lines]), *lines, b"\n".join(SPECIAL * 2)]

    read = told(packets, monkeypatch, known=Forgetful)

    assert told(packets, monkeypatch, known=known_lines.KnownLines) == read


@pytest.fixture
def lines_read(monkeypatch):
    read = []

    def reading(line):
        read.append(line)
        return decode(line)

    monkeypatch.setattr(aggregate, "decode", reading)
    return read


@pytest.mark.parametrize("said", [b"c", b"c|@0.1|#k:v", b"ms", b"g|#k:v", b"h", b"d"])
def test_a_line_is_read_once_whatever_its_value(said, lines_read):
    aggregator = Aggregator(Clock())
    for value in (b"1", b"2", b"3.5"):
        aggregator.take(b"a:%b|%b" % (value, said))

    assert lines_read == [b"a:1|" + said]


def test_a_line_is_read_again_once_its_series_was_forgotten(lines_read):
    elapsed = [0]
    aggregator = Aggregator(Clock(lambda: elapsed[0], lambda: 7))
    aggregator.take(b"a:1|c")
    elapsed[0] += aggregate.EXPIRE_NS + 1
    aggregator.flush()
    aggregator.take(b"a:2|c")

    (reading,), _ = aggregator.flush()
    assert reading.value == 2
    assert len(lines_read) == 2


def test_what_is_known_is_bounded(monkeypatch, lines_read):
    monkeypatch.setattr(known_lines, "KNOWN_MAX", 10)
    aggregator = Aggregator(Clock())
    for number in range(100):
        aggregator.take(b"a%d:1|c" % number)
    aggregator.take(b"b:1|c|#k:" + b"v" * known_lines.LINE_BYTES_MAX)
    aggregator.take(b"b:1|c|#k:" + b"v" * known_lines.LINE_BYTES_MAX)

    assert len(lines_read) == 102
    assert sum(reading.value for reading in aggregator.flush()[0]) == 102
    assert len(aggregator._known._known) <= 10
