"""Notifications are committed and then acknowledged; what cannot be is kept with its reason."""

import asyncio
import json
import zlib

import pytest

from nilometer.clock import Clock
from nilometer.collect.bus_url import Bus, Host
from nilometer.collect.group import GroupCommit
from nilometer.collect.instruments import Refusals
from nilometer.collect.notifications import KEPT_BYTES_MAX, Intake
from nilometer.errors import ConfigError, StoreError
from nilometer.model import notification as names
from nilometer.testing import FakeTime
from nilometer.wire.notifications import time_ns
from nilometer.wire.osprofiler import START_INFO, STOP_INFO
from nilometer.wire.osprofiler_points import STARTED, STOPPED

BASE = "f09d33fd-1234-4f5e-8d3e-0b8e6b0a9c11"
AT = "2026-11-20T10:00:0{}.000000"
NOW_NS = time_ns("2026-11-20 11:00:00")


def notification(number, event_type="compute.instance.update", payload=None, **more):
    return json.dumps(
        {
            "message_id": f"m{number}",
            "publisher_id": "compute.c1",
            "event_type": event_type,
            "priority": "INFO",
            "payload": payload or {},
            "timestamp": "2026-11-20 10:00:00",
            **more,
        }
    ).encode()


def point(number, name, own, second=0, **info):
    told = {
        "name": name,
        "base_id": BASE,
        "trace_id": own,
        "parent_id": BASE,
        "timestamp": AT.format(second),
        "info": {"host": "api-1", **info},
        "project": "nova",
        "service": "api",
    }
    return notification(number, "profiler.api", told)


class Tables:
    """Takes what it is given, or fails as it is told."""

    def __init__(self):
        self.batches = []
        self.errors = []

    def append(self, batches):
        if self.errors and (error := self.errors[0](batches)):
            raise error
        self.batches.extend(batches)

    def rows(self, kind):
        return [row for batch in self.batches for row in getattr(batch, kind)]


def flown(*bodies, tables=None, intake=None, clock=None, bus=None):
    """What tables hold after each of these groups of messages was a flight."""
    tables = Tables() if tables is None else tables

    async def whole():
        group = GroupCommit(tables.append, window_s=0)
        made = intake(group) if intake else Intake(
            group, Refusals(), bus or Bus((Host("b", 1),)), clock=clock or Clock()
        )  # fmt: skip
        tag = 0
        for together in bodies:
            for body in together:
                tag += 1
                made.take(tag, body, "nova", "notifications.info")
            flight = made.flight()
            assert flight.tag == tag
            await made.commit(flight)
        await group.close()

    asyncio.run(whole())
    return tables


def test_each_message_becomes_its_event_and_the_flight_ends_with_the_last_tag():
    tables = flown([notification(1), notification(2)], [notification(3)])

    told = [(e.name, e.attributes[names.IDENTITY]) for e in tables.rows("events")]
    assert told == [("compute.instance.update", f"m{n}") for n in (1, 2, 3)]
    first = tables.rows("events")[0].attributes
    assert (first[names.EXCHANGE], first[names.TOPIC]) == ("nova", "notifications")


def test_a_message_that_comes_again_counts_once():
    tables = flown([notification(1), notification(1)], [notification(1), notification(2)])

    assert [e.attributes[names.IDENTITY] for e in tables.rows("events")] == ["m1", "m2"]


def test_what_cannot_be_read_is_kept_with_its_reason_and_takes_nothing_along():
    long = b"x" * (KEPT_BYTES_MAX + 7)
    tables = flown([b"nonsense", notification(1), long, point(2, "neither", "p")])

    told = [
        (row.door, row.origin, row.reason, row.body[:8], len(row.body), row.size)
        for row in tables.rows("rejected")
    ]
    origin = ("notifications", "nova/notifications.info")
    bad = point(2, "neither", "p")
    assert sorted(told) == sorted(
        [
            (*origin, "json", b"nonsense", 8, 8),
            (*origin, "json", b"xxxxxxxx", KEPT_BYTES_MAX, len(long)),
            (*origin, "point", bad[:8], len(bad), len(bad)),
        ]
    )
    assert len(tables.rows("events")) == 1


def test_of_what_is_rejected_no_secrets_are_kept_packed_or_not():
    told = {"_context_auth_token": "x1y2", "timestamp": "yesterday"}
    bad = notification(1, **told)

    class Packing(Intake):
        def take(self, tag, body, exchange, key, compression=""):
            super().take(tag, zlib.compress(body), exchange, key, "application/x-gzip")

    def packing(group):
        return Packing(group, Refusals(), Bus((Host("b", 1),)), clock=Clock())

    rows = [*flown([bad]).rows("rejected"), *flown([bad], intake=packing).rows("rejected")]

    assert [json.loads(row.body) for row in rows] == [
        {**json.loads(bad), "_context_auth_token": "***"}
    ] * 2
    assert [row.size for row in rows] == [len(bad), len(zlib.compress(bad))]


