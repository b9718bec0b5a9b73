"""Zaqar as an operator runs it: from PyPI, its own server, messages in Redis, pools in MariaDB.

Not a line of it is changed. What Nilometer is to do stands in `nilometer.toml` beside this
file, in flags of `nilometer run`, and in the `[profiler]` group of Zaqar's own file.
"""

from __future__ import annotations

import http.client
import json
import secrets
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.request import urlopen

import pymysql

from examples.servers.brokers import Missing, Redis
from examples.servers.databases import MariaDB
from examples.servers.mongo import INSTALLED as HAS_MONGO
from examples.servers.mongo import MongoEco
from nilometer.cli.processes import Process, Processes, free_port, nilometer
from nilometer.trace.trigger import new_trigger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
BIN: Final = ROOT / ".cache" / "zaqar" / "bin"
SETTINGS: Final = HERE / "nilometer.toml"

PROJECT: Final = "river"
QUEUE: Final = "orders"
MESSAGES: Final = f"/v2/queues/{QUEUE}/messages"
BODY: Final = json.dumps({"messages": [{"ttl": 300, "body": {"order": 17, "pieces": 3}}]})
HEADERS: Final = {
    "Client-ID": "3381af92-2b9e-11e3-b191-71861300734c",
    "X-Project-ID": PROJECT,
    "Content-Type": "application/json",
}
ANSWER_S: Final = 30.0
INTERVAL: Final = "500ms"  # how often a service reports; the default of 10 s would only bore
VISIBLE_S_MAX: Final = 30.0  # a second on an idle machine
LOOK_S: Final = 0.2


class Zaqar(NamedTuple):
    """One server that runs."""

    name: str
    port: int
    process: Process

    @property
    def url(self) -> str:
        """Where its clients go."""
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: str = "", headers: Mapping[str, str] | None = None
    ) -> str:
        """What it answers; RuntimeError if that is no success."""
        to = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        try:
            to.request(method, path, body, {**HEADERS, **(headers or {})})
            answer = to.getresponse()
            text = answer.read().decode()
        finally:
            to.close()
        if answer.status >= http.client.BAD_REQUEST:
            raise RuntimeError(f"{self.name}: {method} {path}: {answer.status} {text}")
        return text

    def post(self, headers: Mapping[str, str] | None = None) -> None:
        """One message into the queue."""
        self.ask("POST", MESSAGES, BODY, headers)


