"""Laws of a connection that is to be closed: its answer is read first, and it does close."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import urllib.error
import urllib.request

import pytest

from nilometer.collect import lingering
from nilometer.collect.lingering import Lingering
from tests.collect.visits import answer_ok, refuse, visit
from tests.collector import start

CLOSING = [b"HTTP/1.1\r\nConnection: close", b"HTTP/1.0"]
IDS = ["close", "1.0"]
BODY_BYTES = 8_000_000  # more than the kernel keeps on both sides together


def upload(version, size=BODY_BYTES):
    return b"POST / %s\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (version, size)


async def send_for_ever(writer):
    """Until the connection breaks; how much went before that."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536
    return sent


async def nothing_left():
    """Until nobody holds what the server had of its connections."""
    while any(type(each) is Lingering for each in gc.get_objects()):
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("version", CLOSING, ids=IDS)
def test_whoever_asks_to_close_reads_why_it_was_refused_after_all_of_its_body(version):
    async def talk(connect):
        for _ in range(5):
            reader, writer = await connect()
            writer.write(upload(version) + bytes(BODY_BYTES))
            await writer.drain()
            assert (await reader.readline()) == b"HTTP/1.1 401 Unauthorized\r\n"
            assert (await reader.read()).endswith(b"connection: close\r\n\r\n")
            writer.close()
        await asyncio.wait_for(nothing_left(), 10)

    assert visit(talk, refuse) == []


@pytest.mark.parametrize("version", CLOSING, ids=IDS)
def test_whoever_looks_before_the_end_of_its_body_sees_that_nothing_follows(version):
    async def talk(connect):
        reader, writer = await connect()
        writer.write(upload(version))
        assert (await reader.read()).endswith(b"connection: close\r\n\r\n")
        writer.write(bytes(BODY_BYTES))
        await writer.drain()
        writer.close()
        await asyncio.wait_for(nothing_left(), 10)

    assert visit(talk, refuse) == []


def test_whoever_sends_no_http_reads_that_after_all_it_had_to_say():
    async def talk(connect):
        reader, writer = await connect()
        writer.write(b"\x16\x03\x01" * (BODY_BYTES // 3))
        await writer.drain()
        assert (await reader.readline()) == b"HTTP/1.1 400 Bad Request\r\n"
        assert (await reader.read()).endswith(b"Invalid HTTP request received.")
        writer.close()

    assert visit(talk) == [("http", "not-http")]


@pytest.mark.parametrize("version", [b"HTTP/1.1", *CLOSING], ids=["kept alive", *IDS])
def test_whoever_sends_for_ever_is_cut_off_and_nothing_is_left_of_it(monkeypatch, version):
    monkeypatch.setattr(lingering, "REST_BYTES_MAX", 20 << 20)

    async def talk(connect):
        _, writer = await connect()
        writer.write(upload(version, 1 << 40))
        assert await asyncio.wait_for(send_for_ever(writer), 30) > 20 << 20
        writer.close()
        await asyncio.wait_for(nothing_left(), 10)

    assert visit(talk, refuse) == [("http", "endless-rest")]


@pytest.mark.parametrize("version", CLOSING, ids=IDS)
def test_whoever_was_refused_and_sends_slowly_is_cut_off_in_time(monkeypatch, version):
    monkeypatch.setattr(lingering, "REST_S_MAX", 0.3)

    async def drip(writer):
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)

    async def talk(connect):
        reader, writer = await connect()
        writer.write(upload(version))
        assert await reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"
        await asyncio.wait_for(drip(writer), 30)
        writer.close()

    assert visit(talk, refuse) == [("http", "slow-rest")]


def test_whoever_still_sends_what_was_refused_makes_room_first():
    async def refuse_posts(scope, receive, send):
        await (refuse if scope["method"] == "POST" else answer_ok)(scope, receive, send)

    async def talk(connect):
        for _ in range(60):
            reader, writer = await connect()
            writer.write(upload(CLOSING[0]))
            assert await reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"
            lingering_ones.append(writer)
        for _ in range(30):
            reader, writer = await connect()
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await asyncio.wait_for(reader.readline(), 10) == b"HTTP/1.1 200 OK\r\n"
            writer.close()
        for each in lingering_ones:
            each.close()

    lingering_ones = []
    reasons = visit(talk, refuse_posts, limit_concurrency=20)

    assert set(reasons) == {("http", "idle-connection")}


def test_the_end_waits_for_nobody_who_was_answered():
    async def talk(connect):
        for version in (b"HTTP/1.1", *CLOSING):
            reader, writer = await connect()
            writer.write(upload(version))
            assert await reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"
            open_ones.append(writer)

    open_ones = []
    reasons = visit(talk, refuse)

    assert reasons == []  # else they had been waited for until their time was over


def answers(collector, path, size, token, method="POST"):
    """What urllib, which asks for the end of the connection each time, is told three times."""
    headers = {"Content-Type": "application/x-protobuf", "Authorization": f"Bearer {token}"}
    codes = []
    for _ in range(3):
        request = urllib.request.Request(
            collector.url + path, bytes(size), headers, method=method
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=60)
        codes.append(refused.value.code)
        refused.value.close()
    return codes


@pytest.mark.real
def test_urllib_is_told_by_otlp_and_rest_why_what_it_uploads_is_refused(tmp_path):
    token = "c2l4dGVlbiBieXRlcyBoZXJl"
    tokens = tmp_path / "tokens"
    tokens.write_text(token)
    tokens.chmod(0o600)

    with start(tmp_path, token_file=tokens) as collector:
        told = {
            "a wrong token": answers(collector, "/v1/traces", BODY_BYTES, "wrong"),
            "too large": answers(collector, "/v1/traces", 17_000_000, token),
            "REST, a wrong token": answers(collector, "/api/v1/traces", BODY_BYTES, "wrong"),
            "REST, a method": answers(collector, "/api/v1/traces", BODY_BYTES, token, "PUT"),
        }

    assert told == {
        "a wrong token": [401] * 3,
        "too large": [413] * 3,
        "REST, a wrong token": [401] * 3,
        "REST, a method": [405] * 3,
    }
