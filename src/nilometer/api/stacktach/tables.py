"""The tables of `/stacky/...`: each a function of the reader and the request's parameters."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from nilometer.api.attempts import attempts, tracked
from nilometer.api.stacktach.asking import NS, Fault, Fields, is_uuid
from nilometer.api.stacktach.told import (
    SERVICES,
    Table,
    attempt_row,
    category_of,
    deployment_of,
    events_table,
    known_service,
    lasted,
    moment_of,
    number_of,
    service_of,
    shown,
    sort_of,
    when,
)
from nilometer.api.stacktach.usage import message_of
from nilometer.model.operations import ASKED, timings_of

if TYPE_CHECKING:
    from nilometer.model.happening import Happening
    from nilometer.store.query import Reader

NS_PER_MINUTE: Final = 60 * NS
NS_PER_DAY: Final = 86_400 * NS
LOOK_BACK_NS: Final = 7 * NS_PER_DAY
"""How far lists and timings look back if nothing is said; what is asked by an id has no end."""

WATCH_NS: Final = 2 * NS
WATCH_BEHIND_NS: Final = 5 * NS
"""So far behind the clock a watch stays: what was sent before then has been committed."""
WATCH_MAX: Final = 20_000

SHARES: Final = {"Med": 0.5, "95%": 0.95, "99%": 0.99}
REPORTS: Final = ["Id", "Start", "End", "Created", "Name", "Version"]

SEARCHED: Final = {
    "tenant": "project_id",
    "owner": "project_id",
    "state": "state",
    "status": "state",
    "old_state": "old_state",
    "task": "task",
    "old_task": "old_task",
    "publisher": "publisher",
    "event": "name",
    "service": "service",
    "host": "host",
    "instance": "resource_id",
    "uuid": "resource_id",
    "request_id": "request_id",
    "message_id": "id",
    "deployment": "deployment",
}
"""By StackTach's name of a field what it is called here."""


def deployments(reader: Reader, _fields: Fields, now_ns: int) -> Table:
    """Regions, or exchanges, that notifications came from; numbered by name."""
    return [["#", "Name"], *([n, name] for n, name in enumerate(_known(reader, now_ns), 1))]


