"""RabbitMQ: every message, counted exactly by the broker itself, and exchanges where it tells.

The counts come from the endpoint for Prometheus; they are there at once, and outlive queues. A
node counts what goes through itself: each node of a cluster is a target of its own. What the
management API says of exchanges lags by seconds; ``api=no`` leaves it, and the waiting, out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer import clock
from nilometer.counters.backend import BackendError
from nilometer.counters.exchanges import Exchanged, Exchanges
from nilometer.counters.exposition import joined, parse
from nilometer.counters.figures import Fact, Figures
from nilometer.counters.http_get import Http
from nilometer.counters.link import (
    TLS_OPTIONS,
    Place,
    listens,
    place,
    tls_context,
    unreadable,
)
from nilometer.counters.parts import Kept, bounded
from nilometer.counters.rabbitmq_api import (
    API_PORT,
    API_VARIABLE,
    LAG_OPTIONS,
    NODE_COLUMNS,
    PROMETHEUS_PORT,
    SCOPE_OPTIONS,
    Api,
    Emissions,
    configured,
    lag_s,
    running,
    scopes_of,
)
from nilometer.counters.target import Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.counters.backend import Surroundings
    from nilometer.counters.exposition import Exposition
    from nilometer.counters.figures import Number, Series

MEANING: Final = "RabbitMQ's exact counts of messages (its Prometheus plugin), and exchanges"

_GLOBAL: Final = "rabbitmq_global_messages_"
_MESSAGE: Final = "{message}"

FACTS: Final[Mapping[str, Fact]] = {
    f"{_GLOBAL}received_total": Fact("messages from publishers", _MESSAGE, exact=True),
    f"{_GLOBAL}received_confirm_total": Fact(
        "messages whose publishers wanted a confirmation", _MESSAGE, exact=True
    ),
    f"{_GLOBAL}confirmed_total": Fact("messages confirmed", _MESSAGE, exact=True),
    f"{_GLOBAL}routed_total": Fact(
        "copies of messages that went into queues: a fan-out to three is three",
        _MESSAGE,
        exact=True,
    ),
    f"{_GLOBAL}unroutable_dropped_total": Fact(
        "messages that no queue wanted, dropped", _MESSAGE, exact=True
    ),
    f"{_GLOBAL}unroutable_returned_total": Fact(
        "messages that no queue wanted, returned", _MESSAGE, exact=True
    ),
    f"{_GLOBAL}delivered_total": Fact("messages given to consumers", _MESSAGE, exact=True),
    f"{_GLOBAL}delivered_consume_auto_ack_total": Fact(
        "of these, pushed and taken as acknowledged", _MESSAGE
    ),
    f"{_GLOBAL}delivered_consume_manual_ack_total": Fact(
        "of these, pushed and to be acknowledged", _MESSAGE, exact=True
    ),
    f"{_GLOBAL}delivered_get_auto_ack_total": Fact(
        "of these, fetched and taken as acknowledged", _MESSAGE
    ),
    f"{_GLOBAL}delivered_get_manual_ack_total": Fact(
        "of these, fetched and to be acknowledged", _MESSAGE
    ),
    f"{_GLOBAL}get_empty_total": Fact("fetches that found nothing", "{call}", exact=True),
    f"{_GLOBAL}redelivered_total": Fact("messages given again", _MESSAGE),
    f"{_GLOBAL}acknowledged_total": Fact("messages acknowledged", _MESSAGE, exact=True),
    f"{_GLOBAL}dead_lettered_confirmed_total": Fact("dead letters confirmed", _MESSAGE),
    f"{_GLOBAL}dead_lettered_delivery_limit_total": Fact(
        "dead letters: delivered too often", _MESSAGE
    ),
    f"{_GLOBAL}dead_lettered_expired_total": Fact("dead letters: too old", _MESSAGE),
    f"{_GLOBAL}dead_lettered_maxlen_total": Fact("dead letters: queue too long", _MESSAGE),
    f"{_GLOBAL}dead_lettered_rejected_total": Fact("dead letters: rejected", _MESSAGE),
    "rabbitmq_connections_opened_total": Fact("connections opened", "{connection}", exact=True),
    "rabbitmq_connections_closed_total": Fact("connections closed", "{connection}", exact=True),
    "rabbitmq_channels_opened_total": Fact("channels opened", "{channel}", exact=True),
    "rabbitmq_channels_closed_total": Fact("channels closed", "{channel}", exact=True),
    "rabbitmq_queues_declared_total": Fact(
        "declarations of queues, of those that were there too", "{call}", exact=True
    ),
    "rabbitmq_queues_created_total": Fact("queues that were made", "{queue}"),
    "rabbitmq_queues_deleted_total": Fact("queues that were deleted", "{queue}"),
    "exchange.publish_in": Fact(
        "messages into exchanges", _MESSAGE, exact=True, from_zero=True, lags=True
    ),
    "exchange.publish_out": Fact(
        "messages out of exchanges, by queue; those to no queue too",
        _MESSAGE,
        exact=True,
        from_zero=True,
        lags=True,
    ),
}

"""Exact: of 12 runs of one workload by four threads on 3.10.8, all moved these by the same."""

STARTED: Final = "process_start_time_seconds"
BUILD: Final = "rabbitmq_build_info"
IDENTITY: Final = "rabbitmq_identity_info"
READ: Final = (
    *(_GLOBAL, "rabbitmq_connections_", "rabbitmq_channels_", "rabbitmq_queues_"),
    *(STARTED, BUILD, IDENTITY),
)

HOW_TO_ENABLE: Final = "is its plugin on? rabbitmq-plugins enable rabbitmq_prometheus"


def find(surroundings: Surroundings) -> Sequence[Target]:
    """Beside the API that os-performance-tools' variables name, else on this machine."""
    api = configured(surroundings, "rabbitmq")
    if api is not None:
        where = f"{api.host}:{api.port}"
        options = tuple(sorted((*api.options, ("api", where))))
        return [api._replace(port=PROMETHEUS_PORT, options=options)]
    if listens(PROMETHEUS_PORT):
        return [Target("rabbitmq", "found on this machine", "127.0.0.1", PROMETHEUS_PORT)]
    return []


