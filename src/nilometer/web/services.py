"""Services: who reports, how busy they are, what they lost and what measuring costs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from nilometer.web.drawing import Page
from nilometer.web.moments import SINCE, MomentText, window

if TYPE_CHECKING:
    from nilometer.web.parts import Parts


def router(parts: Parts) -> APIRouter:
    """The route of /services."""
    routes = APIRouter()

    @routes.get("/services")
    async def services(
        request: Request, since: MomentText = SINCE, until: MomentText = ""
    ) -> Response:
        shown = window(since, until, parts.clock)
        page = Page("services.html", "Services", {"window": shown}, {})
        return parts.drawing.answer(request, page)

    return routes
