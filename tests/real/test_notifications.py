"""Notifications of real oslo.messaging over a real RabbitMQ: all of them, each once."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
import time
import uuid
from contextlib import contextmanager

import httpx
import oslo_messaging
import pika
import pytest
from oslo_config import cfg
from osprofiler import notifier as osprofiler_notifier
from osprofiler import profiler
from osprofiler.drivers.base import get_driver

from examples.servers.brokers import RabbitMQ, free_ports
from nilometer.model import notification as names
from nilometer.store.query import Reader
from tests.brokers import rabbitmq, reachable_folder  # noqa: F401
from tests.collector import start
from tests.conftest import _wait_until

pytestmark = pytest.mark.real

PRIORITIES = ("audit", "debug", "info", "warn", "error", "critical", "sample")


def bus_url(server, **options):
    told = "&".join(f"{key}={value}" for key, value in options.items())
    return f"rabbit://guest:guest@127.0.0.1:{server.port}/?{told}"


def wait_until(condition, timeout_s):
    _wait_until(condition, what="all is there", timeout_s=timeout_s)


@contextmanager
def notifier_at(server, exchange, topic, driver="messagingv2", *, durable=False, **rabbit):
    conf = cfg.ConfigOpts()
    conf([], project="tests", default_config_files=[])
    url = f"rabbit://guest:guest@127.0.0.1:{server.port}/"
    oslo_messaging.set_transport_defaults(exchange)
    transport = oslo_messaging.get_notification_transport(conf, url=url)
    conf.set_override("amqp_durable_queues", durable, group="oslo_messaging_rabbit")
    for name, value in rabbit.items():
        conf.set_override(name, value, group="oslo_messaging_rabbit")
    try:
        yield oslo_messaging.Notifier(transport, "compute.c1", driver=driver, topics=[topic])
    finally:
        transport.cleanup()


def left_in(server, *queues):
    """How many messages lie in these queues, ready to be consumed."""
    connection = pika.BlockingConnection(pika.URLParameters(server.amqp_url))
    channel = connection.channel()
    found = sum(
        channel.queue_declare(queue, passive=True).method.message_count for queue in queues
    )
    connection.close()
    return found


def stored(collector, limit=100_000):
    """The notifications in the tables, as their ids."""
    reader = Reader(collector.store)
    try:
        found = [event for _, event in reader.events(limit=limit)]
    finally:
        reader.close()
    return [event.attributes[names.IDENTITY] for event in found if event.scope == names.SCOPE]


class Publisher(threading.Thread):
    """Publishes as oslo.messaging does, persistent and confirmed, and goes on when it may."""

    def __init__(self, server, messages, exchange, key):
        super().__init__(daemon=True)
        self.server, self.exchange, self.key = server, exchange, key
        self.ids = [str(uuid.UUID(int=n + 1)) for n in range(messages)]
        self.confirmed = 0

    def run(self):
        while self.confirmed < len(self.ids):
            try:
                self._publish()
            except (pika.exceptions.AMQPError, OSError):
                time.sleep(0.2)

    def _publish(self):
        connection = pika.BlockingConnection(pika.URLParameters(self.server.amqp_url))
        channel = connection.channel()
        channel.exchange_declare(self.exchange, "topic", durable=True)
        channel.queue_declare(self.key, durable=True)
        channel.queue_bind(self.key, self.exchange, self.key)
        channel.confirm_delivery()
        persistent = pika.BasicProperties(content_type="application/json", delivery_mode=2)
        while self.confirmed < len(self.ids):
            message = {
                "message_id": self.ids[self.confirmed],
                "publisher_id": f"compute.c{self.confirmed % 7}",
                "event_type": "compute.instance.update",
                "priority": "INFO",
                "payload": {"instance_id": "i"},
                "timestamp": "2026-11-20 10:00:00",
            }
            inner = json.dumps(message)
            body = json.dumps({"oslo.version": "2.0", "oslo.message": inner})
            channel.basic_publish(self.exchange, self.key, body, persistent)
            self.confirmed += 1
        connection.close()


def test_every_priority_of_every_exchange_and_topic_arrives_in_either_envelope(
    rabbitmq,  # noqa: F811
    tmp_path,
):
    url = bus_url(rabbitmq, exchange="nova,glance", topic="notifications,audits")
    with start(tmp_path, notifications=url) as collector:
        sent = []
        for exchange in ("nova", "glance"):
            for topic in ("notifications", "audits"):
                for driver in ("messaging", "messagingv2"):
                    packed = {"kombu_compression": "gzip"} if topic == "audits" else {}
                    with notifier_at(rabbitmq, exchange, topic, driver, **packed) as notifier:
                        for priority in PRIORITIES:
                            name = f"{exchange}.{topic}.{driver}.{priority}"
                            getattr(notifier, priority)({}, name, {"state": "active"})
                            sent.append((name, exchange, topic, priority.upper(), "active"))

        def arrived():
            reader = Reader(collector.store)
            try:
                events = [event for _, event in reader.events()]
            finally:
                reader.close()
            return sorted(
                (event.name, *(event.attributes[key] for key in told))
                for event in events
                if event.scope == names.SCOPE
            )

        told = (names.EXCHANGE, names.TOPIC, names.PRIORITY, names.STATE)
        wait_until(lambda: len(arrived()) >= len(sent), 20)

        assert arrived() == sorted(sent)
        assert collector.get("health")["status"] == "ok"


def test_what_is_no_notification_is_acknowledged_kept_and_counted(rabbitmq, tmp_path):  # noqa: F811
    url = bus_url(rabbitmq, exchange="bad", topic="bad", priority="info")
    with start(tmp_path, notifications=url) as collector:
        wait_until(lambda: collector.get("health")["status"] == "ok", 20)
        connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.amqp_url))
        channel = connection.channel()
        for body in (b"\xff\xfe", b"{}", b'{"oslo.version": "9.0", "oslo.message": "{}"}'):
            channel.basic_publish("bad", "bad.info", body)
        connection.close()
        with notifier_at(rabbitmq, "bad", "bad") as notifier:
            notifier.info({}, "good.one", {})
        wait_until(lambda: len(stored(collector)) == 1, 20)
        reader = Reader(collector.store)
        rejected = [row for _, row in reader.rejected()]
        reader.close()

        assert sorted((row.reason, row.origin, row.body) for row in rejected) == [
            ("field", "bad/bad.info", b'{"oslo.version": "9.0", "oslo.message": "{}"}'),
            ("field", "bad/bad.info", b"{}"),
            ("json", "bad/bad.info", b"\xff\xfe"),
        ]
        collector.stop()
        assert left_in(rabbitmq, "bad.info") == 0


@pytest.mark.slow
def test_kill_9_of_the_collector_loses_no_notification_and_counts_none_twice(
    rabbitmq,  # noqa: F811
    tmp_path,
):
    publisher = Publisher(rabbitmq, 4000, "kills", "kills.info")
    url = bus_url(
        rabbitmq, exchange="kills", topic="kills", priority="info", amqp_durable_queues="true"
    )
    collector = start(tmp_path, notifications=url, window="50ms")
    publisher.start()
    try:
        for part in (0.2, 0.5, 0.8):
            wait_until(lambda part=part: len(stored(collector)) > part * 2000, 30)
            collector.kill()
            collector.restart()
        publisher.join(60)
        wait_until(lambda: len(set(stored(collector))) == len(publisher.ids), 40)
        collector.stop()

        assert sorted(stored(collector)) == publisher.ids
        assert left_in(rabbitmq, "kills.info") == 0
    finally:
        collector.stop()


@pytest.mark.slow
def test_a_restart_of_rabbitmq_loses_no_notification_and_is_said_once(
    rabbitmq,  # noqa: F811
    tmp_path,
):
    publisher = Publisher(rabbitmq, 3000, "restarts", "restarts.info")
    url = bus_url(
        rabbitmq,
        exchange="restarts",
        topic="restarts",
        priority="info",
        amqp_durable_queues="true",
    )
    with start(tmp_path, notifications=url, window="50ms") as collector:
        publisher.start()
        wait_until(lambda: len(stored(collector)) > 300, 30)
        rabbitmq.stop()
        wait_until(lambda: "no notifications from" in collector.get("health")["status"], 20)
        rabbitmq.start()
        publisher.join(60)
        wait_until(lambda: len(set(stored(collector))) == len(publisher.ids), 60)
        wait_until(lambda: collector.get("health")["status"] == "ok", 20)

        assert sorted(stored(collector)) == publisher.ids
        assert collector.output().count("is gone") == 1
        assert "guest:guest" not in collector.output()


@pytest.mark.slow
def test_a_collector_whose_tables_refuse_ends_at_once_and_nothing_is_lost(
    rabbitmq,  # noqa: F811
    tmp_path,
):
    options = {"priority": "info", "amqp_durable_queues": "true"}
    url = bus_url(rabbitmq, exchange="full", topic="full", **options)
    first, later = (Publisher(rabbitmq, n, "full", "full.info") for n in (100, 1000))
    with start(tmp_path, notifications=url) as collector:
        first.run()
        wait_until(lambda: len(stored(collector)) == 100, 20)
        log = collector.store / "events" / "_delta_log"
        log.rename(log.with_name("kept"))
        log.write_text("")  # no commit can be made
        later.run()
        wait_until(lambda: "commits of events fail" in collector.get("health")["status"], 20)
        rabbitmq.restart()
        wait_until(lambda: "no notifications from" in collector.get("health")["status"], 20)
        began = time.monotonic()
        assert collector.stop() == 0
        assert time.monotonic() - began < 8, "it waited for a commit that cannot be made"

        log.unlink()
        log.with_name("kept").rename(log)
        collector.restart()
        wait_until(lambda: len(stored(collector)) >= 1000, 40)
        assert sorted(stored(collector)) == later.ids


@pytest.mark.slow
@pytest.mark.parametrize("made_anew", [True, False], ids=["by its service", "by nobody"])
def test_an_exchange_that_was_deleted_while_we_consume_is_bound_again(
    rabbitmq,  # noqa: F811
    tmp_path,
    made_anew,
):
    name = f"deleted-{made_anew}"
    url = bus_url(rabbitmq, exchange=name, topic=name, priority="info")
    with start(tmp_path, notifications=url) as collector:
        connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.amqp_url))
        channel = connection.channel()
        wait_until(lambda: collector.get("health")["status"] == "ok", 20)
        channel.exchange_delete(name)
        if made_anew:
            channel.exchange_declare(name, "topic")
        numbers = itertools.count()

        def one_arrives():
            sent = pika.BlockingConnection(pika.URLParameters(rabbitmq.amqp_url))
            told = {"message_id": f"m{next(numbers)}", "publisher_id": "compute.c1"}
            told |= {"event_type": "a", "priority": "INFO", "payload": {}}
            told |= {"timestamp": "2026-11-20 10:00:00"}
            sent.channel().basic_publish(name, f"{name}.info", json.dumps(told).encode())
            sent.close()
            time.sleep(0.5)
            return stored(collector)

        wait_until(one_arrives, 30)
        connection.close()
        assert ("is made again" in collector.output()) is not made_anew
        assert collector.get("health")["status"] == "ok"


def test_a_broker_that_refuses_us_is_named_with_its_reason_and_taken_when_it_does_not(
    rabbitmq,  # noqa: F811
    tmp_path,
):
    def manage(path, **told):
        url = f"http://127.0.0.1:{rabbitmq.api_port}/api/{path}"
        httpx.put(url, json=told, auth=("guest", "guest"), trust_env=False).raise_for_status()

    login = f"rabbit://nova:hunter2@127.0.0.1:{rabbitmq.port}/"
    url = f"{login}cell1?exchange=cell&topic=cell&priority=info"
    with start(tmp_path, notifications=url) as collector:

        def wait_for(said):
            wait_until(lambda: said in collector.get("health")["status"], 40)

        wait_for("AuthenticationError")
        manage("users/nova", password="hunter2", tags="")
        wait_for("NOT_ALLOWED - vhost cell1 not found")
        manage("vhosts/cell1")
        wait_for("NOT_ALLOWED - access to vhost 'cell1' refused")
        all_of_it = dict.fromkeys(("configure", "read", "write"), ".*")
        manage("permissions/cell1/nova", **all_of_it)
        wait_for("ok")
        log = collector.output()

    assert log.count("refuses us") == 1
    assert "hunter2" not in log


class TlsRabbitMQ(RabbitMQ):
    """RabbitMQ that speaks TLS, too, with whom its authority signed."""

    def __init__(self, folder, certificates):
        super().__init__(folder)
        [self.tls_port] = free_ports(1)
        self.certificates = certificates

    def _write_settings(self):
        super()._write_settings()
        settings = {
            "listeners.ssl.local": f"127.0.0.1:{self.tls_port}",
            **{
                f"ssl_options.{name}": self.certificates / file
                for name, file in (
                    ("cacertfile", "authority.crt"),
                    ("certfile", "both.crt"),
                    ("keyfile", "both.key"),
                )
            },
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "true",
        }
        with (self.folder / "rabbitmq.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())


@pytest.fixture
def certificates(reachable_folder, program):  # noqa: F811
    """An authority, and what it signed: both the server's and ours."""
    openssl = program("openssl", install="apt-get install openssl")
    folder = reachable_folder / "certificates"
    folder.mkdir()

    def run(*words):
        subprocess.run([openssl, *words], check=True, capture_output=True, cwd=folder)

    new = ("-newkey", "rsa:2048", "-nodes", "-days", "2")
    run("req", "-x509", *new, "-subj", "/CN=us", "-keyout", "us.key", "-out", "authority.crt")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    run("req", "-new", *new[:3], "-subj", "/CN=localhost", "-keyout", "both.key", "-out", "csr")
    signed = ("-CA", "authority.crt", "-CAkey", "us.key", "-CAcreateserial", "-days", "2")
    run("x509", "-req", "-in", "csr", *signed, "-extfile", "names", "-out", "both.crt")
    (folder / "both.key").chmod(0o644)  # RabbitMQ runs as a user of its own
    return folder


