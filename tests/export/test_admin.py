"""The admin endpoint: what it answers, to whom, and what slow or hostile clients get."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nilometer.errors import ConfigError
from nilometer.export.admin import Admin
from nilometer.export.admin_http import Request, Unusable, parse_head
from nilometer.export.admin_routes import Service, answer
from nilometer.model.endpoint import Endpoint
from nilometer.stacks import dump
from nilometer.wire.credentials import digests_of

TOKEN = b"a-token-of-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN.decode()}"}
LEVELS = {"": "basic", "db": "deep"}


def set_level(prefix, level):
    if level not in ("off", "basic", "detail", "deep"):
        raise ConfigError(f"no level {level!r}", slug="no-such-level")
    LEVELS[prefix] = level


@pytest.fixture(autouse=True)
def levels():
    before = dict(LEVELS)
    yield LEVELS
    LEVELS.clear()
    LEVELS.update(before)


def service(**more):
    told = {"version": "3.1.3", "gauges": {}}
    checks = {"pump": (True, "")}
    fields = {
        "title": lambda: "shop, process 7",
        "metrics": lambda: told,
        "health": lambda: checks,
        "levels": lambda: LEVELS,
        "set_level": set_level,
        **more,
    }
    return Service(**fields)


def said(method="GET", path="/", *, headers=(), body=b"", parameters=None, **more):
    request = Request(method, path, parameters or {}, tuple(headers), body)
    given = answer(service(**more), request)
    return given.status, given.body.decode()


def with_token(headers=BEARER):
    return {
        "digests": digests_of([b"another-token-of-it", TOKEN]),
        "headers": [(name.lower(), value) for name, value in headers.items()],
    }


def test_it_answers_as_dropwizard_s_does():
    unhealthy = {"pump": (False, "it is gone")}
    answers = {
        path: said(path=path) for path in ("/metrics", "/ping", "/healthcheck", "/levels", "/x")
    }

    assert answers == {
        "/metrics": (200, '{"version":"3.1.3","gauges":{}}'),
        "/ping": (200, "pong\n"),
        "/healthcheck": (200, '{"pump":{"healthy":true}}'),
        "/levels": (200, '{"":"basic","db":"deep"}'),
        "/x": (404, "there are /, /metrics, /ping, /healthcheck, /threads, /levels\n"),
    }
    assert said(path="/metrics", parameters={"pretty": "true"})[1] == (
        '{\n  "version" : "3.1.3",\n  "gauges" : { }\n}'
    )
    assert said(path="/healthcheck", health=lambda: unhealthy) == (
        500,
        '{"pump":{"healthy":false,"message":"it is gone"}}',
    )
    assert said(path="/healthcheck", health=dict)[0] == 501
    assert said(path="/metrics", metrics=lambda: None)[0] == 503
    assert said("POST", "/metrics")[0] == 405
    assert said(path="/metrics", metrics=lambda: 1 / 0) == (
        500,
        "a fault of nilometer's: ZeroDivisionError\n",
    )


def test_where_there_are_tokens_all_but_ping_want_one():
    stranger, ours = {"digests": digests_of([TOKEN])}, with_token()
    paths = ("/", "/metrics", "/healthcheck", "/threads", "/levels", "/x", "/ping/../metrics")

    assert {said(path=path, **stranger)[0] for path in paths} == {401}
    assert said(path="/ping", **stranger) == (200, "pong\n")
    assert [said(path=path, **ours)[0] for path in ("/", "/metrics", "/x")] == [200, 200, 404]
    basic = base64.b64encode(b"any:" + TOKEN).decode()
    assert said(path="/metrics", **with_token({"Authorization": f"Basic {basic}"}))[0] == 200
    assert said(path="/metrics", **with_token({"X-Auth-Token": TOKEN.decode()}))[0] == 200
    wrong = with_token({"Authorization": "Bearer another-token"})
    assert said("PUT", "/levels/db", body=b"off", **wrong)[0] == 401
    assert LEVELS == {"": "basic", "db": "deep"}


def test_without_tokens_only_this_machine_s_own_pages_are_answered():
    foreign = [("host", "evil.example")], [("origin", "http://evil.example")]

    assert [said(path="/metrics", headers=one)[0] for one in foreign] == [403, 403]
    assert said(path="/metrics", headers=[("host", "127.0.0.1:8091")])[0] == 200


def test_levels_are_read_by_name_and_changed_with_a_token_only():
    assert said(path="/levels/db.query") == (200, "deep\n")
    assert said(path="/levels/http") == (200, "basic\n")
    assert said("PUT", "/levels/db", body=b"off")[0] == 403
    ours = with_token()
    assert said("PUT", "/levels/db", body=b"off\n", **ours)[0] == 200
    assert said("PUT", "/levels", body=b'"detail"', **ours)[0] == 200
    assert LEVELS == {"": "detail", "db": "off"}
    wrong = [said("PUT", "/levels/db", body=body, **ours) for body in (b"most", b"\xff", b'"')]
    assert [status for status, _ in wrong] == [400, 400, 400]
    assert wrong[0][1] == "no level 'most' [no-such-level]\n"
    assert said("DELETE", "/levels/db", **ours)[0] == 405


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.from_regex(rb"GET [ -~]{0,80} HTTP/1\.[01]")))
def test_whatever_comes_is_a_request_or_is_refused(head):
    try:
        status = answer(service(), parse_head(head)).status
    except Unusable as refused:
        status = refused.status

    assert status in (200, 400, 403, 404, 405)


def test_stacks_are_told_of_threads_greenlets_and_tasks():
    import asyncio

    async def waits():
        await asyncio.sleep(60)

    async def all_of_it():
        task = asyncio.create_task(waits(), name="the sleeper")
        await asyncio.sleep(0)
        told = dump()
        task.cancel()
        return told

    told = asyncio.run(all_of_it())
    assert '"MainThread" id=' in told
    assert 'task "the sleeper"\n    at ' in told
    assert "waits(" in told


# --- Over sockets ----------------------------------------------------------------------------


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@pytest.fixture
def listens(free_port):
    made = []

    def start(*, last=0, step=lambda: None, **more):
        first = free_port
        admin = Admin(
            Endpoint("127.0.0.1", first, last or first),
            lambda request: answer(service(**more), request),
            step,
        )
        admin.start()
        made.append(admin)
        return admin

    yield start
    for admin in made:
        admin.stop(5)


def get(port, path="/ping", **headers):
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    return response.status, response.read().decode()


def test_workers_of_a_service_take_the_ports_of_a_range_in_turn(listens, free_port, caplog):
    caplog.set_level("INFO", "nilometer")
    admins = [listens(last=free_port + 50) for _ in range(3)]
    ports = [admin.port for admin in admins]

    assert ports == sorted(set(ports))
    assert [get(port) for port in ports] == [(200, "pong\n")] * 3
    told = [message for message in caplog.messages if "listening at" in message]
    assert told == [f"admin: listening at http://127.0.0.1:{port}" for port in ports]


def test_a_port_that_somebody_has_is_said_once_and_taken_when_it_is_free(
    listens, free_port, monkeypatch, caplog
):
    monkeypatch.setattr("nilometer.export.admin.STEP_S", 0.02)
    one = listens()
    other = listens()
    time.sleep(0.1)  # several looks
    told = [r for r in caplog.messages if "cannot listen" in r]
    one.stop(5)
    until = time.monotonic() + 10
    while not other.port and time.monotonic() < until:
        time.sleep(0.01)

    assert (one.port, other.port, get(free_port)) == (0, free_port, (200, "pong\n"))
    why = f"cannot listen at 127.0.0.1:{free_port}: Address already in use"
    assert told == [f"admin: {why}; tried again every 0.02 s [admin-cannot-listen]"]


def test_a_client_that_says_nothing_is_told_and_sent_away_and_the_next_is_served(listens):
    admin = listens()
    silent = socket.create_connection(("127.0.0.1", admin.port))
    silent.sendall(b"GET /metrics HTTP/1.1\r\n")

    assert get(admin.port) == (200, "pong\n")
    assert silent.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_sends_a_byte_now_and_then_has_a_second_in_all(listens, monkeypatch):
    monkeypatch.setattr("nilometer.export.admin_http.ASK_S_MAX", 0.3)
    admin = listens()
    drip = socket.create_connection(("127.0.0.1", admin.port))
    stop = threading.Event()

    def drips():
        while not stop.wait(0.05):
            try:
                drip.sendall(b"x")
            except OSError:
                return

    thread = threading.Thread(target=drips)
    thread.start()
    try:
        assert get(admin.port) == (200, "pong\n")
    finally:
        stop.set()
        thread.join()


def test_a_client_that_does_not_read_is_hung_up_on_and_the_next_is_served(listens, monkeypatch):
    monkeypatch.setattr("nilometer.export.admin_http.ANSWER_S_MAX", 0.3)
    admin = listens(metrics=lambda: {"much": "x" * (64 << 20)})
    deaf = socket.create_connection(("127.0.0.1", admin.port))
    deaf.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")

    assert get(admin.port) == (200, "pong\n")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5000, b"431"),
        (b"PUT /levels HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n", b"413"),
        (b"PUT /levels HTTP/1.1\r\ncontent-length: 2000\r\n\r\n" + b"x" * 2000, b"413"),
        (b"PUT /levels HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", b"501"),
        (b"PUT /levels HTTP/1.1\r\ncontent-length: -1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", b"400"),
    ],
)
def test_what_is_too_long_or_no_request_is_refused_with_the_reason(listens, sent, status):
    admin = listens()
    with socket.create_connection(("127.0.0.1", admin.port)) as client:
        client.sendall(sent)
        assert client.recv(1000).split()[1] == status
    assert get(admin.port) == (200, "pong\n")


def test_head_answers_are_without_their_body(listens):
    admin = listens()
    connection = HTTPConnection("127.0.0.1", admin.port, timeout=10)
    connection.request("HEAD", "/metrics")
    response = connection.getresponse()

    assert (response.status, response.getheader("Content-Length"), response.read()) == (
        *(200, "31"),
        b"",
    )
    assert response.getheader("Cache-Control") == "must-revalidate,no-cache,no-store"


def test_many_at_once_are_all_answered(listens):
    admin = listens()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: get(admin.port, "/metrics"), range(64)))

    assert {status for status, _ in answers} == {200}
    assert {tuple(json.loads(body)) for _, body in answers} == {("version", "gauges")}


def test_it_is_stepped_while_nobody_asks(listens, monkeypatch):
    monkeypatch.setattr("nilometer.export.admin.STEP_S", 0.01)
    stepped = threading.Semaphore(0)
    listens(step=stepped.release)

    assert all(stepped.acquire(timeout=10) for _ in range(5))


def test_after_its_end_nobody_listens_and_it_may_start_again(listens):
    admin = listens()
    port = admin.port
    admin.stop(5)

    with pytest.raises(ConnectionRefusedError):
        get(port)
    admin.start()
    assert get(port) == (200, "pong\n")
