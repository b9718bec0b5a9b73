"""Laws of taking the current span along: executors, threads, greenlets, other services."""

import asyncio
import contextvars
import decimal
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from nilometer.clock import Clock
from nilometer.trace.current import CURRENT, Joined
from nilometer.trace.onward import Signer
from nilometer.trace.propagation import TracingExecutor, carry
from nilometer.trace.signing import (
    Key,
    message_of,
    parse_signature,
    split_tracestate,
)

NOW_S = 1_800_000_000


def test_without_carry_a_thread_pool_sees_no_span_and_with_it_the_submitters(twin):
    """OSProfiler has no way into a thread pool (known weakness 6)."""

    def work():
        with twin.core.span("work") as span:
            return span.recording, twin.core.current_trace_id()

    with ThreadPoolExecutor(2) as pool, twin.root() as root:
        assert pool.submit(work).result() == (False, None)
        assert pool.submit(carry(work)).result() == (True, root.trace_id)
        assert pool.submit(work).result() == (False, None)  # nothing stays on the thread

    assert twin.drawn() == {"work": "root", "root": None}


def test_outside_a_request_carry_gives_the_function_itself():
    assert carry(len) is len


def test_a_carried_function_passes_arguments_results_and_errors(twin):
    def divide(a, *, by):
        return a / by

    with twin.root():
        carried = carry(divide)

    assert carried(6, by=3) == 2
    with pytest.raises(ZeroDivisionError):
        carried(6, by=0)
    assert CURRENT.get() is None


def test_a_carried_function_may_run_in_many_threads_at_once(twin):
    barrier = threading.Barrier(4, timeout=10)

    def work():
        barrier.wait()
        with twin.core.span("work"):
            barrier.wait()

    with ThreadPoolExecutor(4) as pool, twin.root():
        carried = carry(work)
        for future in [pool.submit(carried) for _ in range(4)]:
            future.result()

    records = twin.ring.drain()
    assert {r.parent_id for r in records if r.name == "work"} == {records[-1].span_id}
    assert len(records) == 5


def test_only_our_variable_is_carried(twin):
    """The decimal context is a context variable: carried along it would change results."""
    other = contextvars.ContextVar("other", default="default")

    def work():
        return other.get(), decimal.getcontext().prec

    with ThreadPoolExecutor(1) as pool, twin.root():
        other.set("set here")
        with decimal.localcontext(prec=3):
            assert pool.submit(carry(work)).result() == ("default", 28)


def test_run_in_executor_with_carry_and_to_thread_without(twin):
    def work(name):
        with twin.core.span(name):
            return twin.core.current_trace_id()

    async def main():
        loop = asyncio.get_running_loop()
        with twin.root() as root:
            ids = [
                await loop.run_in_executor(None, carry(work), "carried"),
                await asyncio.to_thread(work, "to thread"),
                await loop.run_in_executor(None, work, "forgotten"),
            ]
            assert ids == [root.trace_id, root.trace_id, None]

    asyncio.run(main())

    assert twin.drawn() == {"carried": "root", "to thread": "root", "root": None}


def test_a_tracing_executor_carries_what_it_is_given(twin):
    def work(n):
        with twin.core.span(f"work {n}"):
            return n

    async def main(pool):
        return await asyncio.get_running_loop().run_in_executor(pool, work, 3)

    with TracingExecutor(ThreadPoolExecutor(2)) as pool:
        with twin.root():
            assert pool.submit(work, 0).result() == 0
            assert list(pool.map(work, [1, 2], timeout=10)) == [1, 2]
            assert asyncio.run(main(pool)) == 3
        assert pool.submit(work, 4).result() == 4
        assert pool._max_workers == 2
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(work, 5)

    assert twin.drawn() == {f"work {n}": "root" for n in range(4)} | {"root": None}


@pytest.mark.parametrize(
    "wrapped", [TracingExecutor, lambda p: TracingExecutor(TracingExecutor(p))]
)
def test_a_pool_of_processes_gets_what_it_can_pickle_in_a_traced_request_too(twin, wrapped):
    with wrapped(ProcessPoolExecutor(1)) as pool, twin.root():
        assert pool.submit(abs, -1).result(60) == 1
        assert list(pool.map(abs, [-1, 2], timeout=60)) == [1, 2]


def test_a_tracing_executor_may_be_the_default_of_a_loop(twin):
    def work(name):
        with twin.core.span(name):
            return twin.core.current_trace_id()

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(TracingExecutor(ThreadPoolExecutor(1)))
        with twin.root() as root:
            assert await loop.run_in_executor(None, work, "in the pool") == root.trace_id

    asyncio.run(main())

    assert twin.drawn() == {"in the pool": "root", "root": None}


