"""RabbitMQ's two backends on replies that a real broker gave (tests/record_brokers.py)."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.cli.collecting import collected
from nilometer.clock import Clock, elapsed_ns
from nilometer.counters import link, queues, rabbitmq
from nilometer.counters.backend import BackendError, Surroundings, connect
from nilometer.counters.delta import delta
from nilometer.counters.exposition import parse
from nilometer.counters.overlap import places_of
from nilometer.counters.rabbitmq_api import Emissions, figures_of
from nilometer.counters.snapshot import Snapshot, snapshot
from nilometer.counters.target import Target
from nilometer.errors import ConfigError
from tests.counters.servers import by_path, dripping, http, replaying, serving, silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nilometer.counters.backend import Backend

DATA = Path(__file__).parent.parent / "data" / "counters" / "rabbitmq"
HEX = "0123456789abcdef" * 2
API = {
    f"/api/{name}": (DATA / f"{name}.json").read_bytes()
    for name in ("queues", "exchanges", "vhosts", "nodes", "overview")
}
METRICS = (DATA / "metrics.txt").read_bytes()


def totals(shot: Snapshot) -> dict[str, int]:
    return {name: value for name, value in shot.totals().items() if value}


def shot(backend: Backend) -> Snapshot:
    return snapshot(backend, Clock())


def queue(name: str, *, vhost: str = "/", **stats: int) -> dict[str, Any]:
    return {"name": name, "vhost": vhost, **({"message_stats": stats} if stats else {})}


@contextmanager
def broker(path: str, *objects: dict[str, Any]) -> Iterator[tuple[dict, Backend]]:
    """A broker's API whose objects may be changed, and the queues or exchanges read of it."""
    bodies = {**API, f"/api/{path}": json.dumps(objects).encode(), "/metrics": METRICS}
    with serving(by_path(bodies)) as port:
        url = {
            "queues": f"queues://127.0.0.1:{port}",
            "exchanges": f"rabbitmq://127.0.0.1:{port}?api=127.0.0.1:{port}",
        }[path]
        backend = connect(url, origin="test")
        yield bodies, backend
        backend.close()


# --- Queues --------------------------------------------------------------------------------


def test_queues_are_summed_by_scope_under_the_names_of_os_collect_counters() -> None:
    with broker("queues", *json.loads(API["/api/queues"])) as (_, backend):
        read = shot(backend)

    assert totals(read) == {
        "reply_publish": 15,
        "compute_fanout_publish": 6,
        "conductor_publish": 2,
        "conductor_deliver": 2,
        "conductor_ack": 2,
        "queue_created": 5,
        "queue_declared": 5,
    }
    assert (read.version, read.incarnation, read.notes) == (
        "3.10.8",
        " ".join(str(json.loads(API["/api/nodes"])[0][key]) for key in ("name", "os_pid")),
        (),
    )
    assert read.fact("reply_publish").from_zero
    assert read.fact("reply_publish").exact


def test_queues_of_one_name_in_two_virtual_hosts_are_two_queues() -> None:
    one, other = queue("jobs", publish=3), queue("jobs", vhost="nova", publish=4)

    with broker("queues", one, other) as (_, backend):
        assert shot(backend).totals()["jobs_publish"] == 7


def test_a_scope_that_lost_a_queue_is_unknown_and_the_others_are_not() -> None:
    left, gone, new = queue(f"reply_{HEX}", publish=3), queue("answer_x", publish=4), queue("b")
    with broker("queues", left, queue(f"reply_{HEX[::-1]}", publish=4), gone) as (bodies, one):
        before = shot(one)
        after_all = [queue(f"reply_{HEX}", publish=30), queue("answer_x", publish=6), new]
        bodies["/api/queues"] = json.dumps(after_all).encode()
        after, later = shot(one), shot(one)

    moves = delta(before, after)
    assert moves.moved[("answer_x_publish", ())] == 2
    assert moves.unknown == {
        ("reply_publish", ()): "not one count throughout: "
        "1 queue of it deleted, or emptied of figures, since the first read",
        ("reply_deliver", ()): moves.unknown["reply_publish", ()],
        ("reply_ack", ()): moves.unknown["reply_publish", ()],
    }
    assert (
        "scope 'reply': 1 queue of it deleted, or emptied of figures, since the first read"
        in after.notes
    )
    assert delta(after, later).unknown == {}


