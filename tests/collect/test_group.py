"""Laws of the group commit: what is acknowledged is committed, and waiting is bounded."""

from __future__ import annotations

import asyncio
import threading

import pytest

from nilometer.clock import Clock
from nilometer.collect.group import (
    SAVED_MAX,
    WHOLE_BATCH_ROWS,
    GroupCommit,
    NotCommitted,
    Overloaded,
)
from nilometer.errors import StoreError
from nilometer.model import Batch, Event, Resource
from tests.store.batches import span


def batch(*names):
    return Batch(Resource("s"), events=tuple(Event(name, 1, {}) for name in names))


def names_of(batches):
    return [event.name for each in batches for event in each.events]


class Tables:
    """Stands in for the lake: remembers commits, fails on demand, can be held up."""

    def __init__(self):
        self.commits = []
        self.fail = lambda _batches: None
        self.open = threading.Event()
        self.open.set()

    def append(self, batches):
        self.open.wait(10)
        error = self.fail(batches)
        if error is not None:
            raise error
        self.commits.append(names_of(batches))


def run(scenario, tables, **options):
    async def whole():
        group = GroupCommit(tables.append, **options)
        try:
            return await scenario(group)
        finally:
            tables.open.set()
            await group.close()

    return asyncio.run(whole())


async def outcomes(*submissions):
    return await asyncio.gather(*submissions, return_exceptions=True)


def test_the_first_submission_after_a_quiet_time_is_committed_at_once():
    tables = Tables()

    async def scenario(group):
        await group.submit([batch("a")])

    run(scenario, tables, window_s=3600)

    assert tables.commits == [["a"]]


def test_those_who_come_while_a_commit_runs_share_the_next_one():
    tables = Tables()
    tables.open.clear()

    async def scenario(group):
        first = asyncio.create_task(group.submit([batch("a")]))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(group.submit([batch(n)])) for n in "bcd"]
        await asyncio.sleep(0.05)
        tables.open.set()
        await asyncio.gather(first, *others)

    run(scenario, tables, window_s=0)

    assert tables.commits == [["a"], ["b", "c", "d"]]


async def spend(group):
    """Use up the commits that were saved up, so that the next group waits for its window."""
    for _ in range(SAVED_MAX):
        await group.submit([batch("first")])


SPENT = [["first"]] * SAVED_MAX


def test_a_sender_that_waits_for_each_answer_is_not_held_up_after_a_quiet_time():
    """Spans, readings and events of one interval, and again what is left when it ends."""
    tables = Tables()

    async def scenario(group):
        for name in "abcdef":
            await asyncio.wait_for(group.submit([batch(name)]), 30)

    run(scenario, tables, window_s=3600)

    assert tables.commits == [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]


def test_no_more_commits_are_saved_up_however_long_it_was_quiet():
    tables = Tables()
    clock = Clock(wall_ns=lambda: 0, elapsed_ns=lambda: now)
    now = 0

    async def scenario(group):
        nonlocal now
        await spend(group)
        now = 1000 * 10**9
        await spend(group)
        late = asyncio.create_task(group.submit([batch("late")]))
        await asyncio.sleep(0.05)
        assert not late.done()
        group.hasten()
        await late

    run(scenario, tables, window_s=10, clock=clock)

    assert tables.commits == [*SPENT, *SPENT, ["late"]]


def test_a_full_group_does_not_wait_for_the_window():
    tables = Tables()

    async def scenario(group):
        await spend(group)
        await asyncio.gather(*(group.submit([batch(n)]) for n in "abc"))

    run(scenario, tables, window_s=3600, group_rows=3)

    assert tables.commits == [*SPENT, ["a", "b", "c"]]


def test_a_group_waits_until_its_window_is_over():
    tables = Tables()

    async def scenario(group):
        await spend(group)
        await asyncio.gather(group.submit([batch("a")]), group.submit([batch("b")]))

    run(scenario, tables, window_s=0.05)

    assert tables.commits == [*SPENT, ["a", "b"]]


def test_whoever_gives_a_whole_batch_need_not_wait_for_the_window():
    """Else a sender that waits for each answer would get one batch a window through."""
    tables = Tables()

    async def scenario(group):
        await spend(group)
        await asyncio.wait_for(group.submit([batch(*["x"] * WHOLE_BATCH_ROWS)]), 30)

    run(scenario, tables, window_s=3600.0)

    assert [len(commit) for commit in tables.commits] == [*[1] * SAVED_MAX, WHOLE_BATCH_ROWS]


