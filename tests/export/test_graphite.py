"""graphite:// over real sockets: nothing counted twice, and a carbon that went is noticed."""

from __future__ import annotations

import socket

import pytest

from nilometer.errors import ConfigError
from nilometer.export import Outlet, Undelivered, open_exporter
from nilometer.model import Batch, Kind, Reading, Resource


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(5)
        yield sock


def url(server, scheme="graphite", options=""):
    return f"{scheme}://127.0.0.1:{server.getsockname()[1]}{options}"


def received(server, count):
    """So many bytes at least of the next connection, and the connection."""
    taken, _ = server.accept()
    taken.settimeout(5)
    content = b""
    while len(content) < count:
        content += taken.recv(65_536)
    return content, taken


def test_readings_go_out_on_one_connection_that_is_kept(make, server):
    exporter = open_exporter(url(server, options="?prefix=acme.&resource=no"))

    exporter(make.batch(readings=1))
    exporter(make.batch(readings=2))
    line = b"acme.api.requests;n=%d %d 1700000000\n"
    expected = line % (0, 0) + line % (0, 0) + line % (1, 1)
    content, taken = received(server, len(expected))
    exporter.close()

    assert content == expected
    assert taken.recv(1) == b""  # one connection, closed in order
    taken.close()


def kept(content, step_s=1):
    """What carbon keeps: of each path and step the last."""
    found = {}
    for line in content.decode().splitlines():
        path, value, at_s = line.rsplit(" ", 2)
        found[path, int(at_s) // step_s] = float(value)
    return found


@pytest.mark.parametrize("options", ["", "?tags=no", "?resource=yes", "?resource=yes&tags=no"])
def test_what_processes_of_one_service_count_at_once_adds_up(make, server, options):
    batch, content = make.batch(readings=5), b""
    workers = [("c1", 7), ("c1", 8), ("c2", 7), ("", 9)]

    for host, pid in workers:
        exporter = open_exporter(url(server, options=options))
        exporter(batch._replace(resource=batch.resource._replace(host=host, pid=pid)))
        exporter.close()
        content += received(server, 1)[0]

    assert sum(kept(content).values()) == len(workers) * sum(range(5))


@pytest.mark.parametrize("step_s", [1, 10, 60])
def test_intervals_that_fall_into_one_step_of_carbon_are_added_up(make, server, step_s):
    """As the last one before the end, and every one where carbon's step is the longer."""
    exporter, sent = open_exporter(url(server, options=f"?step_s={step_s}")), 0
    at_ns = make.batch(readings=1).readings[0].ended_ns
    for n in range(40):
        at_ns += (n % 7) * 10**9 // 2
        requests, boot = make.reading(2), make.timer(3_000_000, 5_000_000)
        exporter(
            Batch(make.resource, tuple(r._replace(ended_ns=at_ns) for r in (requests, boot)))
        )
        sent += 2
    exporter.close()
    content, taken = received(server, 1)
    while more := taken.recv(65_536):
        content += more
    taken.close()
    found = kept(content, step_s)

    assert sum(v for (path, _), v in found.items() if path.startswith("api.")) == sent
    assert sum(v for (path, _), v in found.items() if path.startswith("boot.count")) == sent
    assert sum(v for (path, _), v in found.items() if path.startswith("boot.sum")) == 4 * sent
    assert len(found) < 40 * (1 + 7)
    assert len(exporter._of_step) == 2


def test_an_attempt_that_failed_adds_nothing(make, server):
    exporter, batch = open_exporter(url(server)), make.batch(readings=4)
    exporter(batch)
    first, taken = received(server, 1)
    place = server.getsockname()
    server.close()
    taken.close()
    with pytest.raises(OSError, match="refused"):
        exporter(batch)

    with socket.create_server(place) as again:
        exporter(batch)
        exporter.close()
        content, taken = received(again, 1)
        taken.close()

    assert (sum(kept(first).values()), sum(kept(content).values())) == (6, 12)


@pytest.mark.parametrize(
    ("options", "pid", "expected"),
    [
        ("", 7, b"api.requests;host=c1;n=0;pid=7"),
        ("", 0, b"api.requests;n=0"),
        ("?tags=no", 7, b"api.requests.host.c1.n.0.pid.7"),
        ("?resource=process", 7, b"api.requests;host=c1;n=0;pid=7"),
        ("?resource=no", 7, b"api.requests;n=0"),
        ("?resource=false", 7, b"api.requests;n=0"),
    ],
)
def test_a_process_has_series_of_its_own_and_what_none_measured_goes_on(
    make, server, options, pid, expected
):
    batch = make.batch(readings=1)
    exporter = open_exporter(url(server, options=options))

    exporter(batch._replace(resource=batch.resource._replace(pid=pid)))
    exporter.close()
    content, taken = received(server, 1)
    taken.close()

    assert content == expected + b" 0 1700000000\n"


def test_who_measured_goes_along_if_asked_for(make, server):
    exporter = open_exporter(url(server, options="?resource=yes&tags=no"))

    exporter(make.batch(readings=1))
    exporter.close()
    content, taken = received(server, 1)
    taken.close()

    assert content == (
        b"api.requests.host.c1.n.0.pid.7.region.r1.service.shop.tier.gold.version.1_2.zone.z1"
        b" 0 1700000000\n"
    )


def test_a_carbon_that_went_away_and_came_back_gets_all_that_is_sent_then(make, server):
    exporter = open_exporter(url(server, options="?resource=no"))
    exporter(make.batch(readings=1))
    _, taken = received(server, 1)
    taken.close()  # restarted: the old connection looks alive to a sender

    exporter(make.batch(readings=1))

    assert received(server, 1)[0] == b"api.requests;n=0 0 1700000000\n"
    exporter.close()


def test_while_nobody_listens_nothing_is_lost(make, server):
    outlet = Outlet("graphite", open_exporter(url(server)))
    server.close()

    outlet.offer(make.batch(readings=3))
    outlet.deliver()

    assert (outlet.delivered, outlet.rows, outlet.lost) == (0, 3, {})
    outlet.close()


def test_a_carbon_that_does_not_read_is_given_up(make, server):
    exporter = open_exporter(url(server, options="?timeout_s=0.1"))

    batch = make.batch(readings=5000)

    def fill():
        for _ in range(1000):  # the kernel's buffers take some
            exporter(batch)

    with pytest.raises(TimeoutError):
        fill()
    exporter.close()


def test_what_does_not_fit_is_refused_and_the_rest_sent(make, server):
    exporter = open_exporter(url(server))
    good, nan = (Reading("a", Kind.GAUGE, (), v, 0, 10**9) for v in (1, float("nan")))
    long = Reading("a", Kind.GAUGE, tuple((f"k{n}", "v" * 190) for n in range(30)), 1, 0, 10**9)

    with pytest.raises(Undelivered) as state:
        exporter(Batch(Resource(), (good, nan, long)))
    exporter.close()

    assert state.value.left is None
    assert state.value.refused == {("readings", "not_finite"): 1, ("readings", "too_long"): 1}
    content, taken = received(server, 1)
    taken.close()
    assert content == b"a 1 1\n"


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        ("graphite://", "a host is missing"),
        ("graphite://c1/prefix", "graphite has no paths"),
        ("graphite://c1?tagz=no", "did you mean 'tags'?"),
        ("graphite+pickle://c1?timeout_s=0", "out of bounds"),
        ("graphite://c1?resource=maybe", "resource='maybe'"),
    ],
)
def test_a_wrong_url_is_refused_at_start(wrong, because):
    with pytest.raises(ConfigError, match=because.replace("?", r"\?")):
        open_exporter(wrong)
