"""Parts of Monasca's persister's integration; the real one runs in tests/real."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
from types import SimpleNamespace

import pytest

from nilometer.integrations.monasca_ending import call_before_the_end
from nilometer.integrations.monasca_ledger import Ledger, Mark
from nilometer.integrations.monasca_persister import Persisters
from nilometer.integrations.monasca_processor import Meters, Processor
from nilometer.integrations.monasca_redelivery import SKEW_MS, Redelivery
from tests.integrations.integration_kit import read

FORK = multiprocessing.get_context("fork")
OF_ONE = (
    "messaging.consumer.group.name=1_metrics,messaging.destination.name=metrics,"
    "monasca.processor=1,thread=MainThread"
)


class Message:
    def __init__(self, partition, offset, value=b"", at_ms=0):
        self._said = partition, offset, value, at_ms

    def partition(self):
        return self._said[0]

    def offset(self):
        return self._said[1]

    def value(self):
        return self._said[2]

    def timestamp(self):
        return 1, self._said[3]


class Client:
    """What we ask of confluent-kafka's consumer."""

    def __init__(self, *partitions, high=1_000_000):
        self.at = dict.fromkeys(partitions, -1001)  # as there, until a message came
        self.high = high
        self.committed_at = dict.fromkeys(partitions, -1001)  # as there, of what nobody did
        self.asked = 0

    def assignment(self):
        return [SimpleNamespace(partition=n, offset=-1001) for n in self.at]

    def position(self, asked):
        return [
            SimpleNamespace(partition=one.partition, offset=self.at[one.partition])
            for one in asked
        ]

    def committed(self, asked, timeout):
        self.asked += 1
        return [
            SimpleNamespace(partition=one.partition, offset=self.committed_at[one.partition])
            for one in asked
        ]

    def get_watermark_offsets(self, one, cached):
        assert cached, "it must ask nobody"
        return 0, self.high


class Points(list):
    def append(self, key, value):
        super().append(value)

    def get_count(self):
        return len(self)


class Persister:
    """The loop and the flush of Monasca's, in their order."""

    _kafka_topic = "metrics"

    def __init__(self, client):
        self.repository = SimpleNamespace(process_message=self.process, write_batch=self.write)
        self._consumer = SimpleNamespace(_consumer=client, commit=lambda: None)
        self._data_points = Points()
        self.fault = None

    @staticmethod
    def process(message):
        return int(message.value()), "acme"

    def write(self, points):
        if self.fault is not None:
            raise self.fault

    def handle(self, *messages):
        for message in messages:
            self._consumer._consumer.at[message.partition()] = message.offset() + 1
            try:
                point, tenant = self.repository.process_message(message)
                self._data_points.append(tenant, point)
            except ValueError:
                pass

    def flush(self):
        try:
            self.repository.write_batch(self._data_points)
        except RuntimeError as error:
            if "points beyond retention policy dropped" not in str(error):
                raise
        self._data_points.clear()
        self._consumer.commit()


def measured(registry, ledger, persister):
    made = Processor(Meters(registry), persister, ledger, "1_metrics", 1)
    made.on = True
    return made


def messages(partition, *offsets):
    return [Message(partition, offset, str(offset).encode()) for offset in offsets]


def moved(registry):
    """The counters, by their last names, and of each timer how often."""
    found = read(registry)
    return {
        name.removeprefix("monasca.persister."): values[OF_ONE]
        for name, values in found.items()
        if OF_ONE in values
    }


def test_what_is_received_dropped_and_completed_is_counted_and_timed(registry):
    persister = Persister(Client(0))
    processor = measured(registry, Ledger.in_memory(), persister)
    persister.handle(*messages(0, 0, 1), Message(0, 2, b"broken"), *messages(0, 3))
    processor.flush(Persister.flush)

    readings = read(registry)
    dropped = readings["monasca.persister.dropped"]
    assert dropped == {f"error.type=ValueError,{OF_ONE}": 1}
    assert {
        name.rpartition(".")[2]: one[OF_ONE] for name, one in readings.items() if OF_ONE in one
    } == {
        "received": 4,
        "process": 4,
        "completed": 3,
        "write": 1,
        "flush": 1,
        "commit": 1,
    }


