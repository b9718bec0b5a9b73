"""Laws of StackTach's interface: its tables to the letter, its pairs put right, its errors."""

from __future__ import annotations

import json

import pytest

from nilometer.api.stacktach import tables
from nilometer.api.stacktach.told import number_of, when
from nilometer.clock import wall_ns
from nilometer.store import notices
from nilometer.store.query import Reader
from tests.asked import asking
from tests.notified import (
    ACME,
    IMAGE,
    NETWORK,
    OTHER,
    REQUEST,
    SECOND,
    SERVER,
    ZENITH,
    cloud,
    instance,
    notified,
)

S = 10**9
NOW = wall_ns() // S * S - 600 * S
CREATE = "compute.instance.create"
USED = {
    "launched_at": "2026-11-01 10:00:00",
    "instance_type_id": 2,
    "image_meta": {"org.openstack__1__os_distro": "org.debian"},
}


def at(seconds):
    return NOW + int(seconds * S)


def used():
    """What usage is told by."""
    exists = {
        **instance(OTHER, **USED),
        "audit_period_beginning": "2026-11-20 00:00:00",
        "audit_period_ending": "2026-11-21 00:00:00",
        "bandwidth": {"public": {"bw_in": 1, "bw_out": 5}},
    }
    return [
        notified(f"{CREATE}.end", instance(OTHER, **USED), at(-5), id="launch", request=SECOND),
        notified("compute.instance.exists", exists, at(14), id="exists", request=""),
        notified(
            "compute.instance.delete.end",
            instance(OTHER, deleted_at="2026-11-21 09:00:00.5", **USED),
            at(15),
            id="delete",
            request="",
        ),
        notified(
            "image.delete",
            {"id": IMAGE, "deleted_at": "2026-11-21T09:30:00Z"},
            at(16),
            publisher="image.ctl",
            exchange="glance",
            request="",
        ),
    ]


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    with asking(tmp_path_factory.mktemp("store"), [*cloud(NOW), *used()]) as ask:
        yield ask


