"""Laws of the questions about requests: whole answers, each once, in order with their gaps."""

from __future__ import annotations

import pytest

from nilometer.clock import wall_ns
from tests.asked import asking
from tests.notified import (
    ACME,
    IMAGE,
    NETWORK,
    OTHER,
    REQUEST,
    SECOND,
    SERVER,
    THIRD,
    cloud,
    instance,
    notified,
)

S = 10**9
NOW = wall_ns() // S * S - 60 * S
CREATE = "compute.instance.create"


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    with asking(tmp_path_factory.mktemp("store"), cloud(NOW)) as ask:
        yield lambda path, **parameters: ask(f"/api/v1/{path}", **parameters)


def test_a_request_s_happenings_are_in_order_with_gaps_and_come_once(ask):
    told = ask(f"requests/{REQUEST}").json()

    assert [
        (one["name"], (one["at_ns"] - NOW) / S, one["gap_ns"] and one["gap_ns"] / S)
        for one in told["happenings"]
    ] == [
        ("compute.instance.update", 0, None),
        ("scheduler.select_destinations.start", 1, 1),
        ("scheduler.select_destinations.end", 1.5, 0.5),
        (f"{CREATE}.start", 2, 0.5),
        (f"{CREATE}.error", 4, 2),
        (f"{CREATE}.start", 5, 1),
        (f"{CREATE}.end", 9, 4),
    ]
    assert {key: value for key, value in told.items() if key != "happenings"} == {
        "id": REQUEST,
        "started_ns": NOW,
        "duration_ns": 9 * S,
        "errors": 1,
        "more": False,
    }
    latest = ask(f"requests/{REQUEST}", limit=2).json()
    assert (latest["more"], [one["name"] for one in latest["happenings"]]) == (
        True,
        [f"{CREATE}.start", f"{CREATE}.end"],
    )


def test_one_happening_is_told_whole(ask):
    (failed,) = ask("notifications", failed="true").json()["happenings"]

    assert failed.pop("id").startswith("00000000-0000-4000-8000-")
    assert failed.pop("at").endswith(".000000000Z")
    assert failed == {
        "kind": "notification",
        "at_ns": NOW + 4 * S,
        "gap_ns": None,
        "name": f"{CREATE}.error",
        "service": "compute",
        "host": "node-1",
        "region": "",
        "publisher": "compute.node-1",
        "priority": "ERROR",
        "exchange": "nova",
        "topic": "notifications",
        "request_id": REQUEST,
        "project_id": ACME,
        "user_id": "",
        "resource_id": SERVER,
        "state": "error",
        "old_state": "building",
        "task": "",
        "old_task": "",
        "text": "No disk left",
        "duration_ns": None,
        "is_error": True,
    }


def test_a_resource_and_what_is_known_of_nothing(ask):
    told = ask(f"resources/{NETWORK}").json()
    missing = ask("resources/nobody")

    assert [one["name"] for one in told["happenings"]] == ["network.create.end"]
    assert missing.status_code == 404
    assert missing.json()["detail"].startswith("nothing is known of 'nobody'")
    for path in ("resources/", "requests/"):  # as of a shell whose variable is not set
        assert ask(path).status_code == 404


def test_requests_are_listed_newest_first_and_chosen_by_what_they_tell(ask):
    def ids(**chosen):
        return [one["id"] for one in ask("requests", **chosen).json()["requests"]]

    assert ids() == [THIRD, SECOND, REQUEST]
    assert ids(failed="true") == ids(service="scheduler") == [REQUEST]
    assert ids(failed="false", project=ACME) == [THIRD, SECOND]
    assert ids(since="1s") == []
    listed = ask("requests", limit=1).json()
    assert (listed["more"], listed["requests"][0]) == (
        True,
        {
            "id": THIRD,
            "started_ns": NOW + 11 * S,
            "started": listed["requests"][0]["started"],
            "duration_ns": 2 * S,
            "notifications": 3,
            "errors": 0,
            "first": "image.upload",
            "last": "compute.instance.delete.end",
            "project_id": ACME,
            "resources": sorted([IMAGE, OTHER]),
            "services": ["compute", "image"],
        },
    )


