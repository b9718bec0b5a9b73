"""RabbitMQ's queues: messages published, delivered and acknowledged, by the scope of queues.

`reply_<hex>` is of scope reply, `<topic>_fanout_<hex>` of scope topic_fanout; figures are
summed over the queues of a scope, in all virtual hosts, and named as ``os-collect-counters``
names them. The management API gives them: they lag by seconds and die with their queue. How far
a scope moved between two reads is unknown if it lost a queue in between, and how far any did if
a queue was deleted that neither had seen; the exact counts of all messages together are those
of the backend rabbitmq.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer import clock
from nilometer.counters.backend import BackendError
from nilometer.counters.figures import Fact, Figures
from nilometer.counters.link import TLS_OPTIONS, listens, place, unreadable
from nilometer.counters.members import Members
from nilometer.counters.rabbitmq_api import (
    API_PORT,
    LAG_OPTIONS,
    NODE_COLUMNS,
    SCOPE_OPTIONS,
    Api,
    Emissions,
    configured,
    figures_of,
    lag_s,
    running,
    scopes_of,
)
from nilometer.counters.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nilometer.counters.backend import Surroundings
    from nilometer.counters.figures import Number, Series

MEANING: Final = (
    "RabbitMQ's messages by the scope that its queues' names imply (management API)"
)

FIGURES: Final = {"publish": "publish", "deliver_get": "deliver", "ack": "ack"}
"""What the API calls it, and what stands behind the scope in the counter's name."""

OF_SCOPE: Final = {
    "publish": Fact(
        "messages that came into queues of this scope",
        "{message}",
        exact=True,
        from_zero=True,
        lags=True,
    ),
    "deliver": Fact(
        "messages that consumers got from queues of this scope, by whatever method, again too",
        "{message}",
        exact=True,
        from_zero=True,
        lags=True,
    ),
    "ack": Fact(
        "messages that consumers acknowledged",
        "{message}",
        exact=True,
        from_zero=True,
        lags=True,
    ),
}

CHURN: Final = {
    "queue_declared": Fact(
        "declarations of queues, of those that were there too", "{call}", lags=True
    ),
    "queue_created": Fact("queues that were made", "{queue}", lags=True),
    "queue_deleted": Fact(
        "queues that were deleted, with all that they had counted", "{queue}", lags=True
    ),
}

SCOPES_MAX: Final = 1000
"""A large OpenStack has some hundred; more of them are names with something random in them."""

MANY: Final = "overflow"


def find(surroundings: Surroundings) -> Sequence[Target]:
    """Where the variables of os-performance-tools say, else this machine's usual port."""
    target = configured(surroundings, "queues")
    if target is not None:
        return [target]
    if listens(API_PORT):
        return [Target("queues", "found on this machine", "127.0.0.1", API_PORT)]
    return []


def connect(target: Target) -> Queues:
    """The queues of a broker: ``queues://user:password@host:15672?scopes=tenant-*=tenant``."""
    return Queues(target.accepting((*TLS_OPTIONS, *SCOPE_OPTIONS, *LAG_OPTIONS)))


