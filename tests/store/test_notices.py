"""Questions about notifications: each counts once, and of what was asked nothing is missing."""

import pytest

from nilometer.model import Batch, Event, Resource, SpanKind, SpanRecord, Status
from nilometer.model.notification import SCOPE
from nilometer.store import notices
from nilometer.store.lake import Lake
from nilometer.store.limits import TooMuch
from nilometer.store.query import Reader
from tests.notified import (
    ACME,
    NETWORK,
    OTHER,
    PORT,
    REQUEST,
    SECOND,
    SERVER,
    THIRD,
    ZENITH,
    instance,
    notified,
)
from tests.store.batches import NOW_NS

S = 10**9
CREATE = "compute.instance.create"
HOSTILE = "'; DROP TABLE events; -- \"%_\\ \u202e\x01"


def at(seconds):
    return NOW_NS + seconds * S


def kept(place, *batches):
    lake = Lake(place, durability="os")
    for batch in batches:
        lake.append([batch])
    return Reader(place)


def names_of(found):
    return [(one.name, (one.at_ns - NOW_NS) // S) for one in found]


def test_a_notification_counts_once_on_however_many_topics_and_however_often_it_came(tmp_path):
    told = (f"{CREATE}.end", instance(), at(1))
    reader = kept(
        tmp_path,
        notified(*told, id="same"),
        notified(*told, id="same"),
        notified(*told, id="same", topic="stacktach"),
        notified(*told, id="other"),
    )

    assert [one.id for one in reader.notices()] == ["other", "same"]
    assert [one.number for one in reader.notice_counts()] == [2]
    assert [one.notifications for one in reader.requests()] == [2]
    assert len(reader.operations()) == 2
    assert len(reader.of_request(REQUEST)) == len(reader.of_resource(SERVER)) == 2
    assert [one.id for one in reader.notice_bodies()] == ["other", "same"]


def test_a_request_is_told_by_notifications_log_lines_and_spans_together(tmp_path):
    def line(body, seconds, **attributes):
        told = Event("", at(seconds), attributes, severity=17, body=body, scope="nova.api")
        return Batch(Resource("nova-api", "ctl"), events=(told,))

    span = SpanRecord(
        *(bytes(range(16)), b"rootroot", b"", "POST /servers", SpanKind.SERVER),
        *(at(0), at(9), {"request_id": REQUEST}),
        status=Status.ERROR,
        status_message="boom",
    )
    reader = kept(
        tmp_path,
        notified(f"{CREATE}.start", instance(), at(3)),
        notified(f"{CREATE}.start", instance(), at(3), request=SECOND),
        line(f"ERROR nova [{REQUEST} u p] No valid host", 4),
        line("said elsewhere", 5, request_id=REQUEST),
        line(f"[{REQUEST}2] somebody else's", 6),
        notified(
            "port.create.end",
            {"port": {"id": PORT, "device_id": SERVER}},
            at(2),
            request=THIRD,
            publisher="network.ctl",
            context={"_context_global_request_id": REQUEST},
        ),
        Batch(Resource("nova-api", "ctl"), (), (span,)),
    )

    found = reader.of_request(REQUEST)

    assert [(one.kind, one.name, one.text, one.is_error) for one in found] == [
        ("event", "", "said elsewhere", True),
        ("event", "", f"ERROR nova [{REQUEST} u p] No valid host", True),
        ("notification", f"{CREATE}.start", "", False),
        ("notification", "port.create.end", "", False),
        ("span", "POST /servers", "boom", True),
    ]
    assert found[-1].duration_ns == 9 * S
    assert reader.of_request(REQUEST, since_ns=at(5), until_ns=at(6)) == found[:1]
    assert reader.of_request(REQUEST[:-1]) == []


@pytest.mark.parametrize("ids", ["abc", "cba", "bca"])
def test_of_what_happened_at_one_moment_starts_are_first_and_ends_last(tmp_path, ids):
    names = [f"{CREATE}.{what}" for what in ("start", "error", "end")]
    told = dict(zip(ids, names, strict=True))
    reader = kept(
        tmp_path, *(notified(told[each], instance(), at(1), id=each) for each in "abc")
    )

    assert [one.name for one in reader.of_request(REQUEST)] == names[::-1]
    assert [one.name for one in reader.of_resource(SERVER, limit=2)] == names[:0:-1]
    assert [one.name for one in reader.notices(newest=False)] == names
    assert [one.name for one in reader.notices()] == names[::-1]
    [request] = reader.requests()
    assert (request.first, request.last) == (names[0], names[-1])


def test_log_lines_are_of_the_requests_whose_ids_they_tell_under_any_key(tmp_path):
    keys = ("request_id", "openstack.request_id", "log.record.global_request_id")
    lines = [({key: REQUEST}, "said") for key in keys]
    lines += [({}, f'{{"request_id": "{REQUEST}"}}'), ({}, f"then\n{REQUEST}"), ({}, REQUEST)]
    others = [({"request_id": f"{REQUEST}2"}, "said"), ({}, f"x{REQUEST}"), ({}, REQUEST[:-1])]
    reader = kept(
        tmp_path,
        *(
            Batch(Resource("nova"), events=(Event("", at(n), told, body=body, scope="nova"),))
            for n, (told, body) in enumerate(lines + others)
        ),
    )

    found = reader.of_request(REQUEST)

    assert [(one.at_ns - NOW_NS) // S for one in found] == [5, 4, 3, 2, 1, 0]


def test_a_limit_is_of_what_is_told_and_not_of_what_was_looked_through(tmp_path):
    again = [notified("b.end", instance(), at(9), id="same", topic=str(n)) for n in range(4)]
    longer = {"instance_id": f"{SERVER}-2", "id": f"2{SERVER}"}
    others = [notified("c", longer, at(10 + n), request=f"{REQUEST}{n}") for n in range(4)]
    reader = kept(
        tmp_path, notified("a.start", instance(), at(1)), *again, *others, *reversed(again)
    )

    expected = [("b.end", 9), ("a.start", 1)]
    assert names_of(reader.of_request(REQUEST, limit=2)) == expected
    assert names_of(reader.of_resource(SERVER, limit=2)) == expected
    assert names_of(reader.of_resource(SERVER, limit=1)) == expected[:1]


def test_a_resource_is_told_by_its_own_notifications_and_those_that_name_it(tmp_path):
    reader = kept(
        tmp_path,
        notified(f"{CREATE}.start", instance(), at(1)),
        notified(f"{CREATE}.start", instance(OTHER), at(1)),
        notified("port.create.end", {"port": {"id": PORT, "device_id": SERVER}}, at(2)),
        Batch(
            Resource("nova-compute", "node-1"),
            events=(Event("", at(3), {}, body=f"[instance: {SERVER}] VM Started"),),
        ),
    )

    assert [(one.kind, one.resource_id) for one in reader.of_resource(SERVER)] == [
        ("event", ""),
        ("notification", PORT),
        ("notification", SERVER),
    ]


def test_notifications_are_found_by_all_that_they_tell(tmp_path):
    wanted = notified(
        f"{CREATE}.error",
        instance(
            project=ZENITH,
            state="error",
            old_state="building",
            new_task_state="spawning",
            old_task_state="networking",
            user_id="me",
        ),
        at(1),
        exchange="cell-2",
        publisher="compute.node-2",
        project=ZENITH,
        id="wanted",
    )
    reader = kept(tmp_path, wanted, notified("image.upload", {"id": NETWORK}, at(2)))

    (found,) = reader.notices(name=f"{CREATE}.error")
    for asked in (
        {"service": "compute", "host": "node-2"},
        {"deployment": "cell-2"},
        {"id": "wanted"},
        {"publisher": "compute.node-2"},
        {"project_id": ZENITH},
        {"user_id": "me"},
        {"resource_id": SERVER},
        {"state": "error", "old_state": "building"},
        {"task": "spawning", "old_task": "networking"},
        {"failed": True},
        {"first_words": ["compute"]},
        {"other_words": ["image"]},
        {"request_id": REQUEST, "until_ns": at(2)},
    ):
        assert reader.notices(**asked) == [found], asked
    assert names_of(reader.notices(newest=False, limit=1, offset=1)) == [("image.upload", 2)]
    assert names_of(reader.notices(limit=1)) == [("image.upload", 2)]


@pytest.mark.parametrize(
    "told",
    [
        {"priority": "ERROR"},
        {"payload": {"state": "ERROR"}},
        {"name": "volume.create.error"},
    ],
)
def test_what_failed_is_told_by_its_name_its_priority_or_its_state(tmp_path, told):
    name = told.get("name", "volume.update")
    failed = notified(
        name, told.get("payload", {}), at(1), priority=told.get("priority", "INFO")
    )
    reader = kept(tmp_path, failed, notified("volume.update", {}, at(2)))

    assert names_of(reader.notices(failed=True)) == [(name, 1)]
    assert names_of(reader.notices(failed=False)) == [("volume.update", 2)]


def test_requests_are_summed_up_whole_latest_first(tmp_path):
    reader = kept(
        tmp_path,
        notified("compute.instance.update", instance(), at(1), publisher="api.ctl"),
        notified(f"{CREATE}.end", instance(), at(7)),
        notified("compute.instance.exists", instance(), at(8), request=""),
        notified("network.create.end", {"network": {"id": NETWORK}}, at(3), request=SECOND),
        notified(f"{CREATE}.error", instance(OTHER, project=ZENITH), at(5), request=SECOND),
    )

    second, first = reader.requests()
    assert first == notices.RequestSummary(
        *(REQUEST, at(1), at(7), 2, 0, "compute.instance.update", f"{CREATE}.end", ACME),
        *([SERVER], ["api", "compute"]),
    )
    assert (second.id, second.errors, second.resources) == (SECOND, 1, sorted([NETWORK, OTHER]))
    assert reader.requests(failed=True) == reader.requests(project_id=ZENITH) == [second]
    assert reader.requests(service="api") == [first]


def test_a_request_that_began_before_or_goes_on_after_the_time_asked_for_is_summed_up_whole(
    tmp_path,
):
    day = 86_400
    reader = kept(
        tmp_path,
        notified("live.migration.start", instance(), at(-3 * day)),
        notified("live.migration.error", instance(), at(-2 * day)),
        notified("live.migration.end", instance(), at(1)),
        notified("live.migration.start", instance(), at(-day), request=SECOND),
        notified("live.migration.start", instance(), at(0), request=THIRD),
        notified("live.migration.end", instance(), at(2 * day), request=THIRD),
    )

    third, first = reader.requests(since_ns=at(0), until_ns=at(2))

    assert third.ended_ns - third.started_ns == 2 * day * S
    assert first == notices.RequestSummary(
        *(REQUEST, at(-3 * day), at(1), 3, 1, "live.migration.start", "live.migration.end"),
        *(ACME, [SERVER], ["compute"]),
    )
    assert reader.requests(since_ns=at(0), until_ns=at(2), failed=True) == [first]
    assert reader.requests(since_ns=at(3 * day)) == []


def test_requests_are_chosen_of_all_of_the_time_however_many_others_there_are(tmp_path):
    def one(number, name=f"{CREATE}.end", seconds=None, **told):
        when = at(number if seconds is None else seconds)
        return notified(name, instance(**told), when, request=f"req-{number}")

    reader = kept(
        tmp_path,
        *(one(number) for number in range(2, 30)),
        one(1, f"{CREATE}.error", seconds=-60),  # before the time that is asked for
        one(1, project=ZENITH, seconds=31),
        one(0, f"{CREATE}.error"),
        one(40, f"{CREATE}.error", seconds=90),  # after it
    )

    def ids(limit, **asked):
        found = reader.requests(since_ns=at(0), until_ns=at(60), limit=limit, **asked)
        return [one.id for one in found]

    assert ids(1, failed=True) == ["req-0"]
    assert ids(9, failed=True) == ["req-0", "req-1"]
    assert ids(1, failed=True, project_id=ZENITH) == ids(1, project_id=ZENITH) == ["req-1"]
    assert ids(1, service="compute", failed=True) == ["req-0"]
    assert ids(2) == ids(2, failed=False) == ["req-29", "req-28"]
    assert ids(1, project_id="nobody") == []


def test_operations_of_a_resource_are_found_with_starts_that_did_not_know_it(tmp_path):
    reader = kept(
        tmp_path,
        notified("network.create.start", {"network": {"name": "n"}}, at(1)),
        notified("network.create.start", {"network": {"name": "m"}}, at(1), request=SECOND),
        notified("network.create.end", {"network": {"id": NETWORK}}, at(2)),
        notified("network.update", {"network": {"id": NETWORK}}, at(3)),
    )

    found = reader.operations(resource_id=NETWORK)

    assert names_of(found) == [("network.create.end", 2), ("network.create.start", 1)]
    assert reader.operations(prefix="compute") == []


def test_too_many_operations_are_refused_and_not_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(notices, "OPERATIONS_MAX", 1)
    monkeypatch.setattr(notices, "COUNTS_MAX", 1)
    reader = kept(
        tmp_path,
        *(notified(f"{CREATE}.{w}", instance(), at(n)) for n, w in enumerate(("start", "end"))),
    )

    for ask in (reader.operations, reader.notice_counts):
        with pytest.raises(TooMuch, match="ask for less time"):
            ask()
    assert names_of(reader.operations(cut=True)) == [(f"{CREATE}.end", 1)]


def test_hostile_texts_are_found_as_they_are_and_nothing_else_is(tmp_path):
    reader = kept(
        tmp_path,
        notified(f"{CREATE}.end", instance(HOSTILE), at(1), request=HOSTILE),
        notified(f"{CREATE}.end", instance(), at(2)),
    )

    (found,) = reader.notices(request_id=HOSTILE)
    assert (found.request_id, found.resource_id) == (HOSTILE, HOSTILE)
    assert reader.notices(resource_id=HOSTILE) == reader.of_request(HOSTILE) == [found]
    assert reader.of_resource(HOSTILE) == [found]


def test_events_of_the_scope_that_tell_nothing_are_apart(tmp_path):
    bare = [Event("a.start", at(n), {}, scope=SCOPE) for n in (1, 2)]
    reader = kept(tmp_path, *(Batch(Resource("x"), events=(event,)) for event in bare))

    assert names_of(reader.notices()) == [("a.start", 2), ("a.start", 1)]