def test_timings_are_of_pairs_that_belong_together_and_the_rest_is_counted(ask):
    told = ask("timings", quantile="0.5").json()["timings"]

    assert [
        (
            one["operation"],
            one["count"],
            one["max"],
            one["quantiles"]["0.5"],
            one["failed"],
            one["unfinished"],
            one["end_only"],
        )
        for one in told
    ] == [
        (CREATE, 1, 4 * S, 4 * S, 1, 0, 0),
        ("compute.instance.delete", 0, None, None, 0, 0, 1),
        ("compute.instance.snapshot", 0, None, None, 0, 1, 0),
        ("network.create", 1, S // 4, S // 4, 0, 0, 0),
        ("scheduler.select_destinations", 1, S // 2, S // 2, 0, 0, 0),
    ]
    by_project = ask("timings", operation="network", group_by="project").json()["timings"]
    assert [(one["operation"], one["project_id"]) for one in by_project] == [
        ("network.create", ACME)
    ]
    assert ask("timings", resource=NETWORK).json()["timings"] == [
        {**by_project[0], "project_id": None}
    ]


def test_pairs_belong_to_the_time_in_which_they_ended(ask):
    def of(since, until):
        told = ask("timings", operation=CREATE, since=NOW + since * S, until=NOW + until * S)
        return [
            (one["count"], one["failed"], one["unfinished"]) for one in told.json()["timings"]
        ]

    assert of(8, 10) == [(1, 0, 0)]  # its start was before
    assert of(1, 3) == []  # its end came after
    assert of(3, 5) == [(0, 1, 0)]


def test_pairs_are_found_however_many_days_lie_between(tmp_path):
    hour = 3600
    move, copy = "compute.instance.live_migration", "volume.migrate"

    def told(name, hours, **more):
        return notified(name, instance(), NOW + hours * hour * S, **more)

    batches = [
        told(f"{move}.start", -90),  # was over before, and is not the pair of the last
        told(f"{move}.end", -89),
        told(f"{move}.start", -75),
        told(f"{move}.end", 0),
        told(f"{copy}.start", -60, request=SECOND),
        told(f"{copy}.end", -10, request=SECOND),
        told("volume.x.start", -59, request=SECOND),
        told(f"{move}.end", 0, request=THIRD),
    ]
    with asking(tmp_path, batches) as ask:

        def of(since, until):
            times = {"since": NOW + since * hour * S, "until": NOW + until * hour * S}
            rows = ask("/api/v1/timings", **times).json()["timings"]
            return [
                (one["operation"], one["min"] and one["min"] / hour / S, one["count"],
                 one["unfinished"], one["end_only"]) for one in rows
            ]  # fmt: skip

        assert of(-1, 1) == [(move, 75, 1, 0, 1)]
        assert of(-61, -50) == [("volume.x", None, 0, 1, 0)]  # that of the copy ended since
        assert of(-11, -9) == [(copy, 50, 1, 0, 0)]
        assert of(-91, -88) == [(move, 1, 1, 0, 0)]


@pytest.mark.parametrize("other", [{"publisher": "compute.b"}, {"server": None}])
def test_the_start_of_an_end_is_the_same_from_wherever_one_looks(tmp_path, other):
    """One of its own publisher, or resource, is its start, though another one is nearer."""
    move, minute = "compute.instance.live_migration", 60 * S

    def told(name, minutes, server=SERVER, **more):
        payload = instance(server) if server else {}
        more = {"publisher": "compute.a", **more}
        return notified(f"{move}.{name}", payload, NOW + minutes * minute, **more)

    batches = [
        told("start", -300),
        told("start", -5, **other),
        told("start", -290, request=SECOND),
        told("start", 1, request=SECOND, **other),
        told("end", 9, request=SECOND),  # within sight, beyond what is asked for
        told("start", -280, request=THIRD),
        told("start", 3, request=THIRD, **other),
        told("end", 4),
        told("end", 200, request=THIRD),
        *(told(name, 2, request="req-plain") for name in ("start", "end")),
        told("end", 4, server=None, request=""),  # of nothing
    ]
    with asking(tmp_path, batches) as ask:

        def of(since, until):
            times = {"since": NOW + since * minute, "until": NOW + until * minute}
            found = ask("/api/v1/timings", **times).json()["timings"]
            return [
                (one["count"], one["max"], one["unfinished"], one["end_only"]) for one in found
            ]

        for since in (-400, -6, 0):
            open_there = 3 if since < 0 else 2
            assert of(since, 5) == [(2, 304 * minute, open_there, 1)]
        assert of(5, 10) == [(1, 299 * minute, 0, 0)]
        assert of(-400, 300) == [(4, 480 * minute, 3, 1)]


def test_a_pair_of_before_that_took_a_start_leaves_the_next_end_its_own(tmp_path):
    """Three goes by turns on two hosts: the start that is nearest is another's."""
    move, minute = "compute.instance.live_migration", 60 * S

    def told(name, minutes, publisher):
        at = NOW + minutes * minute
        return notified(f"{move}.{name}", instance(), at, publisher=publisher)

    batches = [
        told("start", -20, "compute.a"),
        told("start", -8, "compute.b"),
        told("start", -4, "compute.b"),
        told("end", -2, "compute.a"),
        told("end", 1, "compute.b"),
    ]
    with asking(tmp_path, batches) as ask:
        seen = []
        for since in (-30, -12, 0):
            times = {"since": NOW + since * minute, "until": NOW + 5 * minute}
            [one] = ask("/api/v1/timings", **times).json()["timings"]
            seen.append((one["count"], one["min"]))

    assert seen == [(2, 5 * minute), (2, 5 * minute), (1, 5 * minute)]


def test_pairs_that_tell_no_request_are_found_by_their_resource_however_long_they_took(
    tmp_path,
):
    hour, name = 3600 * S, "compute.instance.exists"

    def told(what, hours, server):
        return notified(f"{name}.{what}", instance(server), NOW + hours * hour, request="")

    batches = [
        told("start", -30, SERVER),
        told("start", -40, OTHER),
        told("end", -39, OTHER),  # a pair of its own
        told("end", -1, OTHER),
        told("end", -1, SERVER),
    ]
    with asking(tmp_path, batches) as ask:

        def of(since, until):
            times = {"since": NOW + since * hour, "until": NOW + until * hour}
            rows = ask("/api/v1/timings", **times).json()["timings"]
            return [
                (one["count"], one["max"], one["end_only"], one["unfinished"]) for one in rows
            ]

        assert of(-2, 0) == [(1, 29 * hour, 1, 0)]
        assert of(-31, -29) == []  # it ended since


def test_a_project_has_whole_pairs_also_where_their_starts_were_told_under_another(tmp_path):
    """Nova's service user updates a port: only the end says whose the port is."""
    port = {"publisher": "network.ctl", "exchange": "neutron", "request": SECOND}

    def update(name, seconds, project, payload):
        told = {**port, "project": project}
        return notified(f"port.update.{name}", payload, NOW + seconds * S, **told)

    batches = [
        update("start", 0, OTHER, {"port": {"id": NETWORK}}),
        update("end", 5, OTHER, {"port": {"id": NETWORK, "tenant_id": ACME}}),
    ]
    with asking(tmp_path, batches) as ask:

        def of(path, key, project):
            rows = ask(f"/api/v1/{path}", project=project, since=NOW - S).json()[key]
            return [(one["operation"], one["count"], one["avg"]) for one in rows]

        for path, key in (("timings", "timings"), ("kpi", "kpi")):
            assert of(path, key, ACME) == [("port.update", 1, 5 * S)]
            assert of(path, key, OTHER) == []


def test_key_figures_are_from_the_api_to_the_last_end(ask):
    told = ask("kpi", quantile="0.99").json()["kpi"]

    assert [
        (one["operation"], one["project_id"], one["avg"], one["failed"]) for one in told
    ] == [
        (CREATE, ACME, 9.0 * S, 0),
        ("compute.instance.delete", ACME, 1.0 * S, 0),
        ("network.create", ACME, 0.25 * S, 0),
    ]
    assert ask("kpi", operation="network", quantile="0.99").json()["kpi"] == told[2:]


def test_a_request_counts_once_where_its_last_end_lies_however_time_is_cut(tmp_path):
    batches = [
        notified("compute.instance.update", instance(), NOW, publisher="nova-api.ctl"),
        notified(f"{CREATE}.start", instance(), NOW + 1 * S),
        notified(f"{CREATE}.end", instance(), NOW + 3 * S),
        notified("compute.instance.finish.end", instance(), NOW + 9 * S),
    ]
    with asking(tmp_path, batches) as ask:

        def of(since, until):
            times = {"since": NOW + since * S, "until": NOW + until * S}
            rows = ask("/api/v1/kpi", **times).json()["kpi"]
            return [(one["operation"], one["count"], one["max"]) for one in rows]

        assert of(-5, 5) == []
        assert of(5, 10) == of(-5, 10) == [("compute.instance.finish", 1, 9 * S)]


@pytest.mark.parametrize(
    ("path", "parameters", "wrong"),
    [
        ("timings", {"group_by": "tenant"}, "group_by"),
        ("timings", {"quantile": "p99"}, "quantile"),
        ("requests", {"failed": "maybe"}, "failed"),
        ("requests", {"tenant": ACME}, "tenant"),
        ("notifications", {"since": "now", "until": "1h"}, "until"),
        (f"requests/{REQUEST}", {"limit": "0"}, "limit"),
    ],
)
def test_a_wrong_parameter_is_named(ask, path, parameters, wrong):
    answer = ask(path, **parameters)

    assert (answer.status_code, answer.json()["parameter"]) == (422, wrong)