def connect(target: Target) -> RabbitMQ:
    """A node: ``rabbitmq://user:password@host:15692?api=host:15672``."""
    return RabbitMQ(target.accepting((*TLS_OPTIONS, *SCOPE_OPTIONS, *LAG_OPTIONS, "api")))


class RabbitMQ:
    """Reads a node by two connections that stay open, to either of its endpoints."""

    name = "rabbitmq"

    def __init__(self, target: Target) -> None:
        where = place(target, PROMETHEUS_PORT)
        self.instance = where.shown
        self._http = Http(
            where,
            lambda reason: unreadable(self.name, self.instance, reason),
            tls=tls_context(target),
            user=target.user,
            password=target.password,
        )
        self._api = _api_of(target, where)
        usual = Place(where.host, API_PORT).shown
        api = usual if self._api is None else self._api.instance
        # The queues count what goes through the same broker.
        self._queues = ("queues", api)
        self.servers: tuple[tuple[str, str], ...] = (self._queues,)
        self.guessed = target.origin == API_VARIABLE  # which names the API, and not this port
        self._must = bool(target.option("api")) and not self.guessed  # somebody named the API
        self._lag_s = lag_s(target)
        self.settle_s = 0.0 if self._api is None else self._lag_s
        self._exchanges = Exchanges(scopes_of(target))
        self._emissions = Emissions()
        self._complete_ns: int | None = None
        self._kept = Kept()

    def read(self) -> Figures:
        """All counts now. Raises BackendError."""
        try:
            body = self._http.get("/metrics", accept="text/plain;version=0.0.4")
        except BackendError as error:
            if isinstance(error.__cause__, ConnectionRefusedError):
                raise unreadable(
                    self.name, self.instance, f"nobody listens there; {HOW_TO_ENABLE}"
                ) from error
            raise
        shown = parse(joined(body.decode(errors="replace").splitlines(), READ))
        values, incarnation, version = counted(shown)
        if not any(name.startswith(_GLOBAL) for name, _ in values):
            raise unreadable(
                self.name,
                self.instance,
                f"no {_GLOBAL}* in its answer: RabbitMQ has them from 3.9 on",
            )
        if cluster := cluster_of(shown):
            node = (self.name, f"{cluster} {incarnation}")
            self.servers = (self._queues, ("queues", cluster), node)
        exchanged, unread = Exchanged({}, {}, ""), ""
        if self._api is not None:
            try:
                exchanged = self._exchanged(self._api)
            except BackendError as error:
                self.settle_s = 0.0  # nothing that lags is read
                unread = f"exchanges are not read: {error}"
        kept, left = bounded(values | exchanged.values, kept=self._kept)
        missing = [unread] if unread and not self._must else []
        return Figures(
            kept,
            incarnation,
            version,
            (*shown.faults, *exchanged.notes, *left, *missing),
            exchanged.incarnations,
            complete_ns=self._complete_ns,
            unseen=exchanged.unseen,
            unread=unread if self._must else "",
        )

    def _exchanged(self, api: Api) -> Exchanged:
        """What exchanges took and gave, having seen up to when. Raises BackendError."""
        asked_ns = clock.elapsed_ns()
        nodes = running(api.list("nodes", *NODE_COLUMNS))
        self._complete_ns = self._emissions.seen(nodes, asked_ns)
        found = self._exchanges.read(api)
        self.settle_s = self._lag_s
        return found

    def facts(self) -> Mapping[str, Fact]:
        """What is known of each counter."""
        return FACTS

    def close(self) -> None:
        """Hang up."""
        self._http.close()
        if self._api is not None:
            self._api.close()


def counted(shown: Exposition) -> tuple[dict[Series, Number], str, str]:
    """The counters in what a node shows, which start of it this is, and its version."""
    values: dict[Series, Number] = {}
    incarnation: list[str] = []
    version = ""
    for name, labels, value in shown.samples:
        if name == STARTED:
            incarnation.append(f"started {value}")
        elif name == IDENTITY:
            incarnation.append(dict(labels).get("rabbitmq_node", ""))
        elif name == BUILD:
            version = dict(labels).get("rabbitmq_version", "")
        elif name in FACTS:
            values[name, ()] = values.get((name, ()), 0) + value
            if labels:
                values[name, labels] = value
    return values, " ".join(sorted(incarnation)), version


def cluster_of(shown: Exposition) -> str:
    """The id that a cluster made up when it began; empty where it is not shown."""
    told = (dict(labels) for name, labels, _ in shown.samples if name == IDENTITY)
    return next((one.get("rabbitmq_cluster_permanent_id", "") for one in told), "")


def _api_of(target: Target, where: Place) -> Api | None:
    """The management API as the target says; on the same host by default."""
    said = target.option("api")
    if said == "no":
        return None
    host, _, port = said.rpartition(":") if said else (where.host, "", str(API_PORT))
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        target.refuse(f"api={said!r}; it is host:port, or no")
    return Api(Place(host.strip("[]"), int(port)), target, "rabbitmq")
