"""Usage as `/db/...` and `/stacky/usage/...` tell it: what the messages themselves say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.api.stacktach.asking import Fault, Fields
from nilometer.api.stacktach.told import known_service, number_of, service_of, when

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nilometer.api.stacktach.told import Table
    from nilometer.store.notices import Body
    from nilometer.store.query import Reader

    Record = dict[str, Any]

BODIES_MAX: Final = 10_000
"""Messages that are looked through, the latest: of some 3 kB each 30 MB."""

STATS_NS_MAX: Final = 7 * 86_400 * 10**9


class Kind(NamedTuple):
    """What is listed under one path: of which notifications, and what they say."""

    names: tuple[str, ...]
    many: str
    one: str
    record: Callable[[Body, Mapping[str, Any], Mapping[str, Any]], Record]


def _launch(body: Body, message: Mapping[str, Any], payload: Mapping[str, Any]) -> Record:
    image = payload.get("image_meta")
    image = image if isinstance(image, dict) else {}
    return {
        "id": number_of(body.at_ns, body.id),
        "instance": payload.get("instance_id") or payload.get("uuid"),
        "launched_at": _date(payload.get("launched_at")),
        "request_id": message.get("_context_request_id"),
        "instance_type_id": _text(payload.get("instance_type_id")),
        "instance_flavor_id": _text(payload.get("instance_flavor_id")),
        "tenant": payload.get("tenant_id"),
        "os_architecture": image.get("org.openstack__1__architecture"),
        "os_distro": image.get("org.openstack__1__os_distro"),
        "os_version": image.get("org.openstack__1__os_version"),
        "rax_options": image.get("com.rackspace__1__options"),
    }


def _delete(body: Body, _message: Mapping[str, Any], payload: Mapping[str, Any]) -> Record:
    number = number_of(body.at_ns, body.id)
    return {
        "id": number,
        "raw": number,
        "instance": payload.get("instance_id") or payload.get("uuid"),
        "launched_at": _date(payload.get("launched_at")),
        "deleted_at": _date(payload.get("deleted_at") or payload.get("terminated_at")),
    }


def _exists(body: Body, message: Mapping[str, Any], payload: Mapping[str, Any]) -> Record:
    return {
        **_launch(body, message, payload),
        "raw": number_of(body.at_ns, body.id),
        "deleted_at": _date(payload.get("deleted_at")),
        "audit_period_beginning": _date(payload.get("audit_period_beginning")),
        "audit_period_ending": _date(payload.get("audit_period_ending")),
        "bandwidth_public_out": _public_out(payload),
        **_unverified(body),
    }


def _image(body: Body, _message: Mapping[str, Any], payload: Mapping[str, Any]) -> Record:
    number = number_of(body.at_ns, body.id)
    return {
        "id": number,
        "last_raw": number,
        "uuid": payload.get("id"),
        "created_at": _date(payload.get("created_at")),
        "owner": payload.get("owner"),
        "size": payload.get("size"),
    }


def _image_delete(
    body: Body, _message: Mapping[str, Any], payload: Mapping[str, Any]
) -> Record:
    number = number_of(body.at_ns, body.id)
    deleted_at = _date(payload.get("deleted_at"))
    return {"id": number, "raw": number, "uuid": payload.get("id"), "deleted_at": deleted_at}


def _image_exists(body: Body, message: Mapping[str, Any], payload: Mapping[str, Any]) -> Record:
    return {
        **_image(body, message, payload),
        "raw": number_of(body.at_ns, body.id),
        "deleted_at": _date(payload.get("deleted_at")),
        "audit_period_beginning": _date(payload.get("audit_period_beginning")),
        "audit_period_ending": _date(payload.get("audit_period_ending")),
        **_unverified(body),
    }


def _unverified(body: Body) -> Record:
    """What StackTach's verifier would write: nobody verifies here."""
    return {
        "message_id": body.id,
        "received": when(body.at_ns),
        "status": "pending",
        "fail_reason": None,
        "send_status": 0,
    }


_LAUNCHES: Final = Kind(
    (
        *("compute.instance.create.end", "compute.instance.rebuild.end"),
        *("compute.instance.finish_resize.end", "compute.instance.resize.revert.end"),
    ),
    "launches",
    "launch",
    _launch,
)
_DELETES: Final = Kind(("compute.instance.delete.end",), "deletes", "delete", _delete)
_EXISTS: Final = Kind(("compute.instance.exists",), "exists", "exist", _exists)
KINDS: Final = {
    "nova/launches": _LAUNCHES,
    "nova/deletes": _DELETES,
    "nova/exists": _EXISTS,
    "glance/images": Kind(("image.activate", "image.upload"), "images", "launch", _image),
    "glance/deletes": Kind(("image.delete",), "deletes", "delete", _image_delete),
    "glance/exists": Kind(("image.exists",), "exists", "exist", _image_exists),
}
"""By path; without a service it is nova's."""