def test_a_queue_that_was_deleted_and_made_again_is_lost_too() -> None:
    with broker("queues", queue("jobs", publish=9), queue("jobs.node1", publish=1)) as (b, one):
        before = shot(one)
        b["/api/queues"] = json.dumps(
            [queue("jobs", publish=2), queue("jobs.node1", publish=50)]
        ).encode()
        after = shot(one)

    assert next(iter(delta(before, after).unknown)) == ("jobs_publish", ())


def deleted(number: int) -> bytes:
    """The overview of a broker that has deleted so many queues."""
    overview = json.loads(API["/api/overview"])
    overview["churn_rates"]["queue_deleted"] = number
    return json.dumps(overview).encode()


def test_a_queue_that_no_read_saw_leaves_the_messages_of_every_scope_unknown() -> None:
    """It may have been of any of them; that it was deleted is known."""
    with broker("queues", queue("jobs", publish=3)) as (bodies, one):
        bodies["/api/overview"] = deleted(7)
        before = shot(one)
        bodies["/api/overview"] = deleted(8)
        bodies["/api/queues"] = json.dumps([queue("jobs", publish=5), queue("new")]).encode()
        after, later = shot(one), shot(one)

    because = "1 queue of unknown scope made and deleted between two reads"
    moves = delta(before, after)
    assert moves.unknown == {("jobs_publish", ()): because}
    assert moves.moved["queue_deleted", ()] == 1
    assert because in after.notes
    assert delta(after, later).unknown == {}


def test_a_queue_that_was_seen_and_deleted_leaves_only_its_scope_unknown() -> None:
    with broker("queues", queue("jobs", publish=3), queue("b", publish=1)) as (bodies, one):
        bodies["/api/overview"] = deleted(7)
        before = shot(one)
        bodies["/api/overview"] = deleted(8)
        bodies["/api/queues"] = json.dumps([queue("b", publish=5)]).encode()
        moves = delta(before, shot(one))

    assert {name for name, _ in moves.unknown} == {"jobs_publish", "jobs_deliver", "jobs_ack"}
    assert moves.moved["b_publish", ()] == 4


def test_scopes_can_be_configured_in_the_url() -> None:
    queues_there = (queue("tenant-1-jobs", publish=1), queue("tenant-2-jobs", publish=2))
    with serving(by_path({**API, "/api/queues": json.dumps(queues_there).encode()})) as port:
        url = f"queues://127.0.0.1:{port}?scopes=tenant-*-jobs=jobs,*.shard=of+{{1}}"
        backend = connect(url, origin="test")

        assert shot(backend).totals()["jobs_publish"] == 3

        backend.close()


def test_a_broker_that_has_just_begun_is_not_read_half() -> None:
    with broker("queues") as (bodies, one):
        bodies["/api/nodes"] = b'[{"name":"rabbit@a","running":true}]'

        with pytest.raises(BackendError, match="it has just begun"):
            shot(one)


def test_scopes_beyond_the_limit_are_summed_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "SCOPES_MAX", 2)
    three = [queue(name, publish=i) for i, name in enumerate(("a", "b", "c", "d"), 1)]

    with broker("queues", *three) as (_, one):
        read = shot(one)

    assert (read.totals()["a_publish"], read.totals()["overflow_publish"]) == (1, 7)
    assert read.notes == ("2 scopes beyond 2 are summed as 'overflow'",)


def test_a_node_restarted_is_another_incarnation() -> None:
    with broker("queues", queue("a", publish=1)) as (bodies, one):
        before = shot(one)
        bodies["/api/nodes"] = API["/api/nodes"].replace(b'"os_pid":"', b'"os_pid":"7')

        assert "restarted" in delta(before, shot(one)).because


@pytest.mark.parametrize(
    "body", [b"{}", b"[1]", b"no json", b'{"error":', b"[" * 100_000, b"\xff\xfe", b"null"]
)
def test_an_api_that_answers_something_else_is_told(body: bytes) -> None:
    with broker("queues") as (bodies, one):
        bodies["/api/queues"] = body

        with pytest.raises(BackendError, match=r"^queues at 127\.0\.0\.1"):
            shot(one)