def test_what_nobody_foresaw_is_rejected_alone(monkeypatch):
    def point_of(told, **_):
        raise RuntimeError("nobody foresaw it")

    monkeypatch.setattr("nilometer.collect.notifications.point_of", point_of)
    tables = flown([notification(1), point(2, "x-start", "a"), notification(3)])

    assert [e.attributes[names.IDENTITY] for e in tables.rows("events")] == ["m1", "m3"]
    [row] = tables.rows("rejected")
    assert (row.reason, row.body) == ("unforeseen", point(2, "x-start", "a"))
    assert "nobody foresaw it" in row.detail


def test_a_flight_that_was_given_up_is_not_known_when_it_comes_again():
    tables = Tables()

    async def whole():
        group = GroupCommit(tables.append, window_s=0)
        intake = Intake(group, Refusals(), Bus((Host("b", 1),)), clock=Clock())
        intake.take(1, notification(1), "nova", "notifications.info")
        commit = asyncio.ensure_future(intake.commit(intake.flight()))
        await asyncio.sleep(0)
        commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit
        intake.forget()
        intake.take(1, notification(1), "nova", "notifications.info")
        await intake.commit(intake.flight())
        await group.close()

    asyncio.run(whole())

    assert [e.attributes[names.IDENTITY] for e in tables.rows("events")] == ["m1", "m1"]


def test_what_can_never_be_stored_is_rejected_alone():
    tables = Tables()

    def poisoned(batches):
        names_ = {e.attributes[names.IDENTITY] for b in batches for e in b.events}
        return ValueError("no") if "m2" in names_ else None

    tables.errors.append(poisoned)
    flown([notification(1), notification(2), notification(3)], tables=tables)

    assert [e.attributes[names.IDENTITY] for e in tables.rows("events")] == ["m1", "m3"]
    [row] = tables.rows("rejected")
    assert (row.reason, row.body) == ("not-storable", notification(2))


def test_while_the_tables_refuse_it_is_tried_again_until_they_take_it(monkeypatch):
    monkeypatch.setattr("nilometer.collect.units.RETRY_S", (0.0,))
    tables, tries = Tables(), []

    def full(_):
        tries.append(1)
        return StoreError("the disk is full", slug="store-full") if len(tries) < 4 else None

    tables.errors.append(full)
    flown([notification(1)], tables=tables)

    assert len(tries) == 4
    assert len(tables.rows("events")) == 1


# ---- points --------------------------------------------------------------------------------


def test_a_start_and_its_stop_are_a_span_in_whatever_order_they_come():
    a, b = "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"
    tables = flown(
        [point(1, "wsgi-start", a, 1), point(2, "db-stop", b, 3)],
        [point(3, "db-start", b, 2, db={"statement": "SELECT 1"}), point(4, "wsgi-stop", a, 4)],
    )

    spans = sorted(tables.rows("spans"), key=lambda span: span.span_id)
    assert [(s.name, s.span_id[-1], (s.ended_ns - s.started_ns) / 1e9) for s in spans] == [
        ("wsgi", 10, 3.0),
        ("db", 11, 1.0),
    ]
    assert spans[1].attributes["db.query.text"] == "SELECT 1"
    assert [event.name for event in tables.rows("events")] == [STARTED, STOPPED] * 2


def test_points_that_come_together_leave_no_events():
    tables = flown([point(1, "wsgi-start", "a", 1), point(2, "wsgi-stop", "a", 2)])

    assert (len(tables.rows("spans")), tables.rows("events")) == (1, [])


def test_numbers_that_no_json_can_say_are_text_in_points_and_nowhere_else():
    told = point(1, "x-start", "a", n=float("nan"), m=float("-inf"), large=1.5)
    told = told.replace(b"1.5", b"-1e999")
    enveloped = json.dumps(
        {
            "oslo.version": "2.0",
            "oslo.message": point(2, "x-stop", "a", n=float("nan")).decode(),
        }
    ).encode()
    other = notification(3, payload={"n": float("nan")})
    tables = flown([told, enveloped, other])

    [span] = tables.rows("spans")
    infos = [json.loads(span.attributes[key]) for key in (START_INFO, STOP_INFO)]
    host = {"host": "api-1"}
    assert infos == [
        {**host, "n": "NaN", "m": "-Infinity", "large": "-1e999"},
        {**host, "n": "NaN"},
    ]
    assert [(row.reason, row.body) for row in tables.rows("rejected")] == [("json", other)]