def test_a_request_that_begins_while_another_is_current_is_its_own(twin):
    """OSProfiler ignores a second init: later messages go to the first trace (weakness 16)."""
    first = twin.root("first").start()  # and nobody finishes it
    with twin.root("second", trace_id=b"2" * 16) as second:
        assert twin.core.current_trace_id() == second.trace_id
        with twin.core.span("work"):
            pass
    first.finish()

    assert [(r.name, r.trace_id[:1]) for r in twin.ring.drain()] == [
        ("work", b"2"), ("second", b"2"), ("first", b"t"),
    ]  # fmt: skip


def test_headers_of_no_request_a_joined_one_and_an_unsigned_one(twin):
    headers = twin.core.headers
    assert headers() == {}

    onward = {"traceparent": "00-...", "tracestate": "other=1"}
    with Joined(b"j" * 16, b"s" * 8, onward):
        sent = headers()
        sent["changed"] = "by the caller"
        assert headers() == onward

    with twin.root() as root, twin.core.span("client") as span:
        assert headers() == {"traceparent": f"00-{root.trace_id}-{span.span_id}-01"}


def test_what_says_neither_yes_nor_no_raises_what_it_raises(twin):
    class Unclear:
        def __bool__(self):
            raise ValueError("neither")

    signer = Signer(Key(b"K1"), "", None, "", Clock(), True)
    with (
        twin.core.start_root("r", request=twin.request(signer=signer)),
        pytest.raises(ValueError, match="neither"),
    ):
        twin.core.headers(osprofiler=Unclear())


@pytest.mark.parametrize("others", ["", "a=1,b=x y"])
@pytest.mark.parametrize("expiry_s", [None, NOW_S + 40, NOW_S + 10**6])
@pytest.mark.parametrize(("asked", "may"), [(True, True), (True, False), (False, True)])
def test_headers_of_a_signed_request_are_those_that_its_signer_makes(
    twin, others, expiry_s, asked, may
):
    key, clock = Key(b"K1"), Clock(wall_ns=lambda: NOW_S * 10**9)
    signer = Signer(key, "", expiry_s, others, clock, may)
    with twin.core.start_root("r", request=twin.request(signer=signer)) as root:
        sent = [twin.core.headers(osprofiler=asked) for _ in range(2)]
    expected = signer.headers(root.trace_id, root.span_id, osprofiler=asked)
    states = [one.pop("tracestate") for one in sent]
    del expected["tracestate"]

    assert sent == [expected] * 2
    read = [split_tracestate(state) for state in states]
    assert [rest for _, rest in read] == [others] * 2
    for member in (parse_signature(ours) for ours, _ in read):
        assert member.expiry_s == min(expiry_s or NOW_S + 300, NOW_S + 300)
        message = message_of(sent[0]["traceparent"], member.expiry_text, member.nonce)
        assert key.mac_sha256(message) == member.mac
    assert states[0] != states[1]  # a nonce is good for one request


@pytest.mark.parametrize(
    "base_id",
    [
        "",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "6BA7B810-9DAD-11D1-80B4-00C04FD430C8",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c",
        'a "quoted" \\ id',
        'x"' * 18,  # as long as a UUID
        "zürich" * 6,
    ],
)
def test_of_each_base_id_osprofiler_s_form_is_the_one_that_its_signer_makes(twin, base_id):
    signer = Signer(Key(b"K1"), base_id, None, "", Clock())
    with twin.core.start_root("r", request=twin.request(signer=signer)) as root:
        at_root = twin.core.headers()
        with twin.core.span("client") as client:
            inside = twin.core.headers()

    for sent, span in ((at_root, root), (inside, client)):
        expected = signer.in_osprofilers_form(root.trace_id, span.span_id)
        assert {name: sent[name] for name in expected} == expected


def test_headers_of_a_signed_request_are_by_the_clock_on_the_wall(twin):
    signer = Signer(Key(b"K1"), "", None, "", Clock())
    before = time.time_ns() // 10**9
    with twin.core.start_root("r", request=twin.request(signer=signer)):
        ours, _ = split_tracestate(twin.core.headers()["tracestate"])

    assert before <= parse_signature(ours).expiry_s - 300 <= time.time_ns() // 10**9


