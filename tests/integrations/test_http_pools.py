"""Connections of HTTP clients, who waits for one, and what is tried again; a real server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import httpx
import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

from nilometer.integrations import aiohttp as our_aiohttp
from nilometer.integrations import httpcore as our_httpcore
from nilometer.integrations import httpx as our_httpx
from nilometer.integrations import urllib3 as our_urllib3
from nilometer.integrations.calls import Depth
from tests.integrations.integration_kit import read, shape, traced_request

MODULES = (our_urllib3, our_httpx, our_httpcore, our_aiohttp)


class Handler(BaseHTTPRequestHandler):
    """Keeps connections; /held waits, /flaky answers 503 once, /broken hangs up once,
    /streamed waits after its head."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/held":
            self.server.arrived.set()
            self.server.held.wait(10)
        self.server.asked.append(self.path)
        first = self.server.asked.count(self.path) == 1
        if self.path == "/broken" and first:
            self.close_connection = True
            return
        if self.path == "/moved":
            self._answer(302, location="/flaky")
            return
        self._answer(503 if self.path == "/flaky" and first else 200)

    def _answer(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "2")
        self.end_headers()
        if self.path == "/streamed":
            self.server.held.wait(10)
            self.server.streamed_ns = time.time_ns()
        with contextlib.suppress(OSError):  # who asked may have gone
            self.wfile.write(b"ok")

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.daemon_threads = True
        made.held, made.arrived, made.asked = threading.Event(), threading.Event(), []
        made.url = f"http://127.0.0.1:{made.server_port}"
        made.pool = f"http.client.connection.pool.name=127.0.0.1:{made.server_port}"
        thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield made
        made.held.set()
        made.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _installed(registry):
    for module in MODULES:
        assert module.install(registry=registry)
    yield
    for module in MODULES:
        module.uninstall()


def states(registry, server):
    """Used and idle connections of the server's pool."""
    counted = read(registry).get("http.client.connection.count", {})
    return tuple(
        counted.get(f"{server.pool},http.client.connection.state={state}", 0)
        for state in ("used", "idle")
    )


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_urllib3_s_connections_are_counted_by_state(server, registry):
    with urllib3.PoolManager(maxsize=2) as manager:
        kept = [manager.request("GET", server.url, preload_content=False) for _ in range(3)]
        used = states(registry, server)
        while kept:  # a response that lives keeps its pool alive
            kept.pop().read()
        idle = states(registry, server)
    gc.collect()  # which closes pools that are in use no more
    closed = states(registry, server)

    # The third is beyond what the pool keeps.
    assert (used, idle, closed) == ((3, 0), (0, 2), (0, 0))


def test_httpx_s_connections_are_counted_by_state(server, registry):
    with httpx.Client() as client:
        with client.stream("GET", server.url), client.stream("GET", server.url):
            used = states(registry, server)
        client.get(server.url)
        idle = states(registry, server)
    closed = states(registry, server)

    assert (used, idle, closed) == ((2, 0), (0, 1), (0, 0))


def test_async_httpx_s_connections_are_counted_by_state(server, registry):
    async def run():
        async with httpx.AsyncClient() as client:
            async with client.stream("GET", server.url):
                used = states(registry, server)
            await client.get(server.url)
            return used, states(registry, server)

    assert asyncio.run(run()) == ((1, 0), (0, 1))


def test_aiohttp_s_connections_are_counted_by_state(server, registry):
    async def run():
        async with aiohttp.ClientSession() as session:
            async with session.get(server.url) as one, session.get(server.url) as other:
                both = sum(states(registry, server))  # a body that came frees its connection
                await one.read(), await other.read()
            return both, states(registry, server)

    both, idle = asyncio.run(run())
    closed = states(registry, server)

    assert (idle, closed) == ((0, both), (0, 0))


