"""Logging in: a token once, a session for a working day; and logging out.

The token comes in a form's body, never in an address, and is neither kept nor logged.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from nilometer.api.keys import COOKIE, LASTS_S
from nilometer.api.parameters import Text  # noqa: TC001 - FastAPI reads annotations
from nilometer.web.addresses import is_local
from nilometer.web.drawing import Page
from nilometer.web.form import fields_of, refusal

if TYPE_CHECKING:
    from nilometer.api.keys import Keys
    from nilometer.web.drawing import Drawing

FORM_BYTES_MAX: Final = 16_384  # a token has at most 4096, a path as many; some are quoted
FIELDS_MAX: Final = 10
WRONG_S: Final = 0.5  # that, for each try: guessing gets nowhere, and a slip costs nothing
WRONG_AT_ONCE_MAX: Final = 16  # more are turned away at once, so that they hold nothing
HOME: Final = "/services"


class Door:
    """Tries tokens, the wrong ones slowly and few at once."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._waiting = 0

    async def enter(self, token: str) -> str | None:
        """A session, or None for a wrong token, which is counted; Refusal 429 if too many
        wrong ones wait."""
        if self._waiting >= WRONG_AT_ONCE_MAX:
            raise refusal(429, "too many wrong tokens at once; try again in some seconds")
        session = self._keys.begin(token.strip().encode())
        if session is None:
            self._keys.refused("wrong-token" if token.strip() else "no-token")
            self._waiting += 1
            try:
                await asyncio.sleep(WRONG_S)
            finally:
                self._waiting -= 1
        return session


def router(drawing: Drawing, keys: Keys) -> APIRouter:
    """The routes of /login and /logout."""
    routes = APIRouter()
    door = Door(keys)

    def form(request: Request, to: str, said: str, status: int) -> Response:
        shown = {"to": to if is_local(to) else HOME, "said": said}
        return drawing.answer(request, Page("login.html", "Log in", shown, None), status)

    @routes.get("/login")
    async def ask(request: Request, to: Text = HOME) -> Response:
        return form(request, to, "", 200)

    @routes.post("/login")
    async def login(request: Request) -> Response:
        fields = await fields_of(request, bytes_max=FORM_BYTES_MAX, fields_max=FIELDS_MAX)
        told = {name: values[0] for name, values in fields.items()}
        to = told.get("to", HOME)
        session = await door.enter(told.get("token", ""))
        if session is None:
            return form(request, to, "This token does not open this collector.", 401)
        answer = RedirectResponse(to if is_local(to) else HOME, 303)
        _set(answer, request, session, LASTS_S)
        return answer

    @routes.post("/logout")
    async def logout(request: Request) -> Response:
        answer = RedirectResponse("/login", 303)
        _set(answer, request, "", 0)
        return answer

    return routes


def _set(answer: Response, request: Request, session: str, lasts_s: int) -> None:
    # Where something before us speaks TLS, only the browser knows: it says where it is.
    is_https = request.headers.get("origin", request.url.scheme).startswith("https")
    answer.set_cookie(
        COOKIE, session, max_age=lasts_s, httponly=True, samesite="lax", secure=is_https
    )
    answer.headers["Cache-Control"] = "no-store"
