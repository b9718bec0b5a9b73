"""Laws of the ring of finished spans, and of a process that forks; on both twins."""

import os
import threading

import pytest

from nilometer.trace.current import CURRENT
from tests.trace.conftest import blocks_left_by


def fill(twin, ring, number):
    with twin.root(ring=ring, spans_max=10**6) as root:
        for i in range(number):
            with twin.core.span(str(i)):
                pass
    return root


def test_the_oldest_come_out_first_and_once(twin):
    fill(twin, twin.ring, 3)

    assert [r.name for r in twin.ring.drain()] == ["0", "1", "2", "root"]
    assert twin.ring.drain() == ()


def test_what_does_not_fit_is_counted(twin):
    ring = twin.core.Ring(4)
    fill(twin, ring, 9)

    assert (len(ring), ring.capacity) == (4, 4)
    assert [r.name for r in ring.drain()] == ["0", "1", "2", "3"]
    assert ring.take_losses() == {("spans", "ring_full"): 6}
    assert ring.take_losses() == {}


@pytest.mark.parametrize("capacity", [1, 2, 3, 4, 5, 10])
def test_half_full_wakes_once_until_drained(twin, capacity):
    ring = twin.core.Ring(capacity)
    woken = []
    ring.on_half_full = lambda: woken.append(len(ring))
    fill(twin, ring, 20)
    half = -(-capacity // 2)

    assert woken == [half]

    ring.drain()
    fill(twin, ring, 20)

    assert woken == [half, half]


def test_a_wake_up_that_raises_is_taken_off_and_counted(twin):
    ring = twin.core.Ring(2)
    ring.on_half_full = lambda: 1 / 0
    fill(twin, ring, 1)

    assert (ring.on_half_full, ring.take_losses()) == (None, {("wake_ups", "raised"): 1})


def test_a_ring_holds_at_least_one(core):
    with pytest.raises(ValueError, match=r"^capacity must be at least 1, got 0$"):
        core.Ring(0)


def test_the_default_ring_is_bounded_as_documented(core):
    from nilometer.trace.limits import SPANS_PER_TRACE_MAX, SPANS_RING_MAX

    assert core.RING.capacity == core.Ring().capacity == SPANS_RING_MAX
    assert core.Trace(b"t" * 16).spans_max == SPANS_PER_TRACE_MAX
    assert core.Trace(b"t" * 16).ring is core.RING


def test_losses_can_be_told_by_others_too(core):
    ring = core.Ring()
    ring.lose("events", "limit", 3)
    ring.lose("events", "limit")

    assert ring.take_losses() == {("events", "limit"): 4}


def test_a_span_ended_while_the_ring_is_drained_is_in_the_next_drain(twin):
    class Ending:
        def __repr__(self):
            with twin.core.span("meanwhile"):
                return "ending"

    with twin.root() as root:
        with twin.core.span("s", value=Ending()):
            pass
        first = twin.ring.drain()

        assert [(r.name, r.attributes) for r in first] == [("s", {"value": "ending"})]
        assert [r.name for r in twin.ring.drain()] == ["meanwhile"]
    assert root.recording


def test_threads_lose_and_double_nothing(twin):
    ring = twin.core.Ring(100_000)
    seen = []

    def work(number):
        with twin.root(ring=ring, trace_id=bytes([number]) * 16, spans_max=10_000):
            for _ in range(2_000):
                with twin.core.span("s", a=1):
                    pass

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen.extend(ring.drain())
    seen.extend(ring.drain())

    assert len(seen) == len({(r.trace_id, r.span_id) for r in seen}) == 4 * 2_001
    assert ring.take_losses() == {}
    for number in range(1, 5):
        mine = [r for r in seen if r.trace_id == bytes([number]) * 16]
        assert len(mine) == 2_001
        assert len({r.parent_id for r in mine if r.name == "s"}) == 1


def in_child(function):
    """What a function says in a forked child, as text."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, repr(function()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return text


def test_a_forked_child_records_nothing_of_its_parent_and_has_ids_of_its_own():
    """Through the chosen twin, whose hook runs at fork; see the next test for the other."""
    from nilometer import trace
    from nilometer.trace.twin import new_id

    trace.drain_spans()

    def child():
        with trace.span("in the child"):
            pass
        root.finish()
        return [r.name for r in trace.drain_spans()], new_id()

    root = trace.start_root("root", request=trace.Trace(b"f" * 16))
    with root, trace.span("open"):
        with trace.span("before"):
            pass
        answers = [eval(in_child(child)) for _ in range(2)]
        own = new_id()

    assert [names for names, _ in answers] == [["in the child"]] * 2
    assert len({own, *(number for _, number in answers)}) == 3
    assert [r.name for r in trace.drain_spans()] == ["before", "open", "root"]


def test_a_disowned_span_restores_what_was_current_and_is_not_recorded(twin):
    with twin.root() as root:
        inner = twin.core.span("inner").start()
        inner.disown()
        twin.ring.reset_after_fork()
        with twin.core.span("child's"):
            pass
        inner.finish()

        assert CURRENT.get() is root

    assert [r.name for r in twin.ring.drain()] == ["child's"]


def test_a_reset_ring_is_empty_and_keeps_its_hook(twin):
    ring = twin.core.Ring(4)
    hook = ring.on_half_full = lambda: None
    fill(twin, ring, 9)
    ring.reset_after_fork()

    assert (len(ring), ring.drain(), ring.take_losses()) == (0, (), {})
    assert ring.on_half_full is hook


def test_many_spans_leave_no_memory_behind(twin):
    ring = twin.core.Ring(64)

    def round_of_spans():
        with twin.root(ring=ring, spans_max=10**6) as root:
            for i in range(100):
                try:
                    with twin.core.span("s", number=i, text=str(i), odd=[i]) as span:
                        span.set_attribute("more", i)
                        span.add_event("e", i=i)
                        if i % 7 == 0:
                            raise ValueError(i)
                except ValueError as error:
                    root.record_exception(error)
        ring.drain()
        ring.take_losses()

    assert blocks_left_by(round_of_spans) < 100  # of 2,000 spans; a block each would be 2,000


# --- Rings of single requests, for the flight recorder ---------------------------------------


def test_a_ring_that_grows_keeps_what_it_has(twin):
    ring = twin.core.Ring(2)
    fill(twin, ring, 1)
    ring.grow(4)
    ring.grow(3)
    fill(twin, ring, 2)

    assert ring.capacity == 4
    assert [r.name for r in ring.drain()] == ["0", "root", "0", "1"]
    assert ring.take_losses() == {("spans", "ring_full"): 1}


def test_what_is_in_a_closed_ring_and_what_comes_goes_onward_with_its_losses(twin):
    ring = twin.core.Ring(2)
    fill(twin, ring, 2)
    ring.close(twin.ring)
    fill(twin, ring, 1)
    ring.lose("spans", "budget_spans", 5)
    ring.grow(9)

    assert (len(ring), ring.capacity, ring.drain()) == (0, 0, ())
    assert [r.name for r in twin.ring.drain()] == ["0", "1", "0", "root"]
    assert ring.take_losses() == {}
    assert twin.ring.take_losses() == {("spans", "ring_full"): 1, ("spans", "budget_spans"): 5}


def test_a_ring_that_is_closed_onto_nothing_forgets_all_of_it(twin):
    ring = twin.core.Ring(2)
    fill(twin, ring, 1)
    ring.close(None)
    fill(twin, ring, 3)
    ring.close(twin.ring)

    assert (len(ring), ring.drain(), ring.take_losses()) == (0, (), {})
    assert (twin.ring.drain(), twin.ring.take_losses()) == ((), {})


def test_rings_cannot_be_closed_onto_each_other(twin):
    one, two, three = (twin.core.Ring(2) for _ in range(3))
    one.close(two)
    two.close(three)
    for last in (one, two, three):
        with pytest.raises(ValueError, match=r"^a ring cannot be closed onto itself$"):
            three.close(last)
    fill(twin, one, 1)

    assert [r.name for r in three.drain()] == ["0", "root"]


def test_what_goes_onward_wakes_whoever_waits_there(twin):
    woken = []
    onward, ring = twin.core.Ring(4), twin.core.Ring(9)
    onward.on_half_full = lambda: woken.append(len(onward))
    fill(twin, ring, 5)
    ring.close(onward)

    assert (woken, len(onward)) == ([2], 4)
    assert onward.take_losses() == {("spans", "ring_full"): 2}


def test_rings_that_were_closed_leave_no_memory_behind(twin):
    def once():
        for onward in (None, twin.ring):
            ring = twin.core.Ring(2)
            fill(twin, ring, 2)
            ring.grow(30)
            ring.close(onward)
            fill(twin, ring, 2)
        twin.ring.drain()
        twin.ring.take_losses()

    assert blocks_left_by(once) <= 5


def test_beyond_its_spans_a_trace_asks_for_more_and_is_told(twin):
    answers = [True, False, True]
    request = twin.request(spans_max=1)
    request.more = lambda: answers.pop(0)
    with twin.core.start_root("root", request=request):
        made = [twin.core.span("x").recording for _ in range(4)]  # the last ask finds no answer

    assert made == [True, False, True, False]
    assert twin.ring.take_losses() == {("spans", "budget_spans"): 2}


def test_what_was_granted_is_not_asked_for_again(twin):
    asked = []
    request = twin.request(spans_max=0)

    def more():
        asked.append(request.spans_max)
        request.spans_max += 3
        return True

    request.more = more
    with twin.core.start_root("root", request=request):
        for _ in range(5):
            twin.core.span("x")
    request.more = None
    twin.core.start_root("root", request=request)

    assert asked == [0, 3]
    assert twin.ring.take_losses() == {("spans", "budget_spans"): 1}
