"""The doctor tells everything with its reason, inside a service and outside."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

import nilometer
from nilometer import assembly, doctor, twin
from nilometer.config import load
from nilometer.integrations import faults
from nilometer.measure import REGISTRY
from nilometer.testing import MemoryExporter


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in [v for v in __import__("os").environ if v.startswith("NILOMETER_")]:
        if name not in ("NILOMETER_REQUIRE_C", "NILOMETER_PURE_PYTHON"):
            monkeypatch.delenv(name)
    assembly.shutdown()
    yield
    assembly.shutdown()


def told(topic, *, probe=False):
    return {
        finding.name: (finding.value, finding.because, finding.healthy)
        for finding in doctor.report(probe=probe).findings
        if finding.topic == topic
    }


def test_every_twin_is_told_with_the_reason_for_it():
    assert told("core") == {
        choice.module.removeprefix("nilometer."): (
            choice.implementation,
            choice.because,
            choice.implementation == "c" or "PURE_PYTHON" in choice.because,
        )
        for choice in twin.CHOICES.values()
    }


def test_settings_are_told_with_their_origins_and_no_secret(monkeypatch):
    monkeypatch.setenv("NILOMETER_SERVICE", "shop")
    monkeypatch.setenv("NILOMETER_TRACE_KEYS", "topsecret-key")
    monkeypatch.setenv("NILOMETER_EXPORT", "otlp://c1?header=Authorization:topsecret")
    findings = told("settings")

    assert findings["service"] == ("shop", "NILOMETER_SERVICE", True)
    assert findings["interval_s"] == ("10.0", "default", True)
    assert findings["trace_keys"] == ("1 hidden", "NILOMETER_TRACE_KEYS", True)
    assert findings["export"] == ("otlp://c1?header=***", "NILOMETER_EXPORT", True)
    assert "topsecret" not in repr(doctor.report())


def test_settings_that_cannot_be_used_are_a_finding_not_a_crash(monkeypatch):
    monkeypatch.setenv("NILOMETER_SERVCE", "shop")
    report = doctor.report()

    assert report.healthy is False
    value, because, healthy = told("settings")["all"]
    assert (value, healthy) == ("cannot be used", False)
    assert "did you mean 'NILOMETER_SERVICE'?" in because


def test_inside_a_service_deliveries_and_losses_are_told():
    exporter = MemoryExporter()
    settings = load({"service": "shop", "queue_rows": 100, "interval_s": 3600}, environ={})
    system = assembly.start(settings, [("memory", exporter)])
    nilometer.counter("doctor.requests").add()
    nilometer.flush()
    delivered = system.pump.outlets[0].delivered

    assert told("export")["memory"] == (
        f"{delivered} rows delivered, 0 buffered",
        "the last delivery went well",
        True,
    )
    assert told("export")["pump"] == ("running", "", True)
    exporter.fail_with = OSError("no route")
    for n in range(300):
        nilometer.counter("doctor.series").bind(n=n).add()
    nilometer.flush()
    report = doctor.report()

    assert report.healthy is False
    assert told("export")["memory"][1:] == ("OSError: no route", False)
    lost = system.pump.outlets[0].lost["readings", "buffer_full"]
    assert told("lost") == {"readings for memory": (str(lost), "buffer_full", False)}
    assert told("instruments")["doctor.requests"][0] == "counter in 1, on, 1 series"


@pytest.mark.parametrize(("rows", "told"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows")])
def test_one_row_is_no_plural(rows, told):
    state = SimpleNamespace(
        name="x", delivered=rows, buffered=1, merged=0, because="", healthy=True, lost={}
    )
    pump = SimpleNamespace(outlets=[SimpleNamespace(state=state)], is_running=True)

    [_, finding] = doctor._running(SimpleNamespace(pump=pump))
    assert finding.value == f"{told} delivered, 1 buffered"


def test_inside_a_service_it_is_told_how_much_was_merged():
    exporter = MemoryExporter()
    exporter.fail_with = OSError("no route")
    settings = load({"service": "shop", "queue_rows": 100, "interval_s": 3600}, environ={})
    (outlet,) = assembly.start(settings, [("memory", exporter)]).pump.outlets
    for _ in range(100):
        nilometer.counter("doctor.requests").add()
        nilometer.flush()

    assert outlet.merged > 100
    assert told("export")["memory"] == (
        f"0 rows delivered, {outlet.rows} buffered, {outlet.merged} merged",
        "OSError: no route",
        False,
    )
    assert told("lost") == {}


def test_a_library_that_stands_for_itself_is_there(monkeypatch):
    """As kombu does: what lies in `sys.modules` is an object of its own, without a spec."""
    monkeypatch.setitem(sys.modules, "kombu", SimpleNamespace(__spec__=None))

    assert told("integrations")["kombu"][0] == "available"


def test_a_probe_tells_whether_somebody_answers(monkeypatch, free_port):
    import socket

    silent = free_port()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        urls = [f"otlp://127.0.0.1:{port}", f"otlp://127.0.0.1:{silent}", "statsd://127.0.0.1"]
        monkeypatch.setenv("NILOMETER_EXPORT", ",".join(urls))
        findings = told("probe", probe=True)

    assert [findings[url][::2] for url in urls] == [
        ("accepts connections", True),
        ("no answer", False),
        ("not tried", True),
    ]


def test_a_flight_recorder_is_told_while_it_runs_and_where_it_would(monkeypatch):
    from nilometer.integrations.flight import Running

    assert told("trace") == {}
    monkeypatch.setenv("NILOMETER_FLIGHT_RECORDER", "true")
    assert told("trace") == {"flight recorder": ("on", "kept: failed", True)}
    settings = load({"flight_recorder": True, "flight_slow_s": "1500ms"}, environ={})
    system = assembly.start(settings, [])
    one = system.flight.begin(None)

    assert told("trace") == {
        "flight recorder": (
            "on",
            "kept: failed, or slower than 1.5 s; in flight: 16 of 16384 spans, 16 of 16384 KiB",
            True,
        )
    }
    one.end(is_kept=False)
    assembly.shutdown()
    assert (Running.recorder, len(system.flight.store)) == (None, 1024)


def test_it_is_told_where_the_process_answers_for_itself_or_why_it_does_not(free_port):
    port = free_port()
    nilometer.configure(admin=f"127.0.0.1:{port}")

    assert told("admin") == {"endpoint": (f"http://127.0.0.1:{port}", "", True)}
    nilometer.configure(admin="192.0.2.1:8091", admin_token_file=tokens_in_a_file())
    because = "each port is taken, or the address is not of this machine"
    assert told("admin") == {"endpoint": ("does not listen", because, False)}


def tokens_in_a_file():
    file = Path("tokens")
    file.touch(0o600)
    file.write_text("a-token-of-the-tests\n")
    return str(file)


def test_our_own_faults_in_a_service_s_calls_are_told_by_what_ran_unmeasured(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(faults, "_known", {})
    (tmp_path / "hooked.py").write_text("def f(): return 7\ndef hook(): raise ValueError\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "hooked", raising=False)
    nilometer.configure(patch=[{"target": "hooked:f", "hook": "hooked:hook"}])
    hooked = import_module("hooked")

    assert (hooked.f(), hooked.f()) == (7, 7)
    faults.ours("sqlalchemy", "a statement", RuntimeError("of a value"), REGISTRY)

    found = [f for f in doctor.report().findings if f.value.startswith("failed ")]
    assert [(f.name, f.value, f.because, f.healthy) for f in found] == [
        (
            "patch",
            "failed 2 times at hook hooked:hook of hooked:f=timer",
            "configure(patch=...): raised ValueError",
            False,
        ),
        ("sqlalchemy", "failed once at a statement", "RuntimeError in C", False),
    ]


def test_a_hook_of_several_patches_is_told_with_each_of_them(monkeypatch, tmp_path):
    monkeypatch.setattr(faults, "_known", {})
    (tmp_path / "hooked.py").write_text("def hook(*_): raise ValueError\n")
    (tmp_path / "hooking.py").write_text("def f(): return 7\ndef g(): return 8\n")
    (tmp_path / "nilometer.toml").write_text(
        '[[patch]]\ntarget = "hooking:f"\nhook = "hooked:hook"\n'
        '[[patch]]\ntarget = "hooking:*"\nhook = "hooked:hook"\nmake = "counter"\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("hooked", "hooking"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    nilometer.configure()
    hooking = import_module("hooking")

    assert (hooking.f(), hooking.g()) == (7, 8)
    found = [f for f in doctor.report().findings if f.value.startswith("failed ")]
    assert [(f.value, f.because) for f in found] == [
        (
            "failed 2 times at hook hooked:hook of hooking:*=counter",
            "nilometer.toml:4: raised ValueError",
        ),
        (
            "failed once at hook hooked:hook of hooking:f=timer",
            "nilometer.toml:1: raised ValueError",
        ),
    ]


def test_every_finding_that_is_not_well_has_a_reason():
    assert [f for f in doctor.report().findings if not f.healthy and not f.because] == []


def test_patches_are_told_as_laid_waiting_and_failed_with_the_reason(tmp_path, monkeypatch):
    (tmp_path / "nilometer.toml").write_text('patch = ["doctored:f"]\n')
    outside = told("patches")
    (tmp_path / "doctored.py").write_text("def f(): pass\ndef g(): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "doctored", raising=False)
    nilometer.configure(
        patch=["doctored:f", "doctored:g=counter", "doctored:h", "never_imported:f"],
        levels={"doctored.g": "off"},
    )
    import_module("doctored")

    assert outside == {
        "doctored:f": (
            "timer, nilometer.toml:1: patch",
            "`nilometer patch check` shows what it matches",
            True,
        )
    }
    origin = "configure(patch=...)"
    assert told("patches") == {
        "doctored:f": ("timer doctored.f, on", origin, True),
        "doctored:g": ("counter doctored.g.calls, off by its level", origin, True),
        "never_imported:f": ("waiting", "never_imported has not been imported", True),
        "doctored:h": (
            "failed",
            f"{origin}: doctored:h matches nothing (f, g) [patch-matches-nothing]",
            False,
        ),
    }
