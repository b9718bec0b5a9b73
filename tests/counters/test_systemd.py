"""What systemd accounts for units. No systemd runs where this is tested: the texts are as
systemctl 252 prints them, and the program is one that prints them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.clock import Clock
from nilometer.counters.backend import BackendError, connect
from nilometer.counters.delta import delta
from nilometer.counters.figures import Figures
from nilometer.counters.overlap import places_of
from nilometer.counters.snapshot import Snapshot, snapshot
from nilometer.counters.systemd import BOOT_ID, FACTS, counted, units_of
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

    found = counted(units_of(SHOWN))

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
    assert found.incarnations["CPUUsageNSec", one] == "nginx.service 5d1a 1234"
    assert found.incarnations["CPUUsageNSec", ()] == (
        "nginx.service 5d1a 1234; shop@1.service 77ff 99"
    )
    assert "MemoryAccounting is off: nginx.service" in found.notes


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

    boot = BOOT_ID.read_text().strip()
    assert found == counted(units_of(SHOWN))._replace(incarnation=boot)
    assert (tmp_path / "asked").read_text().endswith(" -- nginx.service shop@*.service\n")


@pytest.mark.parametrize(
    ("script", "because"),
    [
        ("echo no bus >&2; exit 1", "systemctl: no bus"),
        ("exit 0", "no such unit is loaded"),
        ("echo Id=x.service; echo LoadState=not-found", "there is no such unit: x.service"),
    ],
)
def test_what_systemctl_refuses_is_told(systemctl, script: str, because: str) -> None:
    systemctl(script)

    with pytest.raises(BackendError, match=f"systemd at x.service: {because}"):
        connect("systemd://?units=x.service", origin="-b").read()


RUNS = "Id=a.service\nLoadState=loaded\nActiveState=active\nNRestarts=0\n"


@pytest.mark.parametrize(
    ("shown", "notes"),
    [
        pytest.param(
            f"{RUNS}CPUUsageNSec=1\nMemoryCurrent=4096\nTasksCurrent=1\n",
            "MemoryPeak is not told by this systemd, which does from 254 on: a.service",
            id="systemd before 254 does not print the property",
        ),
        pytest.param(
            f"{RUNS}MemoryPeak=[not set]\nMemoryCurrent=4096\n",
            "MemoryPeak is not told by this Linux, which does from 5.19 on: a.service",
            id="Linux before 5.19 does not count it",
        ),
        pytest.param(
            f"{RUNS}MemoryPeak=[not set]\nMemoryCurrent=[not set]\n",
            "MemoryAccounting is off: a.service",
            id="nothing is accounted",
        ),
        pytest.param(
            f"{RUNS}MemoryCurrent=[not set]\n".replace("active", "inactive"),
            "inactive, so that nothing is accounted: a.service",
            id="it does not run",
        ),
        pytest.param(
            "Id=a.target\nLoadState=loaded\nActiveState=active\n",
            "of a kind that systemd accounts nothing for: a.target",
            id="it has no processes",
        ),
        pytest.param(
            f"{RUNS}\nId=typo.service\nLoadState=not-found\n",
            "there is no such unit: typo.service",
            id="it is not there",
        ),
        pytest.param(
            f"{RUNS}\nId=off.service\nLoadState=masked\n",
            "not loaded (masked): off.service",
            id="it is masked",
        ),
    ],
)
def test_why_a_unit_has_no_figure_is_told_as_it_is(shown: str, notes: str) -> None:
    found = counted(units_of(shown))

    assert notes in found.notes
    if "MemoryAccounting" not in notes:
        assert not any("MemoryAccounting is off" in note for note in found.notes)


def test_a_pattern_that_means_no_unit_is_told(systemctl, tmp_path: Path) -> None:
    """systemctl says nothing of it; a unit may be meant by another of its names."""
    (tmp_path / "shown").write_text(f"{RUNS}Names=a.service alias.service\n")
    systemctl(f"cat {tmp_path}/shown")

    found = connect("systemd://?units=a.service,al*,gone@*.service", origin="-b").read()

    assert [note for note in found.notes if "meant by" in note] == [
        "no unit that is loaded is meant by gone@*.service"
    ]


def test_a_unit_that_is_meant_twice_counts_once() -> None:
    shown = f"{RUNS}CPUUsageNSec=5\n"

    assert counted(units_of(f"{shown}\n{shown}")).values["CPUUsageNSec", ()] == 5


def test_a_unit_is_known_by_its_name_whatever_others_are_read_with_it(
    systemctl, tmp_path: Path
) -> None:
    (tmp_path / "shown").write_text(f"{SHOWN}\n{RUNS}")
    systemctl(f"cat {tmp_path}/shown")
    alone = connect("systemd://?units=nginx.service", origin="-b")
    among = connect("systemd://?units=nginx*,shop@*.service", origin="-b")
    for backend in (alone, among):
        backend.read()

    assert ("systemd", "nginx.service") in {*places_of(alone)} & {*places_of(among)}


def test_a_unit_that_is_started_anew_leaves_the_others_known(systemctl, tmp_path: Path) -> None:
    backend = connect("systemd://?units=nginx.service,shop@*.service", origin="-b")
    systemctl(f"cat {tmp_path}/shown")
    taken = []
    for shown in (SHOWN, SHOWN.replace("77ff", "78aa").replace("NRestarts=2", "NRestarts=3")):
        (tmp_path / "shown").write_text(shown)
        taken.append(snapshot(backend, Clock()))

    found = delta(*taken)

    one, two = (("unit", "nginx.service"),), (("unit", "shop@1.service"),)
    assert (found.because, found.moved["CPUUsageNSec", one]) == ("", 0)
    assert found.moved["NRestarts", two] == found.moved["NRestarts", ()] == 1
    assert {series[1] for series in found.unknown} == {two, ()}
    assert "shop@1.service 78aa" in found.unknown["CPUUsageNSec", ()]


def test_a_total_over_other_units_than_before_is_not_compared() -> None:
    began, after = (
        Snapshot(
            "systemd", "", "", "boot", 1, 1, 1, found.values, FACTS, (), found.incarnations
        )
        for found in (counted(units_of(SHOWN)), counted(units_of(f"{SHOWN}\n{RUNS}")))
    )

    found = delta(began, after)

    assert ("NRestarts", ()) in found.unknown
    assert found.moved["NRestarts", (("unit", "nginx.service"),)] == 0


def test_a_total_is_that_of_the_units_that_have_the_figure() -> None:
    found = counted(units_of(SHOWN))

    assert found.incarnations["IPIngressBytes", ()] == "shop@1.service 77ff 99"


@pytest.mark.parametrize("units", ["", ",", "--help"])
def test_units_must_be_named(units: str) -> None:
    with pytest.raises(ConfigError):
        connect(f"systemd://?units={units}", origin="-b")


@given(st.text() | st.text("IdCPUsageNSec=\n0123456789[not set]"))
def test_any_text_gives_figures(text: str) -> None:
    assert isinstance(counted(units_of(text)), Figures)
