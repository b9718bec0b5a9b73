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
    exporter = open_exporter(url(server, options="?prefix=acme."))

    exporter(make.batch(readings=1))
    exporter(make.batch(readings=2))
    line = b"acme.api.requests;n=%d %d 1700000000\n"
    expected = line % (0, 0) + line % (0, 0) + line % (1, 1)
    content, taken = received(server, len(expected))
    exporter.close()

    assert content == expected
    assert taken.recv(1) == b""  # one connection, closed in order
    taken.close()


def test_who_measured_goes_along_if_asked_for(make, server):
    exporter = open_exporter(url(server, options="?resource=yes&tags=no"))

    exporter(make.batch(readings=1))
    exporter.close()
    content, taken = received(server, 1)
    taken.close()

    assert content == (
        b"api.requests.host.c1.n.0.region.r1.service.shop.tier.gold.version.1_2.zone.z1"
        b" 0 1700000000\n"
    )


def test_a_carbon_that_went_away_and_came_back_gets_all_that_is_sent_then(make, server):
    exporter = open_exporter(url(server))
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
    ],
)
def test_a_wrong_url_is_refused_at_start(wrong, because):
    with pytest.raises(ConfigError, match=because.replace("?", r"\?")):
        open_exporter(wrong)
