"""Write again what real servers answer, which the tests of their readers start from.

    .venv/bin/python -m tests.record_brokers

Starts each server, gives it something to count, and keeps its replies as they came in
tests/data/counters/<backend>/.
"""

from __future__ import annotations

import socket
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

from examples.servers.brokers import Memcached, NodeExporter, RabbitMQ, Redis

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA = Path(__file__).parent / "data" / "counters"
STATISTICS_S = 4  # the broker is told to collect every second
HEXES = ("0123456789abcdef" * 2, "fedcba9876543210" * 2)


def got(url: str, *, user: str = "") -> bytes:
    """The answer of a server to GET."""
    headers = {"Authorization": "Basic " + b64encode(user.encode()).decode()} if user else {}
    with urlopen(Request(url, headers=headers), timeout=10) as answer:
        body: bytes = answer.read()
        return body


def said(port: int, *words: bytes) -> bytes:
    """What a server answers to lines of text until it has no more to say."""
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.settimeout(1)
        found = b""
        for word in words:
            sock.sendall(word + b"\r\n")
            try:
                while more := sock.recv(65536):
                    found += more
            except TimeoutError:
                pass
        return found


def rabbitmq(folder: Path) -> Mapping[str, bytes]:
    """Fifteen messages to two reply queues, three to a fan-out of two, two to another."""
    import pika

    with RabbitMQ(folder) as server:
        connection = pika.BlockingConnection(pika.URLParameters(server.amqp_url))
        channel = connection.channel()
        channel.confirm_delivery()
        channel.exchange_declare("compute_fanout", "fanout")
        for digits in HEXES:
            channel.queue_declare(f"reply_{digits}")
            channel.queue_declare(f"compute_fanout_{digits}")
            channel.queue_bind(f"compute_fanout_{digits}", "compute_fanout")
        channel.queue_declare("conductor")
        sent = {f"reply_{HEXES[0]}": 10, f"reply_{HEXES[1]}": 5, "conductor": 2}
        for queue, messages in sent.items():
            for _ in range(messages):
                channel.basic_publish("", queue, b"x")
        for _ in range(3):
            channel.basic_publish("compute_fanout", "", b"x")
        for _ in range(2):
            tag = channel.basic_get("conductor")[0].delivery_tag
            channel.basic_ack(tag)
        api = f"http://127.0.0.1:{server.api_port}/api"
        while b'"publish":20' not in got(f"{api}/overview", user="guest:guest"):
            connection.sleep(1)
        connection.sleep(STATISTICS_S)
        connection.close()
        stats = "message_stats."
        return {
            "metrics.txt": got(f"http://127.0.0.1:{server.prometheus_port}/metrics"),
            "queues.json": got(
                f"{api}/queues?columns=name,vhost,{stats}publish,{stats}deliver_get,{stats}ack",
                user="guest:guest",
            ),
            "exchanges.json": got(
                f"{api}/exchanges?columns=name,vhost,{stats}publish_in,{stats}publish_out",
                user="guest:guest",
            ),
            "vhosts.json": got(f"{api}/vhosts?columns=name,{stats}publish", user="guest:guest"),
            "nodes.json": got(f"{api}/nodes?columns=name,os_pid,running", user="guest:guest"),
            "overview.json": got(
                f"{api}/overview?columns=rabbitmq_version,churn_rates,disable_stats",
                user="guest:guest",
            ),
        }


def redis(folder: Path) -> Mapping[str, bytes]:
    """Two keys set, one got twice, a command that fails."""
    with Redis(folder) as server:
        said(server.port, b"SET a 1", b"SET b 1", b"GET a", b"GET a", b"INCR a", b"LPUSH a x")
        return {"info.txt": said(server.port, b"INFO all")}


def memcached(folder: Path) -> Mapping[str, bytes]:
    """A key set, one got and one missed."""
    with Memcached(folder) as server:
        said(server.port, b"set a 0 0 1", b"x", b"get a", b"get b")
        return {"stats.txt": said(server.port, b"stats")}


def node(folder: Path) -> Mapping[str, bytes]:
    """What the exporter shows of a machine."""
    with NodeExporter(folder) as server:
        return {"node_exporter.txt": got(f"http://127.0.0.1:{server.port}/metrics")}


def main() -> None:
    """Record them all."""
    for name, record in (
        ("rabbitmq", rabbitmq),
        ("redis", redis),
        ("memcached", memcached),
        ("prometheus", node),
    ):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)  # servers run as users of their own
            replies = record(Path(folder) / name)
        (DATA / name).mkdir(parents=True, exist_ok=True)
        for file, body in replies.items():
            (DATA / name / file).write_bytes(body)


if __name__ == "__main__":
    main()
