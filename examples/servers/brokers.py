"""RabbitMQ, Redis, memcached and others that Debian packages, started for a test or a demo.

Each is a context manager: a child process in the foreground, on free ports of the loopback, in
a folder of its own, asked to end and then made to end with the block. A program that is not
installed is a `Missing` that says how to install it. RabbitMQ's folder must be one that every
user can reach, since it runs as one of its own.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

READY_S: Final = 60.0  # RabbitMQ needs 3 s on an idle machine; twenty times that on a busy one
END_S: Final = 10.0  # from SIGTERM to SIGKILL
OUTPUT_CHARS_MAX: Final = 4000  # of its output, in the error of one that did not start
RABBITMQ: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # apt's script asks for a PTY


class Missing(RuntimeError):  # noqa: N818 - what it is, not that it is one
    """A program is not installed; the message says how to install it."""


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody uses, all different."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def listens(port: int) -> bool:
    """Whether somebody accepts connections on this port of the loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def installed(program: str, package: str) -> str:
    """The path of a program. Raises Missing."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    if path is None:
        raise Missing(f"{program} is needed and not installed: apt-get install {package}")
    return path


class Server:
    """A server in a folder of its own; `port` is where its clients go.

    Who derives says `command()` and, if it takes more than an open port, `is_ready()`.
    """

    port: int

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self._popen: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str | Path]:
        """What to start."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """What to add to our environment."""
        return {}

    def is_ready(self) -> bool:
        """Whether it serves by now."""
        return listens(self.port)

    @property
    def output(self) -> str:
        """What it wrote so far."""
        return (self.folder / "output.log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The process, or the leader of the group of processes."""
        assert self._popen is not None
        return self._popen.pid

    def start(self) -> None:
        """Start it, and return when it serves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [str(word) for word in self.command()]
        with (self.folder / "output.log").open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment()},
                cwd=self.folder,
                start_new_session=True,  # it may have children, which end with it
            )
        give_up = time.monotonic() + READY_S
        while not self.is_ready():
            ended = self._popen.poll() is not None
            if ended or time.monotonic() > give_up:
                said = self.output[-OUTPUT_CHARS_MAX:]
                self.stop()
                what = "ended" if ended else f"was not ready in {READY_S:g} s"
                raise RuntimeError(f"{command[0]} {what}; it wrote:\n{said}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask it to end, then make it."""
        if self._popen is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._popen.pid, number)
            except ProcessLookupError:
                break
            try:
                self._popen.wait(END_S)
            except subprocess.TimeoutExpired:
                continue
            if number == signal.SIGKILL or not self._group_lives():
                break
        self._popen.wait()
        self._popen = None

    def _group_lives(self) -> bool:
        assert self._popen is not None
        give_up = time.monotonic() + END_S
        while time.monotonic() < give_up:
            try:
                os.killpg(self._popen.pid, 0)
            except ProcessLookupError:
                return False
            time.sleep(0.02)
        return True

    def restart(self) -> None:
        """Stop it and start it again on the same ports and the same folder."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.stop()


class _Epmd(Server):
    """Erlang's port mapper; without one of ours RabbitMQ would leave its own behind."""

    def command(self) -> Sequence[str | Path]:
        return [
            installed("epmd", "erlang-base"),
            "-port",
            str(self.port),
            "-address",
            "127.0.0.1",
        ]


