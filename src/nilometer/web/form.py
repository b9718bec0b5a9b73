"""What a browser sent in a form, bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from nilometer.api.problems import Problem, Refusal

if TYPE_CHECKING:
    from fastapi import Request


async def fields_of(
    request: Request, *, bytes_max: int, fields_max: int
) -> dict[str, list[str]]:
    """The fields that are not empty; Refusal 413 if it is too large, 422 if it has too many."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > bytes_max:
            raise refusal(413, f"the form has more than {bytes_max:,} bytes")
    try:
        return parse_qs(body.decode(errors="replace"), max_num_fields=fields_max)
    except ValueError:
        raise refusal(422, f"the form has more than {fields_max:,} fields") from None


def refusal(status: int, detail: str) -> Refusal:
    """A refusal of no field by itself."""
    return Refusal(
        status, Problem(detail=detail, parameter=None, value=None, nearest=None, choices=None)
    )