class Deployment:
    """Stores and a collector, and the Zaqars that are started on them."""

    def __init__(
        self, folder: Path, database: MariaDB, redis: Redis, mongo: MongoEco | None
    ) -> None:
        self.folder = folder
        self.mongo = mongo
        self._database = database
        self._redis = redis
        self.collector = ""
        self.key = secrets.token_hex(32)
        self.key_file = folder / "trace.key"
        self.key_file.touch(mode=0o600)
        self.key_file.write_text(f"{self.key}\n")

    @property
    def redis_url(self) -> str:
        """Where the messages are."""
        return f"redis://127.0.0.1:{self._redis.port}"

    @property
    def database_url(self) -> str:
        """Where pools, flavours, queues and the catalogue are."""
        return f"mysql+pymysql://root@127.0.0.1:{self._database.port}/zaqar"

    def configuration(
        self,
        port: int,
        profiler: Mapping[str, object],
        own: Mapping[str, object],
        management: str,
    ) -> str:
        """Zaqar's file; `own` is our group in it."""
        groups: dict[str, Mapping[str, object]] = {
            "DEFAULT": {
                "auth_strategy": "",
                "pooling": True,
                "admin_mode": True,
                "unreliable": True,  # of MongoDB alone: it wants three of them
            },
            "drivers": {
                "transport": "wsgi",
                "message_store": "redis",
                "management_store": management,
            },
            "drivers:transport:wsgi": {"bind": "127.0.0.1", "port": port},
            "drivers:management_store:sqlalchemy": {"uri": self.database_url},
            "profiler": {"enabled": False, "hmac_keys": secrets.token_hex(16), **profiler},
            "nilometer": own,
        }
        if self.mongo is not None:
            place = {"uri": self.mongo.url, "database": "zaqar"}
            groups["drivers:management_store:mongodb"] = place
        lines = []
        for name, options in groups.items():
            lines += [f"[{name}]", *(f"{key} = {value}" for key, value in options.items()), ""]
        return "\n".join(lines)

    def begin(
        self,
        servers: Processes,
        name: str,
        *,
        flags: Sequence[str] | None = (),
        profiler: Mapping[str, object] | None = None,
        own: Mapping[str, object] | None = None,
        management: str = "sqlalchemy",
    ) -> Zaqar:
        """Start one, under `nilometer run` with these flags or, with None, as it is."""
        port = free_port()
        file = self.folder / f"{name}.conf"
        file.write_text(self.configuration(port, profiler or {}, own or {}, management))
        command = [str(BIN / "zaqar-server"), "--config-file", str(file)]
        if flags is not None:
            command = nilometer("run", *self.settings(), *flags, "--", *command)
        ready = f"http://127.0.0.1:{port}/"
        return Zaqar(name, port, servers.begin(name, *command, ready=ready))

    def settings(self) -> list[str]:
        """What each measured process is told; the rest stands in `nilometer.toml`."""
        export = self.collector.replace("http:", "otlp:")
        return ["--config", str(SETTINGS), "--service", "zaqar", "--export", export]

    def traced(self, *extra: str) -> list[str]:
        """Flags with which requests may be traced."""
        key = ["--trace-key-file", str(self.key_file)]
        return [*key, "--requests-per-second", "10000", "--interval", INTERVAL, *extra]

    def trigger(self) -> tuple[str, dict[str, str]]:
        """The id of a trace, and headers that ask for it."""
        return new_trigger(self.key, ttl_s=60)

    def spans(self, trace_id: str, at_least: int = 1) -> list[dict[str, Any]]:
        """The spans of a trace, in order, once no more of them come."""
        until = time.monotonic() + VISIBLE_S_MAX
        before = -1
        while time.monotonic() < until:
            listed = self.fetch("traces")["traces"]
            count = next((one["spans"] for one in listed if one["id"] == trace_id), 0)
            if count == before and count >= at_least:
                return list(_walk(self.fetch(f"traces/{trace_id}")["roots"]))
            before = count
            time.sleep(LOOK_S + 0.6 * (count > 0))  # the next report of any process
        raise RuntimeError(f"trace {trace_id} has {before} spans after {VISIBLE_S_MAX:.0f} s")

    def fetch(self, path: str) -> Any:
        """What the collector's REST answers."""
        with urlopen(f"{self.collector}/api/v1/{path}", timeout=ANSWER_S) as answer:
            return json.load(answer)

    def migrate(self) -> None:
        """Zaqar's own tables, made by its own command."""
        port = self._database.port
        connection = pymysql.connect(host="127.0.0.1", port=port, user=self._database.user)
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE zaqar")
        file = self.folder / "migration.conf"
        file.write_text(self.configuration(0, {}, {}, "sqlalchemy"))
        manage = [BIN / "zaqar-sql-db-manage", "--config-file", file, "upgrade", "head"]
        done = subprocess.run(manage, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"zaqar-sql-db-manage failed:\n{done.stderr}")

    def furnish(self, zaqar: Zaqar) -> None:
        """A pool, by an administrator, and a queue in it."""
        pool = json.dumps({"weight": 100, "uri": self.redis_url, "options": {}})
        zaqar.ask("PUT", "/v2/pools/first", pool, {"X-Roles": "admin"})
        zaqar.ask("PUT", f"/v2/queues/{QUEUE}")


def _walk(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        yield node
        yield from _walk(node["children"])


@contextmanager
def deployed(folder: Path, processes: Processes) -> Iterator[Deployment]:
    """Stores with Zaqar's tables in them, and the collector; all gone with the block."""
    if not (BIN / "zaqar-server").exists():
        raise Missing("Zaqar is needed and not installed: scripts/install-zaqar")
    with ExitStack() as stack:
        for name in ("mariadb", "redis", "mongo"):
            (folder / name).mkdir(mode=0o755)
        database = stack.enter_context(MariaDB(folder / "mariadb"))
        redis = stack.enter_context(Redis(folder / "redis"))
        mongo = stack.enter_context(MongoEco(folder / "mongo")) if HAS_MONGO else None
        made = Deployment(folder, database, redis, mongo)
        port, statsd = free_port(), free_port()
        made.collector = f"http://127.0.0.1:{port}"
        words = ["serve", "--store", str(folder / "store"), "--window", "100ms"]
        words += ["--listen", f"127.0.0.1:{port}", "--statsd", f"127.0.0.1:{statsd}"]
        ready = f"{made.collector}/api/v1/health"
        collector = processes.begin("collector", *nilometer(*words), ready=ready)
        made.migrate()
        collector.wait_until_ready()
        yield made
