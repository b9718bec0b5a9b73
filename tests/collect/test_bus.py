"""How messages of a bus are gathered for their commits; the broker is a mock with a script."""

import asyncio
import threading
from types import SimpleNamespace

import pytest

from nilometer.collect import bus
from nilometer.collect.bus_url import Bus, Host
from nilometer.collect.group import WHOLE_BATCH_ROWS
from nilometer.collect.notifications import Flight

MS = 1_000_000
METHOD = SimpleNamespace(delivery_tag=1, exchange="", routing_key="")
QUIET_MS = int(bus.QUIET_S * 1000)


class Gathered:
    """Stands for an Intake: it counts what it is given, and how much of it flew together."""

    gathered_bytes = 0

    def __init__(self):
        self.gathered = 0
        self.flights = []

    def take(self, *_):
        self.gathered += 1

    def flight(self):
        self.flights.append(self.gathered)
        self.gathered = 0
        return Flight([], 0, 0, 0)

    async def commit(self, _flight):
        """Nothing to do."""


class Broker:
    """Stands for a connection: at each look so many messages come, and milliseconds pass."""

    def __init__(self, looks, time, landed):
        self._looks = iter(looks)
        self._time = time
        self._landed = landed
        self.acknowledged = 0

    def process_data_events(self, _timeout_s):
        self._landed()
        look = next(self._looks, None)
        if look is None:
            self.consumer._stop.set()
            return
        passed_ms, messages = look
        for _ in range(messages):
            self.consumer._take(self, METHOD, SimpleNamespace(headers=None), b"")
        self._time.now_ns += passed_ms * MS

    def add_callback_threadsafe(self, _call):
        """It looks by itself."""

    def basic_ack(self, _tag, *, multiple):
        self.acknowledged += multiple


@pytest.fixture
def flights(monkeypatch):
    """What gives the sizes of the flights of a bus that is sent this."""
    time = SimpleNamespace(now_ns=10**12)
    monkeypatch.setattr(bus, "elapsed_ns", lambda: time.now_ns)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def of(*looks):
        intake = Gathered()
        consumer = bus.Consumer(Bus((Host("b", 1),)), intake)
        consumer._loop = loop
        broker = Broker(looks, time, lambda: consumer._done and consumer._done.result(30))
        broker.consumer = consumer
        consumer._consume(broker, broker)
        assert broker.acknowledged == len(intake.flights)
        return intake.flights

    yield of
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_the_first_of_many_does_not_fly_alone(flights):
    first, rest = (1, 1), (1, 300)

    assert flights(first, rest, rest) == [601]


def test_what_comes_alone_flies_when_nothing_followed(flights):
    assert flights((0, 1), (QUIET_MS + 1, 0), (0, 0)) == [1]


def test_what_trickles_in_flies_after_half_a_second(flights):
    trickle = [(QUIET_MS - 10, 1)] * 30

    assert flights(*trickle)[0] == bus.GATHER_S * 1000 // (QUIET_MS - 10) + 1


def test_what_is_as_much_as_may_be_held_flies_at_once(flights, monkeypatch):
    size = bus.HELD_BYTES_MAX // 2 + 1
    monkeypatch.setattr(Gathered, "gathered_bytes", property(lambda it: it.gathered * size))

    assert flights((1, 2), (1, 3)) == [2, 3]


def test_what_came_while_the_last_was_committed_waits_for_what_follows_its_acknowledgement(
    flights,
):
    whole = (1, WHOLE_BATCH_ROWS)

    found = flights(whole, (QUIET_MS * 3, 2), (1, 500), (1, 500))

    assert found == [WHOLE_BATCH_ROWS, 1002]
