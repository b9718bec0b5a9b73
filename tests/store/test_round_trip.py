"""What goes into the tables comes out of them equal."""

import math
import tempfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nilometer.clock import Clock
from nilometer.model import Batch, Distribution, Event, Kind, Resource, SpanKind
from nilometer.store import jsontext
from nilometer.store.columns import parts, table_of
from nilometer.store.lake import Lake
from nilometer.store.query import Reader
from nilometer.store.rows import events_of, readings_of, rejected_of, spans_of
from nilometer.store.tables import TABLES, file_schema
from tests.store.batches import NOW_NS, attributes, batches, counted, one_of_each, span

READ = {
    "spans": spans_of,
    "readings": readings_of,
    "events": events_of,
    "rejected": rejected_of,
}
CLOCK = Clock(wall_ns=lambda: NOW_NS)


def expected(batch):
    return {
        "spans": [(batch.resource, each) for each in batch.spans],
        "readings": [(batch.resource, each) for each in batch.readings],
        "events": [(batch.resource, each) for each in batch.events],
        "rejected": [(batch.resource, each) for each in batch.rejected],
    }


def through_arrow(batch):
    found = {name: [] for name in READ}
    for name, part in parts(batch).items():
        rows = table_of(name, [part], 1)
        assert rows.schema == file_schema(name)
        found[name] = READ[name](rows.to_pylist())
    return found


@given(batches)
@settings(max_examples=100)
def test_rows_through_arrow_are_the_batch_again(batch):
    assert through_arrow(batch) == expected(batch)


def apart(batch, number):
    """The same batch of another process and other traces: a span id may come only once."""
    spans = tuple(s._replace(trace_id=bytes([number]) + s.trace_id[1:]) for s in batch.spans)
    unique = {(s.trace_id, s.span_id): s for s in spans}
    return batch._replace(
        resource=batch.resource._replace(pid=number), spans=tuple(unique.values())
    )


@given(st.lists(batches, min_size=1, max_size=3))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_rows_through_files_and_duckdb_are_the_batches_again(some):
    some = [apart(each, number) for number, each in enumerate(some)]
    with tempfile.TemporaryDirectory() as place:
        Lake(place, durability="os", clock=CLOCK).append(some)
        reader = Reader(place)
        for batch in some:
            for trace_id in {each.trace_id for each in batch.spans}:
                mine = [p for p in reader.trace(trace_id.hex()) if p[0] == batch.resource]
                told = [(batch.resource, s) for s in batch.spans if s.trace_id == trace_id]

                assert sorted(mine, key=repr) == sorted(told, key=repr)

        told = [(each.resource, event) for each in some for event in each.events]

        assert sorted(reader.events(), key=repr) == sorted(told, key=repr)


@given(batches)
def test_the_same_batch_has_the_same_delivery_in_every_process(batch):
    again = Batch(*batch)
    assert {n: p.delivery for n, p in parts(again).items()} == {
        n: p.delivery for n, p in parts(batch).items()
    }


def test_a_delivery_is_told_by_its_content_not_by_the_process():
    part = parts(Batch(Resource("api"), (counted(5),)))["readings"]

    assert part.delivery == -7333336586107668694


def test_batches_that_differ_in_anything_counted_are_different_deliveries():
    one, batch = one_of_each(1), Batch(Resource("api", "h", 1))
    some = [
        batch._replace(readings=(reading,))
        for reading in (
            counted(1),
            counted(2),
            counted(1, at_ns=NOW_NS + 1),
            counted(1, started_ns=NOW_NS - 1),
            counted(1, where={"a": "b"}),
            counted(1.5),
            counted(Distribution.of([1, 3]), kind=Kind.DISTRIBUTION),
            counted(Distribution.of([2, 2]), kind=Kind.DISTRIBUTION),
        )
    ]
    some += [batch._replace(spans=(each,)) for each in (span(1), span(2), span(1, trace=2))]
    some += [one._replace(events=one.events * n) for n in (1, 2)]
    some += [batch._replace(events=(one.events[0]._replace(body="b"),))]

    deliveries = [tuple(p.delivery for p in parts(each).values()) for each in some]

    assert len(set(deliveries)) == len(some)


@given(attributes)
def test_attributes_survive_json_text(found):
    assert jsontext.decode_attributes(jsontext.encode(found)) == found


def test_numbers_that_json_cannot_tell_survive_it():
    found = {"a": math.inf, "b": -math.inf, "float": "nan"}

    assert jsontext.decode_attributes(jsontext.encode(found)) == found
    assert math.isnan(jsontext.decode(jsontext.encode([math.nan]))[0])


def test_half_surrogates_become_the_replacement_character():
    batch = Batch(Resource("a\ud800"), (), (span(1, name="\udc00b", attributes={"\ud801": 1}),))

    [(resource, record)] = through_arrow(batch)["spans"]

    assert (resource.service, record.name, record.attributes) == ("a�", "�b", {"�": 1})


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (2**63 - 1, 2**63 - 1),
        (2**53 + 1, 2**53 + 1),
        (2**63, 2.0**63),
        (-(2**70), -(2.0**70)),
        (10**400, math.inf),
        (0.1, 0.1),
    ],
)
def test_whole_numbers_keep_64_bits_and_larger_ones_are_floats(value, kept):
    [(_, reading)] = through_arrow(Batch(Resource(), (counted(value),)))["readings"]

    assert (reading.value, type(reading.value)) == (kept, type(kept))


def test_counts_and_times_beyond_64_bits_are_kept_at_the_limit():
    big = Distribution(2**64, 2**64, 0, 2**64, {2**40: 2**64}, 2**64)
    reading = counted(big, kind=Kind.DISTRIBUTION, at_ns=2**64, started_ns=-(2**64))

    [(_, found)] = through_arrow(Batch(Resource(), (reading,)))["readings"]

    assert found.value.buckets == {2**40: 2**63 - 1}
    assert (found.value.samples, found.value.total) == (2**63 - 1, 2.0**64)
    assert (found.started_ns, found.ended_ns) == (-(2**63), 2**63 - 1)


def test_unknown_kinds_of_spans_are_kept_as_unspecified():
    odd = span(1)._replace(kind=77)

    [(_, found)] = through_arrow(Batch(Resource(), (), (odd,)))["spans"]

    assert found.kind is SpanKind.UNSPECIFIED


def test_events_inside_spans_keep_an_attribute_called_float():
    inner = Event("e", 5, {"float": "nan"})

    [(_, found)] = through_arrow(Batch(Resource(), (), (span(1, events=(inner,)),)))["spans"]

    assert found.events == (inner,)


def test_the_request_id_has_a_column_of_its_own():
    batch = Batch(Resource(), (), (span(1, attributes={"request_id": 7}), span(2)))
    rows = table_of("spans", [parts(batch)["spans"]], 1)

    assert rows.column("request_id").to_pylist() == ["7", None]


def test_every_column_says_what_it_means():
    assert [c.name for t in TABLES.values() for c in t.columns if not c.comment] == []
