"""Notifications in a second: ``python -m bench.notifications`` (it needs RabbitMQ).

The collector is held to one core. A durable queue is filled before; the time begins when the
collector consumes it, and ends when the last row is committed and synced: notifications of
nova's, and points of OSProfiler's, two of them a span. Beside it stand oslo.messaging's own
batch listener, which does nothing with what it gets, and pika alone: what reading a queue costs
at least.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import pika
from deltalake import DeltaTable
from rich.console import Console
from rich.table import Table

from examples.servers.brokers import Missing, RabbitMQ
from nilometer.cli.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MESSAGES = 60_000
TARGET = 5_000  # a second, on one core
GIVE_UP_S = 120.0
BATCH = 500  # of oslo.messaging's listener
COLLECTOR_CORE, *_ = sorted(os.sched_getaffinity(0))
PROJECT = "7ba86b2a4bf24fb8b4c9b6e7e5b3f6c1"
STATEMENT = "SELECT instances.id, instances.uuid FROM instances WHERE instances.host = %s"
QUEUE = "bench.info"


def enveloped(number: int, publisher: str, name: str, payload: Any, **more: Any) -> bytes:
    """A message in oslo.messaging's envelope; no id comes twice."""
    message = {
        "message_id": str(UUID(int=number + 1)),
        "publisher_id": publisher,
        "event_type": name,
        "priority": "INFO",
        "payload": payload,
        "timestamp": time.strftime("%Y-%m-%d %H:%M:%S.000001", time.gmtime()),
        **more,
    }
    inner = json.dumps(message)
    return json.dumps({"oslo.version": "2.0", "oslo.message": inner}).encode()


def updates() -> Iterator[bytes]:
    """Updates of instances as nova sends them, 1.2 kB each."""
    for number in range(MESSAGES):
        payload = {
            "instance_id": str(UUID(int=number % 1000 + 1)),
            "tenant_id": PROJECT,
            "display_name": f"server {number}",
            "state": "active",
            "old_state": "building",
            "new_task_state": None,
            "old_task_state": "spawning",
            "metadata": dict.fromkeys("abcdefgh", "x" * 20),
        }
        yield enveloped(
            number,
            f"compute.node-{number % 50}",
            "compute.instance.update",
            payload,
            _context_request_id=f"req-{UUID(int=number // 20)}",
            _context_project_id=PROJECT,
            _context_roles=["member", "reader"],
        )


