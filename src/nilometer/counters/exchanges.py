"""RabbitMQ's exchanges: what they took and gave, by scope, and what went with those deleted.

An exchange that is deleted takes its figures along. One that is made again may have more than
it had before, and one that is made and deleted between two reads nobody sees. But its virtual
host goes on to count all that is published in it: what the exchanges that are there have not
got of that went with others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.counters.backend import BackendError
from nilometer.counters.members import Members
from nilometer.counters.rabbitmq_api import figures_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.counters.figures import Number, Series
    from nilometer.counters.rabbitmq_api import Api
    from nilometer.model.scopes import Scopes

PUBLISHED: Final = "exchange.publish_in"
EXCHANGES: Final = {"publish_in": PUBLISHED, "publish_out": "exchange.publish_out"}
DEFAULT_EXCHANGE: Final = "(default)"  # its name is empty

LOOKS_MAX: Final = 3
"""The broker collects every 5 s, for some milliseconds: at the next look it is over."""


class Exchanged(NamedTuple):
    """What exchanges show at one read, as `Figures` says it."""

    values: dict[Series, Number]
    incarnations: dict[Series, str]
    unseen: str
    notes: tuple[str, ...] = ()


class Exchanges:
    """Reads exchanges, remembering what each showed at the last read."""

    def __init__(self, scopes: Scopes) -> None:
        self._scopes = scopes
        self._members = Members()

    def read(self, api: Api) -> Exchanged:
        """What they took and gave until now. Raises BackendError."""
        found, hosts, notes = self._looked(api)
        sums, lost = self._members.read(
            (
                (str(one.get("vhost")), str(name)),
                self._scopes.of(name) if name else DEFAULT_EXCHANGE,
                figures_of(one, EXCHANGES),
            )
            for one in found
            if isinstance(name := one.get("name"), str)
        )
        unseen = gone(strays(hosts, found, self._members.taken(PUBLISHED)))
        return Exchanged(*summed(sums, lost), unseen, notes)

    def _looked(self, api: Api) -> tuple[list[dict[str, Any]], dict[str, int], tuple[str, ...]]:
        """All exchanges, and the messages of each virtual host at the very same time."""
        try:
            after = published(api)
            for _ in range(LOOKS_MAX):
                before, found, after = after, self._list(api), published(api)
                if before == after:
                    break
        except BackendError as error:
            note = f"exchanges made anew would not be recognised: {error}"
            return self._list(api), {}, (note,)
        return found, after, ()

    def _list(self, api: Api) -> list[dict[str, Any]]:
        columns = (f"message_stats.{key}" for key in EXCHANGES)
        return api.list("exchanges", "name", "vhost", *columns)


def published(api: Api) -> dict[str, int]:
    """The messages published in each virtual host since it was made. Raises BackendError."""
    return {
        str(one.get("name")): figures_of(one, {"publish": "publish"}).get("publish", 0)
        for one in api.list("vhosts", "name", "message_stats.publish")
    }


def strays(
    hosts: Mapping[str, int],
    exchanges: Sequence[Mapping[str, Any]],
    taken: Mapping[str, int],
) -> int:
    """The messages of virtual hosts whose exchange nobody knows: neither one that is there, nor
    one that is known to have `taken` them along.

    A virtual host of which we may see no exchange says nothing.
    """
    shown: dict[str, int] = {}
    for one in exchanges:
        host = str(one.get("vhost"))
        shown[host] = shown.get(host, 0) + figures_of(dict(one), EXCHANGES).get(PUBLISHED, 0)
    return sum(
        number - shown[host] - taken.get(host, 0)
        for host, number in hosts.items()
        if host in shown
    )


def gone(number: int) -> str:
    """What says that messages are in the figures of no exchange; another where others are."""
    if number < 0:
        return "a virtual host was made anew, or lost figures, with exchanges in it"
    what = "1 message" if number == 1 else f"{number:,} messages"
    return (number > 0) * (
        f"{what} by now went into exchanges that were deleted, or made anew, with what they "
        "had counted"
    )


def summed(
    sums: Mapping[str, Mapping[str, int]], lost: Mapping[str, int]
) -> tuple[dict[Series, Number], dict[Series, str]]:
    """Exchanges' figures by scope and altogether; what lost an exchange says so."""
    values: dict[Series, Number] = {}
    incarnations: dict[Series, str] = {}
    for counter in EXCHANGES.values():
        total = 0
        for scope, figures in sums.items():
            part = (counter, (("exchange", scope),))
            if scope in lost or counter in figures:
                values[part] = figures.get(counter, 0)
                total += figures.get(counter, 0)
            if scope in lost:
                incarnations[part] = _deleted(lost[scope])
        values[counter, ()] = total
        if lost:
            incarnations[counter, ()] = _deleted(sum(lost.values()))
    return values, incarnations


def _deleted(number: int) -> str:
    what = "1 exchange" if number == 1 else f"{number} exchanges"
    return f"{what} of it deleted, or emptied of figures, since the first read"
