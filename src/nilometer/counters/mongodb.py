"""MongoDB: operations, documents and what queries had to scan, from ``serverStatus``.

One ``serverStatus`` makes a read, and counts itself among the commands; pymongo's own
monitoring of the server adds a ``hello`` each ten seconds, which counts as drift.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from nilometer.counters import link
from nilometer.counters.backend import BackendError
from nilometer.counters.figures import Fact, Figures
from nilometer.counters.link import CONNECT_S, listens, places, unreadable
from nilometer.counters.target import Secret, Target
from nilometer.errors import to_install

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.counters.backend import Surroundings
    from nilometer.counters.figures import Number, Series

MEANING: Final = "MongoDB's operations, documents and scans (serverStatus)"

PORT: Final = 27017
SCHEMES: Final = {"mongodb": "mongodb", "mongodb+srv": "mongodb"}
VARIABLES: Final = ("MONGODB_URI", "MONGO_URL", "MONGODB_URL")

COMMANDS_MAX: Final = 500
"""Twice the commands that version 8 has."""

OFF: Final = ("repl", "locks", "wiredTiger", "tcmalloc", "globalLock", "sharding", "security")
"""Sections that are long, and hold nothing that is read here."""

SWITCHES: Final = ("tls", "tlsAllowInvalidHostnames", "directConnection")

CLIENT_OPTIONS: Final = (
    *("authSource", "authMechanism", "replicaSet", "tls", "tlsCAFile", "directConnection"),
    *("tlsCertificateKeyFile", "tlsAllowInvalidHostnames", "readPreference"),
)
"""Of pymongo's many options those that say how to get in."""

_OPERATION: Final = "{operation}"
_DOCUMENT: Final = "{document}"

FACTS: Final[Mapping[str, Fact]] = {
    **{
        f"opcounters.{one}": Fact(f"{one} operations", _OPERATION)
        for one in ("insert", "query", "update", "delete", "getmore", "command")
    },
    **{
        f"metrics.document.{one}": Fact(f"documents {one}", _DOCUMENT)
        for one in ("inserted", "returned", "updated", "deleted")
    },
    "metrics.queryExecutor.scanned": Fact("index entries that queries scanned", "{entry}"),
    "metrics.queryExecutor.scannedObjects": Fact("documents that queries scanned", _DOCUMENT),
    "metrics.queryExecutor.collectionScans.total": Fact("queries without an index", "{query}"),
    "metrics.queryExecutor.collectionScans.nonTailable": Fact(
        "of these, those that ended", "{query}"
    ),
    "metrics.operation.scanAndOrder": Fact("queries that sorted without an index", "{query}"),
    "metrics.operation.writeConflicts": Fact("writes that had to be tried again", _OPERATION),
    "metrics.cursor.totalOpened": Fact("cursors opened", "{cursor}"),
    "metrics.cursor.timedOut": Fact("cursors that nobody asked any more", "{cursor}"),
    "metrics.getLastError.wtime.num": Fact("writes that waited for replicas", _OPERATION),
    "metrics.ttl.deletedDocuments": Fact("documents whose time was over", _DOCUMENT),
    "transactions.totalStarted": Fact("transactions begun", "{transaction}"),
    "transactions.totalCommitted": Fact("transactions committed", "{transaction}"),
    "transactions.totalAborted": Fact("transactions rolled back", "{transaction}"),
    "connections.totalCreated": Fact("connections accepted", "{connection}"),
    "network.bytesIn": Fact("bytes that clients sent", "By"),
    "network.bytesOut": Fact("bytes that clients were sent", "By"),
    "network.numRequests": Fact("requests", "{request}"),
    "asserts.regular": Fact("errors of the server", "{error}"),
    "asserts.user": Fact("errors of requests, duplicate keys among them", "{error}"),
}

OF_COMMAND: Final[Mapping[str, Fact]] = {
    "total": Fact("calls of this command", "{call}"),
    "failed": Fact("calls of this command that failed", "{call}"),
}


def find(surroundings: Surroundings) -> Sequence[Target]:
    """What ``MONGODB_URI``, ``MONGO_URL`` or ``MONGODB_URL`` says, else the usual port here."""
    for variable in VARIABLES:
        if said := surroundings.environment.get(variable, ""):
            return [_said(said, variable)]
    if listens(PORT):
        return [Target("mongodb", "found on this machine", "127.0.0.1", PORT)]
    return []


def _said(said: str, variable: str) -> Target:
    """The target of a client's own URL; what only clients need is left out.

    It may name several hosts with commas between, which other URLs may not.
    """
    scheme, slashes, rest = said.partition("://")
    who, at, where = rest.rpartition("@")
    hosts, slash, path = where.partition("/")
    host, _, others = hosts.partition(",")
    first = f"{scheme}{slashes}{who}{at}{host}{slash}{path}"
    target = Target.parse(first, origin=variable, schemes=SCHEMES)
    ours = tuple(one for one in target.options if one[0] in CLIENT_OPTIONS)
    more = (("others", others),) if others else ()
    return target._replace(options=(*ours, *more))


def connect(target: Target) -> MongoDB:
    """A server: ``mongodb://user:password@host:27017/?authSource=admin&others=host:27017``."""
    for name in SWITCHES:  # pymongo warns of other words, and does as if nothing was said
        if (said := target.option(name, "true")) not in {"true", "false"}:
            target.refuse(f"{name}={said!r}; choose from true, false")
    return MongoDB(target.accepting((*CLIENT_OPTIONS, "others")))


