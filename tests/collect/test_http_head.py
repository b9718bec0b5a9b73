"""Laws of a request's head: bounded in bytes and in time, and of no concern to others."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from nilometer.collect import http_head, lingering
from tests.collect.visits import answer_much, answer_ok, answer_ok_when_whole, refuse, visit


async def said(reader):
    return (await asyncio.wait_for(reader.read(), 10)).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "endless", [b"X-Filler: " + b"x" * 1000 + b"\r\n", b"x" * 1000], ids=["headers", "a header"]
)
def test_an_endless_head_is_cut_off(monkeypatch, endless):
    monkeypatch.setattr(lingering, "REST_BYTES_MAX", 1 << 20)

    async def talk(connect):
        reader, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        sent = 0
        while not reader.at_eof() and sent < 50 << 20:
            try:
                writer.write(endless * 10)
                await writer.drain()
            except ConnectionError:
                break
            sent += len(endless) * 10
            await asyncio.sleep(0)
        writer.close()
        assert sent < 10 << 20

    assert visit(talk) == [("http", "head-too-large"), ("http", "endless-rest")]


@pytest.mark.parametrize("app", [answer_ok, refuse])
@pytest.mark.parametrize(
    ("begun", "endless"),
    [
        (b"2\r\n{}\r\n0\r\nX-Long: ", b"x" * 1000),
        (b"2\r\n{}\r\n0\r\n", b"X-Filler: " + b"x" * 1000 + b"\r\n"),
        (b"2;", b"x" * 1000),
    ],
    ids=["a trailer", "trailers", "a chunk's extension"],
)
def test_what_follows_a_head_and_is_no_body_is_cut_off_too(monkeypatch, app, begun, endless):
    monkeypatch.setattr(lingering, "REST_BYTES_MAX", 1 << 20)

    async def talk(connect):
        reader, writer = await connect()
        writer.write(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + begun
        )
        sent = 0
        while not reader.at_eof() and sent < 50 << 20:
            try:
                writer.write(endless * 10)
                await writer.drain()
            except ConnectionError:
                break
            sent += len(endless) * 10
            await asyncio.sleep(0)
        writer.close()
        assert sent < 10 << 20

    first, *then = visit(talk, app)

    assert first == ("http", "head-too-large")
    is_told = app is answer_ok and begun == b"2;"  # the others have had their answer before
    assert then == ([("http", "endless-rest")] if is_told else [])


def test_a_body_in_many_small_chunks_is_no_head(monkeypatch):
    monkeypatch.setattr(http_head, "HEAD_BYTES_MAX", 1000)

    async def talk(connect):
        reader, writer = await connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(500):
            writer.write(b"1\r\nx\r\n")
            await asyncio.sleep(0)
        writer.write(b"0\r\nX-Short: y\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        writer.close()

    assert visit(talk) == []


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_never_ends_is_given_up(monkeypatch, begun):
    monkeypatch.setattr(http_head, "HEAD_S_MAX", 0.1)

    async def talk(connect):
        reader, writer = await connect()
        writer.write(begun)
        assert await said(reader) == b"HTTP/1.1 400 Bad Request"
        writer.close()

    assert visit(talk) == [("http", "slow-head")]


def test_ordinary_requests_on_one_connection_are_not_disturbed(monkeypatch):
    monkeypatch.setattr(http_head, "HEAD_S_MAX", 1)

    async def talk(connect):
        reader, writer = await connect()
        for _ in range(2):
            writer.write(
                b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n"
            )
            writer.write(bytes(200_000))
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(1.1)  # kept alive for longer than a head may take
        writer.close()

    assert visit(talk) == []


@pytest.mark.parametrize("then", [b"", b"x", b"x" * 999])
def test_a_body_that_never_ends_after_its_answer_is_given_up(monkeypatch, then):
    monkeypatch.setattr(lingering, "REST_S_MAX", 0.1)

    async def talk(connect):
        reader, writer = await connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"
        await reader.readuntil(b"\r\n\r\n")
        writer.write(then)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()

    assert visit(talk, refuse) == [("http", "slow-rest")]


def test_the_rest_of_a_refused_request_may_come_and_the_connection_serves_the_next(monkeypatch):
    monkeypatch.setattr(lingering, "REST_S_MAX", 0.5)

    async def talk(connect):
        reader, writer = await connect()
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            assert await reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"
            await reader.readuntil(b"\r\n\r\n")
            writer.write(bytes(1000))
            await asyncio.sleep(0.6)
        writer.close()

    assert visit(talk, refuse) == []


def test_whoever_does_not_read_the_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(http_head, "UNREAD_S_MAX", 0.2)

    async def talk(connect):
        reader, writer = await connect()
        reader._transport.pause_reading()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(1)
        reader._transport.resume_reading()
        with contextlib.suppress(ConnectionError):
            assert len(await asyncio.wait_for(reader.read(), 10)) < 500 * 100_000
        writer.close()

    assert visit(talk, answer_much) == [("http", "unread-answer")]


ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "begun", [b"", b"GET / HT", ASK], ids=["silent", "begun", "kept alive"]
)
def test_however_many_connections_ask_nothing_others_are_served_at_once(begun):
    async def talk(connect):
        for _ in range(60):
            _, writer = await connect()
            writer.write(begun)
            idle.append(writer)
        for _ in range(30):
            reader, writer = await connect()
            writer.write(ASK)
            assert await asyncio.wait_for(reader.readline(), 10) == b"HTTP/1.1 200 OK\r\n"
            writer.close()
        for each in idle:
            each.close()

    idle = []
    reasons = visit(talk, limit_concurrency=20)

    assert set(reasons) == {("http", "idle-connection")}
    assert len(reasons) >= 41


def test_whoever_was_refused_and_owes_a_body_makes_room_first():
    """A stranger without a token opens many and finishes none; who has one is served."""

    async def refuse_posts(scope, receive, send):
        await (refuse if scope["method"] == "POST" else answer_ok)(scope, receive, send)

    async def talk(connect):
        for _ in range(60):
            reader, writer = await connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            assert await reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"
            owing.append(writer)
        for _ in range(30):
            reader, writer = await connect()
            writer.write(ASK)
            assert await asyncio.wait_for(reader.readline(), 10) == b"HTTP/1.1 200 OK\r\n"
            writer.close()
        for each in owing:
            each.close()

    owing = []
    reasons = visit(talk, refuse_posts, limit_concurrency=20)

    assert set(reasons) == {("http", "idle-connection")}


def test_whoever_has_asked_nothing_for_the_longest_makes_room_and_no_request_is_cut_off():
    async def talk(connect):
        asking, silent_long, silent = [await connect() for _ in range(3)]
        asking[1].write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{")
        await asyncio.sleep(0.1)
        newest = await connect()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(silent_long[0].read(), 10) == b""
        asking[1].write(b"}")
        for reader, writer in (silent, newest):
            writer.write(ASK)
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        assert await asking[0].readline() == b"HTTP/1.1 200 OK\r\n"
        for _, writer in (asking, silent_long, silent, newest):
            writer.close()

    assert visit(talk, answer_ok_when_whole, limit_concurrency=4) == [
        ("http", "idle-connection")
    ]


def test_whoever_is_one_too_many_is_told_when_to_come_again_in_its_protocol():
    asked = [
        ("GET /api/v1/health", "text/plain", "application/json"),
        ("GET /v1/traces", "application/json", "application/json"),
        ("GET /v1/traces", "application/x-protobuf", "application/x-protobuf"),
    ]

    async def talk(connect):
        _, asking = await connect()
        asking.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{")
        await asyncio.sleep(0.1)
        answers = []
        for target, sent, _ in asked:
            reader, writer = await connect()
            writer.write(
                f"{target} HTTP/1.1\r\nHost: x\r\nContent-Type: {sent}\r\n\r\n".encode()
            )
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            answers.append((head.decode().lower(), body))
            writer.close()
        return answers

    told = []
    visit(lambda connect: _kept(told, talk(connect)), answer_ok_when_whole, limit_concurrency=2)

    assert len(told) == 3
    for (_, _, media_type), (head, body) in zip(asked, told, strict=True):
        assert head.startswith("http/1.1 503 ")
        assert "\r\nretry-after: 1" in head
        assert f"\r\ncontent-type: {media_type}" in head
        assert b"send it again" in body


async def _kept(into, answers):
    into.extend(await answers)


def test_where_all_are_being_answered_one_more_is_told_so_at_once():
    async def talk(connect):
        asking = [await connect() for _ in range(3)]
        for _, writer in asking:
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{")
        await asyncio.sleep(0.1)
        for _ in range(5):
            reader, writer = await connect()
            writer.write(ASK)
            assert await said(reader) == b"HTTP/1.1 503 Service Unavailable"
            writer.close()
        for reader, writer in asking:
            writer.write(b"}")
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            writer.close()

    reasons = visit(talk, answer_ok_when_whole, limit_concurrency=4)

    assert reasons == [("http", "too-many-connections")] * 5
