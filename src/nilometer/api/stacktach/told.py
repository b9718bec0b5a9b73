"""Notifications in StackTach's words: numbers, times, deployments, services and rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from nilometer.api.stacktach.asking import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nilometer.model.happening import Happening
    from nilometer.model.operations import Attempt

Table = list[list[Any]]

US: Final = 1000  # nanoseconds
SLOTS: Final = 4
"""Numbers for each microsecond: with more of them JavaScript would round the numbers."""

GLANCE: Final = ("image", "image_member", "metadef_namespace", "metadef_object", "task")
GENERIC: Final = (
    *("network", "subnet", "port", "router", "floatingip", "security_group"),
    *("security_group_rule", "subnetpool", "address_scope", "firewall", "loadbalancer"),
    *("agent", "dhcp_agent", "l3_agent", "trunk", "volume", "volume_type", "snapshot"),
    *("backup", "group", "consistencygroup", "identity", "orchestration", "dns", "database"),
    *("baremetal", "objectstore", "alarm", "share"),
)
"""First words of what is neither nova's nor glance's; nova's own are any others: it sends the
names of its functions, too."""

SERVICES: Final = {
    "nova": {"other_words": [*GLANCE, *GENERIC]},
    "glance": {"first_words": list(GLANCE)},
    "generic": {"first_words": list(GENERIC)},
}
TITLES: Final = {
    "nova": ["#", "?", "When", "Deployment", "Event", "Host", "State", "State'", "Task'"],
    "glance": ["#", "?", "When", "Deployment", "Event", "Host", "Status"],
    "generic": ["#", "?", "When", "Deployment", "Event", "Host", "Instance", "Request id"],
}


def service_of(name: str) -> str:
    """Whose notification has that name, of the three that StackTach knows.

    >>> service_of("attach_volume"), service_of("image.upload"), service_of("port.create.end")
    ('nova', 'glance', 'generic')
    """
    word = name.partition(".")[0]
    return "glance" if word in GLANCE else "generic" if word in GENERIC else "nova"


def known_service(service: str) -> str:
    """The service, if it is one of the three."""
    if service not in SERVICES:
        raise Fault(400, f"Invalid service; choose of {', '.join(SERVICES)}")
    return service


def number_of(at_ns: int, identity: str) -> int:
    """The number of a notification: its microsecond, and two bits of its id's digest.

    >>> number_of(1_795_000_000_000_001_000, "a") // SLOTS
    1795000000000001
    """
    return at_ns // US * SLOTS + crc32(identity.encode()) % SLOTS


def moment_of(number: int) -> tuple[int, int]:
    """Between which nanoseconds the notification of that number lies."""
    at_ns = number // SLOTS * US
    if at_ns >= 2**63 - US:
        raise Fault(404, f"no event {number}")
    return at_ns, at_ns + US


def deployment_of(one: Happening) -> str:
    """What stands for StackTach's deployment: the region, or the exchange."""
    return one.region or one.exchange or "openstack"


def sort_of(one: Happening) -> str:
    """`E` for what came by a queue of errors."""
    return "E" if one.priority == "ERROR" else " "


def when(at_ns: int) -> str:
    """A moment in UTC, to the microsecond.

    >>> when(1_389_892_207_000_001_000)
    '2014-01-16 17:10:07.000001'
    """
    seconds, rest = divmod(max(0, at_ns), 10**9)
    told = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{told}.{rest // US:06d}"


def lasted(ns: float) -> str:
    """A duration: days, and hours, minutes and seconds to the hundredth.

    >>> lasted(55_500_000_000), lasted(90_061_999_000_000)
    ('0d 00:00:55.50', '1d 01:01:01.99')
    """
    hundredths = int(ns) // 10**7
    seconds, rest = divmod(hundredths, 100)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d {hours:02d}:{minutes:02d}:{seconds:02d}.{rest:02d}"


def events_table(found: Iterable[Happening], service: str = "nova") -> Table:
    """The events as a table of that service's."""
    return [TITLES[service], *(_row(one, service) for one in found)]


def _row(one: Happening, service: str) -> list[Any]:
    number = number_of(one.at_ns, one.id)
    row = [number, sort_of(one), when(one.at_ns), deployment_of(one), one.name, one.host]
    if service == "glance":
        return [*row, one.state]
    if service == "generic":
        return [*row, one.resource_id, one.request_id]
    return [*row, one.state, one.old_state, one.old_task]


def shown(one: Happening, service: str) -> Table:
    """One event, a line for each thing that it tells."""
    return [
        ["Key", "Value"],
        ["#", number_of(one.at_ns, one.id)],
        ["When", when(one.at_ns)],
        ["Deployment", deployment_of(one)],
        ["Category", category_of(one)],
        ["Publisher", one.publisher],
        ["Status" if service == "glance" else "State", one.state],
        ["Event", one.name],
        ["Service", one.service],
        ["Host", one.host],
        ["UUID", one.resource_id],
        ["Req ID", one.request_id],
    ]


def category_of(one: Happening) -> str:
    """The routing key by which it came."""
    return f"{one.topic or 'notifications'}.{one.priority.lower() or 'info'}"


def attempt_row(one: Attempt) -> list[Any]:
    """`.` and the time of a pair, `S` of a start and `E` of an end alone."""
    took = one.duration_ns
    if took is not None:
        return [".", one.operation, lasted(took)]
    return ["S" if one.start else "E", one.operation, "n/a"]
