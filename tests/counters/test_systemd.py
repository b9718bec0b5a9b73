"""What systemd accounts for units. No systemd runs where this is tested: the texts are as
systemctl 252 prints them, and the program is one that prints them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.counters.backend import BackendError, connect
from nilometer.counters.figures import Figures
from nilometer.counters.systemd import counted
from nilometer.errors import ConfigError

SHOWN = """\
Id=nginx.service
LoadState=loaded
InvocationID=5d1a
ActiveEnterTimestampMonotonic=1234
CPUUsageNSec=900
MemoryPeak=18446744073709551615
IPIngressBytes=[not set]
NRestarts=0

Id=shop@1.service
LoadState=loaded
InvocationID=77ff
ActiveEnterTimestampMonotonic=99
CPUUsageNSec=100
MemoryPeak=4096
IPIngressBytes=7
NRestarts=2

Id=typo.service
LoadState=not-found
CPUUsageNSec=5
"""


def test_figures_are_summed_and_told_by_unit_and_what_is_not_set_is_left_out() -> None:
    one, two = (("unit", "nginx.service"),), (("unit", "shop@1.service"),)

    found = counted(SHOWN)

    assert dict(found.values) == {
        ("CPUUsageNSec", one): 900,
        ("CPUUsageNSec", two): 100,
        ("CPUUsageNSec", ()): 1000,
        ("MemoryPeak", two): 4096,
        ("MemoryPeak", ()): 4096,
        ("IPIngressBytes", two): 7,
        ("IPIngressBytes", ()): 7,
        ("NRestarts", one): 0,
        ("NRestarts", two): 2,
        ("NRestarts", ()): 2,
    }
    assert found.incarnation == "nginx.service 5d1a 1234; shop@1.service 77ff 99"
    assert "MemoryAccounting is off for nginx.service, shop@1.service" in found.notes


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``systemctl(script)``: what is found under that name on PATH."""

    def put(script: str) -> None:
        (tmp_path / "systemctl").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "systemctl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return put


def test_systemctl_is_asked_for_the_units(systemctl, tmp_path: Path) -> None:
    (tmp_path / "shown").write_text(SHOWN)
    systemctl(f'echo "$@" > {tmp_path}/asked; cat {tmp_path}/shown')

    found = connect("systemd://?units=nginx.service,shop@*.service", origin="-b").read()

    assert found == counted(SHOWN)
    assert (tmp_path / "asked").read_text().endswith(" -- nginx.service shop@*.service\n")


@pytest.mark.parametrize(
    ("script", "because"),
    [
        ("echo no bus >&2; exit 1", "systemctl: no bus"),
        ("exit 0", "no such unit is loaded"),
    ],
)
def test_what_systemctl_refuses_is_told(systemctl, script: str, because: str) -> None:
    systemctl(script)

    with pytest.raises(BackendError, match=f"systemd at x.service: {because}"):
        connect("systemd://?units=x.service", origin="-b").read()


@pytest.mark.parametrize("units", ["", ",", "--help"])
def test_units_must_be_named(units: str) -> None:
    with pytest.raises(ConfigError):
        connect(f"systemd://?units={units}", origin="-b")


@given(st.text() | st.text("IdCPUsageNSec=\n0123456789[not set]"))
def test_any_text_gives_figures(text: str) -> None:
    assert isinstance(counted(text), Figures)
