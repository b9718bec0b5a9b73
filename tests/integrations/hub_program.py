"""Run by test_hubs.py: ``python hub_program.py LIBRARY CASE``; prints what was measured.

In a process of its own, since a hub stays for a thread's life. Time stands still but where a
greenlet lets it pass: no case depends on how fast this machine is.
"""

import gc
import json
import os
import sys
import threading
import time
from contextlib import suppress
from importlib import import_module

import greenlet

from nilometer.integrations import event_loops
from nilometer.measure import Registry
from nilometer.testing import FakeTime

LIBRARY, CASE = sys.argv[1:]
green = import_module(LIBRARY)
hub_module = import_module(f"nilometer.integrations.{LIBRARY}_hub")
fake = FakeTime()
event_loops.elapsed_ns = fake.clock.elapsed_ns
registry = Registry(clock=fake.clock)


def install():
    return hub_module.install(slow_callback_s=0.1, registry=registry)


def wait_for(*spawned):
    for one in spawned:
        getattr(one, "join" if LIBRARY == "gevent" else "wait")()


def measured():
    """Slow ones as [name, line, ms], and the readings by their names and dimensions."""
    readings, happened = registry.collect()
    slow = [
        [
            event.attributes["code.function.name"],
            event.attributes.get("code.line.number", 0),
            event.attributes["duration_ns"] // 10**6,
        ]
        for event in happened
    ]
    values = {}
    for one in readings:
        dimensions = dict(one.dimensions)
        key = dimensions.get("code.function.name", one.name)
        value = one.value
        values[key] = value if isinstance(value, int) else value.total // 10**6
    return {"slow": slow, "values": values}


def line_of(function):
    return function.__code__.co_firstlineno


def computes():
    fake.advance(0.25)


def yields_before():
    green.sleep(0)
    fake.advance(0.15)
    green.sleep(0)


def fails():
    fake.advance(0.2)
    raise LookupError("mine")


def is_killed():
    try:
        green.sleep(100)
    finally:
        fake.advance(0.3)


def who_held():
    install()
    wait_for(green.spawn(computes), green.spawn(yields_before))
    return {"lines": [line_of(computes), line_of(yields_before)], **measured()}


def waits():
    """It waits outside of Python, while another thread lets time pass, and then wakes it."""
    install()
    green.sleep(0.001)  # a hub made or found within its round is measured from the next one on
    registry.collect()
    watch = greenlet.gettrace()
    readable, writable = os.pipe()

    def let_time_pass():
        while not watch.waits:
            time.sleep(0.001)
        fake.advance(2)
        os.write(writable, b"x")

    thread = threading.Thread(target=let_time_pass)
    thread.start()
    if LIBRARY == "gevent":
        import_module("gevent.socket").wait_read(readable)
    else:
        import_module("eventlet.hubs").trampoline(readable, read=True)
    thread.join()
    return measured()


def hub_itself():
    """A hub's own work is told, unless nobody can tell it from its waiting."""
    install()
    for _ in range(3):
        green.sleep(0.001)
    registry.collect()
    if LIBRARY == "gevent":
        green.get_hub().loop.run_callback(fake.advance, 1)
    else:
        import_module("eventlet.hubs").get_hub().schedule_call_global(0, fake.advance, 1)
    green.sleep(0.001)
    return measured()


def by_name():
    registry.set_level("event_loop.callback", "detail")
    install()
    wait_for(green.spawn(computes), green.spawn(yields_before))
    values = measured()["values"]
    return {name: values[name] for name in ("computes", "yields_before")}


def failing():
    install()
    failed, killed = green.spawn(fails), green.spawn(is_killed)
    green.sleep(0)
    green.sleep(0)
    killed.kill()
    green.sleep(0)
    with suppress(LookupError):
        wait_for(failed)
    return measured()["slow"]


def pool():
    install()
    if LIBRARY == "gevent":
        pools = import_module("gevent.pool").Pool(2)
        pools.spawn(computes)
        pools.join()
    else:
        pools = green.GreenPool(2)
        pools.spawn_n(computes)
        pools.spawn(computes)
        pools.waitall()
    return measured()["slow"]


def existing():
    """A hub that runs already."""
    green.sleep(0)
    install()
    wait_for(green.spawn(computes))
    return measured()["slow"]


