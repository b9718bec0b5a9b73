"""Clients of data stores whose servers answer at once: what is measured is the client's call.

A server would take a hundred times what an integration adds, and vary by more. What is made
before a peer instruments the library stays bare: its class keeps the functions of that moment.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from bench.pairs import Loop


class Connected:
    """Stands for a socket."""

    def sendall(self, data: bytes) -> None:
        return None

    def recv(self, size: int) -> bytes:
        return b"VALUE k 0 1\r\nv\r\nEND\r\n"

    def close(self) -> None:
        return None


def redis_gets() -> Loop:
    """A loop of GET by redis-py, which leaves out all behind the call that is instrumented."""
    import redis

    class Client(redis.Redis):
        execute_command = redis.Redis.execute_command

        def _execute_command(self, *args: Any, **options: Any) -> bytes:
            return b"v"

    client = Client()

    def many(times: int) -> None:
        for _ in range(times):
            client.execute_command("GET", "k")

    return many


class Pool:
    """Stands for asyncio's pool of connections, its one connection and that one's retries."""

    connection_kwargs: ClassVar = {"host": "127.0.0.1", "port": 6379, "db": 0}

    def __init__(self) -> None:
        self.retry = self
        self.host, self.port, self.db = "127.0.0.1", 6379, 0

    def get_encoder(self) -> None:
        return None

    def get_protocol(self) -> int:
        return 2

    async def get_connection(self) -> Any:
        return self

    async def release(self, connection: Any) -> None:
        return None

    async def call_with_retry(self, do: Any, *args: Any, **options: Any) -> Any:
        return await do()

    def should_reconnect(self) -> bool:
        return False


def async_redis_gets() -> Loop:
    """The same in one running event loop."""
    import redis.asyncio as redis

    class Client(redis.Redis):
        execute_command = redis.Redis.execute_command

        async def _send_command_parse_response(self, *args: Any, **options: Any) -> bytes:
            return b"v"

    pool: Any = Pool()
    client = Client(connection_pool=pool)
    loop = asyncio.new_event_loop()

    async def many(times: int) -> None:
        for _ in range(times):
            await client.execute_command("GET", "k")

    return lambda times: loop.run_until_complete(many(times))


def memcached_gets() -> Loop:
    """A loop of get by pymemcache."""
    from pymemcache.client.base import Client as Ready

    class Client(Ready):
        get = Ready.get
        _fetch_cmd = Ready._fetch_cmd

    client = Client(("127.0.0.1", 11211))
    client.sock = Connected()
    return gets_of(client)


def python_memcached_gets() -> Loop:
    """The same by python-memcached, whose servers are objects of a class of their own."""
    import memcache

    class Client(memcache.Client):
        _get = memcache.Client._get

    class Host(memcache._Host):
        _get_socket = memcache._Host._get_socket

    client = Client(["127.0.0.1:11211"])
    (server,) = client.servers
    server.__class__, server.socket = Host, Connected()
    return gets_of(client)


def answer(client: Any, key: str) -> bytes:
    """Stands for all that pylibmc does in C."""
    return b"v"


def pylibmc_gets() -> Loop:
    """The same by pylibmc, whose client asks no server before its first command."""
    import pylibmc.client

    ready: Any = pylibmc.client.Client
    if "get" not in vars(ready):
        ready.get = answer
    bare = type("Client", (ready,), {"get": ready.get})
    return gets_of(bare(["127.0.0.1"]))


def gets_of(client: Any) -> Loop:
    """A loop of get by this client."""

    def many(times: int) -> None:
        for _ in range(times):
            client.get("k")

    return many


class Answering:
    """Stands for pymongo's connection, and for what it receives."""

    id = server_connection_id = 1
    address = ("127.0.0.1", 27017)
    service_id = None
    ready = True
    max_wire_version = 21
    more_to_come = False

    def send_message(self, message: bytes, size: int) -> None:
        return None

    def receive_message(self, number: int) -> Any:
        return self

    def unpack_response(self, **options: Any) -> list[dict[str, Any]]:
        return [{"ok": 1}]


def mongodb_finds() -> Loop:
    """A loop of the one function through which pymongo's commands go, with its listeners."""
    from pymongo.monitoring import _EventListeners
    from pymongo.synchronous import command_runner

    run: Any = command_runner._run_command
    listeners = _EventListeners(None)
    connection = Answering()
    command = {"find": "orders", "filter": {"a": 1}, "$db": "shop"}

    def many(times: int) -> None:
        for number in range(times):
            run(
                connection,
                command,
                "shop",
                number,
                b"",
                client=None,
                session=None,
                listeners=listeners,
                topology_id=None,
                codec_options=None,
            )

    return many
