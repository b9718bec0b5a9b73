"""statsd over real sockets: packed, never blocking, and exact even while nobody listens."""

from __future__ import annotations

import socket

import pytest

from nilometer.export import Outlet, Undelivered, open_exporter
from nilometer.wire import statsd


@pytest.fixture
def listener():
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        yield sock


def packets(sock):
    """All datagrams that have arrived."""
    sock.setblocking(False)
    found = []
    try:
        while True:
            found.append(sock.recv(65_536))
    except BlockingIOError:
        return found


def counted(received):
    """The sum of the counters in these datagrams."""
    samples = [s for packet in received for s in statsd.decode(packet)[0]]
    return sum(sample.value for sample in samples)


@pytest.mark.parametrize("scheme", ["statsd", "dogstatsd", "monasca-statsd"])
def test_readings_arrive_packed_twenty_and_more_to_a_datagram(make, listener, scheme):
    exporter = open_exporter(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}?resource=no")

    exporter(make.batch(readings=200))
    exporter.close()
    received = packets(listener)

    assert max(len(packet) for packet in received) <= 1432
    assert len(received) <= 200 / 20
    assert counted(received) == sum(range(200))


def test_who_measured_goes_along_as_tags_and_may_be_left_out(make, listener):
    port = listener.getsockname()[1]
    for options in ("", "?resource=no", "?prefix=acme."):
        exporter = open_exporter(f"dogstatsd://127.0.0.1:{port}{options}")
        exporter(make.batch(readings=1))
        exporter.close()

    assert [packet.decode() for packet in packets(listener)] == [
        "api.requests:0|c|#host:c1,n:0,region:r1,service:shop,tier:gold,version:1.2,zone:z1\n",
        "api.requests:0|c|#n:0\n",
        "acme.api.requests:0|c|#host:c1,n:0,region:r1,service:shop,tier:gold,version:1.2,zone:z1\n",
    ]


def test_a_statsd_that_is_down_and_comes_back_gets_everything_once(make, free_port, caplog):
    port = free_port(udp=True)
    outlet = Outlet("statsd", open_exporter(f"statsd://127.0.0.1:{port}"))
    for _ in range(10):
        outlet.offer(make.batch(readings=100))
        outlet.hurry()
        outlet.deliver()

    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", port))
        outlet.hurry()
        outlet.deliver()

        assert counted(packets(sock)) == 10 * sum(range(100))
    assert (outlet.delivered, outlet.is_empty, outlet.lost) == (1000, True, {})
    assert len(caplog.records) == 2
    outlet.close()


def test_what_was_sent_before_a_fault_is_not_sent_again(make, free_port):
    """Every reading is in one datagram; from the refused one on they are tried again."""
    port = free_port(udp=True)
    exporter = open_exporter(f"statsd://127.0.0.1:{port}")

    with pytest.raises(Undelivered) as state:
        exporter(make.batch(readings=300))

    assert state.value.left == make.batch(readings=300)
    assert state.value.because == "Connection refused"


