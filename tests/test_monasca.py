"""`nilometer.monasca` next to monasca-statsd itself: the same calls, and right values."""

from __future__ import annotations

import inspect
import socket
import subprocess
import sys
from contextlib import suppress

import monascastatsd
import pytest

from nilometer import assembly, monasca
from nilometer.measure import Registry
from nilometer.wire import statsd
from nilometer.wire.statsd_sample import SampleType
from tests.measure.conftest import moved

NAME = "persister.received"
CLASSES = [name for name in monascastatsd.__all__ if name != "MetricBase"]


@pytest.fixture
def registry(monkeypatch):
    """A registry of its own, in a process that exports somewhere already."""
    made = Registry()
    monkeypatch.setattr(monasca, "REGISTRY", made)
    assembly.configure({"export": ["log://"], "interval_s": 3600})
    yield made
    assembly.shutdown()


@pytest.fixture
def client(registry):
    return monasca.Client("persister", dimensions={"service": "monitoring"})


def parameters(of):
    """Names and defaults, as a caller sees them."""
    return [
        (one.name, one.default, one.kind) for one in inspect.signature(of).parameters.values()
    ]


@pytest.mark.parametrize("name", CLASSES)
def test_every_call_of_monasca_statsd_is_a_call_here(name):
    theirs, ours = getattr(monascastatsd, name), getattr(monasca, name)
    public = [
        method
        for method, _ in inspect.getmembers(theirs, inspect.isfunction)
        if method[0] != "_"
    ]
    operators = [
        m for m in ("__init__", "__add__", "__sub__", "__enter__") if hasattr(theirs, m)
    ]

    assert {method: parameters(getattr(ours, method)) for method in public + operators} == {
        method: parameters(getattr(theirs, method)) for method in public + operators
    }
    assert set(monascastatsd.__all__) | {"Histogram"} == set(monasca.__all__)


def test_counters_add_up_whatever_the_sample_rate_and_go_down_beside(client, registry):
    received = client.get_counter("received", dimensions={"topic": "metrics"})
    received.increment()
    received.increment(2, dimensions={"pid": 7}, sample_rate=0.5)
    received += 3
    received -= 2
    for _ in range(4):
        received.increment(0.5)
    for pid in (7, 8):  # halves of two series make no whole of either
        received.increment(0.5, dimensions={"pid": pid})
    received.increment(0.5, dimensions={"pid": 8})

    name, mine = NAME, ("service=monitoring", "topic=metrics")
    assert moved(registry) == {
        (name, *mine): 1 + 3 + 2,
        (name, "pid=7", *mine): 2,
        (name, "pid=8", *mine): 1,
        (f"{name}.less", *mine): 2,
    }


def test_no_half_is_lost_wherever_another_thread_or_a_handler_counts_meanwhile(
    client, registry
):
    counter = client.get_counter("received")
    at, reached = 0, True

    def trace(frame, event, _):
        nonlocal left, reached
        if frame.f_code.co_filename != monasca.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                reached = True
                counter.increment(0.5, dimensions={"at": at})
        return trace

    before = sys.gettrace()
    while reached:  # at each line of an increment once another one, whole
        reached, at = False, at + 1
        left = at
        sys.settrace(trace)
        try:
            counter.increment(0.5, dimensions={"at": at})
        finally:
            sys.settrace(before)
    for value in (float("inf"), float("nan"), "x", 0.5):  # none takes along what was left
        counter.increment(value, dimensions={"at": at})

    counted = {key: value for key, value in moved(registry).items() if key[0] == NAME}
    assert counted == {
        (NAME, f"at={each}", "service=monitoring"): 1 for each in range(1, at + 1)
    }
    assert at > 5