def _known(reader: Reader, now_ns: int) -> list[str]:
    return _known_in(reader, now_ns // NS_PER_MINUTE)


@lru_cache(maxsize=1)
def _known_in(reader: Reader, minute: int) -> list[str]:
    """The deployments; `stacky watch` asks every two seconds, and days are looked through."""
    counts = reader.notice_counts(since_ns=minute * NS_PER_MINUTE - LOOK_BACK_NS)
    return sorted({one.deployment for one in counts})


def events(reader: Reader, fields: Fields, now_ns: int) -> Table:
    """The names of events."""
    service = fields.text("service") or "all"
    if service != "all":
        known_service(service)
    counts = reader.notice_counts(since_ns=now_ns - LOOK_BACK_NS)
    names = {one.name for one in counts if service in ("all", service_of(one.name))}
    return [["Event Name"], *([name] for name in sorted(names))]


def hosts(reader: Reader, fields: Fields, now_ns: int) -> Table:
    """The names of hosts."""
    service = fields.text("service")
    if service is not None:
        known_service(service)
    counts = reader.notice_counts(since_ns=now_ns - LOOK_BACK_NS)
    names = {one.host for one in counts if service in (None, service_of(one.name))}
    return [["Host Name"], *([name] for name in sorted(names))]


def of_uuid(reader: Reader, fields: Fields, _now_ns: int) -> Table:
    """The events of one resource, oldest first; of one service if that is asked for."""
    return _events(reader, fields, resource_id=_resource(reader, fields))


def _resource(reader: Reader, fields: Fields) -> str:
    """The resource that is asked for; its UUID may be in capitals and without hyphens, but for
    one that is told so itself."""
    given = fields.uuid("uuid")
    usual = str(UUID(given))
    is_as_told = given == usual or reader.notices(resource_id=given, limit=1)
    return given if is_as_told else usual


def of_request(reader: Reader, fields: Fields, _now_ns: int) -> Table:
    """The events of one request, oldest first."""
    request_id = fields.needed("request_id")
    if not request_id.startswith("req-"):
        raise Fault(400, f"{request_id[:100]} is not request-id-like")
    return _events(reader, fields, request_id=request_id)


def search(reader: Reader, fields: Fields, now_ns: int) -> Table:
    """The events with that value in that field, latest first."""
    field, value = fields.needed("field"), fields.text("value") or ""
    if field == "deployment_id":
        number, known = value, _known(reader, now_ns)
        field = "deployment"
        value = known[int(number) - 1] if number in map(str, range(1, len(known) + 1)) else ""
    if field in ("id", "#"):
        return events_table(_numbered(reader, value), fields.text("service") or "nova")
    if field not in SEARCHED:
        raise Fault(
            400,
            f"The requested field {field[:100]!r} does not exist for this object.\n"
            "Note: The field names of database are case-sensitive.",
        )
    return _events(reader, fields, newest=True, **{SEARCHED[field]: value})


def _events(reader: Reader, fields: Fields, *, newest: bool = False, **asked: Any) -> Table:
    service = fields.text("service")
    since, until = fields.between()
    found = reader.notices(
        since_ns=since,
        until_ns=until,
        newest=newest,
        limit=fields.limit(),
        offset=fields.offset(),
        **asked,
        **(SERVICES[known_service(service)] if service else {}),
    )
    return events_table(found, service or "nova")


def _numbered(reader: Reader, number: str) -> list[Happening]:
    if not (number.isascii() and number.isdecimal() and len(number) < 20):
        raise Fault(400, f"{number[:100]} is no number of an event")
    since, until = moment_of(int(number))
    found = reader.notices(since_ns=since, until_ns=until, newest=False, limit=100)
    return [one for one in found if number_of(one.at_ns, one.id) == int(number)]


def timings(reader: Reader, fields: Fields, now_ns: int) -> Table:
    """How long each go at an operation took, the shortest first."""
    name = fields.needed("name")
    since, until = _ended(fields, now_ns)
    found = [
        (took, one.either.resource_id)
        for one in attempts(reader, since, until, f"{name}.", cut=True)
        if one.operation == name and (took := one.duration_ns) is not None
    ]
    first = fields.offset()
    rows = sorted(found)[first : first + fields.limit()]
    return [[name, "Time"], *([resource_id, lasted(took)] for took, resource_id in rows)]


def of_uuid_timings(reader: Reader, fields: Fields, _now_ns: int) -> Table:
    """Each go at an operation on one resource."""
    found = attempts(reader, None, None, resource_id=_resource(reader, fields))
    return [["?", "Event", "Time (secs)"], *(attempt_row(one) for one in found)]


def summary(reader: Reader, fields: Fields, now_ns: int) -> Table:
    """The operations with their times; of all that ended, not of the first fifty."""
    since, until = _ended(fields, now_ns)
    found = timings_of(attempts(reader, since, until, cut=True), tuple(SHARES.values()))
    rows = [
        [
            one.operation,
            one.completed,
            *map(lasted, (one.minimum_ns or 0, one.maximum_ns or 0, one.average_ns or 0)),
            *(lasted(value or 0) for value in one.quantiles),
        ]
        for one in found
        if one.completed
    ]
    first = fields.offset()
    return [
        ["Event", "N", "Min", "Max", "Avg", *SHARES],
        *rows[first : first + fields.limit(len(rows))],
    ]


def _ended(fields: Fields, now_ns: int) -> tuple[int, int]:
    since, until = fields.between("end_when_min", "end_when_max")
    return (now_ns - LOOK_BACK_NS if since is None else since), until


def kpi(reader: Reader, _fields: Fields, now_ns: int, tenant: str | None = None) -> Table:
    """Requests of the last day that nova's API was asked for, with their times to the last end,
    the shortest first."""
    since = now_ns - NS_PER_DAY
    if tenant is not None and not reader.notices(project_id=tenant, limit=1):
        raise Fault(404, f"Could not find raws for tenant {tenant[:100]}")
    found = [
        (one, took)
        for one in tracked(reader, since, None, cut=True)
        if one.since is not None and (took := one.duration_ns) is not None
        if one.since.name in ASKED and "api" in one.since.service and not one.failed
        if tenant in (None, one.last.project_id)
    ]
    return [
        ["Event", "Time", "UUID", "Deployment"],
        *(
            [
                one.operation,
                lasted(took),
                one.last.resource_id,
                deployment_of(one.last),
            ]
            for one, took in found
        ),
    ]


def show(reader: Reader, fields: Fields, _now_ns: int, number: str) -> Table:
    """One event: what it tells, the message itself, and its resource."""
    found = _numbered(reader, number)
    if not found:
        raise Fault(404, f"no event {number}")
    one = found[0]
    since, until = moment_of(int(number))
    bodies = reader.notice_bodies([one.name], since_ns=since, until_ns=until)
    told = next((message_of(each) for each in bodies if each.id == one.id), {})
    text = json.dumps([category_of(one), told], indent=2)
    # `stacky` asks for the resource's other events, where it is told one; of a UUID only.
    resource = one.resource_id if is_uuid(one.resource_id) else None
    return [shown(one, fields.text("service") or service_of(one.name)), text, resource]  # type: ignore[list-item]  # no table, as StackTach has it


def watch(reader: Reader, fields: Fields, now_ns: int, deployment: str) -> list[Any]:
    """The widths of columns, events since the last watch, and from when to go on."""
    behind_ns = now_ns - WATCH_BEHIND_NS
    until_ns = behind_ns - behind_ns % NS
    given = fields.when("since")
    since_ns = until_ns - WATCH_NS if given is None else given
    asked: dict[str, Any] = {"name": fields.text("event_name")}
    if (service := fields.text("service")) is not None:
        asked |= SERVICES[known_service(service)]
    if deployment not in ("0", "all"):
        known = _known(reader, now_ns)
        place = int(deployment) if deployment.isdecimal() and len(deployment) < 9 else 0
        asked["deployment"] = known[place - 1] if 0 < place <= len(known) else ""
    found = reader.notices(
        since_ns=since_ns + 1,
        until_ns=until_ns + 1,
        newest=False,
        limit=WATCH_MAX,
        **asked,
    )
    last_ns = found[-1].at_ns if len(found) == WATCH_MAX else max(since_ns, until_ns)
    whole, rest = divmod(last_ns, NS)
    width = max((len(one.name) for one in found), default=len("Event"))
    return [
        [16, 1, 15, 20, width, 36],
        [_watched(one) for one in found],
        f"{whole}.{rest:09d}" if rest else str(whole),
    ]


def _watched(one: Happening) -> list[Any]:
    day, _, time = when(one.at_ns).partition(" ")
    number = number_of(one.at_ns, one.id)
    told = (deployment_of(one), one.name, one.resource_id or "-")
    return [number, sort_of(one), day, time, *told]


def reports(_reader: Reader, _fields: Fields, _now_ns: int) -> Table:
    """Reports that StackTach's own jobs kept in its database: there are none."""
    return [REPORTS]


def report(_reader: Reader, _fields: Fields, _now_ns: int, number: str) -> Table:
    """One of them."""
    raise Fault(404, f"no report {number[:20]}: Nilometer keeps none, ask for /stacky/summary/")