def urls_of(target: Target) -> dict[str, Secret]:
    """The URLs to try as pymongo wants them, each asking the very server that it names, by what
    may be shown of them. Of a replica set pymongo itself finds the one to ask."""
    hosts = [place.shown for place in places(target, PORT)]
    if "replicaSet" in dict(target.options):
        return {hosts[0]: Secret(_url(target, ",".join(hosts)))}
    return {host: Secret(_url(target, host)) for host in hosts}


def _url(target: Target, hosts: str) -> str:
    options = dict(target.options)
    options.pop("others", None)
    service = target.scheme == "mongodb+srv"
    if not service and "replicaSet" not in options:
        options.setdefault("directConnection", "true")
    password = f":{quote(target.password, safe='')}" if target.password else ""
    who = f"{quote(target.user, safe='')}{password}@" if target.user else ""
    where = target.host if service else hosts
    scheme = target.scheme if service else "mongodb"
    return f"{scheme}://{who}{where}/?{urlencode(options)}"


class MongoDB:
    """Reads a server, the first that answers, by a client that stays connected."""

    name = "mongodb"
    settle_s = 0.0

    def __init__(self, target: Target) -> None:
        self._urls = urls_of(target)
        self.instance = next(iter(self._urls))
        self._client: Any = None
        self._facts: dict[str, Fact] = dict(FACTS)
        self.servers: tuple[tuple[str, str], ...] = ()

    def read(self) -> Figures:
        """All counters now. Raises BackendError."""
        try:
            from pymongo.errors import PyMongoError
        except ImportError as error:
            raise BackendError(
                f"mongodb at {self.instance}: pymongo is needed: {to_install('mongodb')}",
                slug="backend-needs-extra",
            ) from error
        try:
            admin = self._connected().admin
            hello = admin.command("hello")
            status = admin.command("serverStatus", **dict.fromkeys(OFF, 0))
        except PyMongoError as error:
            self.close()
            raise unreadable(self.name, self.instance, _told(error)) from error
        values, facts = counted(status)
        if not values:
            raise unreadable(self.name, self.instance, "its serverStatus counts nothing")
        self._facts |= facts
        process = process_of(hello)
        self.servers = ((self.name, process),) if process else ()
        return Figures(values, began(hello, status), str(status.get("version", "")))

    def _connected(self) -> Any:
        from pymongo.errors import ConnectionFailure

        if self._client is not None:
            return self._client
        *others, last = self._urls
        for host in others:
            self._client, self.instance = _client(self._urls[host]), host
            try:
                self._client.admin.command("hello")
            except ConnectionFailure:
                self.close()
                continue
            return self._client
        self._client, self.instance = _client(self._urls[last]), last
        return self._client

    def facts(self) -> Mapping[str, Fact]:
        """What is known of each counter; of commands, those that were ever read."""
        return self._facts

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.close()
        self._client = None


def _client(url: Secret) -> Any:
    from pymongo import MongoClient

    ms = int(CONNECT_S * 1000)
    return MongoClient(
        str.__str__(url),
        appname="nilometer",
        connectTimeoutMS=ms,
        serverSelectionTimeoutMS=ms,
        socketTimeoutMS=int(link.ANSWER_S * 1000),
    )


TOLD_CHARS_MAX: Final = 300


def _told(error: Exception) -> str:
    """The reason in an error of pymongo, without the state of all that it knows of."""
    said = str(error).partition(" (configured timeouts")[0].partition(", full error:")[0]
    if "requires authentication" in said or "not authorized" in said:
        said += "; this user needs the role clusterMonitor"
    return f"{type(error).__name__}: {said[:TOLD_CHARS_MAX]}"


def counted(status: Mapping[str, Any]) -> tuple[dict[Series, Number], dict[str, Fact]]:
    """The counters in a reply to ``serverStatus``, and what is known of the commands in it."""
    values: dict[Series, Number] = {}
    for name in FACTS:
        number = _at(status, name)
        if number is not None:
            values[name, ()] = number
    facts: dict[str, Fact] = {}
    commands = status.get("metrics", {})
    commands = commands.get("commands") if isinstance(commands, dict) else None
    for command in (
        sorted(commands, key=str)[:COMMANDS_MAX] if isinstance(commands, dict) else ()
    ):
        for figure, fact in OF_COMMAND.items():
            name = f"metrics.commands.{command}.{figure}"
            number = _at(commands, f"{command}.{figure}")
            if number is not None:
                values[name, ()] = number
                facts[name] = fact
    return values, facts


def _at(document: Any, path: str) -> Number | None:
    """The number at a dotted path, or None."""
    for key in path.split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(key)
    if isinstance(document, int) and not isinstance(document, bool):
        return int(document)  # pymongo's 64-bit integers are a class of their own
    return document if isinstance(document, float) else None


def began(hello: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """Which start of which server this is."""
    return process_of(hello) or f"{status.get('host', '')} pid {_at(status, 'pid')}"


def process_of(hello: Mapping[str, Any]) -> str:
    """What no other start of any server is called; empty before version 4.4, which had none."""
    topology = hello.get("topologyVersion")
    known = isinstance(topology, dict) and topology.get("processId")
    return f"process {known}" if known else ""