@pytest.fixture
def table(ask):
    def table(path, **parameters):
        answer = ask(f"/stacky/{path}", **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return table


def without_numbers(rows):
    """The rows of events without their numbers, which are tested apart."""
    assert all(isinstance(row[0], int) and row[0] < 2**53 for row in rows[1:])
    return [row[1:] for row in rows]


# --- Tables ----------------------------------------------------------------------------------


def test_every_path_answers_with_and_without_a_slash_at_its_end(ask):
    for path in ("events", "summary", f"uuid?uuid={SERVER}", "reports", "db"):
        name, _, query = path.partition("?")
        root = "/db/usage/launches" if path == "db" else f"/stacky/{name}"
        plain, slashed = ask(f"{root}?{query}"), ask(f"{root}/?{query}")
        assert (plain.status_code, plain.json()) == (200, slashed.json())


def test_lists_name_deployments_events_and_hosts(table):
    assert table("deployments") == [["#", "Name"], [1, "glance"], [2, "neutron"], [3, "nova"]]
    assert table("hosts") == [["Host Name"], ["ctl"], ["node-1"], ["node-2"]]
    assert table("hosts", service="glance") == [["Host Name"], ["ctl"]]
    assert table("events", service="generic") == [
        ["Event Name"],
        ["network.create.end"],
        ["network.create.start"],
    ]
    assert [f"{CREATE}.error"] in table("events")


def test_the_events_of_a_request_are_told_in_order(table):
    assert without_numbers(table("request", request_id=REQUEST)) == [
        ["?", "When", "Deployment", "Event", "Host", "State", "State'", "Task'"],
        [" ", when(at(0)), "nova", "compute.instance.update", "ctl", "building", "", ""],
        [" ", when(at(1)), "nova", "scheduler.select_destinations.start", "ctl", "", "", ""],
        [" ", when(at(1.5)), "nova", "scheduler.select_destinations.end", "ctl", "", "", ""],
        [" ", when(at(2)), "nova", f"{CREATE}.start", "node-1", "building", "", ""],
        ["E", when(at(4)), "nova", f"{CREATE}.error", "node-1", "error", "building", ""],
        [" ", when(at(5)), "nova", f"{CREATE}.start", "node-2", "building", "", ""],
        [" ", when(at(9)), "nova", f"{CREATE}.end", "node-2", "active", "", ""],
    ]


def test_the_events_of_a_resource_are_those_of_its_service(table):
    def names(**asked):
        return [row[4] for row in table("uuid", **asked)[1:]]

    assert len(names(uuid=SERVER)) == 5
    assert names(uuid=SERVER, when_min=str(at(4) / S), when_max=str(at(5) / S)) == [
        f"{CREATE}.error",
        f"{CREATE}.start",
    ]
    assert names(uuid=SERVER, limit="1", offset="4") == [f"{CREATE}.end"]
    assert names(uuid=IMAGE, service="nova") == []
    assert table("uuid/glance", uuid=IMAGE)[0][-1] == "Status"
    assert table("uuid", uuid=NETWORK, service="generic")[1][-2:] == [NETWORK, SECOND]


def test_limits_are_fifty_and_a_thousand_at_most(tmp_path):
    many = [notified("compute.instance.update", instance(), at(0)) for _ in range(1010)]
    with asking(tmp_path, []) as ask:
        assert ask("/stacky/uuid", uuid=SERVER).json() == [
            ["#", "?", "When", "Deployment", "Event", "Host", "State", "State'", "Task'"]
        ]
    from nilometer.store.lake import Lake

    Lake(tmp_path / "many", durability="os").append(many)
    with asking(tmp_path / "many", []) as ask:
        sizes = [
            len(ask("/stacky/uuid", uuid=SERVER, **more).json()) - 1
            for more in (
                {},
                {"limit": "60"},
                {"limit": "5000"},
                {"limit": "5", "offset": "1008"},
            )
        ]
    assert sizes == [50, 60, 1000, 2]


def test_timings_are_of_right_pairs_shortest_first(table):
    assert table("timings", name=CREATE) == [[CREATE, "Time"], [SERVER, "0d 00:00:04.00"]]
    assert table("timings", name="network.create")[1:] == [[NETWORK, "0d 00:00:00.25"]]
    assert table("timings", name=CREATE, end_when_max=str(at(8) / S)) == [[CREATE, "Time"]]


def test_the_timings_of_a_resource_tell_what_is_half(table):
    assert table("timings/uuid", uuid=OTHER) == [
        ["?", "Event", "Time (secs)"],
        ["E", CREATE, "n/a"],
        ["S", "compute.instance.snapshot", "n/a"],
        ["E", "compute.instance.delete", "n/a"],
        ["E", "compute.instance.delete", "n/a"],
    ]


def test_a_resource_is_found_however_its_uuid_is_written(table, tmp_path):
    for path in ("uuid", "timings/uuid", "uuid/nova"):
        found = table(path, uuid=OTHER)
        assert len(found) > 1
        for way in (OTHER.upper(), OTHER.replace("-", ""), OTHER.replace("-", "").upper()):
            assert table(path, uuid=way) == found

    told_so = OTHER.replace("-", "")
    two = [
        notified(f"{CREATE}.start", instance(one), at(0), id=one) for one in (OTHER, told_so)
    ]
    with asking(tmp_path, two) as ask:
        rows = [ask("/stacky/uuid", uuid=one).json()[1:] for one in (OTHER, told_so)]
    assert [len(one) for one in rows] == [1, 1]
    assert rows[0] != rows[1]


def test_the_summary_has_quantiles_beside_what_stacktach_has(table):
    second = "0d 00:00:04.00"
    assert table("summary")[:2] == [
        ["Event", "N", "Min", "Max", "Avg", "Med", "95%", "99%"],
        [CREATE, 1, *[second] * 6],
    ]
    assert [row[0] for row in table("summary", limit="1", offset="1")[1:]] == ["network.create"]


def test_of_too_many_operations_the_latest_are_told_as_stacky_cannot_ask_for_less(
    table, ask, monkeypatch
):
    monkeypatch.setattr(notices, "OPERATIONS_MAX", 9)

    assert [row[:2] for row in table("summary")[1:]] == [[CREATE, 1], ["network.create", 1]]
    assert [row[0] for row in table("timings", name=CREATE)[1:]] == [SERVER]
    assert ask("/api/v1/timings").status_code == 422


def test_key_figures_are_of_requests_that_the_api_was_asked_for(table, ask):
    assert table("kpi") == [
        ["Event", "Time", "UUID", "Deployment"],
        [CREATE, "0d 00:00:09.00", SERVER, "nova"],
    ]
    assert table(f"kpi/{ACME}/") == table("kpi")
    assert table(f"kpi/{ZENITH}") == [["Event", "Time", "UUID", "Deployment"]]
    unknown = ask("/stacky/kpi/nobody/")
    assert (unknown.status_code, unknown.json()) == (
        404,
        [["Error", "Message"], ["Not Found", "Could not find raws for tenant nobody"]],
    )


def test_one_event_is_shown_by_its_number_with_the_message_and_its_resource(table, ask):
    (number,) = [row[0] for row in table("request", request_id=REQUEST)[1:] if row[1] == "E"]

    told, text, resource_id = table(f"show/{number}")

    assert told == [
        ["Key", "Value"],
        ["#", number],
        ["When", when(at(4))],
        ["Deployment", "nova"],
        ["Category", "notifications.error"],
        ["Publisher", "compute.node-1"],
        ["State", "error"],
        ["Event", f"{CREATE}.error"],
        ["Service", "compute"],
        ["Host", "node-1"],
        ["UUID", SERVER],
        ["Req ID", REQUEST],
    ]
    category, message = json.loads(text)
    assert (category, message["event_type"]) == ("notifications.error", f"{CREATE}.error")
    assert message["payload"]["exception"] == "No disk left"
    assert resource_id == SERVER
    assert table(f"show/nova/{number}/") == [told, text, SERVER]
    assert ask(f"/stacky/show/{number + 8}").status_code == 404


def test_of_an_event_whose_resource_is_no_uuid_stacky_is_not_sent_on(tmp_path):
    told = notified("compute.instance.update", instance("3"), at(1), id="m")
    with asking(tmp_path, [told]) as ask:
        shown, _, resource_id = ask(f"/stacky/show/{number_of(at(1), 'm')}").json()

    assert ["UUID", "3"] in shown
    assert resource_id is None


def test_numbers_are_known_again_and_fit_what_javascript_counts_with():
    one, other = number_of(at(1), "a"), number_of(at(1) + 1000, "a")

    assert (one, other - one) == (number_of(at(1) + 999, "a"), 4)
    assert number_of(2_250 * 365 * 86_400 * 10**9 // 1000, "x") < 2**53


@pytest.mark.parametrize(
    ("field", "value", "number"),
    [
        ("event", f"{CREATE}.start", 2),
        ("tenant", ACME, 14),
        ("instance", SERVER, 5),
        ("host", "node-2", 2),
        ("state", "error", 1),
        ("deployment_id", "2", 2),
        ("deployment", "glance", 2),
        ("message_id", "last", 1),
        pytest.param("id", str(number_of(at(9), "last")), 1, id="id"),  # else the time names it
        ("deployment_id", "9", 0),
    ],
)
def test_events_are_searched_by_stacktach_s_fields_latest_first(table, field, value, number):
    found = table("search", field=field, value=value)

    assert len(found) - 1 == number
    whens = [row[2] for row in found[1:]]
    assert whens == sorted(whens, reverse=True)


def test_a_watch_goes_on_where_it_ended_and_misses_nothing(tmp_path):
    began = wall_ns() // S * S
    told = [
        notified("compute.instance.update", instance(), began - 7 * S - 1000, id="a"),
        notified("compute.instance.update", instance(), began - 7 * S, id="b"),
        notified("image.send", {}, began - 6 * S, id="c", exchange="glance", request=""),
        notified("compute.instance.update", instance(), began + 60 * S, id="too new"),
    ]
    with asking(tmp_path, told) as ask:
        widths, rows, last = ask("/stacky/watch/0/", since=str(began / S - 7.5)).json()
        again = ask("/stacky/watch/0", since=last).json()
        glance = ask("/stacky/watch/1/", since=str(began / S - 60)).json()
        named = ask("/stacky/watch/0/", since="0", event_name="image.send").json()
        after = ask("/stacky/watch/0/", since=str(began // S - 7)).json()

    assert widths == [16, 1, 15, 20, len("compute.instance.update"), 36]
    assert [row[-2:] for row in rows[:2]] == [["compute.instance.update", SERVER]] * 2
    day, _, time = when(began - 7 * S).partition(" ")
    assert rows[1][1:5] == [" ", day, time, "nova"]
    assert (
        [row[5:] for row in glance[1]] == [["image.send", "-"]] == [row[5:] for row in named[1]]
    )
    assert [row[5] for row in after[1]] == ["image.send"]  # what was at that moment was told
    assert int(last) <= wall_ns() // S - 5
    assert len(rows) + len(again[1]) in (2, 3)


def test_a_watch_of_one_deployment_looks_for_deployments_once_a_minute(table, monkeypatch):
    tables._known_in.cache_clear()
    asked = []
    counts = Reader.notice_counts
    monkeypatch.setattr(
        Reader, "notice_counts", lambda *a, **given: asked.append(given) or counts(*a, **given)
    )
    monkeypatch.setattr(tables, "NS_PER_MINUTE", 2**62)  # one of these does not end here
    for _ in range(3):
        table("watch/2", since=str(NOW // S - 1))

    assert len(asked) == 1


def test_reports_are_none(table, ask):
    headers = ["Id", "Start", "End", "Created", "Name", "Version"]
    assert table("reports", created_from="1", created_to="2") == table("reports/search/")
    assert table("reports/") == [headers]
    assert ask("/stacky/report/1/").json()[1][0] == "Not Found"


# --- Usage -----------------------------------------------------------------------------------


def test_launches_deletes_and_exists_are_told_by_what_services_sent(ask):
    def listed(path, **parameters):
        answer = ask(f"/db/usage/{path}/", **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    launch = {
        "id": number_of(at(-5), "launch"),
        "instance": OTHER,
        "launched_at": "2026-11-01 10:00:00",
        "request_id": SECOND,
        "instance_type_id": "2",
        "instance_flavor_id": None,
        "tenant": ACME,
        "os_architecture": None,
        "os_distro": "org.debian",
        "os_version": None,
        "rax_options": None,
    }
    assert listed("launches", instance=OTHER) == {"launches": [launch]}
    assert listed("nova/launches", launched_at_min="2026-11-01 09:00:00") == {
        "launches": [launch]
    }
    assert listed("nova/launches", launched_at_max="2026-11-01 09:00:00") == {"launches": []}
    assert listed(f"launches/{launch['id']}") == {"launch": launch}
    (delete,) = [one for one in listed("deletes")["deletes"] if one["deleted_at"]]
    assert (delete["instance"], delete["deleted_at"]) == (OTHER, "2026-11-21 09:00:00.500000")
    (exists,) = listed("nova/exists", audit_period_ending_min="2026-11-21 00:00:00")["exists"]
    assert exists == {
        **launch,
        "id": number_of(at(14), "exists"),
        "raw": number_of(at(14), "exists"),
        "request_id": None,
        "deleted_at": None,
        "audit_period_beginning": "2026-11-20 00:00:00",
        "audit_period_ending": "2026-11-21 00:00:00",
        "bandwidth_public_out": 5,
        "message_id": "exists",
        "received": when(at(14)),
        "status": "pending",
        "fail_reason": None,
        "send_status": 0,
    }
    assert [one["uuid"] for one in listed("glance/images")["images"]] == [IMAGE]
    assert listed("glance/deletes")["deletes"][0]["deleted_at"] == "2026-11-21 09:30:00"
    assert listed("glance/exists") == {"exists": []}


def test_usage_is_told_as_tables_too(table):
    assert table("usage/launches", instance=OTHER) == [
        ["UUID", "Launched At", "Instance Type Id"],
        [OTHER, "2026-11-01 10:00:00", "2"],
    ]
    assert table("usage/exists/")[1][4:] == ["exists", "pending"]
    assert table("usage/deletes/", limit="1")[1] == [
        *(OTHER, "2026-11-01 10:00:00", "2026-11-21 09:00:00.500000")
    ]


def test_events_are_counted_by_name(ask):
    assert ask("/db/stats/events/", service="glance").json() == {
        "stats": [
            {"event": "image.delete", "event_count": 1},
            {"event": "image.upload", "event_count": 1},
        ]
    }
    assert ask("/db/stats/events", event="nothing").json() == {
        "stats": [{"event": "nothing", "event_count": 0}]
    }
    assert ask("/db/stats/nova/exists/").json() == {
        "stats": [{"status": "pending", "send_status": 0, "event_count": 1}]
    }


# --- Errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/stacky/uuid?uuid=17", 400, "17 is not uuid-like"),
        ("/stacky/uuid", 400, "uuid is needed"),
        ("/stacky/timings", 400, "name is needed"),
        ("/stacky/request?request_id=17", 400, "17 is not request-id-like"),
        ("/stacky/search?field=json&value=1", 400, "The requested field 'json' does not exist"),
        ("/stacky/search?field=host&service=cinder", 400, "Invalid service; choose of nova"),
        ("/stacky/search?field=host&limit=all", 400, "limit=all: write a whole number"),
        ("/stacky/watch/0?since=1e999999", 400, "since=1e999999: write seconds since 1970"),
        ("/stacky/watch/0?since=now", 400, "since=now: write seconds since 1970"),
        ("/stacky/show/none", 400, "none is no number of an event"),
        ("/stacky/show/9999999999999999999", 404, "no event 9999999999999999999"),
        ("/stacky/nothing", 404, "Not Found"),
        ("/stacky/report/1", 404, "no report 1"),
        ("/db/usage/launches?launched_at_min=soon", 400, "Range filters must be dates."),
        ("/db/usage/deletes?created_at_min=2026-01-01 00:00:00", 400, "No such field"),
        ("/db/usage/launches/17", 404, "no launch 17"),
        ("/db/stats/events?when_min=2026-01-01 00:00:00", 400, "a min and max are required"),
        ("/db/nothing", 404, "Not Found"),
        ("/db/confirm/usage/exists/batch/", 501, "keeps no status of usage"),
        ("/db/tenant/17", 501, "keeps no status of usage"),
    ],
)
def test_errors_are_told_in_stacktach_s_shapes(ask, path, status, message):
    method = "PUT" if "confirm" in path or "tenant" in path else "GET"
    answer = ask(path, method=method)

    assert answer.status_code == status, answer.text
    told = answer.json()
    if path.startswith("/db"):
        assert set(told) == {"message", "status"}
        assert told["status"] == status
        assert message in told["message"]
    else:
        headers, (_, said) = told
        assert headers == ["Error", "Message"]
        assert message in said