def test_of_points_that_come_twice_none_is_left_out():
    tables = flown(
        [point(1, "wsgi-start", "a", 1), point(2, "wsgi-start", "a", 2)],
        [point(3, "wsgi-stop", "a", 4)],
    )

    assert [(e.name, json.loads(e.body)["timestamp"]) for e in tables.rows("events")] == [
        (STARTED, AT.format(1)),
        (STARTED, AT.format(2)),
        (STOPPED, AT.format(4)),
    ]
    assert len(tables.rows("spans")) == 1


def test_a_stop_finds_the_start_that_an_earlier_collector_wrote():
    from nilometer.wire.osprofiler_points import points_of

    before = flown([point(1, "wsgi-start", "a", 1)])

    def remembering(group):
        made = Intake(group, Refusals(), Bus((Host("b", 1),)), clock=Clock())
        made.remember(points_of(before.rows("events")))
        return made

    after = flown([point(2, "wsgi-stop", "a", 5)], intake=remembering)

    assert [(s.name, (s.ended_ns - s.started_ns) / 1e9) for s in after.rows("spans")] == [
        ("wsgi", 4.0)
    ]
    assert [event.name for event in after.rows("events")] == [STOPPED]


# ---- budgets -------------------------------------------------------------------------------


def test_who_floods_is_refused_and_nobody_else():
    time = FakeTime()
    bus = Bus((Host("b", 1),), rate=1)  # ten at once
    loud = [notification(n) for n in range(15)]
    quiet = notification(99, publisher_id="network.n1")
    tables = flown([*loud, quiet], clock=time.clock, bus=bus)

    told = [e.attributes[names.PUBLISHER] for e in tables.rows("events")]
    assert told == ["compute.c1"] * 10 + ["network.n1"]


def test_what_waited_in_a_queue_is_no_flood_though_it_comes_at_once():
    time = FakeTime(wall_ns=time_ns("2026-11-20 11:00:00"))
    bus = Bus((Host("b", 1),), rate=1)  # ten at once
    sent = [f"2026-11-20 10:{n // 60:02}:{n % 60:02}" for n in range(300)]
    waited = [notification(n, timestamp=at) for n, at in enumerate(sent)]
    flood = [notification(1000 + n, timestamp=sent[-1]) for n in range(15)]
    ahead = [
        notification(2000 + n, timestamp=f"2026-11-20 12:00:{n:02}", publisher_id="x.y")
        for n in range(15)
    ]
    tables = flown(waited, flood, ahead, clock=time.clock, bus=bus)

    told = [e.attributes[names.IDENTITY] for e in tables.rows("events")]
    assert told == [
        *(f"m{n}" for n in range(300)),
        *(f"m{1000 + n}" for n in range(9)),  # one of the ten was the last that waited
        *(f"m{2000 + n}" for n in range(10)),
    ]


def test_what_comes_again_counts_in_no_budget_a_second_time():
    bus = Bus((Host("b", 1),), rate=1, trace_points=3)
    time = FakeTime()
    again = [notification(n) for n in range(9)]
    points = [point(100, "x-start", "a"), point(101, "y-start", "b")]
    tables = flown(
        [*again, *points],
        [*again, *points],
        [notification(9), notification(10), point(102, "z-start", "c")],
        clock=time.clock,
        bus=bus,
    )

    told = [
        e.attributes[names.IDENTITY] for e in tables.rows("events") if e.scope == names.SCOPE
    ]
    assert told == [f"m{n}" for n in range(10)]
    assert [e.name for e in tables.rows("events")].count(STARTED) == 3


def told_in_vain(bodies, *, times, tables, bus, refusals):
    """Tables after these were taken so often, the connection lost each time, and then flew."""

    def losing(group):
        made = Intake(group, refusals, bus, clock=FakeTime(wall_ns=NOW_NS).clock)
        for _ in range(times):
            for tag, body in enumerate(bodies):
                made.take(tag, body, "nova", "notifications.info")
            made.forget()
        return made

    return flown(bodies, tables=tables, intake=losing)


def test_what_comes_again_after_the_connection_was_lost_counts_in_no_budget_again():
    bus = Bus((Host("b", 1),), rate=1, trace_points=3)
    sent = [f"2026-11-20 10:{n // 60:02}:{n % 60:02}" for n in range(300)]
    waited = [notification(n, timestamp=at) for n, at in enumerate(sent)]
    points = [point(1000 + n, "x-start", f"p{n}") for n in range(3)]
    tables = told_in_vain(
        [*waited, *points], times=3, tables=Tables(), bus=bus, refusals=Refusals()
    )

    told = [e.attributes.get(names.IDENTITY) for e in tables.rows("events")]
    assert told == [*(f"m{n}" for n in range(300)), *[None] * 3]


