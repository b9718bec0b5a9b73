"""Where our own code raises inside of a service's calls, they do what they do without us."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from itertools import count

import aiohttp
import httpx
import kombu
import oslo_messaging
import pytest
import sqlalchemy
import urllib3
from oslo_config import cfg

from nilometer.integrations.calls import Calls
from nilometer.integrations.messages import Names
from nilometer.measure import REGISTRY
from tests.integrations.integration_kit import read, traced_request

NUMBERS = count()  # each call is another operation: of one that is known nothing is made


class Answering(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def url():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def by_urllib3(url):
    with urllib3.PoolManager() as pools:
        return pools.request("GET", url).data


def by_httpx(url):
    return httpx.get(url).content


def by_aiohttp(url):
    async def get():
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return await response.read()

    return asyncio.run(get())


def by_kombu(_):
    number, got = next(NUMBERS), []
    queue = kombu.Queue(f"queue{number}", kombu.Exchange(f"exchange{number}"), "key")

    def receive(body, message):
        got.append(body)
        message.ack()

    with kombu.Connection("memory://") as connection:
        with connection.Producer() as producer:
            producer.publish(b"ok", "key", exchange=queue.exchange.name, declare=[queue])
        with connection.Consumer(queue, callbacks=[receive]):
            connection.drain_events(timeout=10)
    return got[0]


def by_oslo_messaging(_):
    topic = f"topic{next(NUMBERS)}"
    endpoint = type(f"Endpoint{topic}", (), {"more": lambda self, ctxt: "ok"})()
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, "fake:")
    server = oslo_messaging.get_rpc_server(
        transport,
        oslo_messaging.Target(topic=topic, server="here"),
        [endpoint],
        "threading",
        access_policy=oslo_messaging.DefaultRPCAccessPolicy,
    )
    server.start()
    target = oslo_messaging.Target(topic=topic)
    client = oslo_messaging.get_rpc_client(transport, target, timeout=10)
    try:
        client.cast({}, "more")
        with pytest.raises(oslo_messaging.NoSuchMethod, match="Endpoint does not support"):
            client.call({}, "less")
        return client.call({}, "more").encode()
    finally:
        server.stop()
        server.wait()
        transport.cleanup()


def by_notifier(_):
    transport = oslo_messaging.get_notification_transport(cfg.CONF, "fake:")
    topic = f"topic{next(NUMBERS)}"
    notifier = oslo_messaging.Notifier(transport, "me", driver="messaging", topics=[topic])
    notifier.info({}, "event", {})
    transport.cleanup()
    return b"ok"


def by_sqlite3(_):
    connection = sqlite3.connect(":memory:")
    try:
        return connection.execute(f"SELECT 'ok', {next(NUMBERS)}").fetchone()[0].encode()
    finally:
        connection.close()


def by_sqlalchemy(_):
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        statement = sqlalchemy.text(f"SELECT 'ok', {next(NUMBERS)}")
        return connection.execute(statement).scalar().encode()


def by_pool(_):
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(lambda: b"ok").result()


def by_thread(_):
    done = []
    thread = threading.Thread(target=done.append, args=(b"ok",))
    thread.start()
    thread.join()
    return done[0]


def by_logging(_):
    logger, lines = logging.getLogger(f"logger{next(NUMBERS)}"), []
    handler = logging.Handler()
    handler.emit = lines.append
    logger.addHandler(handler)
    logger.warning("ok")
    return lines[0].msg.encode()


CLIENTS = {
    by_urllib3: "urllib3",
    by_httpx: "httpx",
    by_aiohttp: "aiohttp",
    by_kombu: "kombu",
    by_oslo_messaging: "oslo_messaging",
    by_notifier: "oslo_messaging",
    by_sqlite3: "sqlite3",
    by_sqlalchemy: "sqlalchemy",
    by_pool: "thread_pools",
    by_thread: "threads",
    by_logging: "logging_lines",
}

UNCOUNTED = (by_urllib3, by_httpx)
"""Their methods and paths may be anything, which our code does not tell from its own faults."""

OURS = [
    *((Calls, name) for name in ("known", "operation", "timed", "timed_inside", "inside")),
    *((Calls, name) for name in ("record_for", "failed")),
    (Names, "of"),
]


@pytest.fixture(params=CLIENTS, ids=lambda client: client.__name__)
def client(request, registry):
    cfg.CONF([], default_config_files=[], default_config_dirs=[])
    integration = import_module(f"nilometer.integrations.{CLIENTS[request.param]}")
    assert integration.install(registry=registry)
    yield request.param
    integration.uninstall()
    cfg.CONF.reset()


def lost(registry):
    """All that was not measured, here and where there is no registry at hand."""
    return sum(
        number
        for one in (registry, REGISTRY)
        for number in read(one).get("nilometer.lost", {}).values()
    )


@pytest.mark.parametrize("is_traced", [False, True])
@pytest.mark.parametrize(("owner", "name"), OURS, ids=lambda one: getattr(one, "__name__", one))
def test_a_call_in_which_we_fail_does_what_it_does_without_us_and_that_is_counted(
    registry, client, url, monkeypatch, owner, name, is_traced
):
    failures = []

    def fail(*_, **__):
        failures.append(name)
        raise RuntimeError("ours")

    lost(registry)
    with monkeypatch.context() as patched, traced_request() if is_traced else nullcontext():
        patched.setattr(owner, name, fail)
        assert client(url) == b"ok"
    assert bool(lost(registry)) == (bool(failures) and client not in UNCOUNTED)