def test_aiohttp_s_connection_is_used_while_its_answer_is_awaited(server, registry):
    async def run():
        async with aiohttp.ClientSession() as session:
            asked = asyncio.create_task(session.get(f"{server.url}/held"))
            while states(registry, server) != (1, 0):
                await asyncio.sleep(0.005)
            server.held.set()
            (await asked).release()

    asyncio.run(run())


def pending(registry, server):
    return read(registry).get("http.client.connection.pending_requests", {}).get(server.pool)


def told_of_waits(registry, server):
    """Waits that ended, timeouts, and who still waits."""
    readings = read(registry)
    return tuple(
        readings.get(f"http.client.connection.{name}", {}).get(server.pool)
        for name in ("wait_time", "timeouts", "pending_requests")
    )


def urllib3_pool(url):
    return urllib3.connection_from_url(url, maxsize=1, block=True)


def test_who_waits_for_urllib3_s_pool_is_seen_and_timed(server, registry):
    with urllib3_pool(server.url) as pool, ThreadPoolExecutor(2) as threads:
        first = threads.submit(pool.request, "GET", "/held")
        until(lambda: pool.pool.qsize() == 0)
        second = threads.submit(pool.request, "GET", "/")
        until(lambda: pending(registry, server) == 1)
        server.held.set()
        assert [first.result().status, second.result().status] == [200, 200]

    assert told_of_waits(registry, server) == (1, None, 0)


def test_a_wait_for_urllib3_s_pool_may_time_out(server, registry):
    with urllib3_pool(server.url) as pool:
        kept = pool.request("GET", "/", preload_content=False)
        with pytest.raises(urllib3.exceptions.EmptyPoolError):
            pool.urlopen("GET", "/", pool_timeout=0.01)
        kept.release_conn()

    assert told_of_waits(registry, server) == (1, 1, 0)


ONE = {"limits": httpx.Limits(max_connections=1)}


def test_a_wait_for_httpx_s_pool_is_timed_and_may_time_out(server, registry):
    with (
        httpx.Client(**ONE) as client,
        client.stream("GET", server.url),
        pytest.raises(httpx.PoolTimeout),
    ):
        client.get(server.url, timeout=httpx.Timeout(5, pool=0.01))

    assert told_of_waits(registry, server) == (1, 1, 0)


def test_a_wait_for_async_httpx_s_pool_is_timed_and_may_time_out(server, registry):
    async def run():
        async with httpx.AsyncClient(**ONE) as client, client.stream("GET", server.url):
            with pytest.raises(httpx.PoolTimeout):
                await client.get(server.url, timeout=httpx.Timeout(5, pool=0.01))

    asyncio.run(run())

    assert told_of_waits(registry, server) == (1, 1, 0)


def waiting_for_aiohttp(server, ends):
    """Let ``ends(session)`` end a wait for the only connection, which another request has."""

    async def run():
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector) as session:
            first = asyncio.create_task(session.get(f"{server.url}/held"))
            while not connector._acquired:
                await asyncio.sleep(0)
            await ends(session)
            server.held.set()
            (await first).release()

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["connect", "total"])
def test_a_wait_for_aiohttp_s_connector_may_time_out(server, registry, kind):
    async def ends(session):
        with pytest.raises(TimeoutError):
            await session.get(server.url, timeout=aiohttp.ClientTimeout(**{kind: 0.02}))

    waiting_for_aiohttp(server, ends)

    assert told_of_waits(registry, server) == (1, 1, 0)


def test_a_wait_for_aiohttp_s_connector_that_is_cancelled_is_no_timeout(server, registry):
    async def ends(session):
        second = asyncio.create_task(session.get(server.url))
        while not pending(registry, server):
            await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second

    waiting_for_aiohttp(server, ends)

    assert told_of_waits(registry, server) == (1, None, 0)


# --- what ends before its answer, or long after its head ------------------------------------


async def by_httpx(url, timeout=None, headed=lambda: None):
    async with (
        httpx.AsyncClient(timeout=timeout) as client,
        client.stream("GET", url) as answer,
    ):
        headed()
        return [part async for part in answer.aiter_bytes()]


