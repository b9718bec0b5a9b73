"""Print docs/counter-tables.md: what is known of each counter, from the backends' files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nilometer.counters import (
    kafka,
    linux,
    memcached,
    mongodb,
    queues,
    rabbitmq,
    redis,
    systemd,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.counters.figures import Fact

HEAD = """\
# Counters, one by one

What each backend's file says of its counters. This page is made from the source (`make docs`),
and a test compares them. *exact* says how a counter proved itself under a fixed workload: yes,
it moved by the same number each time; no, it did not; empty, nobody has measured.
[Counters](counters.md) says where the backends are and what they need.
"""

TABLES: dict[str, Mapping[str, Fact]] = {
    "rabbitmq": rabbitmq.FACTS,
    "queues": {
        **{f"<scope>_{figure}": fact for figure, fact in queues.OF_SCOPE.items()},
        **queues.CHURN,
    },
    "redis": {
        **redis.FACTS,
        **{f"cmdstat_<command>.{figure}": fact for figure, fact in redis.OF_COMMAND.items()},
        "errorstat_<error>.count": redis.OF_ERROR,
    },
    "memcached": memcached.FACTS,
    "mongodb": {
        **mongodb.FACTS,
        **{
            f"metrics.commands.<command>.{figure}": fact
            for figure, fact in mongodb.OF_COMMAND.items()
        },
    },
    "kafka": kafka.FACTS,
    "linux, of processes": linux.OF_PROCESSES,
    "linux, of a control group": linux.OF_CGROUPS,
    "linux, of the machine": linux.OF_MACHINES,
    "systemd": systemd.FACTS,
}

EXACT = {True: "yes", False: "no", None: ""}


def main() -> None:
    """Print the page."""
    sys.stdout.write(HEAD)
    for backend, facts in TABLES.items():
        print(f"\n## {backend}\n")
        print("| counter | kind | unit | exact | what it counts |\n|---|---|---|---|---|")
        for name, fact in facts.items():
            kind, exact = fact.kind.name.lower(), EXACT[fact.exact]
            print(f"| `{name}` | {kind} | `{fact.unit}` | {exact} | {fact.meaning} |")


if __name__ == "__main__":
    main()