@given(
    st.dictionaries(
        st.sampled_from(["message_stats", "name", "vhost"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: st.dictionaries(
                st.sampled_from(["publish", "ack"]), inner, max_size=3
            ),
        ),
    )
)
def test_figures_are_whole_numbers_or_left_out(one: dict) -> None:
    figures = figures_of(one, queues.FIGURES)

    assert all(type(value) is int for value in figures.values())


# --- When they were collected ----------------------------------------------------------------


def told(uptime: int | None, name: str = "rabbit@a") -> dict[str, Any]:
    return {"name": name} if uptime is None else {"name": name, "uptime": uptime}


def test_figures_are_complete_up_to_before_the_last_change_of_uptime_but_one() -> None:
    emissions = Emissions()
    looks = [(10, 700), (11, 700), (12, 705), (13, 705), (17, 710), (18, 715)]

    complete = [emissions.seen([told(uptime)], asked_ns) for asked_ns, uptime in looks]

    assert complete == [0, 0, 0, 0, 11, 13]


def test_of_several_nodes_the_slowest_counts_and_a_new_one_is_waited_for() -> None:
    emissions = Emissions()
    for at_ns in (1, 2, 3, 4):
        both = emissions.seen([told(at_ns), told(at_ns // 2, "rabbit@b")], at_ns)
    new = emissions.seen([told(9), told(9, "rabbit@c")], 9)

    assert (both, new) == (1, 0)


@pytest.mark.parametrize("nodes", [[], [told(None)], [told(1), told(None, "rabbit@b")]])
def test_nodes_that_show_no_uptime_show_nothing(nodes: list[dict[str, Any]]) -> None:
    assert Emissions().seen(nodes, 1) is None


@pytest.mark.parametrize("path", ["queues", "exchanges"])
def test_both_backends_say_up_to_when_they_are_complete(path: str) -> None:
    with broker(path) as (bodies, one):
        began_ns = elapsed_ns()
        complete = []
        for uptime in (b"1", b"2", b"3"):
            bodies["/api/nodes"] = (
                b'[{"name":"rabbit@a","os_pid":"1","running":true,"uptime":' + uptime + b"}]"
            )
            complete.append(shot(one).complete_ns)

    assert complete[:2] == [0, 0]
    assert began_ns < complete[2] < elapsed_ns()


# --- The exact counts ------------------------------------------------------------------------


def test_messages_are_counted_exactly_and_exchanges_by_scope() -> None:
    with broker("exchanges", *json.loads(API["/api/exchanges"])) as (_, backend):
        read = shot(backend)
        settle_s = backend.settle_s

    found = totals(read)
    assert {name: found[name] for name in found if name.startswith(("rabbitmq_g", "exch"))} == {
        "rabbitmq_global_messages_received_total": 20,
        "rabbitmq_global_messages_received_confirm_total": 20,
        "rabbitmq_global_messages_confirmed_total": 20,
        "rabbitmq_global_messages_routed_total": 23,
        "rabbitmq_global_messages_delivered_total": 2,
        "rabbitmq_global_messages_delivered_get_manual_ack_total": 2,
        "rabbitmq_global_messages_acknowledged_total": 2,
        "exchange.publish_in": 20,
        "exchange.publish_out": 23,
    }
    fanout = (("exchange", "compute_fanout"),)
    assert read.values["exchange.publish_out", fanout] == 6
    assert (
        read.values[
            "rabbitmq_global_messages_delivered_total",
            (("protocol", "amqp091"), ("queue_type", "rabbit_classic_queue")),
        ]
        == 2
    )
    assert read.version == "3.10.8"
    assert read.incarnation.partition(" ")[0].startswith("nilo")
    assert " started 1" in read.incarnation
    assert settle_s == 6.0


def test_every_counter_that_a_broker_shows_is_described() -> None:
    with broker("exchanges") as (_, backend):
        read = shot(backend)

    assert {name for name, _ in read.values} == set(rabbitmq.FACTS)


def test_without_the_api_the_exact_counts_remain_and_nothing_is_waited_for() -> None:
    with serving(by_path({"/metrics": METRICS})) as port:
        backend = connect(f"rabbitmq://127.0.0.1:{port}?api=127.0.0.1:{port}", origin="test")
        read = shot(backend)
        backend.close()

    assert read.totals()["rabbitmq_global_messages_received_total"] == 20
    assert "exchange.publish_in" not in read.totals()
    assert read.unread.startswith("exchanges are not read: rabbitmq at 127.0.0.1")
    assert (read.notes, backend.settle_s) == ((), 0.0)


def test_an_api_that_nobody_named_is_no_fault_where_it_does_not_answer(monkeypatch) -> None:
    with serving(by_path({"/metrics": METRICS})) as port:
        monkeypatch.setattr(rabbitmq, "API_PORT", port)
        backend = connect(f"rabbitmq://127.0.0.1:{port}", origin="test")
        read = shot(backend)
        backend.close()

    assert read.totals()["rabbitmq_global_messages_received_total"] == 20
    assert read.notes[0].startswith("exchanges are not read: rabbitmq at 127.0.0.1")
    assert (read.unread, backend.settle_s) == ("", 0.0)


def test_a_named_api_that_lets_nobody_in_is_reported_by_name_and_the_rest_collected() -> None:
    refusing = {"/api/nodes": http(b"", status="401 Unauthorized")}

    def answer(sock) -> None:
        while request := sock.recv(65536):
            path = request.split(b" ")[1].decode().partition("?")[0]
            sock.sendall(refusing.get(path) or http(METRICS))

    with serving(answer) as port:
        where = f"rabbitmq://eve:wrong@127.0.0.1:{port}?api=127.0.0.1:{port}"
        backend = connect(where, origin="test")
        found = collected([backend])

    [(name, because)] = found.told["unread"].items()
    assert (name, because.partition(" at ")[0]) == (
        "rabbitmq",
        "exchanges are not read: rabbitmq",
    )
    assert "401 Unauthorized: it does not let user 'eve' with this password in" in because
    assert found.totals["rabbitmq"]["rabbitmq_global_messages_received_total"] == 20


def test_an_exchange_that_was_deleted_makes_its_scope_and_the_total_unknown() -> None:
    kept, gone = ({"name": n, "vhost": "/", "message_stats": {"publish_in": 5}} for n in "ab")
    with broker("exchanges", kept, gone) as (bodies, backend):
        before = shot(backend)
        bodies["/api/exchanges"] = json.dumps([kept]).encode()
        moves = delta(before, shot(backend))

    assert moves.moved["exchange.publish_in", (("exchange", "a"),)] == 0
    assert ("exchange.publish_in", (("exchange", "b"),)) in moves.unknown
    assert ("exchange.publish_in", ()) in moves.unknown


def exchange(name: str, messages: int, vhost: str = "/") -> dict[str, Any]:
    return {"name": name, "vhost": vhost, "message_stats": {"publish_in": messages}}


def hosts(**messages: int) -> bytes:
    return json.dumps(
        [{"name": n, "message_stats": {"publish": m}} for n, m in messages.items()]
    ).encode()


A, B = ((("exchange", name),) for name in "ab")


def test_an_exchange_that_was_made_anew_is_not_taken_for_the_one_before() -> None:
    """It has more by now than it had, and its virtual host has all that went into either."""
    with broker("exchanges", exchange("a", 50, "v"), exchange("b", 9, "v")) as (
        bodies,
        backend,
    ):
        bodies["/api/vhosts"] = hosts(v=59)
        before = shot(backend)
        bodies["/api/exchanges"] = json.dumps(
            [exchange("a", 60, "v"), exchange("b", 9, "v")]
        ).encode()
        bodies["/api/vhosts"] = hosts(v=119)
        moves = delta(before, shot(backend))

    because = moves.unknown["exchange.publish_in", ()]
    assert because.startswith("50 messages by now went into exchanges that were deleted")
    assert moves.unknown["exchange.publish_in", A] == because
    assert moves.moved[f"{rabbitmq._GLOBAL}received_total", ()] == 0


def test_an_exchange_that_no_read_saw_leaves_what_went_into_all_unknown() -> None:
    with broker("exchanges", exchange("a", 5, "v")) as (bodies, backend):
        bodies["/api/vhosts"] = hosts(v=5)
        before = shot(backend)
        bodies["/api/vhosts"] = hosts(v=38)
        moves = delta(before, shot(backend))

    assert moves.unknown["exchange.publish_in", ()].startswith("33 messages")


def test_an_exchange_that_was_seen_and_deleted_leaves_only_its_scope_unknown() -> None:
    with broker("exchanges", exchange("a", 5, "v"), exchange("b", 7, "v")) as (bodies, backend):
        bodies["/api/vhosts"] = hosts(v=20)  # the 8 others were before the first read
        before = shot(backend)
        bodies["/api/exchanges"] = json.dumps([exchange("a", 6, "v")]).encode()
        bodies["/api/vhosts"] = hosts(v=21)
        moves = delta(before, shot(backend))

    assert moves.moved["exchange.publish_in", A] == 1
    assert "1 exchange of it deleted" in moves.unknown["exchange.publish_in", B]


def test_a_virtual_host_whose_exchanges_may_not_be_seen_hides_none() -> None:
    with broker("exchanges", exchange("a", 5, "v")) as (bodies, backend):
        bodies["/api/vhosts"] = hosts(v=5, theirs=100)
        before = shot(backend)
        bodies["/api/vhosts"] = hosts(v=5, theirs=900)
        moves = delta(before, shot(backend))

    assert moves.moved["exchange.publish_in", ()] == 0


def test_a_virtual_host_that_was_made_anew_leaves_what_went_into_exchanges_unknown() -> None:
    with broker("exchanges", exchange("a", 5, "v"), exchange("b", 7, "w")) as (bodies, backend):
        bodies["/api/vhosts"] = hosts(v=5, w=7)
        before = shot(backend)
        bodies["/api/exchanges"] = json.dumps(
            [exchange("a", 4, "v"), exchange("b", 7, "w")]
        ).encode()
        bodies["/api/vhosts"] = hosts(v=4, w=7)
        moves = delta(before, shot(backend))

    assert ("exchange.publish_in", ()) in moves.unknown
    assert "a virtual host was made anew" in moves.unknown["exchange.publish_in", B]


def test_a_broker_that_says_nothing_of_virtual_hosts_is_read_and_it_is_told() -> None:
    with broker("exchanges", exchange("a", 5)) as (bodies, backend):
        del bodies["/api/vhosts"]
        read = shot(backend)

    assert read.values["exchange.publish_in", ()] == 5
    (note,) = read.notes
    assert note.startswith("exchanges made anew would not be recognised: rabbitmq at 127")


def test_something_else_that_speaks_http_is_not_taken_for_a_broker() -> None:
    with serving(by_path({"/metrics": b"go_goroutines 7\n"})) as port:
        backend = connect(f"rabbitmq://127.0.0.1:{port}?api=no", origin="test")

        with pytest.raises(BackendError, match=r"no rabbitmq_global_messages_\* in its answer"):
            shot(backend)

        backend.close()


def test_nobody_there_is_told_with_the_plugin_to_switch_on(free_port) -> None:
    backend = connect(f"rabbitmq://127.0.0.1:{free_port()}?api=no", origin="test")

    with pytest.raises(BackendError, match="rabbitmq-plugins enable rabbitmq_prometheus"):
        shot(backend)


@pytest.mark.parametrize(
    "answer", [silent, dripping(b"HTTP"), replaying(b"\0\1\2")], ids=["silent", "drips", "odd"]
)
def test_a_broker_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, answer) -> None:
    monkeypatch.setattr(link, "ANSWER_S", 0.3)
    with serving(answer) as port:
        for url in (f"rabbitmq://127.0.0.1:{port}?api=no", f"queues://127.0.0.1:{port}"):
            backend = connect(url, origin="test")
            with pytest.raises(BackendError, match=f"^[a-z]+ at 127.0.0.1:{port}: GET /"):
                shot(backend)
            backend.close()


@given(st.text(max_size=200) | st.just(METRICS.decode()).map(lambda text: text[:-7]))
def test_any_text_of_metrics_is_counted_or_left(text: str) -> None:
    values, incarnation, version = rabbitmq.counted(parse(text))

    assert all(isinstance(value, int | float) for value in values.values())
    assert isinstance(incarnation + version, str)


# --- Where it is -----------------------------------------------------------------------------

ENVIRONMENT = {
    "OS_QA_RABBITMQ_API": "broker.example:15672",
    "OS_QA_RABBITMQ_USER": "me",
    "OS_QA_RABBITMQ_PASS": "s3cret",
}


def test_both_are_where_the_variables_of_os_performance_tools_say() -> None:
    around = Surroundings(ENVIRONMENT, Path("/nowhere"))

    (of_queues,) = queues.find(around)
    (of_node,) = rabbitmq.find(around)

    assert of_queues == Target(
        "queues", "OS_QA_RABBITMQ_API", "broker.example", 15672, "me", of_queues.password
    )
    assert of_queues.password == "s3cret"
    assert (of_node.host, of_node.port) == ("broker.example", 15692)
    assert of_node.options == (("api", "broker.example:15672"),)
    assert "s3cret" not in repr((of_queues, of_node))


def test_a_user_alone_is_of_the_broker_on_this_machine_and_https_is_kept() -> None:
    (one,) = queues.find(Surroundings({"OS_QA_RABBITMQ_USER": "me"}, Path("/nowhere")))
    (other,) = queues.find(
        Surroundings({"OS_QA_RABBITMQ_API": "https://[::1]:443"}, Path("/nowhere"))
    )

    assert (one.host, one.port) == ("127.0.0.1", 15672)
    assert (other.host, other.port, other.options) == ("::1", 443, (("tls", "yes"),))


def test_user_and_password_may_stand_in_the_place_of_the_api() -> None:
    said = {"OS_QA_RABBITMQ_API": "http://you:h%2Fush@broker:1/api"}

    (alone,) = queues.find(Surroundings(said, Path("/nowhere")))
    (both,) = queues.find(Surroundings({**ENVIRONMENT, **said}, Path("/nowhere")))

    assert (alone.host, alone.port, alone.user, alone.password) == ("broker", 1, "you", "h/ush")
    assert (both.user, both.password) == ("me", "s3cret")


def test_without_variables_it_is_looked_for_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing = Surroundings({}, Path("/nowhere"))
    for module, port in ((queues, 15672), (rabbitmq, 15692)):
        monkeypatch.setattr(module, "listens", lambda asked, port=port: asked == port)
        (found,) = module.find(nothing)
        assert (found.host, found.port) == ("127.0.0.1", port)
        monkeypatch.setattr(module, "listens", lambda asked: False)
        assert list(module.find(nothing)) == []


@pytest.mark.parametrize(
    ("url", "because"),
    [
        ("rabbitmq://h?api=here", "it is host:port, or no"),
        ("rabbitmq://h?api=h:99999", "it is host:port, or no"),
        ("rabbitmq://h?scope=x", "no option 'scope'; did you mean 'scopes'?"),
        ("queues://h?scopes=x", "a rule is PATTERN=SCOPE"),
        ("queues://h?tls=maybe", "choose from yes, no"),
        ("queues://h?tls=yes&ca=/nowhere", "cannot be read"),
    ],
)
def test_options_that_cannot_be_are_refused(url: str, because: str) -> None:
    with pytest.raises(ConfigError) as caught:
        connect(url, origin="--backend")

    assert because in str(caught.value)
    assert "--backend" in str(caught.value)


@pytest.mark.parametrize("backend", ["rabbitmq", "queues"])
def test_a_broker_that_collects_more_often_is_waited_for_less(backend: str) -> None:
    api = "&api=127.0.0.1:1" if backend == "rabbitmq" else ""

    assert connect(f"{backend}://h:1?settle_s=1.5{api}", origin="-b").settle_s == 1.5
    for said in ("0", "x", "nan", "301"):
        with pytest.raises(ConfigError, match="settle_s="):
            connect(f"{backend}://h:1?settle_s={said}", origin="-b")


def test_a_scope_is_shown_or_summed_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "SCOPES_MAX", 2)
    old = [queue(name, publish=100) for name in ("m", "n")]
    with broker("queues", *old) as (bodies, one):
        before = shot(one)
        new = [queue(name, publish=1) for name in ("a", "b")]
        bodies["/api/queues"] = json.dumps([*new, *old]).encode()
        after = shot(one)

    moved = {name: n for (name, _), n in delta(before, after).moved.items() if n}
    assert moved == {"overflow_publish": 2}


def test_exchanges_that_were_not_read_at_first_are_unknown_and_not_zero() -> None:
    some = {"name": "nova", "vhost": "/", "message_stats": {"publish_in": 5041}}
    with broker("exchanges", some) as (bodies, one):
        exchanges = bodies.pop("/api/exchanges")
        before = shot(one)
        bodies["/api/exchanges"] = exchanges
        after = shot(one)

    moves = delta(before, after)
    assert not any(name.startswith("exchange.") for name, _ in moves.moved)
    assert any(name == "exchange.publish_in" for name, _ in moves.unknown)


@pytest.mark.parametrize("option", ["", "?api=no", "?api=localhost:15672"])
def test_a_broker_and_its_queues_are_on_one_server(option: str) -> None:
    broker_itself = connect(f"rabbitmq://127.0.0.1:15692{option}", origin="test")
    its_queues = connect("queues://localhost", origin="test")

    assert set(places_of(broker_itself)) & set(places_of(its_queues))
