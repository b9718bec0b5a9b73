"""librdkafka's own cluster of brokers, in a process of its own, for whoever wants topics.

    with cluster(topics=["nilometer"], partitions=4) as brokers:
        Producer({"bootstrap.servers": brokers.servers})
        brokers.down()

Its brokers speak Kafka's protocol over TCP, keep what they acknowledged in memory, lead groups
of consumers, and can be away for a while without forgetting anything.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

_PROGRAM = """
import ctypes, glob, os, sys
import confluent_kafka
folder = os.path.dirname(os.path.dirname(confluent_kafka.__file__))
(path,) = glob.glob(folder + "/confluent_kafka.libs/librdkafka-*")
lib = ctypes.CDLL(path)
for name in ("rd_kafka_new", "rd_kafka_mock_cluster_new"):
    getattr(lib, name).restype = ctypes.c_void_p
lib.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
lib.rd_kafka_set_log_level.argtypes = [ctypes.c_void_p, ctypes.c_int]
error = ctypes.create_string_buffer(512)
handle = ctypes.c_void_p(lib.rd_kafka_new(0, None, error, ctypes.c_size_t(512)))
lib.rd_kafka_set_log_level(handle, 0)
brokers = int(sys.argv[1])
mock = ctypes.c_void_p(lib.rd_kafka_mock_cluster_new(handle, brokers))
for topic in sys.argv[3:]:
    lib.rd_kafka_mock_topic_create(mock, topic.encode(), int(sys.argv[2]), min(3, brokers))
print(lib.rd_kafka_mock_cluster_bootstraps(mock).decode(), flush=True)
for line in sys.stdin:
    act = getattr(lib, f"rd_kafka_mock_broker_set_{line.strip()}")
    print(*(act(mock, number) for number in range(1, brokers + 1)), flush=True)
"""


class Cluster:
    """One that runs; `servers` is what clients are told."""

    def __init__(self, topics: list[str], partitions: int, brokers: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(brokers), str(partitions), *topics],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.servers = self._said()

    def _said(self) -> str:
        return self.process.stdout.readline().strip()

    def _told(self, command: str) -> None:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        assert set(self._said().split()) == {"0"}

    @property
    def url(self) -> str:
        """The brokers as a URL of ours has them."""
        first, *others = self.servers.split(",")
        return f"kafka://{first}" + (f"?others={','.join(others)}" if others else "")

    def down(self) -> None:
        """No broker can be reached, and connections end."""
        self._told("down")

    def up(self) -> None:
        """They are there again, with all that they had."""
        self._told("up")


@contextmanager
def cluster(topics: list[str], *, partitions: int = 4, brokers: int = 2):
    """A cluster that ends with the `with`."""
    running = Cluster(topics, partitions, brokers)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        running.process.stdin.close()
        running.process.stdout.close()
