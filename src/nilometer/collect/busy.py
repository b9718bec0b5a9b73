"""What somebody is told who comes while all the connections there may be are being answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from nilometer.collect.body import RETRY_AFTER_S, Refused
from nilometer.collect.otlp import MEDIA_TYPES, refusal

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

TOLD: Final = "the collector answers as many connections as it may; send it again"


async def busy(scope: Scope, receive: Receive, send: Send) -> None:
    """503 with Retry-After, to OTLP's senders in their encoding; an ASGI application."""
    if scope["path"].startswith("/v1/"):
        told = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
        answer = refusal(Refused(503, "overloaded", TOLD), json=MEDIA_TYPES.get(told, True))
    else:
        answer = JSONResponse({"detail": TOLD}, 503, {"Retry-After": str(RETRY_AFTER_S)})
    answer.headers["Connection"] = "close"
    await answer(scope, receive, send)
