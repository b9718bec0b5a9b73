"""Doctor: what runs, what was lost and why, what it costs, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from nilometer.web.drawing import Page

if TYPE_CHECKING:
    from nilometer.web.parts import Parts


def router(parts: Parts) -> APIRouter:
    """The route of /doctor."""
    routes = APIRouter()

    @routes.get("/doctor")
    async def doctor(request: Request) -> Response:
        health = parts.health()
        return parts.drawing.answer(
            request, Page("doctor.html", "Doctor", {"health": health}, {"health": health})
        )

    return routes
