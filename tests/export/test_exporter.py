"""Exporters are found by scheme: ours in a dict, others by entry point, each loaded on use."""

from __future__ import annotations

import importlib.metadata
import subprocess

import pytest

from nilometer.errors import ConfigError
from nilometer.export import SCHEMES, open_exporter
from nilometer.testing import MemoryExporter


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_of_ours_opens_without_a_receiver(scheme, tmp_path):
    where = tmp_path / "x" if scheme == "file" else "127.0.0.1:9"
    url = "log://" if scheme == "log" else f"{scheme}://{where}"

    open_exporter(url).close()


def test_an_unknown_scheme_names_the_nearest_and_all():
    with pytest.raises(ConfigError) as refused:
        open_exporter("statd://c1", origin="NILOMETER_EXPORT")

    assert str(refused.value) == (
        "NILOMETER_EXPORT: no exporter for 'statd://c1'; did you mean 'statsd'? (otlp, otlps, "
        "statsd, dogstatsd, monasca-statsd, graphite, graphite+pickle, kafka, log, file) "
        "[no-such-exporter]"
    )


def test_importing_the_export_package_loads_no_transport(python):
    program = (
        "import sys, nilometer.export; "
        "print([m for m in ('http.client', 'socket', 'ssl', 'gzip', 'logging.handlers',"
        " 'nilometer.wire') if m in sys.modules])"
    )

    told = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "[]"


class _Point:
    def __init__(self, name, value, load):
        self.name, self.value, self.load = name, value, load


def _raise(_):
    raise RuntimeError("broken")


def test_third_parties_register_a_scheme_by_entry_point(monkeypatch):
    opened = []

    def opening(address):
        opened.append((address.host, address.text("a")))
        return MemoryExporter()

    point = _Point("pulsar", "p:o", lambda: opening)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])

    assert isinstance(open_exporter("pulsar://c1?a=b"), MemoryExporter)
    assert opened == [("c1", "b")]


def test_a_foreign_exporter_that_fails_to_open_is_a_settings_error(monkeypatch):
    point = _Point("pulsar", "p:o", lambda: _raise)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])

    with pytest.raises(ConfigError, match="here: 'pulsar://c1': p:o failed: RuntimeError"):
        open_exporter("pulsar://c1", origin="here")
