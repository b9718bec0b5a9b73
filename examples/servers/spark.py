"""A Spark cluster of processes: a master, workers, and a server of Spark Connect.

All of it is what pyspark brings, in an environment of its own (`scripts/install-spark`), and
runs on Debian's Java. It listens on the loopback only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from examples.servers.brokers import Missing, Server, free_ports, installed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = ROOT / ".cache" / "spark" / "bin" / "python"
EXECUTOR_MEMORY: Final = "512m"  # Spark refuses less than 450 MiB
WORKER_MEMORY: Final = "1g"  # so that two questions at once have an executor of each worker

PARTITIONS: Final = 16  # of what goes from step to step; Spark's 200 are for large clusters
_QUICK: Final = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # none lives long
_LONGER: Final = """\
spark.executor.memory {executor}
spark.cores.max 2
spark.sql.shuffle.partitions {partitions}
spark.ui.enabled false
"""
_DEFAULTS: Final = f"""\
{_LONGER}\
spark.driver.memory 512m
spark.executor.extraJavaOptions {_QUICK}
spark.driver.extraJavaOptions {_QUICK}
"""


def home() -> Path:
    """Where pyspark keeps Spark. Raises Missing."""
    found = next(PYTHON.parents[1].glob("lib/python*/site-packages/pyspark"), None)
    if found is None:
        raise Missing("Spark is needed and not installed: scripts/install-spark")
    installed("java", "openjdk-17-jre-headless")
    return found


def settings(folder: Path, *, executor: str = EXECUTOR_MEMORY) -> dict[str, str]:
    """The environment in which processes of Spark are small and have these defaults.

    `executor` is the memory that a question has of each worker.
    """
    folder.mkdir(parents=True, exist_ok=True)
    defaults, partitions = (
        (_DEFAULTS, 2) if executor == EXECUTOR_MEMORY else (_LONGER, PARTITIONS)
    )
    told = defaults.format(executor=executor, partitions=partitions)
    (folder / "spark-defaults.conf").write_text(told)
    return {
        "SPARK_CONF_DIR": str(folder),
        "SPARK_HOME": str(home()),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": _QUICK,
    }


class _Java(Server):
    """A class of Spark's, started as Spark's own scripts do."""

    def environment(self) -> Mapping[str, str]:
        return settings(self.folder / "conf")

    def java(self, name: str, *words: str | Path) -> Sequence[str | Path]:
        return [home() / "bin" / "spark-class", name, *words]


class Master(_Java):
    """The master of a standalone cluster."""

    @property
    def url(self) -> str:
        """What `--engine` takes."""
        return f"spark://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str | Path]:
        pages = free_ports(1)[0]
        where = ("--host", "127.0.0.1", "--port", str(self.port), "--webui-port", str(pages))
        return self.java("org.apache.spark.deploy.master.Master", *where)


class Worker(_Java):
    """A worker with room for two executors, of which a question takes one, with one core."""

    def __init__(self, folder: Path, master: Master, *, memory: str = WORKER_MEMORY) -> None:
        super().__init__(folder)
        self._master = master
        self._memory = memory

    def command(self) -> Sequence[str | Path]:
        pages = free_ports(1)[0]
        return self.java(
            "org.apache.spark.deploy.worker.Worker",
            *("--host", "127.0.0.1", "--port", str(self.port), "--webui-port", str(pages)),
            *("--cores", "2", "--memory", self._memory, "--work-dir", self.folder / "work"),
            self._master.url,
        )

    def is_ready(self) -> bool:
        return "Successfully registered with master" in self.output


class Connect(_Java):
    """A server of Spark Connect, on a cluster of its own within its process."""

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), "SPARK_DAEMON_MEMORY": EXECUTOR_MEMORY}

    @property
    def url(self) -> str:
        """What `--engine` takes."""
        return f"sc://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str | Path]:
        return [
            home() / "bin" / "spark-submit",
            *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer"),
            *("--master", "local[2]", "--name", "connect"),
            *("--conf", f"spark.connect.grpc.binding.port={self.port}"),
            *("--conf", "spark.connect.grpc.binding.address=127.0.0.1"),
            "spark-internal",
        ]
