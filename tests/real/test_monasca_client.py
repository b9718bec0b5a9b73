"""The real `monasca` command and its Python client, on a collector: only the URL is ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from keystoneauth1 import session, token_endpoint
from monascaclient import client, exc

from nilometer.clock import wall_ns
from nilometer.model import Batch, Distribution, Kind, Reading, Resource
from nilometer.store.lake import Lake
from tests.collector import start

pytestmark = pytest.mark.real

TOKEN = "monasca-real-token-of-the-tests"
MONASCA = Path(sys.executable).parent / "monasca"
MS, S = 10**6, 10**9
# Ten minutes ago, at a multiple of five minutes.
AT = wall_ns() // (300 * S) * 300 * S - 600 * S
TIMER = "persister.flush"


def flushed(host, after_s, *took_ms):
    at = AT + after_s * S
    kept = Distribution.of([each * MS for each in took_ms])
    reading = Reading(
        TIMER, Kind.DISTRIBUTION, (("component", "persister"),), kept, at, at, "ns"
    )
    return Batch(Resource("monitoring", host, 7), (reading,))


def iso(at_ns):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_ns // S))


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """A collector that wants tokens, with readings of two persisters."""
    place = tmp_path_factory.mktemp("monasca")
    tokens = place / "tokens"
    tokens.write_text(TOKEN + "\n")
    tokens.chmod(0o600)
    batches = [flushed("h1", 0, 100, 300), flushed("h1", 10, 800), flushed("h2", 310, 200)]
    Lake(place / "store", durability="os").append(batches)
    with start(place, store=place / "store", token_file=tokens) as collector:
        yield f"{collector.url}/v2.0"


def monasca(
    endpoint, *words, auth=("--os-auth-type", "admin_token", "--os-token", TOKEN), **env
):
    """What the command prints as JSON, or all it says where it fails."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "MONASCA_"))}
    told = subprocess.run(
        [MONASCA, *auth, *(["--os-endpoint", endpoint] if endpoint else []), *words, "-j"],
        env={**clean, "no_proxy": "127.0.0.1", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if told.returncode:
        return told.stdout + told.stderr
    return json.loads(told.stdout) if told.stdout.startswith(("[", "{")) else told.stdout


@pytest.fixture(scope="module")
def api(endpoint):
    auth = token_endpoint.Token(endpoint, TOKEN)
    return client.Client("2_0", session=session.Session(auth=auth), endpoint=endpoint)


H1 = {"hostname": "h1", "service": "monitoring", "pid": "7", "component": "persister"}


# --- The command line ------------------------------------------------------------------------


def test_the_command_lists_metrics_by_each_way_to_bring_a_token(endpoint):
    basic = ("--os-auth-type", "http_basic", "--os-username", "u", "--os-password", TOKEN)
    named = {"OS_AUTH_TYPE": "admin_token", "OS_TOKEN": TOKEN, "OS_ENDPOINT": endpoint}
    listing = ("metric-list", "--name", TIMER, "--dimensions", "hostname:h1,pid")

    by_token = monasca(endpoint, *listing)
    by_password = monasca(endpoint, *listing, auth=basic)
    by_environment = monasca("", *listing, auth=(), **named)

    assert [(each["name"], each["dimensions"]) for each in by_token] == [(TIMER, H1)]
    assert by_token == by_password == by_environment


def test_the_command_without_a_token_is_told_so_where_one_is_wanted(endpoint):
    assert "401" in monasca(endpoint, "metric-list", auth=("--os-auth-type", "none"))


def test_the_command_needs_no_token_where_none_is_wanted(tmp_path):
    with start(tmp_path) as collector:
        url = f"{collector.url}/v2.0"
        assert monasca(url, "metric-name-list", auth=("--os-auth-type", "none")) == []


def test_the_command_shows_statistics_of_events(endpoint):
    window = (iso(AT), "--endtime", iso(AT + 600 * S), "--period", "300")
    asked = ("metric-statistics", TIMER, "AVG,MIN,MAX,COUNT,SUM", *window)

    [merged] = monasca(endpoint, *asked, "--merge_metrics")
    groups = monasca(endpoint, *asked, "--group_by", "hostname")
    refused = monasca(endpoint, *asked)

    first, second = iso(AT), iso(AT + 300 * S)
    assert merged["columns"] == ["timestamp", "avg", "min", "max", "count", "sum"]
    assert merged["statistics"] == [
        [first, pytest.approx(0.4), 0.1, 0.8, 3, pytest.approx(1.2)],
        [second, 0.2, 0.2, 0.2, 1, 0.2],
    ]
    assert [(each["dimensions"], len(each["statistics"])) for each in groups] == [
        ({"hostname": "h1"}, 1),
        ({"hostname": "h2"}, 1),
    ]
    assert "409" in refused
    assert "MultipleMetrics" in refused


def test_the_command_shows_percentiles_by_derived_names(endpoint):
    [found] = monasca(
        endpoint,
        *("metric-statistics", f"{TIMER}.p50", "MAX", iso(AT), "--endtime", iso(AT + 300 * S)),
    )

    assert found["statistics"] == [[iso(AT), pytest.approx(0.3, rel=0.02)]]


def test_the_command_shows_its_tables_and_not_only_json(endpoint):
    window = ("-60", "--merge_metrics")
    shown = subprocess.run(
        [
            *(MONASCA, "--os-auth-type", "admin_token", "--os-token", TOKEN),
            *("--os-endpoint", endpoint, "measurement-list", TIMER, *window),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout

    assert TIMER in shown
    assert time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(AT // S)) in shown


def test_the_command_posts_a_point_and_finds_it(endpoint):
    at_ms = AT // MS + 1500
    value_meta = {"rc": "404", "msg": "not found"}
    created = monasca(
        endpoint,
        *("metric-create", "cpu.posted", "123.4", "--time", str(at_ms)),
        *("--dimensions", "hostname=h9,service=x"),
        *("--value-meta", ",".join(f"{k}={v}" for k, v in value_meta.items())),
    )

    [found] = monasca(endpoint, "measurement-list", "cpu.posted", iso(AT))

    assert "Successfully created metric" in created
    assert found["dimensions"] == {"hostname": "h9", "service": "x"}
    [[told, value, meta]] = found["measurements"]
    at = time.strftime("%Y-%m-%dT%H:%M:%S.500Z", time.gmtime(at_ms // 1000))
    assert (told, value, meta) == (at, 123.4, value_meta)


def test_the_command_posts_raw_json_and_tells_what_is_wrong_with_it(endpoint):
    point = {"name": "raw.posted", "timestamp": AT // MS, "value": 7, "dimensions": {"k": "v"}}

    created = monasca(endpoint, "metric-create-raw", json.dumps(point))
    refused = monasca(endpoint, "metric-create-raw", json.dumps({**point, "name": "a b"}))
    [found] = monasca(endpoint, "measurement-list", "raw.posted", iso(AT))

    assert "Successfully created metric" in created
    assert "invalid characters in metric name 'a b'" in refused
    assert [row[1] for row in found["measurements"]] == [7.0]


def test_the_command_goes_on_where_it_is_told_to(endpoint):
    asked = ("measurement-list", TIMER, iso(AT), "--group_by", "*", "--limit", "2")
    [first] = monasca(endpoint, *asked)
    last = first["measurements"][-1][0]

    [second] = monasca(endpoint, *asked, "--offset", f"{first['id']}_{last}")

    hosts = [each["dimensions"]["hostname"] for each in (first, second)]
    assert hosts == ["h1", "h2"]


def test_the_command_lists_names_and_dimensions(endpoint):
    assert {"name": TIMER} in monasca(endpoint, "metric-name-list")
    values = monasca(endpoint, "dimension-value-list", "hostname", "--metric-name", TIMER)
    names = monasca(endpoint, "dimension-name-list", "--metric-name", TIMER)

    assert [each["dimension_value"] for each in values] == ["h1", "h2"]
    assert [each["dimension_name"] for each in names] == [
        "component",
        "hostname",
        "pid",
        "service",
    ]


# --- The Python client -----------------------------------------------------------------------


def test_the_python_client_asks_for_all_there_is(api):
    window = {"start_time": iso(AT), "end_time": iso(AT + 600 * S)}

    metrics = api.metrics.list(name=TIMER, dimensions={"hostname": "h1|h2"}, limit=5)
    names = api.metrics.list_names(dimensions={"hostname": "h1"})
    points = api.metrics.list_measurements(name=TIMER, group_by="*", **window)
    statistics = api.metrics.list_statistics(
        name=TIMER, statistics="avg,count", period=300, merge_metrics=True, **window
    )

    assert [each["dimensions"]["hostname"] for each in metrics] == ["h1", "h2"]
    assert names == [{"name": TIMER}]
    assert [len(each["measurements"]) for each in points] == [2, 1]
    assert statistics[0]["statistics"][0] == [iso(AT), pytest.approx(0.4), 3]
    found = api.metrics.list_dimension_values(dimension_name="hostname", metric_name=TIMER)
    assert [each["dimension_value"] for each in found] == ["h1", "h2"]


def test_the_python_client_posts_one_point_or_many(api):
    point = {"name": "posted.here", "timestamp": AT // MS + 0.25, "value": 1.5}
    api.metrics.create(**point, dimensions={"hostname": "h3"}, value_meta={"a": "b"})
    api.metrics.create(
        jsonbody=[{**point, "value": n, "dimensions": {"n": str(n)}} for n in (2, 3)]
    )

    found = api.metrics.list_measurements(name="posted.here", start_time=iso(AT), group_by="*")

    told = {each["measurements"][0][1]: each["measurements"][0][2] for each in found}
    assert told == {1.5: {"a": "b"}, 2.0: {}, 3.0: {}}


def test_the_python_client_raises_what_it_would_of_monasca(api):
    with pytest.raises(exc.UnprocessableEntity):
        api.metrics.list_statistics(name=TIMER, start_time=iso(AT), statistics="median")
    with pytest.raises(exc.Conflict, match="MultipleMetrics"):
        api.metrics.list_measurements(name=TIMER, start_time=iso(AT))
    with pytest.raises(exc.BadRequest):
        api.metrics.list_measurements(name=TIMER, start_time=iso(AT), end_time=iso(AT - S))