@pytest.mark.slow
def test_notifications_come_by_tls_and_only_from_whom_the_authority_signed(
    reachable_folder,  # noqa: F811
    certificates,
    tmp_path,
):
    ours = {
        "ssl_ca_file": certificates / "authority.crt",
        "ssl_cert_file": certificates / "both.crt",
        "ssl_key_file": certificates / "both.key",
    }
    with TlsRabbitMQ(reachable_folder / "rabbitmq-tls", certificates) as server:

        def url(**files):
            told = "".join(f"&{name}={path}" for name, path in files.items())
            at = f"rabbit+ssl://guest:guest@127.0.0.1:{server.tls_port}/"
            return f"{at}?exchange=safe&topic=safe&priority=info&amqp_durable_queues=true{told}"

        with start(tmp_path, notifications=url(**ours)) as collector:
            publisher = Publisher(server, 10, "safe", "safe.info")
            publisher.run()
            wait_until(lambda: sorted(stored(collector)) == publisher.ids, 20)
        for name, files, said in (
            ("unknown", {}, "CERTIFICATE_VERIFY_FAILED"),
            ("nobody", {"ssl_ca_file": ours["ssl_ca_file"]}, "CERTIFICATE_REQUIRED"),
        ):
            (tmp_path / name).mkdir()
            with start(tmp_path / name, notifications=url(**files)) as collector:
                wait_until(lambda said=said: said in collector.get("health")["status"], 20)
        with pytest.raises(RuntimeError, match="ssl_ca_file /nowhere/ca: No such file"):
            start(tmp_path, notifications=url(ssl_ca_file="/nowhere/ca"))