async def by_aiohttp(url, timeout=None, headed=lambda: None):
    limit = aiohttp.ClientTimeout(total=timeout)
    async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as answer:
        headed()
        return [part async for part in answer.content.iter_any()]


BOTH = pytest.mark.parametrize("get", [by_httpx, by_aiohttp])


def errors_of(registry):
    readings = read(registry)
    assert sum(readings["http.client.request"].values()) == 1
    (dimensions,) = readings["http.client.request.errors"]
    return dimensions.partition(",")[0].removeprefix("error.type=")


async def cancelled(server, get):
    asked = asyncio.create_task(get(f"{server.url}/held"))
    while not server.arrived.is_set():
        await asyncio.sleep(0.005)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked


@BOTH
def test_a_request_that_is_cancelled_is_timed_and_an_error(server, registry, get):
    asyncio.run(cancelled(server, get))

    assert errors_of(registry) == "CancelledError"


@BOTH
def test_a_traced_request_that_is_cancelled_ends_its_span(server, registry, get):
    with traced_request() as spans:
        asyncio.run(cancelled(server, get))

    assert shape(spans) == [("GET", "request", "ERROR"), ("request", "", "UNSET")]
    assert errors_of(registry) == "CancelledError"


@BOTH
def test_a_request_that_times_out_is_timed_and_an_error(server, registry, get):
    with pytest.raises((TimeoutError, httpx.TimeoutException)):
        asyncio.run(get(f"{server.url}/held", timeout=0.5))

    assert errors_of(registry) in ("ReadTimeout", "CancelledError", "TimeoutError")


@BOTH
def test_a_request_lasts_until_its_head_and_what_streams_after_is_the_reader_s(
    server, registry, get
):
    with traced_request() as spans:
        parts = asyncio.run(get(f"{server.url}/streamed", headed=server.held.set))
    (request, _) = spans

    assert b"".join(parts) == b"ok"
    assert request.ended_ns < server.streamed_ns
    assert read(registry)["http.client.responses"] == {
        "http.response.status_class=2xx,server.address=127.0.0.1": 1
    }


# --- what is tried again --------------------------------------------------------------------


def retried(readings):
    """How often, by the reason."""
    counted = readings.get("http.client.retries", {})
    return {
        dimensions.removesuffix(",server.address=127.0.0.1").removeprefix("error.type="): times
        for dimensions, times in counted.items()
    }


RETRY = {"total": 3, "status_forcelist": [503], "backoff_factor": 0}


def test_what_urllib3_tries_again_is_counted_by_its_reason_and_no_redirect_is(server, registry):
    with urllib3.PoolManager(retries=urllib3.Retry(**RETRY)) as manager:
        for path in ("/moved", "/broken", "/"):
            assert manager.request("GET", f"{server.url}{path}").status == 200

    readings = read(registry)
    assert retried(readings) == {"503": 1, "ProtocolError": 1}
    assert sum(readings["http.client.request"].values()) == len(server.asked) == 6


def test_what_an_adapter_of_requests_tries_again_is_counted(server, registry):
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=urllib3.Retry(**RETRY)))
        assert session.get(f"{server.url}/moved").status_code == 200

    assert retried(read(registry)) == {"503": 1}


def test_off_tells_neither_connections_nor_who_waits_nor_what_is_tried_again(server, registry):
    registry.set_level("integrations.urllib3", "off")
    with urllib3.HTTPConnectionPool(
        "127.0.0.1", server.server_port, maxsize=1, block=True
    ) as pool:
        taken = pool._get_conn()
        with pytest.raises(urllib3.exceptions.EmptyPoolError):
            pool._get_conn(timeout=0.01)
        pool._put_conn(taken)
        pool.request("GET", "/moved", retries=urllib3.Retry(**RETRY))
        off = read(registry)
        registry.set_level("integrations.urllib3", "basic")
        on = states(registry, server)

    assert off == {}
    assert on == (0, 1)


