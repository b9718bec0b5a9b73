"""What happened, asked of a collector whom real oslo.messaging tells over a real RabbitMQ."""

from __future__ import annotations

import json
import time
from urllib.request import Request, urlopen

import oslo_messaging
import pytest
from oslo_config import cfg
from oslo_context.context import RequestContext

from nilometer.clock import wall_ns
from nilometer.model import Batch, Event, Resource
from nilometer.wire import otlp
from tests.brokers import rabbitmq, reachable_folder  # noqa: F401
from tests.collector import start
from tests.conftest import _wait_until
from tests.notified import (
    ACME,
    IMAGE,
    NETWORK,
    PORT,
    REQUEST,
    SECOND,
    SERVER,
    THIRD,
    ZENITH,
    instance,
)
from tests.stacky import Stacky

pytestmark = pytest.mark.real

CREATE = "compute.instance.create"
EXCHANGES = ("nova", "glance", "neutron")
PAUSE_S = 0.05  # so that times of notifications tell their order


class Contextual(oslo_messaging.NoOpSerializer):
    """As each service has one of its own."""

    def serialize_context(self, ctxt):
        return ctxt.to_dict()


class Cloud:
    """Notifiers of services, as they make them; `tell` sends one notification."""

    def __init__(self, server):
        self._url = f"rabbit://guest:guest@127.0.0.1:{server.port}/"
        self._transports = {}

    def tell(self, exchange, publisher, name, payload, context, *, priority="info", v=2):
        notifier = oslo_messaging.Notifier(
            self._transport(exchange),
            publisher,
            driver="messagingv2" if v == 2 else "messaging",
            topics=["notifications"],
            serializer=Contextual(),
        )
        getattr(notifier, priority)(context, name, payload)
        time.sleep(PAUSE_S)

    def _transport(self, exchange):
        if exchange not in self._transports:
            conf = cfg.ConfigOpts()
            conf([], project="tests", default_config_files=[])
            oslo_messaging.set_transport_defaults(exchange)
            found = oslo_messaging.get_notification_transport(conf, url=self._url)
            conf.set_override("control_exchange", exchange)
            self._transports[exchange] = found
        return self._transports[exchange]

    def close(self):
        for transport in self._transports.values():
            transport.cleanup()


def context(request_id, project_id=ACME, **more):
    return RequestContext(request_id=request_id, project_id=project_id, user_id="me", **more)


def tell_all(cloud):
    """A server that is built at the second attempt, with its port; an image that is sent."""
    mine = context(REQUEST)
    cloud.tell("nova", "api.ctl", "compute.instance.update", instance(), mine)
    cloud.tell("nova", "compute.node-1", f"{CREATE}.start", instance(), mine, v=1)
    failed = instance(state="error", old_state="building", exception="No disk left")
    cloud.tell("nova", "compute.node-1", f"{CREATE}.error", failed, mine, priority="error")
    cloud.tell("nova", "compute.node-2", f"{CREATE}.start", instance(), mine)
    led_to = context(SECOND, global_request_id=REQUEST)
    port = {"device_id": SERVER, "tenant_id": ACME}
    cloud.tell("neutron", "network.ctl", "port.create.start", {"port": port}, led_to)
    made = {**port, "id": PORT, "network_id": NETWORK, "status": "DOWN"}
    cloud.tell("neutron", "network.ctl", "port.create.end", {"port": made}, led_to)
    active = instance(
        state="active",
        old_state="building",
        old_task_state="spawning",
        launched_at="2026-11-21T10:00:00.000000",
        instance_type_id=2,
    )
    cloud.tell("nova", "compute.node-2", f"{CREATE}.end", active, mine)
    image = {"id": IMAGE, "status": "active", "owner": ZENITH, "size": 7}
    cloud.tell("glance", "image.ctl", "image.upload", image, context(THIRD, ZENITH))


def log(url):
    """A line of nova's log, as an agent for logs sends it."""
    body = f"{time.time()} INFO nova.compute.manager [{REQUEST} me {ACME}] [instance: {SERVER}]"
    line = Event("", wall_ns(), {}, severity=9, body=f"{body} Took 3 s to build.", scope="nova")
    sent = otlp.encode_logs(Batch(Resource("nova-compute", "node-2"), events=(line,)))
    headers = {"Content-Type": "application/x-protobuf"}
    urlopen(Request(f"{url}/v1/logs", sent, headers), timeout=30).close()


