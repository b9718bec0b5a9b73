"""A program that knows nothing of us, by ``nilometer run``: its loop, greenlets and pools."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import sys, time
LIBRARY = sys.argv[1]
if LIBRARY == "eventlet":
    import eventlet
    eventlet.monkey_patch()
elif LIBRARY == "gevent":
    import gevent.monkey
    gevent.monkey.patch_all()
import asyncio, threading
from concurrent.futures import ThreadPoolExecutor

def holds():
    until = time.perf_counter() + 0.08
    while time.perf_counter() < until:
        pass

async def holds_its_loop():
    holds()

async def main():
    await asyncio.create_task(holds_its_loop())

if LIBRARY == "asyncio":
    asyncio.run(main())
elif LIBRARY == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    thread = threading.Thread(target=holds)
    thread.start()
    thread.join()

pool = ThreadPoolExecutor(2, "mail")
goes_on, begun = threading.Event(), threading.Semaphore(0)

def work():
    begun.release()
    goes_on.wait()

for _ in range(3):
    pool.submit(work)
begun.acquire()
begun.acquire()
import nilometer
nilometer.flush()
goes_on.set()
pool.shutdown()
"""
NAMES = {
    "asyncio": "holds_its_loop",
    "uvloop": "holds_its_loop",
    "eventlet": "holds",
    "gevent": "holds",
}


def sent(sink, library):
    """The batches that a program in this library sent."""
    flags = ("--integrations", "auto", "--slow-callback", "70ms", "--export", f"file://{sink}")
    ran = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "nilometer", "run", *flags, "--"),
            *(sys.executable, "-W", "ignore", "-c", PROGRAM, library),
        ],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stderr
    assert "[integration-fails]" not in ran.stderr
    return [json.loads(line) for line in sink.read_text().splitlines()]


@pytest.mark.parametrize("library", NAMES)
def test_who_held_the_loop_and_what_its_pools_do_is_sent(library, tmp_path):
    batches = sent(tmp_path / "sent.jsonl", library)
    slow = [
        event["attributes"]
        for batch in batches
        for event in batch.get("events", ())
        if event["name"] == "event_loop.slow_callback"
    ]
    told = [one for one in slow if one["code.function.name"] == NAMES[library]]
    readings = [one for batch in batches for one in batch.get("readings", ())]
    pool = {}
    for one in readings:
        if one["name"].startswith("thread_pool.") and ["pool", "mail"] in one["dimensions"]:
            pool.setdefault(one["name"].removeprefix("thread_pool."), one["value"])
    blocked = [one for one in readings if one["name"] == "event_loop.blocked"]

    assert [one["event_loop.library"] for one in told] == [library]
    assert told[0]["duration_ns"] >= 80_000_000
    assert blocked[0]["value"]["total"] >= 80_000_000
    assert {what: pool[what] for what in ("used", "free", "waiting")} == {
        "used": 2,
        "free": 0,
        "waiting": 1,
    }
