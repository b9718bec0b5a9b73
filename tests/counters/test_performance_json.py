"""devstack's performance.json: every row that means something counts, none is endless."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.counters.document import DocumentError
from nilometer.counters.performance_json import COUNTERS_MAX, run_of
from nilometer.model import Kind
from nilometer.model.run import Run

DATA = Path(__file__).parent.parent / "data" / "devstack"
NOW_NS = 1_700_000_000 * 10**9


def run(value: object) -> Run:
    return run_of(
        value, json.dumps(value).encode(), origin="FILE x", suite="tempest", wall_ns=NOW_NS
    )


def recorded(version: str) -> Run:
    return run(json.loads((DATA / f"performance-{version}.json").read_bytes()))


def told(found: Run, backend: str) -> dict[str, object]:
    return {c.counter: c.delta for c in found.counts if c.backend == f"devstack.{backend}"}


def test_a_file_of_version_2_is_a_run() -> None:
    found = recorded("v2")

    assert (found.suite, found.host) == ("tempest", "ubuntu-noble-provider-0031415926")
    assert found.started_ns == found.ended_ns == 1_782_901_230_500_000_000
    assert told(found, "services") == {
        "apache2.MemoryCurrent": 104857600,
        "devstack@keystone.MemoryCurrent": 251658240,
        "devstack@n-api.MemoryCurrent": 270532608,
    }
    assert told(found, "db") == {
        "keystone.INSERT": 1240,
        "keystone.SELECT": 48211,
        "neutron.SELECT": 130421,
        "nova_cell1.SELECT": 90337,
        "nova_cell1.UPDATE": 11020,
    }
    assert told(found, "processes") == {
        "etcd.processes": 1,
        "etcd.rss": 20480000,
        "mysqld.processes": 1,
        "mysqld.rss": 802816000,
    }
    assert told(found, "api") == {
        "compute.largest": 40960,
        "compute.novaclient-GET": 11,
        "compute.tempest-DELETE": 1530,
        "compute.tempest-GET": 9120,
        "compute.tempest-POST": 2210,
        "identity.keystoneauth-GET": 3,
        "identity.largest": 5120,
        "identity.openstacksdk-GET": 40,
        "identity.tempest-GET": 2890,
        "identity.tempest-POST": 1410,
        "other.GET": 4,  # of scanners, whatever they asked for
        "placement.largest": 9000,
        "placement.nova-compute-GET": 310,
        "placement.openstacksdk-PUT": 2200,
    }
    kinds = {c.counter: (c.kind, c.unit) for c in found.counts}
    assert kinds["etcd.rss"] == kinds["compute.largest"] == (Kind.GAUGE, "By")
    assert kinds["keystone.SELECT"] == kinds["compute.tempest-GET"] == (Kind.COUNTER, "1")
    notes = {read.name: read.notes for read in found.backends}
    assert notes["devstack.services"] == (
        "left out: MemoryCurrent that is not set: devstack@c-vol.service (1)",
    )


def test_a_file_without_a_version_is_a_run_whose_calls_have_no_caller() -> None:
    found = recorded("v1")

    assert told(found, "services") == {
        "devstack@keystone.MemoryCurrent": 241827840,
        "devstack@n-api.MemoryCurrent": 268435456,
    }
    assert told(found, "db")["none.SET"] == 3
    assert told(found, "processes")["privsep-helper.rss"] == 140000768  # both
    assert told(found, "api") == {  # the proxy and the server behind it saw the same calls
        "compute.GET": 17,
        "compute.POST": 20,
        "compute.largest": 2500,
        "identity.GET": 1174,
        "identity.POST": 280,
        "identity.PUT": 34,
        "identity.largest": 3900,
        "other.GET": 19,
        "other.POST": 9,
    }


def test_a_kind_that_is_missing_is_not_one_that_did_not_move() -> None:
    found = run({"db": [{"db": "nova", "op": "SELECT", "count": 0}], "api": [], "services": 7})

    assert {read.name: read.because for read in found.backends} == {
        "devstack.services": "the file has no rows of it",
        "devstack.db": "",
        "devstack.processes": "the file has no rows of it",
        "devstack.api": "the file has no rows of it",
    }
    assert (found.started_ns, found.ended_ns) == (NOW_NS, NOW_NS)


def test_whatever_scanners_ask_for_the_counters_stay_few_and_the_calls_all() -> None:
    service = [
        {"service": f"Scan{n}", "log": "a", "largest": 1, "x-GET": 1} for n in range(5000)
    ]
    lower = [
        {"service": "s" + "".join(chr(97 + int(d)) for d in str(n)), "log": "a", "x-GET": 1}
        for n in range(5000)
    ]

    found = told(run({"api": service + lower}), "api")

    assert len(found) <= COUNTERS_MAX + 2
    assert sum(found.values()) == 10_000


def test_a_file_read_twice_is_one_run_and_another_suite_another() -> None:
    ids = {recorded("v1").id, recorded("v1").id, recorded("v2").id}
    other = run_of({"db": []}, b"", origin="", suite="a", wall_ns=0)
    same = run_of({"db": []}, b"", origin="", suite="b", wall_ns=0)

    assert len(ids) == 2
    assert other.id != same.id


@pytest.mark.parametrize(
    ("value", "because"),
    [
        ([], "FILE x: not devstack's performance.json"),
        ({}, "FILE x: not devstack's performance.json"),
        ({"mysql": {"Queries": 1}}, "FILE x: not devstack's performance.json"),
        ({"db": [], "report": {"version": 3}}, "version 3 of performance.json is not known"),
    ],
)
def test_another_file_is_told(value, because) -> None:
    with pytest.raises(DocumentError, match=because):
        run(value)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
rows = st.lists(
    anything
    | st.dictionaries(
        st.sampled_from(
            ["service", "MemoryCurrent", "db", "op", "count", "cmd", "rss", "GET", "log"]
        ),
        scalars,
    ),
    max_size=5,
)


@given(
    st.dictionaries(st.sampled_from(["services", "db", "processes", "api"]), rows | anything),
    anything,
)
def test_any_file_is_a_run_or_told(value, report) -> None:
    try:
        found = run({**value, "report": report})
    except DocumentError:
        return

    assert all(isinstance(c.delta, int) and c.delta >= 0 for c in found.counts)
    assert len({(c.backend, c.counter, c.kind) for c in found.counts}) == len(found.counts)
