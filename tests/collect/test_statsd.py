"""Laws of the statsd door: sockets, flushes, and what becomes of rows not to be written."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from nilometer.collect.datagrams import Receiver, kernel_drops
from nilometer.collect.group import GroupCommit
from nilometer.collect.instruments import Refusals
from nilometer.collect.settings import Address
from nilometer.collect.statsd import StatsdDoor
from nilometer.errors import ConfigError
from nilometer.measure import REGISTRY
from nilometer.store.lake import Lake
from nilometer.store.query import Reader
from nilometer.store.stored import StoredTable
from tests.collect.doors import Tables, visit


def lost():
    return {
        tuple(dict(r.dimensions).values()): r.value
        for r in REGISTRY.collect()[0]
        if r.name == "nilometer.lost"
    }


def flushed(tables, scenario, **options):
    async def whole():
        group = GroupCommit(tables.append, window_s=0)
        door = StatsdDoor(group, Refusals(), flush_s=3600, **options)
        try:
            return await scenario(door)
        finally:
            await group.close()

    return asyncio.run(whole())


def test_a_flush_commits_what_was_gathered_under_the_name_of_statsd():
    tables = Tables()

    async def scenario(door):
        door.take(b"a:1|c\nb:2|g")
        door.take(b"a:2|c\n_e{1,2}:t|xy")
        await door.flush()

    flushed(tables, scenario)

    (batch,) = tables.batches
    assert (batch.resource.service, batch.resource.host) == ("statsd", socket.gethostname())
    assert [(r.name, r.value) for r in batch.readings] == [("a", 3), ("b", 2)]
    assert [(e.name, e.body) for e in batch.events] == [("t", "xy")]


def test_what_the_tables_refuse_is_kept_and_written_with_a_later_flush():
    tables = Tables()

    async def scenario(door):
        tables.error = OSError(28, "No space left on device")
        for line in (b"a:1|c", b"a:2|c"):
            door.take(line)
            await door.flush()
        tables.error = None
        door.take(b"a:4|c")
        await door.flush()

    REGISTRY.collect()
    flushed(tables, scenario)

    assert [r.value for r in tables.readings] == [1, 2, 4]
    assert lost() == {}


def test_what_two_flushes_say_alike_was_said_twice(tmp_path):
    lake = Lake(tmp_path, durability="os")

    async def scenario(door):
        for _ in range(3):
            door.take(b"jobs:5|c|T1795000000\n_e{6,2}:deploy|v1|d:1795000000")
            await door.flush()

    flushed(lake, scenario)
    flushed(lake, scenario)  # another collector

    reader = Reader(tmp_path)
    assert [row.total for row in reader.statistics("jobs")] == [30]
    assert len(reader.events(name="deploy")) == 6
    assert lake.again == {"readings": 0, "events": 0}


def test_a_flush_that_was_written_in_part_counts_once(tmp_path, monkeypatch):
    lake = Lake(tmp_path, durability="os")
    whole_commit = StoredTable.commit

    def failing(self, actions, turn=None):
        if self.table.name == "events":
            raise OSError(28, "No space left on device")
        whole_commit(self, actions, turn)

    async def scenario(door):
        monkeypatch.setattr(StoredTable, "commit", failing)
        door.take(b"jobs:5|c|T1795000000\n_e{6,2}:deploy|v1|d:1795000000")
        await door.flush()
        monkeypatch.undo()
        await door.flush()

    flushed(lake, scenario)

    reader = Reader(tmp_path)
    assert [row.total for row in reader.statistics("jobs")] == [5]
    assert len(reader.events(name="deploy")) == 1
    assert lake.again == {"readings": 1, "events": 0}


def test_beyond_the_bound_the_oldest_rows_are_lost_and_counted():
    tables = Tables()

    async def scenario(door):
        tables.error = OSError(28, "No space left on device")
        for line in (b"a:1|c", b"a:2|c", b"a:4|c"):
            door.take(line)
            await door.flush()
        tables.error = None
        await door.close()

    REGISTRY.collect()
    flushed(tables, scenario, backlog_rows_max=2)

    assert [r.value for r in tables.readings] == [2, 4]
    assert lost() == {("not-committed", "statsd"): 1}


def test_what_can_never_be_stored_is_lost_and_counted_and_blocks_nothing():
    tables = Tables()

    async def scenario(door):
        tables.error = ValueError("a poisoned row")
        door.take(b"a:1|c")
        await door.flush()
        tables.error = None
        door.take(b"a:2|c")
        await door.flush()

    REGISTRY.collect()
    flushed(tables, scenario)

    assert [r.value for r in tables.readings] == [2]
    assert lost() == {("not-storable", "statsd"): 1}


def test_bad_lines_are_counted_by_reason_at_the_statsd_door(tmp_path):
    tables = Tables()

    async def talk(_client, collector):
        collector.statsd.take(b"a:1|c\nb:x|c\n\xff:1|c\nc:1")
        await collector.statsd.flush()

    visit(tmp_path, talk, tables=tables)

    assert [r.name for r in tables.readings] == ["a"]
    assert tables.rejected == {
        ("statsd", "value"): 1,
        ("statsd", "encoding"): 1,
        ("statsd", "form"): 1,
    }


# --- Sockets ------------------------------------------------------------------------------


def received(address, send, *, expected):
    """What arrives at a receiver, once `expected` datagrams did and it was stopped."""
    packets = []
    receiver = Receiver(address, packets.append)
    receiver.start()
    try:
        send(receiver.address)
    finally:
        receiver.stop()  # takes what the kernel still holds
    assert len(packets) == expected
    return packets


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_datagrams_of_any_size_arrive_whole(family, host):
    sizes = (0, 1, 1432, 8932, 60_000)

    def send(address):
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            for size in sizes:
                sender.sendto(bytes(size), (host, int(address.rpartition(":")[2])))

    packets = received(Address(host, 0), send, expected=len(sizes))

    assert [len(packet) for packet in packets] == list(sizes)


def test_a_unix_socket_is_for_its_owner_and_group_and_goes_with_the_receiver(tmp_path):
    path = str(tmp_path / "statsd.sock")
    modes = []

    def send(_address):
        modes.append(stat.S_IMODE(Path(path).stat().st_mode))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"a:1|c", path)

    packets = received(Address("", 0, path), send, expected=1)

    assert (packets, modes, Path(path).exists()) == ([b"a:1|c"], [0o660], False)


def test_the_socket_of_a_killed_collector_is_taken_over(tmp_path):
    path = str(tmp_path / "statsd.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(path)

    assert received(Address("", 0, path), lambda _: None, expected=0) == []


@pytest.mark.parametrize("unix", [False, True])
def test_an_address_that_somebody_listens_at_is_refused_with_what_to_do(tmp_path, unix):
    address = Address("", 0, str(tmp_path / "s")) if unix else Address("127.0.0.1", 0)
    first = Receiver(address, lambda _: None)
    first.start()
    taken = address if unix else Address("127.0.0.1", int(first.address.rpartition(":")[2]))
    try:
        with pytest.raises(ConfigError) as refused:
            Receiver(taken, lambda _: None)
    finally:
        first.stop()

    assert refused.value.slug == "cannot-listen"
    assert f"cannot listen at {taken}" in str(refused.value)


def test_what_the_kernel_drops_is_counted_once():
    receiver = Receiver(Address("127.0.0.1", 0), lambda _: None)  # never started: nobody reads
    receiver._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    port = int(receiver.address.rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(100):
            sender.sendto(bytes(1000), ("127.0.0.1", port))
    counted = receiver.dropped()
    again = receiver.dropped()
    receiver._socket.close()

    assert 0 < counted < 100
    assert again == 0


def test_a_socket_that_the_kernel_does_not_list_has_no_drops(tmp_path):
    with (tmp_path / "file").open("w") as file:
        assert kernel_drops(file.fileno()) == 0