class RabbitMQ(Server):
    """RabbitMQ with the plugins management and prometheus; user and password are guest."""

    user = password = "guest"

    def __init__(
        self,
        folder: Path,
        *,
        plugins: Sequence[str] = ("rabbitmq_management", "rabbitmq_prometheus"),
        statistics_interval_ms: int = 1000,
    ) -> None:
        super().__init__(folder)
        self.api_port, self.prometheus_port, self._dist_port = free_ports(3)
        self.statistics_interval_ms = statistics_interval_ms
        self.plugins = plugins
        self._epmd = _Epmd(folder / "epmd")

    @property
    def amqp_url(self) -> str:
        """Where its clients go."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def command(self) -> Sequence[str | Path]:
        if not RABBITMQ.exists():
            raise Missing("RabbitMQ is needed: apt-get install rabbitmq-server")
        if os.geteuid() != 0:
            return [RABBITMQ]
        # Erlang's files belong to its own user, so that nothing here runs as root.
        as_user = pwd.getpwnam("rabbitmq")
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, as_user.pw_uid, as_user.pw_gid)
        runuser = installed("runuser", "util-linux")
        return [runuser, "-u", "rabbitmq", "--preserve-environment", "--", RABBITMQ]

    def environment(self) -> Mapping[str, str]:
        return {
            "HOME": str(self.folder),  # of Erlang's cookie
            "RABBITMQ_NODENAME": f"nilo{self.port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "rabbitmq-env.conf"),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "ERL_EPMD_PORT": str(self._epmd.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def is_ready(self) -> bool:
        return all(map(listens, (self.port, self.api_port, self.prometheus_port)))

    def start(self) -> None:
        self._epmd.start()
        self._write_settings()
        super().start()

    def stop(self) -> None:
        super().stop()
        self._epmd.stop()

    def _write_settings(self) -> None:
        settings = {
            "listeners.tcp.local": f"127.0.0.1:{self.port}",
            "management.tcp.ip": "127.0.0.1",
            "management.tcp.port": self.api_port,
            "prometheus.tcp.ip": "127.0.0.1",
            "prometheus.tcp.port": self.prometheus_port,
            "collect_statistics_interval": self.statistics_interval_ms,
            # Its collectors work as often as the finest of the samples that they keep.
            **{
                f"management.sample_retention_policies.{kind}.minute": max(
                    1, self.statistics_interval_ms // 1000
                )
                for kind in ("global", "basic", "detailed")
            },
            "log.console": "true",
        }
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        (self.folder / "rabbitmq.conf").write_text("".join(lines))
        (self.folder / "enabled_plugins").write_text(f"[{','.join(self.plugins)}].\n")


class Redis(Server):
    """Redis that writes nothing to disk. `options` are added to its command line."""

    def __init__(
        self, folder: Path, *, password: str = "", options: Sequence[str] = ()
    ) -> None:
        super().__init__(folder)
        self.password = password
        self.options = options
        self.socket = folder / "redis.sock"

    def command(self) -> Sequence[str | Path]:
        server = installed("redis-server", "redis-server")
        options = {
            "--port": self.port,
            "--bind": "127.0.0.1",
            "--unixsocket": self.socket,
            "--save": "",
            **({"--requirepass": self.password} if self.password else {}),
        }
        return [
            server,
            *(str(word) for pair in options.items() for word in pair),
            *self.options,
        ]


class Sentinel(Server):
    """One of Redis' Sentinels, which alone decides that the master of `service` is down."""

    service = "river"

    def __init__(self, folder: Path, master: Redis) -> None:
        super().__init__(folder)
        self._master = master

    def command(self) -> Sequence[str | Path]:
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"sentinel monitor {self.service} 127.0.0.1 {self._master.port} 1",
            f"sentinel down-after-milliseconds {self.service} 500",
            f"sentinel failover-timeout {self.service} 5000",
        ]
        settings = self.folder / "sentinel.conf"  # it writes there, too
        settings.write_text("".join(f"{line}\n" for line in lines))
        return [installed("redis-server", "redis-server"), settings, "--sentinel"]


class Memcached(Server):
    """memcached with 16 MB."""

    def command(self) -> Sequence[str | Path]:
        server = installed("memcached", "memcached")
        return [server, "-u", "nobody", "-l", "127.0.0.1", "-p", str(self.port), "-m", "16"]


class NodeExporter(Server):
    """Prometheus' exporter of what the kernel counts."""

    def command(self) -> Sequence[str | Path]:
        exporter = installed("prometheus-node-exporter", "prometheus-node-exporter")
        return [exporter, f"--web.listen-address=127.0.0.1:{self.port}"]