class Queues:
    """Reads queues over one connection, remembering what each showed at the last read."""

    name = "queues"

    def __init__(self, target: Target) -> None:
        self.settle_s = lag_s(target)
        where = place(target, API_PORT)
        self.instance = where.shown
        self._api = Api(where, target, self.name)
        self._scopes = scopes_of(target)
        self._members = Members()
        self._shown: set[str] = set()
        self._many = False
        self._facts: dict[str, Fact] = dict(CHURN)
        self._emissions = Emissions()
        self._deleted: int | None = None
        self._start: str | None = None
        self.servers: tuple[tuple[str, str], ...] = ()

    def read(self) -> Figures:
        """All queues now. Raises BackendError."""
        notes: list[str] = []
        asked_ns = clock.elapsed_ns()
        nodes = self._nodes(notes)  # first: whatever they show has come is in what follows
        overview = self._api.overview()
        queues = self._api.list(
            "queues", "name", "vhost", *(f"message_stats.{key}" for key in FIGURES)
        )
        if overview.get("disable_stats"):
            notes.append(
                "this broker keeps no statistics: set management.disable_stats = false"
            )
        incarnation = self._started(nodes, disabled=overview.get("disable_stats"))
        self._identified(incarnation)
        sums, lost = self._members.read(self._told(queues))
        values, incarnations = self._summed(sums, lost, notes)
        churn = _churn(overview)
        unseen = self._unseen(churn, sum(lost.values()))
        notes += [unseen] * bool(unseen)
        values |= churn
        version = str(overview.get("rabbitmq_version", ""))
        return Figures(
            values,
            incarnation,
            version,
            tuple(notes),
            incarnations,
            whole=True,
            complete_ns=self._emissions.seen(nodes, asked_ns),
            unseen=unseen,
        )

    def _unseen(self, churn: Mapping[Series, Number], lost: int) -> str:
        """What was deleted since the first read beyond the queues that were seen and lost."""
        deleted = churn.get(("queue_deleted", ()))
        if deleted is None:
            return ""
        if self._deleted is None:
            self._deleted = int(deleted)
        number = int(deleted) - self._deleted - lost
        what = "1 queue" if number == 1 else f"{number} queues"
        return f"{what} of unknown scope made and deleted between two reads" * (number > 0)

    def _told(
        self, queues: list[dict[str, Any]]
    ) -> list[tuple[tuple[str, str], str, dict[str, int]]]:
        return [
            ((str(queue.get("vhost")), name), self._scopes.of(name), figures_of(queue, FIGURES))
            for queue in queues
            if isinstance(name := queue.get("name"), str) and name
        ]

    def _summed(
        self, sums: dict[str, dict[str, int]], lost: dict[str, int], notes: list[str]
    ) -> tuple[dict[Series, Number], dict[Series, str]]:
        values: dict[Series, Number] = {}
        incarnations: dict[Series, str] = {}
        beyond = self._beyond(sums)
        if beyond:
            notes.append(f"{len(beyond)} scopes beyond {SCOPES_MAX} are summed as {MANY!r}")
        for scope, figures in sums.items():
            shown = MANY if scope in beyond else scope
            for figure in figures if scope not in lost else OF_SCOPE:
                series = (f"{shown}_{figure}", ())
                self._facts[series[0]] = OF_SCOPE[figure]
                values[series] = values.get(series, 0) + figures.get(figure, 0)
                if scope in lost:
                    incarnations[series] = _deleted(lost[scope])
        notes += [f"scope {scope!r}: {_deleted(number)}" for scope, number in lost.items()]
        return values, incarnations

    def _beyond(self, sums: Iterable[str]) -> set[str]:
        """The scopes that are summed as one; what was shown by itself once stays so."""
        if not self._many:
            shown = [scope for scope in sums if scope in self._shown]
            fresh = sorted(scope for scope in sums if scope not in self._shown)
            self._shown.update((shown + fresh)[:SCOPES_MAX])
        beyond = {scope for scope in sums if scope not in self._shown}
        self._many = self._many or bool(beyond)  # what went is there no more to make room
        return beyond

    def _nodes(self, notes: list[str]) -> list[Mapping[str, Any]]:
        """The nodes that run; a note if the broker does not tell."""
        try:
            return running(self._api.list("nodes", *NODE_COLUMNS))
        except BackendError as error:
            notes.append(f"a restart would not be recognised: {error}")
            return []

    def _started(self, nodes: Iterable[Mapping[str, Any]], *, disabled: object) -> str:
        """Which start of which nodes this is. Raises BackendError."""
        if disabled is not True and not all(node.get("os_pid") for node in nodes):
            raise unreadable(
                self.name,
                self.instance,
                "it has just begun, and has no statistics for seconds yet",
            )
        return ", ".join(sorted(f"{node.get('name')} {node.get('os_pid')}" for node in nodes))

    def _identified(self, start: str) -> None:
        """Ask which cluster it is, once for each start of it: that takes another request."""
        if start != self._start:
            cluster = self._api.cluster()
            self.servers = ((self.name, cluster),) if cluster else ()
            self._start = start

    def facts(self) -> Mapping[str, Fact]:
        """What is known of each counter; of scopes, those that were ever read."""
        return self._facts

    def close(self) -> None:
        """Hang up."""
        self._api.close()


def _churn(overview: dict[str, Any]) -> dict[Series, Number]:
    rates = overview.get("churn_rates")
    if not isinstance(rates, dict):
        return {}
    return {(name, ()): rates[name] for name in CHURN if isinstance(rates.get(name), int)}


def _deleted(number: int) -> str:
    what = "1 queue" if number == 1 else f"{number} queues"
    return f"{what} of it deleted, or emptied of figures, since the first read"