def test_a_batch_that_the_persister_passes_over_is_dropped_with_the_reason(registry):
    persister, ledger = Persister(Client(0)), Ledger.in_memory()
    processor = measured(registry, ledger, persister)
    persister.fault = RuntimeError("partial write: points beyond retention policy dropped=2")
    persister.handle(*messages(0, 0, 1, 2))
    processor.flush(Persister.flush)

    readings = read(registry)
    assert readings["monasca.persister.dropped"] == {f"error.type=retention_policy,{OF_ONE}": 3}
    assert "monasca.persister.completed" not in readings
    assert ledger.completed(0).offset == 3


def test_a_batch_that_fails_is_neither_and_comes_again(registry):
    ledger, client = Ledger.in_memory(), Client(0)
    persister = Persister(client)
    processor = measured(registry, ledger, persister)
    persister.fault = RuntimeError("no route to host")
    persister.handle(*messages(0, 0, 1, 2))
    with pytest.raises(RuntimeError, match="no route"):
        processor.flush(Persister.flush)
    first = moved(registry)
    second = Persister(Client(0))
    processor = measured(registry, ledger, second)
    second.handle(*messages(0, 0, 1, 2))
    processor.flush(Persister.flush)

    assert (first["received"], first["flush"], "completed" in first) == (3, 1, False)
    again = moved(registry)
    assert (again["received"], again["completed"], "duplicated" in again) == (3, 3, False)


def test_what_was_completed_before_is_duplicated_also_where_another_had_the_partition(registry):
    ledger = Ledger.in_memory()
    for partition in (0, 1):
        persister = Persister(Client(partition))
        processor = measured(registry, ledger, persister)
        persister.handle(*messages(partition, *range(5)))
        processor.flush(Persister.flush)
    moved(registry)
    persister = Persister(Client(0, 1))
    processor = measured(registry, ledger, persister)
    persister.handle(*messages(0, 3, 4, 5, 6), *messages(1, 4, 5))
    processor.flush(Persister.flush)
    first = moved(registry)
    persister.handle(*messages(0, 7, 8))
    processor.flush(Persister.flush)
    second = moved(registry)

    assert (first["completed"], first["duplicated"]) == (6, 3)
    assert (second["completed"], "duplicated" in second) == (2, False)


def test_messages_are_looked_at_only_until_each_partition_is_where_it_was_left():
    ledger = Ledger.in_memory()
    ledger.complete(0, 10)
    changes = []
    ledger.complete(1, 1)
    client = Client(0, 1, 2)  # nobody ever completed anything of the last
    redelivery = Redelivery(ledger, client, lambda: changes.append(redelivery.looks))
    for message in (*messages(0, 8, 9), *messages(1, 1), *messages(0, 10)):
        assert redelivery.looks
        redelivery.look(message)
    redelivery.positions()
    redelivery.begin_anew()

    assert (changes, redelivery.again, client.asked) == ([False, True], 2, 0)


def test_where_partitions_are_given_out_anew_they_are_looked_at_from_where_they_are_now():
    ledger = Ledger.in_memory()
    ledger.complete(0, 5)
    redelivery = Redelivery(ledger, Client(0), lambda: None)
    redelivery.look(*messages(0, 5))
    ledger.complete(0, 10)
    redelivery.begin_anew()
    redelivery.look(*messages(0, 9))

    assert redelivery.again == 1


