"""MongoDB by the real client, from a stand-in for the server: no package brings a real one."""

from __future__ import annotations

from pathlib import Path

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from nilometer.clock import Clock
from nilometer.counters import link, mongodb
from nilometer.counters.backend import SCHEMES, BackendError, Surroundings, connect
from nilometer.counters.delta import delta
from nilometer.counters.snapshot import snapshot
from nilometer.counters.target import Target
from nilometer.errors import ConfigError
from tests.counters.mongo_server import mongod, status
from tests.counters.servers import replaying, serving, silent

FIRST, SECOND = ObjectId("0" * 24), ObjectId("1" * 24)
OPERATIONS = {"insert": 5, "query": 6, "update": 7, "delete": 8, "getmore": 9, "command": 10}


def read(port: int):
    backend = connect(f"mongodb://127.0.0.1:{port}", origin="test")
    try:
        return snapshot(backend, Clock())
    finally:
        backend.close()


def refusal(port: int, user: str = "") -> str:
    with pytest.raises(BackendError) as caught:
        connect(f"mongodb://{user}127.0.0.1:{port}", origin="test").read()
    return str(caught.value)


def test_operations_documents_scans_and_commands_are_counted() -> None:
    with mongod(lambda name: status(**OPERATIONS), FIRST) as port:
        found = read(port)

    totals = found.totals()
    assert {name: totals[name] for name in totals if name.startswith("opcounters.")} == {
        f"opcounters.{name}": value for name, value in OPERATIONS.items()
    }
    assert totals["metrics.document.inserted"] == 20
    assert totals["metrics.queryExecutor.collectionScans.total"] == 2
    assert (totals["metrics.commands.find.total"], totals["network.bytesIn"]) == (12, 1000)
    assert "metrics.commands.<UNKNOWN>.total" not in totals
    assert all(type(value) is int for value in totals.values())
    assert totals.keys() <= found.facts.keys()
    assert (found.version, found.incarnation) == ("7.0.14", f"process {FIRST}")


def test_a_server_that_restarted_is_not_compared() -> None:
    shots = []
    for process in (FIRST, SECOND):
        with mongod(lambda name: status(**OPERATIONS), process) as port:
            shots.append(read(port)._replace(instance="same"))

    assert "restarted" in delta(*shots).because


def test_an_older_server_is_told_by_host_and_pid() -> None:
    assert mongodb.began({}, status()) == "db pid 17"


def test_a_user_without_the_right_is_told_which_role_it_needs() -> None:
    denied = {"ok": 0.0, "errmsg": "not authorized on admin", "code": 13}
    with mongod(lambda name: denied, FIRST) as port:
        said = refusal(port)

    assert "not authorized on admin" in said
    assert "this user needs the role clusterMonitor" in said


def test_nobody_there_and_somebody_else_are_told_in_bounded_time(
    free_port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "ANSWER_S", 1.0)
    monkeypatch.setattr(mongodb, "CONNECT_S", 0.5)

    assert "Connection refused" in refusal(free_port(), "me:s3cret@")
    for answer in (silent, replaying(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9)):
        with serving(answer) as port:
            said = refusal(port, "me:s3cret@")
        assert said.startswith(f"mongodb at 127.0.0.1:{port}: ")
        assert "s3cret" not in said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.floats(),
    lambda inner: (
        st.dictionaries(
            st.sampled_from(["opcounters", "insert", "metrics", "commands", "find", "total"]),
            inner,
            max_size=4,
        )
        | st.lists(inner, max_size=2)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["opcounters", "metrics", "pid"]), JSON))