def test_retries_that_are_used_up_are_not_counted_beyond(registry, free_port):
    url, twice = f"http://127.0.0.1:{free_port()}", urllib3.Retry(2, backoff_factor=0)
    with urllib3.PoolManager() as manager, pytest.raises(urllib3.exceptions.MaxRetryError):
        manager.request("GET", url, retries=twice)

    assert retried(read(registry)) == {"NewConnectionError": 2}


def test_who_counts_retries_of_his_own_by_urllib3_s_is_left_alone(registry):
    pool, answer = urllib3.HTTPConnectionPool("host"), urllib3.HTTPResponse(status=503)
    before = urllib3.Retry(9)

    left = [
        before.increment(),
        before.increment("GET", "/", answer),
        before.increment("GET", "/", error=urllib3.exceptions.ReadTimeoutError(pool, "/", "")),
        before.increment("GET", "/", _pool=pool),
    ]

    assert [one.total for one in left] == [8] * 4
    assert retried(read(registry)) == {}


def test_connects_that_httpx_s_transports_try_again_are_counted(registry, free_port):
    url = f"http://127.0.0.1:{free_port()}"

    async def run():
        transport = httpx.AsyncHTTPTransport(retries=1)
        async with httpx.AsyncClient(transport=transport) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(url)

    transport = httpx.HTTPTransport(retries=1)
    with httpx.Client(transport=transport) as client, pytest.raises(httpx.ConnectError):
        client.get(url)
    asyncio.run(run())

    assert retried(read(registry)) == {"ConnectError": 2}


def test_what_aiohttp_tries_again_on_a_new_connection_is_counted(server, registry):
    async def run():
        async with aiohttp.ClientSession() as session:
            for path in ("/", "/broken"):
                async with session.get(f"{server.url}{path}") as response:
                    assert response.status == 200
                    await response.read()

    asyncio.run(run())

    readings = read(registry)
    assert retried(readings) == {"ServerDisconnectedError": 1}
    assert sum(readings["http.client.request"].values()) == 3


def test_a_connection_that_is_built_otherwise_is_used_all_the_same_and_counted(registry):
    other = object()  # has no weak reference, and none of the attributes that are looked at

    async def create(connector, sent):
        return other

    given = registry, Depth("urllib3", registry)
    urllib3_s, aiohttp_s = our_urllib3.Connections(*given), our_aiohttp.Connections(*given)
    httpcore_s = our_httpcore._connecting(urllib3_s.pools, None)
    made = [
        urllib3_s.making(lambda pool: other)(other),
        asyncio.run(aiohttp_s.making(create)(other, other)),
        httpcore_s(lambda connection: connection)(other),
    ]

    assert made == [other] * 3
    assert read(registry)["nilometer.lost"] == {
        f"reason={name},what=integration": 1 for name in ("urllib3", "aiohttp", "httpcore")
    }


def test_uninstalling_puts_pools_and_retries_back():
    from aiohttp.connector import BaseConnector, TCPConnector, UnixConnector
    from httpcore._async.connection_pool import AsyncPoolRequest
    from httpcore._sync.connection_pool import PoolRequest
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    places = [
        (HTTPConnectionPool, "_get_conn"),
        (HTTPConnectionPool, "_new_conn"),
        (HTTPSConnectionPool, "_new_conn"),
        (urllib3.Retry, "increment"),
        (PoolRequest, "wait_for_connection"),
        (AsyncPoolRequest, "wait_for_connection"),
        (BaseConnector, "_wait_for_available_connection"),
        (TCPConnector, "_create_connection"),
        (UnixConnector, "_create_connection"),
    ]
    for module in MODULES:
        module.uninstall()

    found = [vars(owner)[name].__module__.partition(".")[0] for owner, name in places]

    assert found == [*["urllib3"] * 4, *["httpcore"] * 2, *["aiohttp"] * 3]