@pytest.mark.slow
def test_a_trace_of_osprofiler_becomes_a_tree_though_the_collector_ended_in_its_midst(
    rabbitmq,  # noqa: F811
    tmp_path,
):
    url = bus_url(rabbitmq, exchange="osprofiled", topic="profiler", priority="info")
    collector = start(tmp_path, notifications=url)
    conf = cfg.ConfigOpts()
    conf([], project="tests", default_config_files=[])
    oslo_messaging.set_transport_defaults("osprofiled")
    driver = get_driver(
        "messaging://",
        project="nova",
        service="api",
        host="api-1",
        conf=conf,
        transport_url=f"rabbit://guest:guest@127.0.0.1:{rabbitmq.port}/",
        idle_timeout=1,
    )
    osprofiler_notifier.set(driver.notify)
    try:
        prof = profiler.init("key")
        trace_id = prof.get_base_id().replace("-", "")
        profiler.start("wsgi", {"request": {"path": "/v2", "method": "GET"}})
        profiler.start("db", {"db": {"statement": "SELECT 1"}})
        profiler.stop()
        profiler.start("never")

        def names_of():
            reader = Reader(collector.store)
            try:
                spans = [s.name for _, s in reader.trace(trace_id)]
                return spans, [e.name for e in reader.trace_points(trace_id)]
            finally:
                reader.close()

        wait_until(
            lambda: names_of()[0] == ["db"] and names_of()[1].count("osprofiler.start") > 1, 20
        )
        collector.kill()
        prof._trace_stack.pop()  # never stopped
        prof._name.pop()
        profiler.stop({"etype": "ValueError", "message": "late"})
        collector.restart()
        wait_until(lambda: sorted(names_of()[0]) == ["db", "wsgi"], 20)
        tree = collector.get("traces", trace_id)
    finally:
        osprofiler_notifier.set(lambda *_, **__: None)
        profiler.clean()
        driver.transport.cleanup()
        collector.stop()

    [root] = tree["roots"]
    assert (root["name"], root["status"]) == ("wsgi", "error")
    assert sorted(child["name"] for child in root["children"]) == ["db", "never"]