@pytest.mark.parametrize(("committed", "looks"), [(5, False), (4, True), (-1001, True)])
def test_of_a_partition_at_rest_kafka_is_asked_once_if_anything_can_come_again(
    committed, looks
):
    ledger, client = Ledger.in_memory(), Client(0, 1)
    ledger.complete(0, 10)
    ledger.complete(1, 5)
    client.committed_at = {0: 10, 1: committed}
    redelivery = Redelivery(ledger, client, lambda: None)
    redelivery.look(*messages(0, 10))
    redelivery.positions()
    redelivery.positions()

    assert (redelivery.looks, client.asked) == (looks, 1)


def test_a_kafka_that_does_not_answer_delays_one_batch_and_stops_nothing():
    ledger, client = Ledger.in_memory(), Client(0)
    ledger.complete(0, 10)
    client.at[0] = 8
    client.committed = None
    redelivery = Redelivery(ledger, client, lambda: None)
    positions = redelivery.positions()
    redelivery.look(*messages(0, 8))

    assert (positions, redelivery.looks, redelivery.again) == ([(0, 8)], True, 1)


@pytest.mark.parametrize(
    ("high", "written_ms", "again"), [(3, 0, 0), (1_000, 0, 1), (1_000, SKEW_MS + 10**14, 0)]
)
def test_a_topic_that_was_made_anew_is_no_redelivery(high, written_ms, again):
    ledger = Ledger.in_memory()
    ledger.complete(0, 10)
    redelivery = Redelivery(ledger, Client(0, high=high), lambda: None)
    redelivery.look(Message(0, 2, at_ms=written_ms))

    assert (redelivery.again, ledger.completed(0).offset) == (again, 10 if again else 0)


def test_a_client_that_answers_otherwise_stops_looking_and_stops_nothing_else(registry):
    persister = Persister(Client(0))
    processor = measured(registry, Ledger.in_memory(), persister)
    persister._consumer._consumer.assignment = None
    persister.handle(*messages(0, 0, 1))
    processor.flush(Persister.flush)

    counted = moved(registry)
    assert (counted["received"], counted["completed"]) == (2, 2)
    assert processor.redelivery is not None
    assert not processor.redelivery.looks


def test_switched_off_the_persister_is_as_it_was(registry):
    persister = Persister(Client(0))
    before = dict(vars(persister.repository)), dict(vars(persister._consumer))
    processor = measured(registry, Ledger.in_memory(), persister)
    processor.on = False

    assert (dict(vars(persister.repository)), dict(vars(persister._consumer))) == before


def test_a_ledger_outlives_who_wrote_it_and_tells_who_left_without_a_goodbye(tmp_path):
    first = Ledger.in_file(str(tmp_path / "state"), "a/b", "metrics")
    first.complete(3, 12)
    first.complete(3, 7)  # an older batch
    first.begin(0)
    first.begin(5)
    first.goodbye(0)
    with pytest.raises(BlockingIOError):
        Ledger.in_file(str(tmp_path / "state"), "a/b", "metrics")
    del first
    second = Ledger.in_file(str(tmp_path / "state"), "a/b", "metrics")

    assert second.completed(3).offset == 12
    assert (second.completed(4), second.completed(10**6)) == (Mark(0, 0), Mark(0, 0))
    assert second.left == {5: os.getpid()}


def test_a_ledger_that_is_none_is_begun_anew(tmp_path):
    path = tmp_path / "monasca-persister.g.t.ledger"
    path.write_bytes(b"something else")

    assert Ledger.in_file(str(tmp_path), "g", "t").completed(0) == Mark(0, 0)


def test_without_its_folder_a_service_runs_and_says_what_it_cannot_know(
    registry, tmp_path, caplog
):
    (tmp_path / "file").write_text("")
    persisters = Persisters(registry, str(tmp_path / "file"), lambda: True)

    assert persisters._ledger("g", "t").completed(0) == Mark(0, 0)
    assert [record.message for record in caplog.records if "[state-unusable]" in record.message]
    assert read(registry)["nilometer.lost"] == {"reason=FileExistsError,what=state": 1}


def _at_rest():
    while True:
        time.sleep(1)


