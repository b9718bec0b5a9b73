"""`nilometer requests`, `resource` and `timings`, against a real collector."""

from __future__ import annotations

import json

import pytest

from nilometer.clock import wall_ns
from nilometer.model.units import moment
from nilometer.store.lake import Lake
from tests import collector as collectors
from tests.notified import ACME, NETWORK, REQUEST, SECOND, SERVER, THIRD, cloud

S = 10**9
NOW = wall_ns() // S * S - 60 * S
CREATE = "compute.instance.create"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cloud")
    Lake(folder / "store", durability="os").append(cloud(NOW))
    with collectors.start(folder) as running:
        yield running.url


@pytest.fixture
def ask(quick, url):
    return lambda *arguments: quick(*arguments, NILOMETER_URL=url)


def lines(text):
    return [" ".join(line.split()) for line in text.splitlines()]


def test_requests_are_listed_with_their_whole_ids(ask):
    assert lines(ask("requests").stdout) == [
        "id started project last time told failed",
        f"{THIRD} {moment(NOW + 11 * S)} {ACME} compute.instance.delete.end 2.00 s 3",
        f"{SECOND} {moment(NOW + 10 * S)} {ACME} network.create.end 250 ms 2",
        f"{REQUEST} {moment(NOW)} {ACME} {CREATE}.end 9.00 s 7 1",
    ]
    found = json.loads(ask("requests", "--failed", "--json").stdout)["requests"]
    assert [one["id"] for one in found] == [REQUEST]
    assert "there are more" in ask("requests", "--limit", "1").stderr


def test_a_request_is_shown_in_order_with_what_went_wrong(ask):
    assert lines(ask("requests", REQUEST).stdout) == [
        "7 lines in 9.00 s, 1 failed",
        "when gap what where state note",
        f"{moment(NOW)} compute.instance.update nova-api@ctl building {SERVER}",
        f"{moment(NOW + S)} 1.00 s scheduler.select_destinations.start scheduler@ctl",
        f"{moment(NOW + S * 3 // 2)} 500 ms scheduler.select_destinations.end scheduler@ctl",
        f"{moment(NOW + 2 * S)} 500 ms {CREATE}.start compute@node-1 building {SERVER}",
        (
            f"{moment(NOW + 4 * S)} 2.00 s {CREATE}.error compute@node-1 building > error "
            f"No disk left; {SERVER}"
        ),
        f"{moment(NOW + 5 * S)} 1.00 s {CREATE}.start compute@node-2 building {SERVER}",
        f"{moment(NOW + 9 * S)} 4.00 s {CREATE}.end compute@node-2 active {SERVER}",
    ]


def test_a_resource_is_shown_and_an_unknown_one_is_said(ask):
    shown = ask("resource", NETWORK)
    unknown = ask("resource", "nobody")

    assert lines(shown.stdout)[2:] == [
        f"{moment(NOW + S * 41 // 4)} network.create.end network@ctl ACTIVE"
    ]
    assert json.loads(ask("resource", NETWORK, "--json").stdout)["id"] == NETWORK
    assert (unknown.returncode, "nothing is known of 'nobody'" in unknown.stderr) == (1, True)


def test_timings_are_a_line_for_each_operation(ask):
    told = lines(ask("timings").stdout)

    assert told[0] == "operation count min p50 avg p95 p99 max failed open end only"
    assert told[1] == f"{CREATE} 1 {'4.00 s ' * 6}1"
    assert told[3] == "compute.instance.snapshot 0 - - - - - - 1"
    assert lines(ask("timings", "--operation", "network", "--by-project").stdout)[1] == (
        f"network.create {ACME} 1" + " 250 ms" * 6
    )
    assert lines(ask("timings", "--kpi").stdout)[1] == f"{CREATE} {ACME} 1" + " 9.00 s" * 6
    assert json.loads(ask("timings", "--kpi", "--json").stdout)["kpi"][0]["count"] == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("timings", "--kpi", "--by-project"), 2, "choose one of them"),
        (("requests", REQUEST, "--failed"), 2, "choose of the list"),
        (("requests", "--since", "1s"), 1, "further back with --since"),
        (("timings", "--operation", "nothing"), 1, "further back with --since"),
        (("timings", "--since", "soon"), 2, "--since 'soon'"),
    ],
)
def test_what_cannot_be_answered_says_what_to_do(ask, words, code, said):
    answer = ask(*words)

    assert (answer.returncode, said in answer.stderr) == (code, True), answer.stderr
