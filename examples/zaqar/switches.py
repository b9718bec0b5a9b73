"""Each switch of the `[profiler]` group takes away its own spans of a request, and no other.

The specification of Zaqar's tracing asked for a switch per store and for pooling. Zaqar's own
switches came otherwise, and its server does not start with only one of them on.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.cli.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from examples.zaqar.deployment import Deployment, Zaqar

Span = dict[str, Any]


def _database(system: str) -> Callable[[Span], bool]:
    return lambda span: bool(span["attributes"].get("db.system.name") == system)


def _named(prefix: str) -> Callable[[Span], bool]:
    return lambda span: bool(span["name"].startswith(prefix))


class Switch(NamedTuple):
    """What is switched off where, and which spans are its."""

    what: str
    written: str  # as it stands in Zaqar's file
    spans: Callable[[Span], bool]
    profiler: Mapping[str, object] = {}
    own: Mapping[str, object] = {}
    management: str = "sqlalchemy"


SWITCHES: Final = (
    Switch(
        "WSGI",
        "[profiler] trace_wsgi_transport = false",
        lambda span: bool(span["kind"] == "server"),
        {"trace_wsgi_transport": False},
    ),
    Switch(
        "pooling",
        "[profiler] trace_pooling = false",
        _named("pooling."),
        {"trace_pooling": False},
    ),
    Switch(
        "catalogue",
        "[nilometer] levels = pooling.catalogue=off",
        _named("pooling.catalogue."),
        own={"levels": "pooling.catalogue=off"},
    ),
    Switch(
        "Redis",
        "[profiler] trace_redis = false",
        _database("redis"),
        {"trace_redis": False},
    ),
    Switch(
        "SQLAlchemy",
        "[profiler] trace_sqlalchemy = false",
        _database("mysql"),
        {"trace_sqlalchemy": False},
    ),
    Switch(
        "MongoDB",
        "[profiler] trace_mongodb = false",
        _database("mongodb"),
        {"trace_mongodb": False},
        management="mongodb",
    ),
)


class Seen(NamedTuple):
    """The names of the spans of one request: with everything on, with a switch off."""

    switch: Switch
    on: Counter[str]
    off: Counter[str]
    its: Counter[str]

    @property
    def gone(self) -> Counter[str]:
        """What is not there any more."""
        return self.on - self.off

    @property
    def is_exact(self) -> bool:
        """Whether just its spans are gone, and there were some."""
        return bool(self.its) and self.off == self.on - self.its


def try_each(deployment: Deployment) -> list[Seen]:
    """The same request to a Zaqar for each switch, and to one with everything on."""
    switches = [s for s in SWITCHES if deployment.mongo or s.management != "mongodb"]
    with Processes(deployment.folder) as servers:
        on = {
            store: deployment.begin(
                servers, f"on-{store}", flags=deployment.traced(), management=store
            )
            for store in dict.fromkeys(switch.management for switch in switches)
        }
        off = [
            deployment.begin(
                servers,
                f"off-{switch.what.lower()}",
                flags=deployment.traced(),
                profiler=switch.profiler,
                own=switch.own,
                management=switch.management,
            )
            for switch in switches
        ]
        for zaqar in (*on.values(), *off):
            zaqar.process.wait_until_ready()
        whole = {}
        for store, zaqar in on.items():
            deployment.furnish(zaqar)
            whole[store] = _traced(deployment, zaqar)
        return [
            _seen(switch, whole[switch.management], _traced(deployment, zaqar))
            for switch, zaqar in zip(switches, off, strict=True)
        ]


def _traced(deployment: Deployment, zaqar: Zaqar) -> list[Span]:
    """The spans of a POST; not of the first, which brings Redis its script."""
    zaqar.post()
    trace_id, headers = deployment.trigger()
    zaqar.post(headers)
    return deployment.spans(trace_id)


def _seen(switch: Switch, on: Sequence[Span], off: Sequence[Span]) -> Seen:
    its = [span for span in on if switch.spans(span)]
    return Seen(switch, *(Counter(span["name"] for span in some) for some in (on, off, its)))