def test_headers_of_a_request_that_nobody_s_key_began_are_its_signer_s_own(twin):
    class Ids:
        def headers(self, *ids, osprofiler):
            return {"ids": ids, "osprofiler": osprofiler}

    with twin.core.start_root("r", request=twin.request(signer=Ids())) as root:
        ids = (root.trace_id, root.span_id)
        assert twin.core.headers() == {"ids": ids, "osprofiler": True}
        assert twin.core.headers(osprofiler=False) == {"ids": ids, "osprofiler": False}


@pytest.mark.parametrize("given", [(("x",), {}), ((), {"other": True})])
def test_headers_take_nothing_else(twin, given):
    with pytest.raises(TypeError):
        twin.core.headers(*given[0], **given[1])


def test_headers_whose_key_fails_raise_what_it_raised(twin):
    class Broken:
        def mac_sha256(self, message):
            raise OSError("no hash today")

    signer = Signer(Broken(), "", None, "", Clock())
    with (
        twin.core.start_root("r", request=twin.request(signer=signer)),
        pytest.raises(OSError, match="no hash today"),
    ):
        twin.core.headers()


GREENLETS = """
import sys
from nilometer import trace
from nilometer.trace import greenlets

which = sys.argv[1]
if which == "gevent":
    import gevent
    from gevent.pool import Pool

    install, uninstall = greenlets.install_gevent, greenlets.uninstall_gevent
    sleep = gevent.sleep
    def all_ways(work):
        jobs = [gevent.spawn(work, "spawn"), gevent.spawn_later(0.001, work, "spawn_later"),
                Pool(2).spawn(work, "pool")]
        gevent.joinall(jobs, raise_error=True)
        return [job.value for job in jobs]
else:
    import eventlet

    install, uninstall = greenlets.install_eventlet, greenlets.uninstall_eventlet
    sleep = eventlet.sleep
    def all_ways(work):
        jobs = [eventlet.spawn(work, "spawn"), eventlet.spawn_after(0.001, work, "spawn_after"),
                eventlet.GreenPool(2).spawn(work, "pool")]
        said = []
        eventlet.spawn_n(lambda: said.append(work("spawn_n")))
        pool = eventlet.GreenPool(2)
        pool.spawn_n(lambda: said.append(work("pool spawn_n")))
        return [job.wait() for job in jobs] + (pool.waitall() or sleep(0.01) or said)

def work(name):
    with trace.span(name) as span:
        sleep(0.002)  # the others run meanwhile
        assert trace.current_span() is span
        return trace.current_trace_id()

def request(number, way):
    root = trace.start_root(f"root {number}", request=trace.Trace(bytes([number]) * 16))
    with root:
        answers = way(work)
        assert trace.current_span() is root
        return answers

def carried(work):
    return all_ways(trace.carry(work))

def several_at_once(work):
    own = trace.current_trace_id()
    return [own == answer for answer in all_ways(work)]

plain = request(1, all_ways)
assert plain == [None] * len(plain), plain
assert request(2, carried) == ["02" * 16] * len(plain)
assert len(trace.drain_spans()) == 2 + len(plain)

assert install() and install()
assert request(3, all_ways) == ["03" * 16] * len(plain)
records = trace.drain_spans()
root = records[-1]
assert {r.parent_id for r in records[:-1]} == {root.span_id}, records
assert all_ways(work) == [None] * len(plain)

jobs = []
if which == "gevent":
    jobs = [gevent.spawn(request, n, several_at_once) for n in range(4, 8)]
    gevent.joinall(jobs, raise_error=True)
    answers = [job.value for job in jobs]
else:
    jobs = [eventlet.spawn(request, n, several_at_once) for n in range(4, 8)]
    answers = [job.wait() for job in jobs]
assert answers == [[True] * len(plain)] * 4, answers
records = trace.drain_spans()
assert len(records) == 4 * (len(plain) + 1)
for n in range(4, 8):
    assert len([r for r in records if r.trace_id[0] == n]) == len(plain) + 1

uninstall()
assert request(9, all_ways) == [None] * len(plain)
print("fine", len(plain))
"""


@pytest.mark.parametrize("pure", ["", "1"], ids=["c", "python"])
@pytest.mark.parametrize(("library", "ways"), [("gevent", 3), ("eventlet", 5)])
def test_a_spawned_greenlet_sees_the_span_of_its_spawner_once_installed(library, ways, pure):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GREENLETS, library],
        env={**os.environ, "NILOMETER_PURE_PYTHON": pure},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.stdout.strip().splitlines()[-1:], done.returncode) == ([f"fine {ways}"], 0), (
        done.stderr
    )