def test_any_status_is_counted_or_left(said: dict) -> None:
    values, facts = mongodb.counted(said)

    assert all(type(value) in {int, float} for value in values.values())
    assert facts.keys() <= {name for name, _ in values}


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("mongodb://h", "mongodb://h:27017/?directConnection=true"),
        ("mongodb://[::1]:1", "mongodb://[::1]:1/?directConnection=true"),
        (
            "mongodb://me:p%40ss@h:1/?authSource=admin",
            "mongodb://me:p%40ss@h:1/?authSource=admin&directConnection=true",
        ),
        ("mongodb://h?replicaSet=rs0", "mongodb://h:27017/?replicaSet=rs0"),
        ("mongodb+srv://h", "mongodb+srv://h/?"),
        (
            "mongodb://h?replicaSet=rs0&others=i:1,[::1]",
            "mongodb://h:27017,i:1,[::1]:27017/?replicaSet=rs0",
        ),
    ],
)
def test_the_client_is_given_what_the_target_says(url: str, asked: str) -> None:
    target = Target.parse(url, origin="x", schemes=SCHEMES)

    assert [str.__str__(one) for one in mongodb.urls_of(target).values()] == [asked]


def test_the_first_host_that_answers_is_read_and_stays_the_one(free_port) -> None:
    with mongod(lambda _name: status(**OPERATIONS), FIRST) as port:
        away = free_port()
        found = connect(f"mongodb://127.0.0.1:{away}?others=127.0.0.1:{port}", origin="x")
        shots = [snapshot(found, Clock()) for _ in range(2)]
        found.close()

    assert {shot.instance for shot in shots} == {f"127.0.0.1:{port}"}
    assert delta(*shots).because == ""


def test_a_host_that_answers_and_refuses_is_not_passed_over(free_port) -> None:
    def denied(_name: str) -> dict:
        return {"ok": 0.0, "errmsg": "not authorized on admin", "code": 13}

    with mongod(denied, FIRST) as port:
        url = f"mongodb://127.0.0.1:{port}?others=127.0.0.1:{free_port()}"
        with pytest.raises(BackendError) as caught:
            connect(url, origin="x").read()

    assert str(caught.value).startswith(f"mongodb at 127.0.0.1:{port}: ")
    assert "clusterMonitor" in str(caught.value)


def test_a_host_that_does_not_let_in_is_the_one_that_is_told(free_port) -> None:
    def stranger(_name: str) -> dict:
        return {"ok": 0.0, "errmsg": "Authentication failed.", "code": 18}

    with mongod(stranger, FIRST) as port:
        others = f"127.0.0.1:{port},127.0.0.1:{free_port()}"
        url = f"mongodb://me:wrong@127.0.0.1:{free_port()}?others={others}"
        with pytest.raises(BackendError, match=f"mongodb at 127.0.0.1:{port}: "):
            connect(url, origin="x").read()


def test_where_nobody_answers_the_last_host_is_told(free_port, monkeypatch) -> None:
    monkeypatch.setattr(mongodb, "CONNECT_S", 0.3)
    first, last = free_port(), free_port()

    with pytest.raises(BackendError, match=f"mongodb at 127.0.0.1:{last}: "):
        connect(f"mongodb://127.0.0.1:{first}?others=127.0.0.1:{last}", origin="x").read()


def test_it_is_where_the_variables_say_or_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(**environment: str) -> list[Target]:
        return list(mongodb.find(Surroundings(environment, Path("/nowhere"))))

    (one,) = found(MONGO_URL="mongodb://me:s3@a:1,b:2/shop?authSource=x&maxPoolSize=5")
    assert (one.host, one.port, one.user, one.password) == ("a", 1, "me", "s3")
    assert one.options == (("authSource", "x"), ("others", "b:2"))
    monkeypatch.setattr(mongodb, "listens", lambda port: port == 27017)
    assert [(target.host, target.port) for target in found()] == [("127.0.0.1", 27017)]
    monkeypatch.setattr(mongodb, "listens", lambda port: False)
    assert found() == []


def test_a_switch_is_true_or_false_and_nothing_that_pymongo_passes_over() -> None:
    with pytest.raises(ConfigError, match="tls='yes'; choose from true, false"):
        connect("mongodb://h/?tls=yes", origin="test")


def test_an_option_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match="no option 'authsource'; did you mean 'authSource'"):
        connect("mongodb://h?authsource=x", origin="test")
