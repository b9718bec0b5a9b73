"""What OpenStack's notifications answer: of a request, a resource, operations, and failures.

A notification counts once, however often and on however many topics it was delivered. Log lines
and spans of a request stand beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.model.happening import FACTS, NOTIFICATION, Happening, of_event, of_span
from nilometer.model.notification import SCOPE
from nilometer.model.operations import ASKED, in_order
from nilometer.store.jsontext import encode
from nilometer.store.limits import NS_PER_DAY, TIME_MAX, TIME_MIN, TooMuch, ends
from nilometer.store.rows import events_of, spans_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.store.broken import Forgiving
    from nilometer.store.reading import Row, Wanted

OPERATIONS_MAX: Final = 200_000
"""Starts, ends and errors of one question: 100,000 operations, some 200 MB."""

WHOLE_NS: Final = 7 * NS_PER_DAY
"""So far before and after the time asked for the rest of a request is looked for."""

COUNTS_MAX: Final = 100_000
"""Names by host: 100 names on each of 1,000 hosts."""

PATHS: Final = {field: f'$."{attribute}"' for field, attribute in FACTS.items()}

_GLOBAL: Final = "_context_global_request_id"
_CHOSEN_BY: Final = {"request": "request_id", "project": "project_id", "state": "state"}
_FILTERS: Final = (
    *("service", "host", "deployment", "id", "publisher", "request_id", "project_id"),
    *("user_id", "resource_id", "state", "old_state", "task", "old_task", "failed"),
    *("first_words", "other_words"),
)
# What stands among the attributes as it is, so that a text search finds the rows sooner.
_NEEDLES: Final = ("id", "request_id", "resource_id", "publisher", "project_id", "user_id")


class RequestSummary(NamedTuple):
    """One request: `first` and `last` are what it told first and last."""

    id: str
    started_ns: int
    ended_ns: int
    notifications: int
    errors: int
    first: str
    last: str
    project_id: str
    resources: list[str]
    services: list[str]


class Count(NamedTuple):
    """So many notifications of one name from one host."""

    deployment: str
    host: str
    name: str
    number: int


class Body(NamedTuple):
    """A notification with the message it was."""

    at_ns: int
    id: str
    name: str
    topic: str
    priority: str
    body: str


class Notices:
    """What a reader answers about notifications."""

    _questions: Forgiving

    def of_request(
        self,
        request_id: str,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 1000,
    ) -> list[Happening]:
        """All that tells of a request, the latest first: notifications of it, and of requests
        that it led to in other services, log lines with its id, and spans."""
        since, last = ends(since_ns, until_ns)
        led_to = f"{encode(_GLOBAL)}:{encode(request_id)}"
        found = self._about(request_id, since, last, limit, led_to)
        values: Row = {"request_id": request_id, "rows_max": max(0, limit)}
        values |= {"since_ns": since, "last_ns": last}
        wanted: Wanted = {"started_ns": (since, last)}
        rows = self._questions.ask("request_spans", "spans", wanted, values)
        found += [of_span(resource, span) for resource, span in spans_of(rows)]
        return in_order(found, newest=True)[: max(0, limit)]

    def of_resource(
        self,
        resource_id: str,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 1000,
    ) -> list[Happening]:
        """All that tells of a resource, the latest first: notifications of it, and others and
        log lines in which its id stands, as in those of its ports and volumes."""
        since, last = ends(since_ns, until_ns)
        return self._about(resource_id, since, last, limit)

    def _about(
        self, text: str, since: int, last: int, limit: int, led_to: str | None = None
    ) -> list[Happening]:
        values: Row = {"text": text, "needle": _needle(text), "rows_max": max(0, limit)}
        values |= {"since_ns": since, "last_ns": last, "led_to": led_to}
        values |= {"scope": SCOPE, "identity": PATHS["id"]}
        rows = self._questions.ask("about", "events", {"at_ns": (since, last)}, values)
        found = [of_event(resource, event) for resource, event in events_of(rows)]
        return in_order(found, newest=True)

    def notices(
        self,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        newest: bool = True,
        limit: int = 100,
        offset: int = 0,
        **asked: Any,
    ) -> list[Happening]:
        """The notifications of that time that are as asked for, by time.

        `asked` has any of: name, service, host, deployment, id, publisher, request_id,
        project_id, user_id, resource_id, state, old_state, task, old_task; failed, a truth
        value; first_words and other_words, lists of what names do and do not begin with.
        """
        name = asked.pop("name", None)
        values = {key: asked.pop(key, None) for key in _FILTERS}
        assert not asked, f"no filters {sorted(asked)}"
        told = next((values[key] for key in _NEEDLES if values[key]), None)
        values |= {"newest": newest, "rows_max": max(0, limit), "offset": max(0, offset)}
        rows = self._told("notices", since_ns, until_ns, values, told, name and [name])
        return [Happening(NOTIFICATION, **row) for row in rows]

    def operations(
        self,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        prefix: str | None = None,
        project_id: str | None = None,
        resource_id: str | None = None,
        names: Sequence[str] | None = None,
        request_ids: Sequence[str] | None = None,
        resource_ids: Sequence[str] | None = None,
        cut: bool = False,
    ) -> list[Happening]:
        """What tells of operations in that time, the latest first: starts, ends and errors of
        those whose names begin with `prefix`, and that nova's API was asked; more than
        `OPERATIONS_MAX` are refused, or `cut`. With a resource, those that do not know theirs
        are among them, too, where their request is one that tells of it; with a project, all
        of requests that tell of it: a start may be told under another one than its end.
        `resource_ids` are of those that tell no request."""
        values: Row = {"asked": list(ASKED), "prefix": prefix or None}
        values |= {"project_id": project_id, "resource_id": resource_id}
        values |= {"request_ids": request_ids, "resource_ids": resource_ids}
        values["rows_max"] = OPERATIONS_MAX + (not cut)
        rows = self._told("operations", since_ns, until_ns, values, names=names)
        if len(rows) > OPERATIONS_MAX:
            raise TooMuch(
                f"more than {OPERATIONS_MAX} starts and ends in this time",
                "ask for less time, or for one project or operation",
                "since",
            )
        return [Happening(NOTIFICATION, **row) for row in rows]

    def requests(
        self,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        project_id: str | None = None,
        service: str | None = None,
        failed: bool | None = None,
        limit: int = 100,
    ) -> list[RequestSummary]:
        """The requests that notifications of that time tell of, the latest first, each summed
        up whole, also of what was told up to a week before and after; all given must hold for
        one of a request's notifications."""
        asked: Row = {"project_id": project_id, "service": service, "failed": failed}
        asked["rows_max"] = max(0, limit)
        met = self._met(since_ns, until_ns, asked)
        if not met:
            return []
        asked["request_ids"] = [row["id"] for row in met]
        since_ns = min(row["first_ns"] for row in met)
        until_ns = max(row["last_ns"] for row in met) + 1
        rows = self._told("requests", since_ns, until_ns, asked)
        return [
            RequestSummary(**{**row, "resources": list(row["resources"] or ())}) for row in rows
        ]

    def notice_number(self, *, since_ns: int | None = None, until_ns: int | None = None) -> int:
        """How many notifications came in that time; those that came twice count twice."""
        since, last = ends(since_ns, until_ns)
        values: Row = {"since_ns": since, "last_ns": last, "scope": SCOPE}
        rows = self._questions.ask("notice_number", "events", {"at_ns": (since, last)}, values)
        return sum(row["number"] for row in rows)

    def _met(self, since_ns: int | None, until_ns: int | None, asked: Row) -> list[Row]:
        """The ids of those requests, and when each is told of first and last."""
        since, last = ends(since_ns, until_ns)
        # Whole, but not of all there ever was: that would be read, too.
        first, final = max(TIME_MIN, since - WHOLE_NS), min(TIME_MAX, last + WHOLE_NS)
        values: Row = {"since_ns": since, "last_ns": last, "first_ns": first}
        paths = {f"{field}_path": PATHS[fact] for field, fact in _CHOSEN_BY.items()}
        values |= {"final_ns": final, "scope": SCOPE, **paths, **asked}
        return self._questions.ask("request_ids", "events", {"at_ns": (first, final)}, values)

    def notice_counts(
        self, *, since_ns: int | None = None, until_ns: int | None = None
    ) -> list[Count]:
        """How many notifications there were in that time: by deployment, host and name."""
        since, last = ends(since_ns, until_ns)
        values: Row = {"since_ns": since, "last_ns": last, "rows_max": COUNTS_MAX + 1}
        values |= {"scope": SCOPE, "paths": [PATHS["exchange"], PATHS["id"]]}
        rows = self._questions.ask("notice_counts", "events", {"at_ns": (since, last)}, values)
        if len(rows) > COUNTS_MAX:
            raise TooMuch(f"more than {COUNTS_MAX} names by host", "ask for less time", "since")
        return [Count(**row) for row in rows]

    def notice_bodies(
        self,
        names: Sequence[str] | None = None,
        *,
        resource_id: str | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Body]:
        """The notifications of these names, with their messages, the latest first."""
        values: Row = {"resource_id": resource_id}
        values |= {"rows_max": max(0, limit), "offset": max(0, offset)}
        rows = self._told("notice_bodies", since_ns, until_ns, values, resource_id, names)
        return [Body(**row) for row in rows]

    def _told(
        self,
        name: str,
        since_ns: int | None,
        until_ns: int | None,
        values: Row,
        text: str | None = None,
        names: Sequence[str] | None = None,
    ) -> list[Row]:
        since, last = ends(since_ns, until_ns)
        head = {
            "since_ns": since,
            "last_ns": last,
            "scope": SCOPE,
            "paths": list(PATHS.values()),
        }
        head |= {"names": list(names) if names else None, "request_ids": None}
        head |= {"needle": None if text is None else _needle(text)}
        wanted: Wanted = {"at_ns": (since, last)}
        if names:
            wanted["name"] = (min(names), max(names))
        return self._questions.ask(name, "events", wanted, {**head, **values}, heads=("told",))


def beginning(since_ns: int | None, sight_ns: int) -> int | None:
    """So long before, within 64 bits."""
    return None if since_ns is None else max(TIME_MIN, min(TIME_MAX, since_ns - sight_ns))


def _needle(text: str) -> str:
    """A text as it stands in JSON."""
    return encode(text)[1:-1]
