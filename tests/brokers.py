"""Real brokers and caches for tests: import the fixture into the module that needs it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from examples.servers import brokers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def reachable_folder() -> Iterator[Path]:
    """A folder that servers which run as users of their own can enter; pytest's they cannot."""
    with tempfile.TemporaryDirectory(prefix="nilo-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def _started(server: brokers.Server) -> Iterator[brokers.Server]:
    try:
        with server:
            yield server
    except brokers.Missing as missing:
        pytest.fail(str(missing), pytrace=False)


@pytest.fixture(scope="module")
def rabbitmq(reachable_folder: Path) -> Iterator[brokers.RabbitMQ]:
    """RabbitMQ with management and prometheus, which collects its statistics each second."""
    yield from _started(brokers.RabbitMQ(reachable_folder / "rabbitmq"))


@pytest.fixture(scope="module")
def redis(reachable_folder: Path) -> Iterator[brokers.Redis]:
    """Redis without a password."""
    yield from _started(brokers.Redis(reachable_folder / "redis"))


@pytest.fixture(scope="module")
def memcached(reachable_folder: Path) -> Iterator[brokers.Memcached]:
    """memcached."""
    yield from _started(brokers.Memcached(reachable_folder / "memcached"))


@pytest.fixture(scope="module")
def node_exporter(reachable_folder: Path) -> Iterator[brokers.NodeExporter]:
    """Prometheus' exporter of what the kernel counts."""
    yield from _started(brokers.NodeExporter(reachable_folder / "node_exporter"))
