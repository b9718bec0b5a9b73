"""What somebody is told who comes while all the connections there may be are being answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers
from starlette.responses import Response

from nilometer.collect.body import RETRY_AFTER_S
from nilometer.wire.otlp_reply import encode_refusal

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

TOLD: Final = "the collector answers as many connections as it may; send it again"


async def busy(scope: Scope, receive: Receive, send: Send) -> None:
    """503 with Retry-After, to OTLP's senders in their encoding; an ASGI application."""
    content_type = Headers(scope=scope).get("content-type", "")
    body, media_type = encode_refusal(scope["path"], content_type, 503, TOLD)
    headers = {"Retry-After": str(RETRY_AFTER_S), "Connection": "close"}
    await Response(body, 503, headers, media_type)(scope, receive, send)