@pytest.fixture(scope="module")
def url(rabbitmq, tmp_path_factory):  # noqa: F811
    where = f"rabbit://guest:guest@127.0.0.1:{rabbitmq.port}/?exchange={','.join(EXCHANGES)}"
    with start(tmp_path_factory.mktemp("cloud"), notifications=where) as collector:
        cloud = Cloud(rabbitmq)
        tell_all(cloud)
        cloud.close()
        log(collector.url)
        _wait_until(
            lambda: len(collector.get("notifications")["happenings"]) == 8,
            what="all is there",
            timeout_s=30,
        )
        yield collector.url


def get(url, path):
    with urlopen(f"{url}/api/v1/{path}", timeout=30) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_a_request_is_told_across_services_with_its_log_lines(url):
    told = get(url, f"requests/{REQUEST}")

    assert [
        (one["kind"], one["name"], one["host"], one["is_error"]) for one in told["happenings"]
    ] == [
        ("notification", "compute.instance.update", "ctl", False),
        ("notification", f"{CREATE}.start", "node-1", False),
        ("notification", f"{CREATE}.error", "node-1", True),
        ("notification", f"{CREATE}.start", "node-2", False),
        ("notification", "port.create.start", "ctl", False),
        ("notification", "port.create.end", "ctl", False),
        ("notification", f"{CREATE}.end", "node-2", False),
        ("event", "", "node-2", False),
    ]
    assert all(one["gap_ns"] >= PAUSE_S * 1e9 * 0.9 for one in told["happenings"][1:7])
    assert told["happenings"][-1]["text"].endswith("Took 3 s to build.")
    resource = get(url, f"resources/{SERVER}")["happenings"]
    assert resource == told["happenings"]


def test_timings_and_key_figures_are_of_what_was_sent(url):
    rows = {one["operation"]: one for one in get(url, "timings")["timings"]}

    assert {
        name: (one["count"], one["failed"], one["unfinished"], one["end_only"])
        for name, one in rows.items()
    } == {CREATE: (1, 1, 0, 0), "port.create": (1, 0, 0, 0)}
    assert rows[CREATE]["min"] >= 3 * PAUSE_S * 1e9 * 0.9
    (kpi,) = [one for one in get(url, "kpi")["kpi"] if one["operation"] == CREATE]
    assert (kpi["project_id"], kpi["count"]) == (ACME, 1)
    assert kpi["min"] > rows[CREATE]["max"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_stacky_s_commands_are_answered(url, slash):
    stacky = Stacky(url, slash)

    assert stacky.deployments()[1:] == [[1, "glance"], [2, "neutron"], [3, "nova"]]
    assert ["image.upload"] in stacky.events()
    assert stacky.hosts()[1:] == [["ctl"], ["node-1"], ["node-2"]]
    events, timings = stacky.uuid(SERVER)
    assert [row[4] for row in events[1:]] == [
        "compute.instance.update",
        f"{CREATE}.start",
        f"{CREATE}.error",
        f"{CREATE}.start",
        f"{CREATE}.end",
    ]
    assert [row[:2] for row in timings[1:]] == [["S", CREATE], [".", CREATE]]
    assert [row[0] for row in stacky.timings(CREATE)[1:]] == [SERVER]
    assert [row[:2] for row in stacky.summary()[1:]] == [[CREATE, 1], ["port.create", 1]]
    request = stacky.request(REQUEST)
    assert request == events
    told, text, related = stacky.show(request[3][0])
    assert (told[6], related) == (["State", "error"], events)
    assert json.loads(text)[1]["payload"]["exception"] == "No disk left"
    image = stacky.search("glance", "uuid", IMAGE, limit="5")
    assert [row[4] for row in image[1:]] == ["image.upload"]
    assert stacky.show(image[1][0], "glance")[0][6] == ["Status", "active"]
    assert [row[0::2] for row in stacky.kpi()[1:]] == [[CREATE, SERVER]]
    assert stacky.kpi(ACME) == stacky.kpi()
    assert stacky.reports(0, time.time()) == [
        ["Id", "Start", "End", "Created", "Name", "Version"]
    ]
    assert stacky.usage("launches", instance=SERVER)[1:] == [
        [SERVER, "2026-11-21 10:00:00", "2"]
    ]


@pytest.mark.slow
def test_stacky_s_watch_sees_all_of_them_in_turns(url):
    stacky, lines, since = Stacky(url), [], str(int(time.time()) - 600)
    until = time.monotonic() + 20
    while len(lines) < 8 and time.monotonic() < until:
        told, since = stacky.watch(0, since=since)
        lines += told
        time.sleep(0.2)

    assert [line.split("|")[4].strip() for line in lines][:2] == [
        "compute.instance.update",
        f"{CREATE}.start",
    ]
    assert (len(lines), [line.split("|")[1] for line in lines].count("E")) == (8, 1)