def points() -> Iterator[bytes]:
    """Starts and stops of OSProfiler's, 0.8 kB each: 1,000 of them are a trace."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    for number in range(MESSAGES):
        span, stops = divmod(number, 2)
        base_id = str(UUID(int=span // 500 + 1))
        db = {"statement": STATEMENT, "params": {"host_1": "node-1", "deleted_1": 0}}
        payload = {
            "name": "db-stop" if stops else "db-start",
            "base_id": base_id,
            "trace_id": str(UUID(int=(span << 64) + span + 1)),
            "parent_id": base_id,
            "timestamp": f"{at}.{number % 10**6:06}",
            "info": {"host": "api-1"} if stops else {"host": "api-1", "db": db},
            "project": "nova",
            "service": "api",
        }
        yield enveloped(number, "api-1", "profiler.api", payload)


class Kind(NamedTuple):
    """What is sent, and where its rows are; of each row so many messages are told."""

    bodies: Callable[[], Iterator[bytes]]
    table: str
    messages: int


KINDS = {
    "notifications of nova": Kind(updates, "events", 1),
    "points of OSProfiler": Kind(points, "spans", 2),
}


def fill(server: RabbitMQ, made: Iterator[bytes]) -> None:
    """Put all messages into the queue, durable and persistent."""
    connection = pika.BlockingConnection(pika.URLParameters(server.amqp_url))
    channel = connection.channel()
    channel.exchange_declare("bench", "topic", durable=True)
    channel.queue_declare(QUEUE, durable=True)
    channel.queue_bind(QUEUE, "bench", QUEUE)
    persistent = pika.BasicProperties(
        content_type="application/json", content_encoding="utf-8", delivery_mode=2
    )
    for body in made:
        channel.basic_publish("bench", QUEUE, body, persistent)
    connection.close()


def committed(store: Path, kind: Kind) -> int:
    """Messages that the tables have, by the log; the collector is not asked."""
    try:
        actions = DeltaTable(str(store / kind.table)).get_add_actions(flatten=True)
    except Exception:  # the table is being made
        return 0
    rows = sum(value for value in actions.column("num_records").to_pylist() if value)
    return kind.messages * int(rows)


def is_consumed(server: RabbitMQ) -> bool:
    """Whether somebody consumes the queue."""
    connection = pika.BlockingConnection(pika.URLParameters(server.amqp_url))
    declared = connection.channel().queue_declare(QUEUE, passive=True)
    connection.close()
    return bool(declared.method.consumer_count)


def of_collector(server: RabbitMQ, store: Path, kind: Kind) -> dict[str, float]:
    """What a collector on one core commits in a second."""
    url = f"rabbit://guest:guest@127.0.0.1:{server.port}/?exchange=bench&topic=bench"
    command = [sys.executable, "-m", "nilometer", "serve", "--store", str(store)]
    command += ["--listen", f"127.0.0.1:{free_port()}", "--statsd", "off"]
    command += ["--notifications", f"{url}&priority=info&amqp_durable_queues=true"]
    log = store.with_suffix(".log")
    with log.open("w") as said:
        process = subprocess.Popen(
            ["taskset", "-c", str(COLLECTOR_CORE), *command], stdout=said, stderr=said
        )
    try:
        give_up = time.monotonic() + GIVE_UP_S
        while not is_consumed(server):
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"the collector does not consume: {log.read_text()[-2000:]}")
            time.sleep(0.01)
        started, cpu = time.monotonic(), _cpu_s(process.pid)
        while (now := committed(store, kind)) < MESSAGES and time.monotonic() < give_up:
            time.sleep(0.1)
        took, cpu = time.monotonic() - started, _cpu_s(process.pid) - cpu
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    return {
        "per_s": now / took,
        "us_cpu": cpu / max(1, now) * 1e6,
        "of_core": cpu / took,
        "missing": MESSAGES - now,
    }


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def of_pika(server: RabbitMQ) -> None:
    """Read and acknowledge all, a thousand at once."""
    connection = pika.BlockingConnection(pika.URLParameters(server.amqp_url))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=BATCH * 4)
    for number, (method, _, _) in enumerate(channel.consume(QUEUE), 1):
        if number % BATCH == 0 or number == MESSAGES:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if number == MESSAGES:
            break
    connection.close()


def of_oslo(server: RabbitMQ) -> None:
    """Have oslo.messaging's listener read all, decode them and hand them over in batches."""
    import oslo_messaging
    from oslo_config import cfg

    conf = cfg.ConfigOpts()
    conf([], project="bench", default_config_files=[])
    url = f"rabbit://guest:guest@127.0.0.1:{server.port}/"
    transport = oslo_messaging.get_notification_transport(conf, url=url)
    conf.set_override("amqp_durable_queues", True, group="oslo_messaging_rabbit")
    done = threading.Event()

    class Endpoint:
        seen = 0

        def info(self, messages: Any) -> None:
            self.seen += len(messages)
            if self.seen >= MESSAGES:
                done.set()

    listener = oslo_messaging.get_batch_notification_listener(
        transport,
        [oslo_messaging.Target(exchange="bench", topic="bench")],
        [Endpoint()],
        executor="threading",
        batch_size=BATCH,
        batch_timeout=1,
    )
    listener.start()
    done.wait(GIVE_UP_S)
    listener.stop()
    listener.wait()
    transport.cleanup()


def _timed(act: Callable[[RabbitMQ], None], server: RabbitMQ) -> dict[str, float]:
    started, cpu = time.monotonic(), time.process_time()
    act(server)
    took = time.monotonic() - started
    cpu = time.process_time() - cpu
    return {
        "per_s": MESSAGES / took,
        "us_cpu": cpu / MESSAGES * 1e6,
        "of_core": cpu / took,
        "missing": 0,
    }


def measure_notifications(console: Console) -> dict[str, dict[str, float]]:
    """All of them, one after the other on queues filled alike; nothing without RabbitMQ."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="nilo-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # RabbitMQ runs as a user of its own
        try:
            with RabbitMQ(folder / "rabbitmq") as server:
                for number, (what, kind) in enumerate(KINDS.items()):
                    fill(server, kind.bodies())
                    found[what] = of_collector(server, folder / f"store-{number}", kind)
                fill(server, updates())
                found["oslo.messaging, nothing done"] = _timed(of_oslo, server)
                fill(server, updates())
                found["pika, nothing done"] = _timed(of_pika, server)
        except Missing as missing:
            console.print(f"no notifications: {missing}")
            return {}
    table = Table(
        title=f"notifications, {MESSAGES:,} of each, committed on one core",
        box=None,
        title_justify="left",
        padding=(0, 1),
    )
    for column in ("who", "in a second", "us of CPU each", "of a core", "missing"):
        table.add_column(column, justify="left" if column == "who" else "right")
    for what, told in found.items():
        row = (f"{told['per_s']:,.0f}", f"{told['us_cpu']:.1f}", f"{told['of_core']:.0%}")
        table.add_row(what, *row, f"{told['missing']:.0f}")
    console.print(table)
    for what in KINDS:
        verdict = "met" if found[what]["per_s"] >= TARGET else "missed"
        console.print(f"target {TARGET:,} in a second for {what}: {verdict}")
    return found


if __name__ == "__main__":
    measure_notifications(Console(highlight=False))