def test_times_come_in_seconds_and_are_kept_also_when_the_body_raises(client, registry):
    timer = client.get_timer("query")
    timer.timing("wait", 0.25)

    @timer.timed("render")
    def render(fails):
        if fails:
            raise ValueError
        return "page"

    @timer.time("decorated")
    def decorated():
        return "too"

    with pytest.raises(KeyError), timer.time("block"):
        raise KeyError
    said = decorated() + decorated()
    with pytest.raises(ValueError):
        render(True)
    page = render(False)
    found = moved(registry)

    mine = "service=monitoring"
    assert (page, said) == ("page", "tootoo")
    assert found[("persister.query.wait", mine)] == (1, 250_000_000)
    assert {key: value for key, value in found.items() if key[0].endswith(".errors")} == {
        ("persister.query.block.errors", "error.type=KeyError", mine): 1,
        ("persister.query.render.errors", "error.type=ValueError", mine): 1,
    }
    counts = {name: found[f"persister.query.{name}", mine][0] for name in ("render", "block")}
    assert counts == {"render": 2, "block": 1}
    assert found["persister.query.decorated", mine][0] == 2


def test_gauges_keep_the_last_value_and_histograms_all(client, registry):
    client.get_gauge("queue").send("depth", 7)
    client.get_gauge("queue").send("depth", 4.5, dimensions={"shard": "b"})
    sizes = client.get_histogram()
    sizes.send("bytes", 10)
    sizes.send("bytes", 20.4)

    mine = "service=monitoring"
    assert moved(registry) == {
        ("persister.queue.depth", mine): 7,
        ("persister.queue.depth", mine, "shard=b"): 4.5,
        ("persister.bytes", mine): (2, 30),
    }


def test_what_cannot_be_counted_is_lost_and_never_raised(client, registry):
    client.get_counter("received").increment()
    client.get_counter("received").increment("many")
    client.get_gauge("received").send(None, 1)
    client.get_timer().timing("wait", -1)
    with client.get_timer().time("received"):
        pass
    untimed = client.get_timer().time("received")(len)

    assert untimed([1]) == 1
    assert moved(registry) == {
        ("persister.received", "service=monitoring"): 1,
        ("nilometer.lost", "reason=TypeError", "what=values"): 1,
        ("nilometer.lost", "reason=InstrumentClashError", "what=values"): 3,
        ("nilometer.lost", "reason=ValueError", "what=values"): 1,
    }


def test_a_report_by_a_connection_counts_as_its_type_says(client, registry):
    with monasca.Connection() as connection:
        connection.report("asked", "c", 3, {"z": 1}, 1)
        connection.report("held", "g", 5, None, 1)

    assert moved(registry) == {("asked", "z=1"): 3, ("held",): 5}


def received(listener):
    """All datagrams that have arrived."""
    listener.setblocking(False)
    packets = []
    with suppress(BlockingIOError):
        while True:
            packets.append(listener.recv(65_536))
    return packets


CALLS = """
{start}
connection = {module}.Connection("127.0.0.1", {port})
client = {module}.Client("persister", connection=connection, dimensions={{"z": 1}})
counter, timer = client.get_counter("asked"), client.get_timer("took")
for number in range(300):
    counter.increment()
    timer.timing("it", 0.001 * (number + 1))
{end}
"""


@pytest.mark.parametrize("module", ["monascastatsd", "nilometer.monasca"])
def test_a_client_that_names_a_statsd_sends_there_packed_and_added_up(module, tmp_path):
    with socket.socket(type=socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        end = "import nilometer; nilometer.flush()" if module.startswith("nilometer") else ""
        program = CALLS.format(
            start=f"import {module}", module=module, port=listener.getsockname()[1], end=end
        )
        subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
        packets = received(listener)
    found: dict[str, float] = {}
    for one in (one for packet in packets for one in statsd.decode(packet)[0]):
        before = found.get(one.name, 0) if one.type is SampleType.COUNTER else 0
        found[one.name] = before + one.value

    took = {name.rpartition(".")[2]: value for name, value in found.items() if "took" in name}
    assert found["persister.asked"] == 300
    if module == "monascastatsd":  # of 300 times the agent would keep the last
        assert (len(packets), took) == (600, {"it": pytest.approx(0.3)})
    else:
        assert len(packets) < 5
        assert [took[part] for part in ("count", "min", "max")] == [300, 1, 300]
        assert took["sum"] == sum(range(301)) * 1_000_000  # in ns, which the agent keeps whole
