"""The public functions: what a service calls, and what becomes of it."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress

import pytest

import nilometer
from nilometer import assembly
from nilometer.config import Settings, load
from nilometer.errors import ConfigError
from nilometer.integrations.wsgi import Middleware
from nilometer.measure import REGISTRY
from nilometer.model import Level
from nilometer.testing import MemoryExporter, capture
from nilometer.trace import RING, Trace, start_root
from nilometer.trace.trigger import Triggers, new_trigger

KEY = "a-key-for-tests"


@pytest.fixture(autouse=True)
def nothing_runs_before_or_after(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assembly.shutdown()
    with capture():
        pass
    yield
    assembly.shutdown()
    REGISTRY.set_level("", Level.BASIC)


def started(exporter, **arguments):
    settings = load({"service": "shop", "interval_s": 3600, **arguments}, environ={})
    return assembly.start(settings, [("memory", exporter)])


def test_what_was_measured_before_configure_goes_out_with_the_first_batch():
    exporter = MemoryExporter()
    nilometer.counter("early.requests").add(3)

    started(exporter)
    nilometer.counter("early.requests").add(4)

    assert nilometer.flush()
    (batch,) = exporter.batches
    assert [r.value for r in batch.readings if r.name == "early.requests"] == [7]


def test_the_resource_says_who_measured(monkeypatch):
    import os

    exporter = MemoryExporter()
    started(exporter, version="1.2", dimensions={"region": "r1", "zone": "z1", "tier": "gold"})
    nilometer.flush()
    resource = exporter.batches[0].resource

    assert resource == (
        "shop", os.uname().nodename, os.getpid(), "r1", "z1", "1.2", (("tier", "gold"),)
    )  # fmt: skip


def test_configure_again_replaces_what_ran_and_loses_nothing():
    first, second = MemoryExporter(), MemoryExporter()
    started(first, levels={"db": "deep"})
    nilometer.counter("replaced.requests").add(1)
    started(second)
    nilometer.counter("replaced.requests").add(2)
    nilometer.flush()

    def total(exporter):
        readings = [r for batch in exporter.batches for r in batch.readings]
        return sum(r.value for r in readings if r.name == "replaced.requests")

    assert (total(first), first.closed, total(second)) == (1, 1, 2)
    assert REGISTRY.level_of("db.pool") == Level.BASIC


def test_a_request_that_fails_while_settings_change_is_kept():
    def app(environ, start_response):
        raise LookupError("no such order")

    def fail(of):
        with suppress(LookupError):
            list(of({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None))

    class Meanwhile(MemoryExporter):
        def close(self):
            fail(wrapped)
            super().close()

    seen = MemoryExporter()
    first = started(Meanwhile(), flight_recorder=True)
    wrapped = Middleware(app, triggers=first.triggers)
    for keeps in (True, False):
        started(seen if keeps else MemoryExporter(), flight_recorder=keeps)
        nilometer.flush()
    fail(wrapped)
    nilometer.flush()

    spans = [span for batch in seen.batches for span in batch.spans]
    assert [span.name for span in spans] == ["GET"]


def test_settings_that_are_refused_leave_what_runs_alone():
    exporter = MemoryExporter()
    system = started(exporter)

    with pytest.raises(ConfigError, match="did you mean 'statsd'"):
        nilometer.configure(export=["statd://c1"])
    with pytest.raises(ConfigError, match="did you mean 'service'"):
        nilometer.configure(servce="x")
    with pytest.raises(ConfigError, match="did you mean 'sqlalchemy'"):
        nilometer.configure(integrations=["sqlalchem"])

    assert assembly.current() is system
    assert system.pump.is_running


def test_levels_are_set_by_prefix():
    deep = nilometer.counter("levels.a.deep", level=nilometer.DEEP)
    basic = nilometer.counter("levels.b.basic")

    started(MemoryExporter(), level="detail", levels={"levels.a": "deep", "levels.b": "off"})

    assert (deep.on, basic.on) == (True, False)


def test_triggers_are_those_of_the_settings_in_force_and_none_without():
    _, headers = new_trigger(KEY)
    lower = {name.lower(): value for name, value in headers.items()}

    triggers = nilometer.triggers()

    assert isinstance(triggers, Triggers)
    assert triggers.accept(lower.get) is None
    started(MemoryExporter(), trace_keys=[KEY])
    assert isinstance(triggers.accept(lower.get), Trace)
    assembly.shutdown()
    assert triggers.accept(lower.get) is None


def test_spans_go_out_with_the_readings_and_events_name_their_span():
    exporter = MemoryExporter()
    started(exporter, trace_keys=[KEY])
    trace_id, headers = new_trigger(KEY)
    lower = {name.lower(): value for name, value in headers.items()}
    request = assembly.triggers().accept(lower.get)

    with start_root("GET /", request=request) as root:
        nilometer.event("vm.scheduled", host="c1")
        span_id = root.span_id
    nilometer.flush()
    (batch,) = exporter.batches

    assert [span.trace_id.hex() for span in batch.spans] == [trace_id]
    assert [(e.trace_id.hex(), e.span_id.hex()) for e in batch.events] == [(trace_id, span_id)]


def test_half_a_ring_of_spans_wakes_the_pump():
    system = started(MemoryExporter())

    assert RING.on_half_full == system.pump.wake
    assembly.shutdown()
    assert RING.on_half_full is None


def test_every_loss_becomes_a_reading_with_what_why_and_whose():
    exporter = MemoryExporter()
    system = started(exporter, queue_rows=100)
    many = nilometer.counter("many.series")
    for n in range(300):
        many.bind(n=n).add()
    exporter.fail_with = OSError("down")
    nilometer.flush()
    lost = system.pump.outlets[0].lost.total()
    exporter.fail_with = None
    nilometer.flush()
    readings = [r for batch in exporter.batches for r in batch.readings]

    assert lost > 200
    told = {(r.dimensions, r.value) for r in readings if r.name == "nilometer.lost"}
    dimensions = (("exporter", "memory"), ("reason", "buffer_full"), ("what", "readings"))
    assert (dimensions, lost) in told


def test_what_was_merged_while_nobody_took_it_becomes_a_reading_and_no_sum_is_lost():
    exporter = MemoryExporter()
    system = started(exporter, queue_rows=100)
    exporter.fail_with = OSError("down")
    for _ in range(100):
        nilometer.counter("merging.calls").add(3)
        nilometer.flush()
    merged, lost = system.pump.outlets[0].merged, dict(system.pump.outlets[0].lost)
    exporter.fail_with = None
    nilometer.flush()
    moved = {"nilometer.merged": 0, "merging.calls": 0}
    for batch in exporter.batches:
        for reading in batch.readings:
            if reading.name in moved:
                moved[reading.name] += reading.value

    assert merged > 100
    assert lost == {}
    assert moved == {"nilometer.merged": merged, "merging.calls": 300}


def test_what_we_cost_is_among_the_readings():
    exporter = MemoryExporter()
    started(exporter)
    for _ in range(2):
        for _ in range(1_000):
            nilometer.counter("cost.calls").add()
        nilometer.flush()
    readings = [r for batch in exporter.batches for r in batch.readings]
    overhead = {
        dict(r.dimensions)["part"]: r.value for r in readings if r.name == "nilometer.overhead"
    }

    assert set(overhead) == {"recording", "export"}
    assert min(overhead.values()) > 0


def test_flush_and_shutdown_without_anybody_to_send_to_say_so():
    before = set(threading.enumerate())
    said = [nilometer.flush(), nilometer.shutdown()]
    nilometer.configure(service="shop")
    said += [nilometer.flush(), nilometer.shutdown(), nilometer.shutdown()]

    assert said == [False] * 5
    left = {thread.name for thread in set(threading.enumerate()) - before}
    left -= {"nilometer-reads"}  # kept for the next time, where other tests made gauges to read
    assert [name for name in left if name.startswith("nilometer")] == []


@pytest.mark.parametrize("ask", [nilometer.flush, nilometer.shutdown])
def test_who_asks_to_wait_for_no_number_of_seconds_is_told(ask):
    exporter = MemoryExporter()
    system = started(exporter)
    for wrong in ("x", "2", None, [1]):
        with pytest.raises(TypeError) as refused:
            ask(wrong)
        assert str(refused.value) == f"timeout_s={wrong!r} is not a number of seconds"

    assert assembly.current() is system
    assert [ask(float("inf")), exporter.batches != []] == [True, True]


def test_configure_takes_the_names_of_the_settings(tmp_path):
    file = tmp_path / "out.jsonl"
    nilometer.configure(
        service="compute", dimensions={"region": "r1"}, export=[f"file://{file}"], level="basic"
    )
    nilometer.counter("configured.requests").add()
    nilometer.shutdown()

    assert b"configured.requests" in file.read_bytes()
    assert assembly.current() is None


def test_a_foreign_program_is_configured_by_environment_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("NILOMETER_EXPORT", f"file://{tmp_path / 'out.jsonl'}")
    monkeypatch.setenv("NILOMETER_SERVICE", "theirs")

    assembly.start_in_foreign_program()

    system = assembly.current()
    assert system is not None
    assert system.settings.service == "theirs"


def test_every_public_name_is_there_and_no_other():
    missing = [name for name in nilometer.__all__ if not hasattr(nilometer, name)]

    assert missing == []
    assert set(nilometer.__all__) <= set(dir(nilometer))
    with pytest.raises(AttributeError, match="has no attribute 'conter'"):
        nilometer.conter  # noqa: B018


def test_importing_the_package_brings_nothing_but_itself(python):
    import subprocess

    program = (
        "import sys; before = set(sys.modules); import nilometer; "
        "print(sorted(m for m in set(sys.modules) - before if 'nilometer' in m))"
    )
    told = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "['nilometer']"


def test_settings_made_by_hand_work_as_those_that_were_read():
    exporter = MemoryExporter()
    assembly.start(Settings(service="hand"), [("memory", exporter)])
    nilometer.flush()

    assert exporter.batches[0].resource.service == "hand"
    assert sys.modules["nilometer.assembly"] is assembly


def told(exporter, name):
    return [
        (dict(r.dimensions), r.value)
        for batch in exporter.batches
        for r in batch.readings
        if r.name == name
    ]


def test_a_gauge_that_hangs_is_counted_and_everything_else_is_sent():
    released, exporter = threading.Event(), MemoryExporter()
    started(exporter)
    nilometer.gauge("hangs.depth", read=lambda: released.wait(30) and 1)
    nilometer.gauge("works.depth", read=lambda: 7)
    nilometer.counter("beside.requests").add(3)
    try:
        assert nilometer.flush(5)
        assert nilometer.flush(5)
    finally:
        released.set()
        REGISTRY.gauge("hangs.depth").read = REGISTRY.gauge("works.depth").read = None

    lost = [n for pairs, n in told(exporter, "nilometer.lost") if pairs["what"] == "gauge"]
    assert (sum(lost), told(exporter, "hangs.depth")) == (2, [])
    assert told(exporter, "works.depth") == [({}, 7), ({}, 7)]
    assert told(exporter, "beside.requests") == [({}, 3)]


def test_flush_under_a_lock_that_a_gauge_takes_is_no_deadlock():
    lock, exporter = threading.Lock(), MemoryExporter()

    def depth():
        with lock:
            return 1

    started(exporter)
    nilometer.gauge("locked.depth", read=depth)
    try:
        with lock:
            assert nilometer.flush(5)
        wait_for = threading.Event()
        while not told(exporter, "locked.depth"):
            nilometer.flush(5)
            wait_for.wait(0.01)
    finally:
        REGISTRY.gauge("locked.depth").read = None

    assert told(exporter, "locked.depth") == [({}, 1)]


def test_a_trace_that_begins_here_is_signed_onward_by_the_first_key():
    triggers = nilometer.triggers()

    def sent_onward():
        with start_root("job", request=triggers.begin()) as root:
            onward = nilometer.headers()
        return root, {name.lower(): value for name, value in onward.items()}

    assert set(sent_onward()[1]) == {"traceparent"}
    started(MemoryExporter(), trace_keys=[KEY, "another-key"], spans_per_trace=7)
    root, sent = sent_onward()
    accepted = [Triggers([key]).accept(sent.get) for key in (KEY, "another-key")]

    assert (accepted[0].trace_id.hex(), accepted[0].parent_id.hex()) == (
        root.trace_id,
        root.span_id,
    )
    assert [type(one).__name__ for one in accepted] == ["Trace", "Joined"]
    assert (root.trace.parent_id, root.trace.spans_max) == (b"", 7)
