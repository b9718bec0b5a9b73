"""Servers of data stores: what clients know of them, and what runs each command there.

A client is asked once where its server is. What runs a kind of command inside of a traced
request, with all that its span says, is made once for each server: spans are then made in C
where there is C.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nilometer.integrations.calls import Inside

    Told = Callable[..., Mapping[str, object] | None]

SERVERS_SHARED_MAX: Final = 100
"""Servers whose clients share what runs commands there; of each further one every client has
its own. 0.7 KiB for each kind of command: names are a few hundred, most use a dozen."""


class Server:
    """What a client knows of its server, and what runs there, by what names a kind of call."""

    __slots__ = ("attributes", "runs", "_client")

    def __init__(
        self,
        attributes: Mapping[str, object],
        runs: dict[object, Inside],
        client: ref[Any] | None = None,
    ) -> None:
        self.attributes = attributes
        self.runs = runs
        self._client = client  # it has to live, or would not tell that the client is gone


class Servers:
    """The servers of one integration's clients; `told` and `lasting` are `Commands`'.

    `by_id` has those of clients that were asked, by the id of what lasts of them; an entry goes
    with what it is of, before its id can be another's.
    """

    __slots__ = ("by_id", "lasting", "_told", "_unreadable", "_shared", "_nowhere")

    def __init__(
        self, told: Told, lasting: str, unreadable: Callable[[Exception], None]
    ) -> None:
        self.by_id: dict[int, Server] = {}
        self._told = told
        self.lasting = lasting
        self._unreadable = unreadable
        self._shared: dict[tuple[tuple[str, object], ...], dict[object, Inside]] = {}
        self._nowhere = Server({}, {})

    def ask(self, client: Any) -> Server | None:
        """What a client says of its server; None if only the command's end tells."""
        try:
            known = self._told(client, ended=False)
            if known is None:
                return None
            lasting = getattr(client, self.lasting, client) if self.lasting else client
            gone = partial(self._forget, id(lasting))
            found = Server(known, self._runs(known), ref(lasting, gone))
            self.by_id[id(lasting)] = found
        except Exception as error:  # noqa: BLE001  built otherwise: its command goes on
            self._unreadable(error)
            return self._nowhere
        return found

    def _runs(self, attributes: Mapping[str, object]) -> dict[object, Inside]:
        """What runs commands at a server that has these attributes."""
        key = tuple(attributes.items())
        found = self._shared.get(key)
        if found is None:
            found = {}
            if len(self._shared) < SERVERS_SHARED_MAX:
                self._shared[key] = found
        return found

    def _forget(self, lasting: int, _: ref[Any]) -> None:
        self.by_id.pop(lasting, None)

    def tell(self, made: Any, client: Any) -> None:
        """Let a span that ends say where the client's server is."""
        try:
            made.set_attributes(self._told(client, ended=True))
        except Exception as error:  # noqa: BLE001  built otherwise: its command goes on
            self._unreadable(error)


class Late:
    """A span whose client finds its server while the command runs."""

    __slots__ = ("_made", "_servers", "_client")

    def __init__(self, made: Any, servers: Servers, client: object) -> None:
        self._made = made
        self._servers = servers
        self._client = client

    def __enter__(self) -> None:
        self._made.__enter__()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._servers.tell(self._made, self._client)
        self._made.__exit__(kind, error, traceback)
