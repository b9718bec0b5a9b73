"""What a notification of OpenStack's tells: whose request, of which resource, in which state.

Each service has its own words. Nova's are flat, or objects with a version whose values lie one
deeper; neutron's stand below the kind of the resource; glance's and cinder's are flat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.model import notification as names

if TYPE_CHECKING:
    from collections.abc import Mapping

TEXT_CHARS_MAX: Final = 1000  # of one attribute; the body has all of it

_DATA: Final = "nova_object.data"

_CONTEXT: Final = (
    (names.REQUEST_ID, ("_context_request_id",)),
    (
        names.PROJECT_ID,
        (
            *("_context_project_id", "_context_tenant_id"),
            *("_context_tenant", "_context_project"),
        ),
    ),
    (names.USER_ID, ("_context_user_id", "_context_user")),
)
# Whose the resource is, rather than who asked: an administrator, or nova as neutron's client.
_OWNER: Final = ((names.PROJECT_ID, ("tenant_id", "project_id", "owner")),)
_PAYLOAD: Final = (
    (names.REQUEST_ID, ("request_id",)),
    (names.USER_ID, ("user_id",)),
    (names.STATE, ("state", "status")),
    (names.OLD_STATE, ("old_state",)),
    (names.TASK, ("new_task_state", "task_state")),
    (names.OLD_TASK, ("old_task_state",)),
)
# In this order: a volume that is attached tells its instance, too; `id` is the most general.
_IDS: Final = {
    "volume": ("volume_id",),
    "snapshot": ("snapshot_id",),
    "image": ("id", "image_id"),
}
_ID: Final = ("instance_id", "instance_uuid", "uuid", "resource_id", "id")


def facts_of(name: str, message: Mapping[str, Any]) -> dict[str, str]:
    """The attributes of the notification `name` that its context and its payload tell."""
    facts: dict[str, str] = {}
    payload = message["payload"]
    if not isinstance(payload, dict):
        _put(facts, _CONTEXT, message)
        return facts
    inner = payload.get(_DATA)
    if isinstance(inner, dict):
        payload = inner
    kind = name.partition(".")[0]
    below = payload.get(kind)  # neutron: {"port": {"id": ...}}
    below = below if isinstance(below, dict) else {}
    _put(facts, _OWNER, below)
    _put(facts, _OWNER, payload)
    _put(facts, _CONTEXT, message)
    _put(facts, _PAYLOAD, payload)
    _put(facts, _PAYLOAD, below)
    found = _resource_id(kind, payload, below)
    if found:
        facts[names.RESOURCE_ID] = found
    _put_update(facts, payload.get("state_update"))
    _put_exception(facts, payload)
    return facts


def _put(facts: dict[str, str], rules: Any, told: Mapping[str, Any]) -> None:
    """Put in what is not known yet and is told under one of the rule's keys."""
    for attribute, keys in rules:
        if attribute in facts:
            continue
        for key in keys:
            if found := _text(told.get(key)):
                facts[attribute] = found
                break


def _resource_id(kind: str, payload: Mapping[str, Any], below: Mapping[str, Any]) -> str:
    for told, keys in ((below, ("id",)), (payload, (*_IDS.get(kind, ()), *_ID, f"{kind}_id"))):
        for key in keys:
            if found := _text(told.get(key)):
                return found
    # Of a call of nova's that failed: its arguments, or those of the exception.
    holders = (payload, "instance"), (payload.get("args"), "instance")
    for holder, key in (*holders, (payload.get("exception"), "kwargs")):
        inner = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(inner, dict) and (found := _text(inner.get("uuid"))):
            return found
    return ""


def _put_update(facts: dict[str, str], update: Any) -> None:
    """Nova's object within the object: which state an instance came from."""
    if isinstance(update, dict) and isinstance(update.get(_DATA), dict):
        _put(facts, _PAYLOAD, update[_DATA])


def _put_exception(facts: dict[str, str], payload: Mapping[str, Any]) -> None:
    """The exception as nova's decorator wrote it, or the fault of its object."""
    kind, message = payload.get("exception"), payload.get("message")
    fault = payload.get("fault")
    if isinstance(fault, dict) and isinstance(fault.get(_DATA), dict):
        kind = fault[_DATA].get("exception")
        message = fault[_DATA].get("exception_message")
    elif isinstance(kind, str):  # the exception's text, not its class
        kind, message = None, kind
    elif isinstance(kind, dict):  # the exception's own attributes, `kwargs` among them
        message = message or kind.get("message") or kind.get("msg")
        kind = kind.get("class") or kind.get("type")
    else:
        return
    for attribute, text in (
        (names.EXCEPTION_TYPE, _text(kind)),
        (names.EXCEPTION_MESSAGE, _text(message)),
    ):
        if text:
            facts[attribute] = text


def _text(found: Any) -> str:
    """A text, cut; a number as text; nothing of anything else."""
    if isinstance(found, str):
        return found[:TEXT_CHARS_MAX]
    return str(found) if isinstance(found, int) and not isinstance(found, bool) else ""
