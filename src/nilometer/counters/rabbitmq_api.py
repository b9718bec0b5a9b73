"""RabbitMQ's management API: where it is, and what it says of queues, exchanges and nodes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from nilometer.counters.backend import BackendError
from nilometer.counters.http_get import Http
from nilometer.counters.link import Place, tls_context, unreadable
from nilometer.counters.scopes import rules, rules_file
from nilometer.counters.target import Secret, Target
from nilometer.model.scopes import Scopes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nilometer.counters.backend import Surroundings

API_PORT: Final = 15672
PROMETHEUS_PORT: Final = 15692
CLUSTER: Final = "internal_cluster_id"
LAG_S: Final = 6.0
"""The broker collects every 5 s unless told otherwise, and may answer from a cache for 1 s. How
long it takes in fact is seen by `Emissions`; this is for a broker that does not show it."""

API_VARIABLE: Final = "OS_QA_RABBITMQ_API"
SCOPE_OPTIONS: Final = ("scopes", "scopes_file")
LAG_OPTIONS: Final = ("settle_s",)
LAG_S_MAX: Final = 300.0  # a broker that collects once a minute, five times over

GUEST: Final = "guest"  # what a broker's own user and password are, on its own machine only


class Api:
    """The management API at one place; `name` and `instance` are for errors."""

    def __init__(self, where: Place, target: Target, name: str) -> None:
        self.instance = where.shown
        self.name = name
        self._http = Http(
            where,
            lambda reason: unreadable(name, where.shown, reason),
            tls=tls_context(target),
            user=target.user or GUEST,
            password=target.password or (GUEST if not target.user else ""),
        )

    def list(self, what: str, *columns: str) -> list[dict[str, Any]]:
        """All objects of a kind, with these columns. Raises BackendError."""
        found = self._json(f"/api/{what}?columns={','.join(columns)}")
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise unreadable(self.name, self.instance, f"/api/{what} is not a list of objects")
        return found

    def overview(self) -> dict[str, Any]:
        """What the broker says of itself. Raises BackendError."""
        columns = "rabbitmq_version,churn_rates,disable_stats,statistics_db_event_queue"
        found = self._json(f"/api/overview?columns={columns}")
        if not isinstance(found, dict):
            raise unreadable(self.name, self.instance, "/api/overview is not an object")
        return found

    def cluster(self) -> str:
        """The id that the cluster made up when it began; empty where we may not see it."""
        try:
            found = self._json(f"/api/global-parameters/{CLUSTER}")
        except BackendError:
            return ""
        value = found.get("value") if isinstance(found, dict) else None
        return value if isinstance(value, str) else ""

    def _json(self, path: str) -> object:
        body = self._http.get(path, accept="application/json")
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            said = body[:60].decode(errors="replace")
            raise unreadable(
                self.name, self.instance, f"GET {path}: not JSON but {said!r}"
            ) from error

    def close(self) -> None:
        """Hang up."""
        self._http.close()


class Emissions:
    """Up to when the broker has counted, told by the uptimes of its nodes.

    A node's collectors work once an interval, each at a moment of its own, and one of them
    takes the uptime down. From one change of it to the next all the others have worked, too: so
    what had happened before the first of the two is in all figures that are read after the
    second.
    """

    def __init__(self) -> None:
        self._asked_ns = 0
        self._shown: dict[str, object] = {}
        self._changed_ns: dict[str, int] = {}
        self._complete_ns: dict[str, int] = {}

    def seen(self, nodes: Iterable[Mapping[str, Any]], asked_ns: int) -> int | None:
        """Up to when figures are complete that are read after these nodes, for which the broker
        was asked at `asked_ns`; 0 before that is known, None where nothing shows it."""
        shown = {str(node.get("name")): node.get("uptime") for node in nodes}
        for name, uptime in shown.items():
            if name in self._shown and uptime != self._shown[name]:
                self._complete_ns[name] = self._changed_ns.get(name, 0)
                self._changed_ns[name] = self._asked_ns  # when it was not to be seen yet
        self._shown, self._asked_ns = shown, asked_ns
        if not shown or None in shown.values():
            return None
        return min(self._complete_ns.get(name, 0) for name in shown)


def running(nodes: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The nodes that run, as far as they say."""
    return [node for node in nodes if node.get("running", True)]


NODE_COLUMNS: Final = ("name", "os_pid", "running", "uptime")


def figures_of(one: dict[str, Any], wanted: dict[str, str]) -> dict[str, int]:
    """The whole numbers in an object's ``message_stats``, under the names they get here."""
    stats = one.get("message_stats")
    if not isinstance(stats, dict):
        return {}
    return {
        name: stats[key]
        for key, name in wanted.items()
        if isinstance(stats.get(key), int) and not isinstance(stats[key], bool)
    }


def lag_s(target: Target) -> float:
    """By how much the broker's figures lag: ``settle_s`` where it is known to collect at other
    times than each 5 s (``management.sample_retention_policies``). Raises ConfigError."""
    said = target.option("settle_s", str(LAG_S))
    try:
        seconds = float(said)
    except ValueError:
        target.refuse(f"settle_s={said!r} is not a number")
    if not 0 < seconds <= LAG_S_MAX:
        target.refuse(f"settle_s={said}; from above 0 to {LAG_S_MAX:g}")
    return seconds


def scopes_of(target: Target) -> Scopes:
    """The scopes as a target's options configure them. Raises ConfigError."""
    from socket import gethostname

    own = gethostname()
    found = rules(target.option("scopes"), origin=f"{target.origin}: {target.shown}: scopes")
    if file := target.option("scopes_file"):
        found += rules_file(file, origin=f"{target.origin}: {target.shown}")
    return Scopes(found, hosts=[own, own.partition(".")[0]])


def configured(surroundings: Surroundings, backend: str) -> Target | None:
    """Where the variables of os-performance-tools say the API is; None if they do not."""
    env = surroundings.environment
    said = env.get(API_VARIABLE, "")
    user, password = env.get("OS_QA_RABBITMQ_USER", ""), env.get("OS_QA_RABBITMQ_PASS", "")
    if not (said or user or password):
        return None
    url = said if "://" in said else f"http://{said}"
    target = Target.parse(url, origin=API_VARIABLE, schemes={"http": backend, "https": backend})
    who = (user, Secret(password)) if user or password else (target.user, target.password)
    return Target(
        backend,
        API_VARIABLE,
        target.host or "127.0.0.1",
        target.port or API_PORT,
        *who,
        options=(("tls", "yes"),) if target.scheme == "https" else (),
    )