def listed(reader: Reader, fields: Fields, kind: str) -> dict[str, list[Record]]:
    """The records of a kind that are as asked for, the latest first."""
    found = _records(reader, fields, KINDS[kind])
    first = fields.offset()
    return {KINDS[kind].many: found[first : first + fields.limit()]}


def single(reader: Reader, kind: str, number: str) -> dict[str, Record]:
    """The record of that number."""
    for each in _records(reader, Fields({}), KINDS[kind]):
        if str(each["id"]) == number:
            return {KINDS[kind].one: each}
    raise Fault(404, f"no {KINDS[kind].one} {number[:20]}")


def table(reader: Reader, fields: Fields, kind: str, columns: Mapping[str, str]) -> Table:
    """The same as a table with these columns: title, and the record's field."""
    (found,) = listed(reader, fields, f"nova/{kind}").values()
    return [list(columns), *([each[key] for key in columns.values()] for each in found)]


def exists_stats(reader: Reader, fields: Fields, service: str) -> dict[str, list[Record]]:
    """How many there are, of the one status that they have."""
    number = len(_records(reader, fields, KINDS[f"{service}/exists"]))
    row = {"status": "pending", "send_status": 0, "event_count": number}
    return {"stats": [row] if number else []}


def event_stats(reader: Reader, fields: Fields) -> dict[str, list[Record]]:
    """How many events of each name there were."""
    since, until = fields.date("when_min"), fields.date("when_max")
    if (since is None) is not (until is None):
        raise Fault(400, "When providing date range filters, a min and max are required.")
    if since is not None and until is not None and until - since > STATS_NS_MAX:
        limit = STATS_NS_MAX // 10**9
        raise Fault(400, f"Date ranges may be no larger than {limit} seconds")
    service = known_service(fields.text("service") or "nova")
    numbers: dict[str, int] = {}
    until_ns = None if until is None else until + 1
    for one in reader.notice_counts(since_ns=since, until_ns=until_ns):
        if service_of(one.name) == service:
            numbers[one.name] = numbers.get(one.name, 0) + one.number
    event = fields.text("event")
    if event is not None:
        numbers = {event: numbers.get(event, 0)}
    rows = [{"event": name, "event_count": n} for name, n in sorted(numbers.items())]
    return {"stats": rows}


def _records(reader: Reader, fields: Fields, kind: Kind) -> list[Record]:
    instance = fields.uuid("instance") if fields.text("instance") else None
    until = fields.date("received_max")
    bodies = reader.notice_bodies(
        kind.names,
        resource_id=instance,
        since_ns=fields.date("received_min"),
        until_ns=None if until is None else until + 1,
        limit=BODIES_MAX,
    )
    ranges = _ranges(fields)
    records = []
    for body in bodies:
        message = message_of(body)
        payload = message.get("payload")
        record = kind.record(body, message, payload if isinstance(payload, dict) else {})
        if all(_is_within(record, *each) for each in ranges):
            records.append(record)
    return records


def message_of(body: Body) -> Mapping[str, Any]:
    """The message itself; empty if somebody else wrote what is none."""
    try:
        found = json.loads(body.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _ranges(fields: Fields) -> list[tuple[str, int | None, int | None]]:
    """The dates that are asked for."""
    told = ("launched_at", "deleted_at", "created_at", "audit_period_beginning")
    ranges = [
        (name, fields.date(f"{name}_min"), fields.date(f"{name}_max"))
        for name in (*told, "audit_period_ending")
    ]
    return [each for each in ranges if each[1:] != (None, None)]


def _is_within(record: Record, name: str, low: int | None, high: int | None) -> bool:
    if name not in record:
        raise Fault(400, f"No such field '{name}'.")
    if record[name] is None:
        return False
    at_ns = Fields(record).date(name)
    assert at_ns is not None
    return (low is None or at_ns >= low) and (high is None or at_ns <= high)


def _date(told: Any) -> str | None:
    """A date as StackTach writes them; None if it is none."""
    try:
        at_ns = Fields({"date": told} if isinstance(told, str) else {}).date("date")
    except Fault:
        return None
    if at_ns is None or at_ns < 0:
        return None
    return when(at_ns).removesuffix(".000000")


def _text(told: Any) -> str | None:
    return None if told is None else str(told)


def _public_out(payload: Mapping[str, Any]) -> int:
    bandwidth = payload.get("bandwidth")
    public = bandwidth.get("public") if isinstance(bandwidth, dict) else None
    out = public.get("bw_out") if isinstance(public, dict) else None
    return out if isinstance(out, int) else 0