def test_a_full_socket_turns_rows_away_instead_of_waiting(make, tmp_path):
    path = str(tmp_path / "dog.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        exporter = open_exporter(f"dogstatsd://{path}?resource=no")
        outlet = Outlet("dog", exporter)
        outlet.offer(make.batch(readings=20_000))
        outlet.deliver()
        taken_first = counted(packets(sock))

        assert not outlet.state.healthy
        assert outlet.state.because == "Resource temporarily unavailable"
        received = taken_first
        while not outlet.is_empty:
            outlet.hurry()
            outlet.deliver()
            received += counted(packets(sock))
        outlet.close()

    assert received == sum(range(20_000))
    assert (outlet.delivered, outlet.lost) == (20_000, {})


def test_no_line_of_a_timer_is_sent_twice_when_the_socket_fills_up(make, tmp_path):
    """A timer is several lines; were they spread over datagrams, trying again would add."""
    path = str(tmp_path / "dog.sock")
    timers = tuple(make.timer(1_000_000, 3_000_000, name=f"t{n}") for n in range(3_000))
    received = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        outlet = Outlet("dog", open_exporter(f"dogstatsd://{path}?resource=no&bytes_max=700"))
        outlet.offer(make.batch()._replace(readings=timers))
        while not outlet.is_empty:
            outlet.hurry()
            outlet.deliver()
            received += packets(sock)
        outlet.close()
    samples = [s for packet in received for s in statsd.decode(packet)[0]]
    counts = [s.value for s in samples if s.name.endswith(".count")]

    assert len(received) > 300
    assert counts == [2] * 3_000


def test_a_reading_that_fits_no_datagram_is_lost_alone_and_counted(make, listener):
    exporter = open_exporter(
        f"dogstatsd://127.0.0.1:{listener.getsockname()[1]}?bytes_max=200&resource=no"
    )
    long = make.reading(7)._replace(dimensions=(("k", "v" * 300),))
    batch = make.batch(readings=3)

    with pytest.raises(Undelivered) as state:
        exporter(batch._replace(readings=(long, *batch.readings)))
    exporter.close()

    assert (state.value.left, state.value.refused) == (None, {("readings", "too_long"): 1})
    assert counted(packets(listener)) == 3


def test_a_number_that_statsd_cannot_say_is_lost_alone_and_counted(make, listener):
    exporter = open_exporter(f"statsd://127.0.0.1:{listener.getsockname()[1]}")
    odd = make.reading(7)._replace(value=float("nan"))

    with pytest.raises(Undelivered) as state:
        exporter(make.batch(readings=2)._replace(readings=(odd, make.reading(5))))
    exporter.close()

    assert (state.value.left, state.value.refused) == (None, {("readings", "not_finite"): 1})
    assert counted(packets(listener)) == 5


def test_spans_and_events_are_not_asked_for(make, listener):
    outlet = Outlet("s", open_exporter(f"statsd://127.0.0.1:{listener.getsockname()[1]}"))

    outlet.offer(make.batch(spans=3, events=2))

    assert (outlet.is_empty, outlet.lost) == (True, {})


@pytest.fixture
def localhost_of(monkeypatch):
    """Has `localhost` be these addresses, in this order."""
    families = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}

    def be(*hosts):
        def found(host, port, type=0):  # noqa: A002 - getaddrinfo's own
            assert host == "localhost"
            return [(families.get(h, socket.AF_INET), type, 17, "", (h, port)) for h in hosts]

        monkeypatch.setattr(socket, "getaddrinfo", found)

    return be


@pytest.mark.parametrize("scheme", ["statsd", "dogstatsd", "monasca-statsd"])
def test_localhost_is_found_where_it_is_also_that_of_ipv6(make, listener, localhost_of, scheme):
    """As on Debian, whose /etc/hosts has both."""
    localhost_of("::1", "127.0.0.1")
    port = listener.getsockname()[1]
    outlet = Outlet("s", open_exporter(f"{scheme}://localhost:{port}?resource=no"))

    outlet.offer(make.batch(readings=200))
    outlet.deliver()
    outlet.close()

    assert counted(packets(listener)) == sum(range(200))
    assert (outlet.delivered, outlet.lost) == (200, {})


def test_a_datagram_that_is_refused_goes_to_the_next_address_of_the_name(
    make, listener, localhost_of, free_port, caplog
):
    localhost_of("127.0.0.2", "127.0.0.3", "127.0.0.1")
    port = listener.getsockname()[1]
    outlet = Outlet("s", open_exporter(f"statsd://localhost:{port}"))

    for _ in range(2):
        outlet.offer(make.batch(readings=200))
        outlet.deliver()
    outlet.close()

    assert counted(packets(listener)) == 2 * sum(range(200))
    assert (outlet.delivered, outlet.lost, caplog.messages) == (400, {}, [])


def test_when_no_address_is_left_what_went_does_not_go_again(make, localhost_of):
    localhost_of("127.0.0.1", "::1", "127.0.0.2")
    with socket.socket(type=socket.SOCK_DGRAM) as first:
        first.bind(("127.0.0.1", 0))
        port = first.getsockname()[1]
        outlet = Outlet("s", open_exporter(f"statsd://localhost:{port}?bytes_max=128"))
        outlet.offer(make.batch(readings=100))
        outlet.deliver()
        received = packets(first)
    outlet.offer(make.batch(readings=100))
    outlet.deliver()
    assert (outlet.delivered, outlet.rows) == (100, 100)

    with socket.socket(type=socket.SOCK_DGRAM) as last:
        last.bind(("127.0.0.2", port))
        outlet.hurry()
        outlet.deliver()
        received += packets(last)
    outlet.close()

    assert counted(received) == 2 * sum(range(100))
    assert (outlet.delivered, outlet.lost) == (200, {})


def test_only_a_name_that_must_be_looked_up_may_wait():
    waits = {
        host: open_exporter(f"statsd://{host}:8125").waits
        for host in ("localhost", "127.0.0.1", "[::1]", "192.0.2.7", "statsd.example")
    }

    assert waits == {
        "localhost": False,
        "127.0.0.1": False,
        "[::1]": False,
        "192.0.2.7": False,
        "statsd.example": True,
    }
