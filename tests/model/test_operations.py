"""Starts find their ends as they belong together, each once, whatever came between them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.model.happening import NOTIFICATION, Happening
from nilometer.model.operations import (
    Timing,
    attempts_of,
    indicators_of,
    timings_of,
    tracked_of,
)

S = 10**9


def told(name, at_s, *, request="r", resource="i", publisher="compute.a", **more):
    service = publisher.partition(".")[0]
    more.setdefault("id", f"{name}/{at_s}/{request}/{resource}/{publisher}")
    facts = {"request_id": request, "resource_id": resource, "publisher": publisher}
    return Happening(NOTIFICATION, int(at_s * S), name, service, "h", **facts, **more)


def pairs(*happenings):
    """Each attempt: operation, when it started and ended."""
    return [
        (
            one.operation,
            one.start and one.start.at_ns / S,
            one.end and one.end.at_ns / S,
        )
        for one in attempts_of(happenings)
    ]


def test_a_start_and_an_end_of_one_request_and_resource_are_a_pair():
    assert pairs(
        told("create.end", 5, resource="j"),
        told("create.start", 1),
        told("create.start", 2, resource="j"),
        told("create.end", 4),
        told("create.end", 9, request="q"),
    ) == [("create", 1, 4), ("create", 2, 5), ("create", None, 9)]


def test_without_a_request_the_resource_has_to_be_the_same_and_without_both_there_is_no_pair():
    assert pairs(
        told("create.start", 0, request="", resource=""),
        told("create.start", 1, request="", resource="i"),
        told("create.end", 5, request="", resource="i"),
        told("create.end", 6, request="", resource="j"),
        told("create.end", 9, request="", resource=""),
    ) == [
        ("create", 0, None),
        ("create", 1, 5),
        ("create", None, 6),
        ("create", None, 9),
    ]


def test_two_attempts_on_two_hosts_are_two_and_the_end_is_of_its_own():
    assert pairs(
        told("create.start", 1, publisher="compute.a"),
        told("create.start", 2, publisher="compute.b"),
        told("create.end", 5, publisher="compute.a"),
        told("create.end", 9, publisher="compute.b"),
    ) == [("create", 1, 5), ("create", 2, 9)]


def test_an_attempt_that_failed_is_over_and_the_next_one_s_end_is_not_its():
    found = attempts_of(
        [
            told("create.start", 1),
            told("create.error", 3),
            told("create.start", 4, publisher="compute.b"),
            told("create.end", 6, publisher="compute.b"),
        ]
    )

    assert [(one.failed, one.duration_ns) for one in found] == [(True, None), (False, 2 * S)]


def test_an_operation_that_was_done_twice_is_paired_twice():
    assert pairs(
        *(told("snapshot.start", at) for at in (1, 10)),
        *(told("snapshot.end", at) for at in (3, 15)),
    ) == [("snapshot", 1, 3), ("snapshot", 10, 15)]


def test_a_start_that_does_not_know_its_resource_yet_finds_its_end():
    assert pairs(
        told("network.create.start", 1, resource=""),
        told("network.create.end", 2, resource="n"),
    ) == [("network.create", 1, 2)]


def test_an_end_finds_the_start_of_another_publisher_if_its_own_told_none():
    assert pairs(
        told("resize.start", 1, publisher="compute.a"),
        told("resize.end", 4, publisher="compute.b"),
    ) == [("resize", 1, 4)]


def test_what_starts_and_ends_at_the_same_moment_is_a_pair_of_no_time():
    assert pairs(told("sync.end", 1), told("sync.start", 1)) == [("sync", 1, 1)]


def test_other_notifications_are_of_no_operation():
    assert pairs(told("instance.update", 1), told("image.send", 2), told(".end", 3)) == []


names = st.sampled_from(["a.start", "a.end", "a.error", "b.start", "b.end", "other"])
happenings = st.builds(
    told,
    names,
    st.integers(0, 20),
    request=st.sampled_from(["", "r", "q"]),
    resource=st.sampled_from(["", "i", "j"]),
    publisher=st.sampled_from(["compute.a", "compute.b"]),
)


@given(st.lists(happenings, max_size=30))
def test_each_start_and_end_is_in_one_attempt_and_none_ends_before_it_starts(some):
    found = attempts_of(some)

    ends = [each for one in found for each in (one.start, one.end) if each is not None]
    assert sorted(ends) == sorted(e for e in some if e.name != "other")
    for one in found:
        if one.start and one.end:
            assert one.end.at_ns >= one.start.at_ns
            assert one.end.request_id == one.start.request_id
            assert one.start.resource_id in ("", one.end.resource_id)


def test_timings_are_of_those_that_ended_well_and_the_others_are_counted():
    some = [
        *(told("a.start", at, resource=str(at)) for at in range(1, 8)),
        *(told("a.end", at + at, resource=str(at)) for at in range(1, 5)),
        told("a.error", 20, resource="5"),
        told("a.end", 30, resource="nobody's"),
    ]

    assert timings_of(attempts_of(some), (0.5, 0.75, 1)) == [
        Timing("a", "", 4, 1 * S, 4 * S, 2.5 * S, (2 * S, 3 * S, 4 * S), 1, 2, 1)
    ]


@pytest.mark.parametrize(
    ("share", "place"), [(0.55, 55), (0.07, 7), (0.29, 29), (0.99, 99), (0.999, 100), (0, 1)]
)
def test_a_quantile_is_the_least_value_that_so_many_are_not_above(share, place):
    some = [told(f"a.{end}", at, request=str(n)) for n in range(1, 101)
            for end, at in (("start", 0), ("end", n))]  # fmt: skip

    [timing] = timings_of(attempts_of(some), (share,))

    assert timing.quantiles == (place * S,)


def test_an_operation_that_never_ended_has_no_times():
    assert timings_of(attempts_of([told("a.start", 1)]), (0.5,)) == [
        Timing("a", "", 0, None, None, None, (None,), 0, 1, 0)
    ]


def test_timings_by_project_are_of_one_project_each():
    some = [
        told(f"a.{what}", at + took, request=project, project_id=project)
        for project, took in (("p", 2), ("q", 5))
        for what, at in (("start", 0), ("end", took))
    ]

    found = timings_of(attempts_of(some), by_project=True)

    assert [(one.project_id, one.completed, one.maximum_ns) for one in found] == [
        ("p", 1, 2 * S),
        ("q", 1, 5 * S),
    ]


@pytest.mark.parametrize("asked", ["compute.instance.update", "instance.update"])
def test_the_clock_of_a_request_starts_at_the_api_and_every_end_moves_it(asked):
    some = [
        told("scheduler.select.start", 0, resource="", publisher="scheduler.a"),
        told(asked, 1, publisher="api.a"),
        told(asked, 2, publisher="api.a"),
        told(asked, 0.5, publisher="compute.a"),
        told("network.create.end", 4, resource="n", publisher="network.a"),
        told("compute.instance.create.start", 3),
        told("compute.instance.create.end", 6),
        told("compute.instance.finish.end", 9),
    ]

    assert [(one.operation, one.duration_ns) for one in tracked_of(some)] == [
        ("network.create", 4 * S),  # nova's API said nothing of it: since the request began
        ("compute.instance.finish", 8 * S),
    ]


def test_an_end_of_which_nobody_told_how_it_began_has_no_time_and_is_counted():
    some = [
        told("a.end", 5, request="lost"),
        told("a.start", 6, request="lost", resource="another"),  # begins nothing that is over
        told("a.error", 5, request="failed"),
        told("a.start", 1),
        told("a.end", 4),
    ]

    assert indicators_of(tracked_of(some), (0.5,)) == [
        Timing("a", "", 1, 3 * S, 3 * S, 3.0 * S, (3 * S,), 1, 0, 1)
    ]


def test_a_request_that_failed_has_no_part_in_the_times_and_is_counted():
    some = [
        told("compute.instance.update", 1, publisher="api.a", project_id="p"),
        told("compute.instance.create.error", 4, project_id="p"),
        told("compute.instance.update", 1, publisher="api.a", request="q", project_id="p"),
        told("compute.instance.create.end", 3, request="q", project_id="p"),
    ]

    assert indicators_of(tracked_of(some), (0.5,)) == [
        Timing("compute.instance.create", "p", 1, 2 * S, 2 * S, 2.0 * S, (2 * S,), 1, 0, 0)
    ]