def _in_c():
    """Where no signal wakes the main thread, as in the poll of older clients of Kafka."""
    mutex = ctypes.create_string_buffer(64)  # all zero is a mutex that nobody has
    lock = ctypes.CDLL(None).pthread_mutex_lock
    lock(mutex)
    lock(mutex)


def _child(told, handler, rest):
    if handler is not None:
        signal.signal(signal.SIGTERM, handler)
    call_before_the_end(lambda: os.write(told, b"sent"))
    os.write(told, b"up ")
    rest()


@pytest.mark.parametrize(
    ("handler", "rest"), [(None, _at_rest), (None, _in_c), (signal.SIG_IGN, _at_rest)]
)
def test_a_child_sends_what_it_has_before_sigterm_ends_it_and_dies_of_that(handler, rest):
    reads, writes = os.pipe()
    child = FORK.Process(target=_child, args=(writes, handler, rest))
    child.start()
    said = os.read(reads, 3)
    child.terminate()
    if handler is not None:  # it was ignored before, and is
        time.sleep(0.2)
        child.kill()
    child.join(30)
    status = child.exitcode
    child.kill()  # else who reads on waits for it
    os.close(writes)
    said += os.read(reads, 100)
    os.close(reads)

    expected = (b"up sent", -signal.SIGTERM) if handler is None else (b"up ", -signal.SIGKILL)
    assert (said, status) == expected


def _undone(told):
    call_before_the_end(lambda: os.write(told, b"sent"))()
    os.write(told, b"%d " % signal.set_wakeup_fd(-1))
    _at_rest()


def test_undone_a_child_ends_as_if_nothing_had_been():
    reads, writes = os.pipe()
    child = FORK.Process(target=_undone, args=(writes,))
    child.start()
    said = os.read(reads, 3)
    child.terminate()
    child.join(30)
    status = child.exitcode
    child.kill()  # else who reads on waits for it
    os.close(writes)
    said += os.read(reads, 100)
    os.close(reads)

    assert (said, status) == (b"-1 ", -signal.SIGTERM)


def test_in_who_is_no_child_no_handler_is_set():
    before = signal.getsignal(signal.SIGTERM)
    call_before_the_end(lambda: None)()

    assert signal.getsignal(signal.SIGTERM) is before


def test_before_a_persister_that_fails_exits_it_sends_what_it_has(registry):
    told = []
    module = SimpleNamespace(_exit=told.append, sep="/")
    ours = Persisters(registry, "", lambda: told.append("sent") or True).exiting(module)
    ours._exit(1)

    assert (told, ours.sep) == (["sent", 1], "/")


@pytest.mark.parametrize("taken", [True, False])
def test_a_persister_that_is_interrupted_owes_a_goodbye_only_where_nobody_took_its_report(
    registry, taken
):
    persister = Persister(Client(0))
    ours = Persisters(registry, "", lambda: taken)

    def interrupted(_persister):
        assert ours._ledger("", "metrics").alive() == {0: os.getpid()}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ours.running(interrupted)(persister)

    assert ours._ledger("", "metrics").alive() == ({} if taken else {0: os.getpid()})


def test_of_children_that_are_killed_the_parent_says_so_and_exits_as_it_did(registry, caplog):
    ours = Persisters(registry, "", lambda: True)
    ledger = ours._ledger("1_metrics", "metrics")
    ledger.begin(3)

    def clean_exit(signum, frame=None):
        raise SystemExit(signum)

    with pytest.raises(SystemExit) as exits:
        ours.ending(SimpleNamespace(processors=[]), clean_exit)(signal.SIGCHLD)
    [record] = [one for one in caplog.records if "[interval-lost]" in one.message]

    assert exits.value.code == signal.SIGCHLD
    assert f"processor 3 of the persister (process {os.getpid()})" in record.message
    assert read(registry)["nilometer.lost"] == {"reason=process_killed,what=interval": 1}
    assert ledger.alive() == {}