def threads():
    """A hub for each thread."""
    install()
    thread = threading.Thread(target=lambda: wait_for(green.spawn(computes)))
    thread.start()
    thread.join()
    return measured()["slow"]


def uninstalled():
    before = {name: getattr(*name) for name in places()}
    install()
    again = install()
    seen = []

    def takes_it_away():
        hub_module.uninstall()
        fake.advance(1)

    def afterwards():
        fake.advance(1)
        seen.append(greenlet.gettrace() is None)

    wait_for(green.spawn(takes_it_away), green.spawn(afterwards))
    green.sleep(0.001)
    same = all(getattr(*name) == value for name, value in before.items())
    left = hub_left()
    return [again, seen, same, left, len(registry.followers), measured()["slow"]]


def again_and_again():
    """Also where no greenlet has switched in between."""
    green.sleep(0)
    for _ in range(3):
        install()
        hub_module.uninstall()
    install()
    green.sleep(0.001)
    ours = greenlet.gettrace()
    wait_for(green.spawn(computes))
    alone = ours.previous is None
    hub_module.uninstall()
    green.sleep(0.001)
    return [alone, greenlet.gettrace() is None, hub_left(), measured()["slow"]]


def places():
    if LIBRARY == "gevent":
        return [(import_module("gevent.hub").Hub, "__init__")]
    return [
        (import_module("eventlet.hubs.hub").BaseHub, "__init__"),
        (import_module("eventlet.greenthread").GreenThread, "main"),
        (import_module("eventlet.greenthread"), "_spawn_n"),
    ]


def hub_left():
    """What is left in the hub that runs."""
    if LIBRARY == "gevent":
        gc.collect()
        from gevent.libev.corecext import check, prepare

        return [type(one).__name__ for one in gc.get_objects() if type(one) in (check, prepare)]
    return [name for name in vars(import_module("eventlet.hubs").get_hub()) if name == "wait"]


def off_and_on():
    """Off, its switches are nobody's; on again, they are ours."""
    install()
    seen = []
    for level in ("off", "basic"):
        registry.set_level(f"integrations.{LIBRARY}_hub", level)
        green.sleep(0.001)
        green.sleep(0.001)
        seen.append(greenlet.gettrace() is not None)
        wait_for(green.spawn(computes))
    return [seen, measured()["slow"]]


def others():
    """Who traced before us, and who comes after, hear of all switches; then we are gone."""
    heard = {"before": 0, "after": 0}

    def before(_event, _ends):
        heard["before"] += 1

    greenlet.settrace(before)
    install()
    green.sleep(0)
    ours = greenlet.gettrace()

    def after(event, ends):
        heard["after"] += 1
        ours(event, ends)

    greenlet.settrace(after)
    wait_for(green.spawn(computes))
    hub_module.uninstall()
    green.sleep(0.001)
    counted = dict(heard)
    green.sleep(0)
    more = {key: heard[key] - counted[key] for key in heard}
    greenlet.settrace(None)
    return [measured()["slow"], more["before"] == more["after"] > 0]


def forked():
    install()
    green.sleep(0)
    fake.advance(1)
    child = os.fork()
    if not child:
        code = 1
        try:
            registry.collect()
            green.sleep(0)
            registry.collect()
            wait_for(green.spawn(computes))
            code = 0 if [one[0] for one in measured()["slow"]] == ["computes"] else 2
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def faulty():
    """A fault of ours stops no greenlet."""
    from nilometer.integrations import hubs

    def broken(*_):
        raise ZeroDivisionError("ours")

    hubs.noted = broken
    install()
    wait_for(green.spawn(computes))
    return measured()["values"]["nilometer.lost"]


def request():
    """What a request's greenlet held is told as the request's."""
    from nilometer.assembly import _current_ids
    from nilometer.trace import Trace, start_root

    registry.correlate = _current_ids
    install()

    def serve():
        with start_root("request", request=Trace(b"1" * 16)):
            fake.advance(0.2)
            green.sleep(0)

    wait_for(green.spawn(serve))
    return [event.trace_id.decode() for event in registry.collect()[1]]


if __name__ == "__main__":
    print(json.dumps(globals()[CASE]()))