def test_who_floods_gains_nothing_by_a_lost_connection_and_is_counted_once():
    counted = []

    class Counting(Refusals):
        def count(self, door, reason, items=1, *, detail=""):
            counted.append((reason, detail))

    bus = Bus((Host("b", 1),), rate=1)  # ten at once
    loud = [notification(n) for n in range(15)]
    tables = told_in_vain(loud, times=2, tables=Tables(), bus=bus, refusals=Counting())

    assert len(tables.rows("events")) == 10
    assert counted == [("flood", "publisher compute c1")] * 5


def test_what_was_given_up_in_flight_counts_in_no_budget_when_it_comes_again():
    tables = Tables()

    async def whole():
        group = GroupCommit(tables.append, window_s=0)
        bus = Bus((Host("b", 1),), rate=1)  # ten at once
        intake = Intake(group, Refusals(), bus, clock=FakeTime().clock)
        for number in range(10):
            intake.take(number, notification(number), "nova", "notifications.info")
        commit = asyncio.ensure_future(intake.commit(intake.flight()))
        await asyncio.sleep(0)
        commit.cancel()
        await asyncio.gather(commit, return_exceptions=True)
        intake.forget()
        tables.batches.clear()
        for number in range(11):
            intake.take(number, notification(number), "nova", "notifications.info")
        await intake.commit(intake.flight())
        await group.close()

    asyncio.run(whole())

    told = [e.attributes[names.IDENTITY] for e in tables.rows("events")]
    assert set(told) == {f"m{n}" for n in range(10)}


def test_what_budgets_said_of_messages_that_never_came_again_is_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr("nilometer.collect.notifications.SEEN_MAX", 10)
    intake = Intake(None, Refusals(), Bus((Host("b", 1),)), clock=Clock())
    for number in range(100):
        intake.take(number, notification(number), "nova", "notifications.info")
        intake.forget()

    assert len(intake._judged) == 10


def test_a_trace_has_so_many_points_and_the_next_has_them_again():
    bus = Bus((Host("b", 1),), trace_points=3)
    many = [point(n, "x-start", f"p{n}") for n in range(5)]
    other = json.loads(point(9, "x-start", "q"))
    other["payload"]["base_id"] = "another"
    tables = flown([*many, json.dumps(other).encode()], bus=bus)

    assert len(tables.rows("events")) == 4


# ---- where from ----------------------------------------------------------------------------


def test_a_transport_url_is_read_as_oslo_messaging_writes_it():
    bus = Bus.parse(
        "rabbit://nova:p%40ss@a:5673,nova:x@[::1]/cell1?exchange=nova&exchange=glance"
        "&topic=notifications,profiler&priority=info&pool=mine&amqp_durable_queues=true"
        "&prefetch=10",
        origin="--notifications",
    )

    assert bus == Bus(
        (Host("a", 5673, "nova", "p@ss"), Host("::1", 5672, "nova", "x")),
        vhost="cell1",
        exchanges=("nova", "glance"),
        topics=("notifications", "profiler"),
        priorities=("info",),
        pool="mine",
        durable=True,
        prefetch=10,
    )
    assert len(bus.sources) == 4
    assert {source.queue for source in bus.sources} == {"mine"}
    assert Bus.parse("rabbit+ssl://h/", origin="-") == Bus((Host("h", 5671),), tls=True)
    assert Bus.parse("rabbit://h/?ssl=1", origin="-") == Bus((Host("h", 5671),), tls=True)


def test_no_password_is_shown():
    bus = Bus.parse("rabbit://u:hunter2@h/v", origin="-")

    assert str(bus) == "rabbit://h:5672/v"
    assert "hunter2" not in repr(bus)


@pytest.mark.parametrize(
    "url",
    [
        "http://h/",
        "rabbit:///",
        "rabbit://u:hunter2@h:99999/",
        "rabbit://u:hunter2@h:0/",
        "rabbit://u:hunter2@h/?colour=red",
        "rabbit://u:hunter2@h/?priority=loud",
        "rabbit://u:hunter2@h/?prefetch=70000",
        "rabbit://u:hunter2@h/?prefetch=many",
        "rabbit://u:hunter2@h/?ssl=perhaps",
        "rabbit://u:hunter2@h/?pool=a&pool=b",
        "rabbit://[::1/",
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_password(url):
    with pytest.raises(ConfigError) as refused:
        Bus.parse(url, origin="--notifications")

    assert refused.value.slug == "bad-transport-url"
    assert "hunter2" not in str(refused.value)
