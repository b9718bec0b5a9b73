"""What the benchmark of notifications puts into its queue is what a collector takes."""

from __future__ import annotations

from itertools import islice

from bench.notifications import points, updates
from nilometer.wire.notifications import opened
from nilometer.wire.osprofiler_points import point_of, spans_of_points


def test_each_update_is_a_notification_of_its_own() -> None:
    told = [opened(body) for body in islice(updates(), 100)]

    assert {one.name for one in told} == {"compute.instance.update"}
    assert len({one.identity for one in told}) == 100


def test_two_points_are_a_span_and_each_comes_once() -> None:
    told = [opened(body) for body in islice(points(), 2002)]
    spans = spans_of_points(point_of(one.message["payload"]) for one in told)

    assert len({one.identity for one in told}) == 2002
    assert len(spans) == 1001
    assert not any("osprofiler.lacking" in span.attributes for _, span in spans)
    assert len({span.trace_id for _, span in spans}) == 3
