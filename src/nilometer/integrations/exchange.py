"""One HTTP exchange, by whichever twin was chosen; and what finds its route."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.twin import choose

if TYPE_CHECKING:
    from nilometer.integrations.http_pure import (
        IMPLEMENTATION,
        AsgiExchange,
        Body,
        Meters,
        Routing,
        SizedBody,
        WsgiEntry,
        WsgiExchange,
        attend_all,
    )
else:
    _twin = choose("nilometer.integrations.http_pure", "nilometer.integrations._http")
    IMPLEMENTATION = _twin.IMPLEMENTATION
    AsgiExchange = _twin.AsgiExchange
    Body = _twin.Body
    Meters = _twin.Meters
    Routing = _twin.Routing
    SizedBody = _twin.SizedBody
    WsgiEntry = _twin.WsgiEntry
    WsgiExchange = _twin.WsgiExchange
    attend_all = _twin.attend_all

__all__ = [
    "IMPLEMENTATION",
    "AsgiExchange",
    "Body",
    "Meters",
    "Routing",
    "SizedBody",
    "WsgiEntry",
    "WsgiExchange",
    "attend_all",
]