def test_more_rows_than_may_wait_are_refused_and_later_taken():
    tables = Tables()
    tables.open.clear()

    async def scenario(group):
        first = asyncio.create_task(group.submit([batch(*"abcd")]))
        await asyncio.sleep(0.02)
        refused = await outcomes(group.submit([batch("e", "f")]))
        pending = group.pending_rows
        tables.open.set()
        await first
        await group.submit([batch("e", "f")])
        return refused, pending

    refused, pending = run(scenario, tables, window_s=0, pending_rows_max=5)

    assert [type(each) for each in refused] == [Overloaded]
    assert pending == 4
    assert tables.commits == [["a", "b", "c", "d"], ["e", "f"]]


def test_one_body_of_more_rows_than_may_wait_is_taken_when_nothing_else_waits():
    """Refused for good it would come again for ever."""
    tables = Tables()

    async def scenario(group):
        await group.submit([batch(*"abcdef")])

    run(scenario, tables, window_s=0, pending_rows_max=5)

    assert tables.commits == [list("abcdef")]


def test_one_body_of_more_rows_than_may_wait_is_taken_beside_steady_senders():
    tables = Tables()
    tables.open.clear()

    async def scenario(group):
        steady = asyncio.create_task(group.submit([batch(*"abcde")]))
        await asyncio.sleep(0.02)
        large = asyncio.create_task(group.submit([batch(*["x"] * 30)]))
        await asyncio.sleep(0.02)
        refused = await outcomes(group.submit([batch("y")]))
        tables.open.set()
        await asyncio.gather(steady, large)
        return refused

    (refused,) = run(scenario, tables, window_s=0, pending_rows_max=20)

    assert isinstance(refused, Overloaded)
    assert tables.commits == [list("abcde"), ["x"] * 30]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), StoreError("locked", slug="x")]
)
def test_when_the_tables_fail_nobody_is_acknowledged_and_all_may_retry(error):
    tables = Tables()
    tables.fail = lambda _: error

    async def scenario(group):
        failed = await outcomes(*(group.submit([batch(n)]) for n in "ab"))
        tables.fail = lambda _: None
        await group.submit([batch("again")])
        return failed

    failed = run(scenario, tables, window_s=0)

    assert [(type(e), e.may_retry) for e in failed] == [(NotCommitted, True)] * 2
    assert tables.commits == [["again"]]


def test_what_cannot_be_stored_does_not_take_its_neighbours_along():
    tables = Tables()
    tables.fail = lambda batches: ValueError("poison") if "b" in names_of(batches) else None

    async def scenario(group):
        return await outcomes(*(group.submit([batch(n)]) for n in "abc"))

    a, b, c = run(scenario, tables, window_s=0)

    assert (a, c) == (None, None)
    assert isinstance(b, NotCommitted)
    assert not b.may_retry
    assert tables.commits == [["a"], ["c"]]


def test_closing_commits_what_waits_and_takes_nothing_more():
    tables = Tables()

    async def scenario(group):
        await spend(group)
        waiting = asyncio.create_task(group.submit([batch("last")]))
        await asyncio.sleep(0)
        await group.close()
        await waiting
        return await outcomes(group.submit([batch("late")]))

    late = run(scenario, tables, window_s=3600)

    assert tables.commits == [*SPENT, ["last"]]
    assert [type(each) for each in late] == [NotCommitted]


def test_a_sender_that_hangs_up_disturbs_nobody():
    tables = Tables()
    tables.open.clear()

    async def scenario(group):
        gone = asyncio.create_task(group.submit([batch("gone")]))
        stays = asyncio.create_task(group.submit([batch("stays")]))
        await asyncio.sleep(0.02)
        gone.cancel()
        await asyncio.sleep(0)
        tables.open.set()
        await stays

    run(scenario, tables, window_s=0)

    assert tables.commits == [["gone", "stays"]]


def test_who_observes_is_told_of_each_commit_and_whose_it_was():
    tables = Tables()
    observed = []
    error = StoreError("locked", slug="store-locked")

    async def scenario(group):
        await group.submit([batch("own")], quiet=True)
        await group.submit([batch("theirs", "too"), Batch(Resource("s"), spans=(span(1),))])
        tables.fail = lambda _batches: error
        with pytest.raises(NotCommitted):
            await group.submit([batch("again")])

    run(scenario, tables, window_s=0, observe=lambda commit: observed.append(commit[1:]))

    assert observed == [
        (1, {"events"}, True, None),
        (3, {"events", "spans"}, False, None),
        (1, {"events"}, False, error),
    ]


def test_in_haste_those_who_wait_for_the_window_are_committed_at_once():
    tables = Tables()

    async def scenario(group):
        await spend(group)
        waiting = asyncio.create_task(group.submit([batch("second")]))
        await asyncio.sleep(0.02)
        group.hasten()
        await waiting
        await group.submit([batch("third")])

    run(scenario, tables, window_s=3600)

    assert tables.commits == [*SPENT, ["second"], ["third"]]
