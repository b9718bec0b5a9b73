"""HTTP from servers that count, also from those that hang, lie, or never end."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nilometer.counters import http_get, link
from nilometer.counters.backend import BackendError
from nilometer.counters.http_get import Http
from nilometer.counters.link import Place
from tests.counters.servers import dripping, http, replaying, serving, silent


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second for an answer: the law is the same, the test is not 10 s long."""
    monkeypatch.setattr(link, "ANSWER_S", 0.5)


def asked(port: int, **more: str) -> Http:
    return Http(Place("127.0.0.1", port), BackendError, **more)


def refusal(answer, **more: str) -> str:
    with serving(answer) as port:
        client = asked(port, **more)
        with pytest.raises(BackendError) as caught:
            client.get("/x?columns=many")
        client.close()
    return str(caught.value)


def test_one_connection_serves_many_requests() -> None:
    with serving(replaying(http(b"one"), http(b"two"))) as port:
        client = asked(port)

        assert [client.get("/a"), client.get("/b")] == [b"one", b"two"]

        client.close()


def test_a_connection_that_the_server_closed_is_made_again() -> None:
    with serving(replaying(http(b"one"))) as port:
        client = asked(port)

        assert [client.get("/a"), client.get("/b")] == [b"one", b"one"]

        client.close()


def test_a_body_in_chunks_and_one_until_the_end_are_read_whole() -> None:
    chunks = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    )
    with serving(replaying(chunks, b"HTTP/1.0 200 OK\r\n\r\nuntil")) as port:
        client = asked(port)

        assert [client.get("/a"), client.get("/b")] == [b"abc", b"until"]

        client.close()


def test_user_and_password_are_sent_and_never_shown() -> None:
    seen = []

    def answer(sock) -> None:
        seen.append(sock.recv(65536))
        sock.sendall(http(b"go away", status="401 Unauthorized"))

    said = refusal(answer, user="guest", password="s3cret")

    assert b"Authorization: Basic Z3Vlc3Q6czNjcmV0\r\n" in seen[0]
    assert "401 Unauthorized: it does not let user 'guest' with this password in" in said
    assert "s3cret" not in said


@pytest.mark.parametrize("token", ["s3cret\r\nHost: x", "s3crét", "s3cret\0"])
def test_a_token_that_cannot_be_sent_is_refused_and_never_shown(token: str) -> None:
    with serving(silent) as port, pytest.raises(BackendError) as caught:
        asked(port, token=token).get("/x")

    assert "the token has characters that HTTP cannot send" in str(caught.value)
    assert "s3c" not in repr(caught.value)


def test_a_server_that_sends_us_on_is_not_followed() -> None:
    moved = http(b"", status="302 Found", headers="Location: http://elsewhere/\r\n")

    assert "it sends us on to 'http://elsewhere/'; name that place" in refusal(replaying(moved))


def test_what_a_server_says_of_its_error_is_told() -> None:
    said = refusal(replaying(http(b"over\r\n loaded", status="503 Busy")))

    assert said == "GET /x: 503 Busy: 'over loaded' [backend-unreadable]"


def test_a_server_that_is_silent_is_given_up(short: None) -> None:
    assert "GET /x: no whole answer in 0.5 s" in refusal(silent)


@pytest.mark.parametrize(
    "beginning",
    [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"],
    ids=["status", "header", "body"],
)
def test_a_server_that_drips_is_given_up_at_the_same_time(
    short: None, beginning: bytes
) -> None:
    assert "GET /x: no whole answer in 0.5 s" in refusal(dripping(beginning))


def test_an_answer_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_get, "REPLY_BYTES_MAX", 5)

    assert "the answer is longer than 5 bytes" in refusal(replaying(http(b"123456")))


def test_nobody_there_is_told_so(free_port) -> None:
    with pytest.raises(BackendError, match="nobody listens there"):
        asked(free_port()).get("/x")


@pytest.mark.parametrize("host", ["no-such.invalid", "ö" * 70, "a" * 300, "a..b", "\0"])
def test_a_host_that_is_none_is_told_so(host: str) -> None:
    with pytest.raises(BackendError, match=r"^GET /x: "):
        Http(Place(host, 1), BackendError).get("/x")


@settings(max_examples=60, deadline=None)
@given(garbage=st.binary(max_size=300) | st.binary(max_size=60).map(b"HTTP/1.1 200 ".__add__))
def test_any_answer_is_read_or_refused(garbage: bytes) -> None:
    def answer(sock) -> None:
        sock.recv(65536)
        sock.sendall(garbage)

    with serving(answer) as port:
        client = asked(port)
        with suppress(BackendError):
            assert isinstance(client.get("/x"), bytes)
        client.close()
