"""Faults as Monasca's API tells them: a title and a description, as its clients print them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi.responses import JSONResponse

from nilometer.api.problems import Problem, Refusal, cut
from nilometer.api.queries import RETRY_AFTER_S

if TYPE_CHECKING:
    from fastapi import Request
    from fastapi.responses import Response

TITLES: Final = {
    400: "Bad request",
    401: "Forbidden",
    403: "Forbidden",
    409: "MultipleMetrics",
    413: "Request Entity Too Large",
    422: "Unprocessable Entity",
    503: "Service unavailable",
}
"""By status; 404 and 405 have the title that Falcon gives them, and no description."""

BARE: Final = {404: "404 Not Found", 405: "405 Method Not Allowed"}

AMBIGUOUS: Final = (
    "Found multiple metrics matching metric name and dimensions. Please refine your search "
    "criteria using a unique metric name or additional dimensions. Alternatively, you may "
    "specify 'merge_metrics=True' as a query parameter to combine all metrics matching search "
    "criteria into a single series, or 'group_by' to have one for each group."
)


class Fault(Refusal):
    """A refusal with a title of its own."""

    def __init__(self, status: int, description: str, *, title: str = "") -> None:
        super().__init__(
            status,
            Problem(detail=description, parameter=None, value=None, nearest=None, choices=None),
            retry_after_s=RETRY_AFTER_S if status == 503 else None,
        )
        self.title = title or TITLES[status]


def unprocessable(description: str) -> Fault:
    """A parameter is missing or cannot be used."""
    return Fault(422, description)


def unparsable(moment: str) -> Fault:
    """Text that is no time."""
    return Fault(422, f"Unable to parse date string {cut(moment)!r}")


def words(status: int, description: str) -> dict[str, Any]:
    """What those are told who are not let in."""
    title = "Unauthorized" if status == 401 else TITLES[status]
    return {"title": title, "description": description}


def refuse(_request: Request, error: Refusal) -> Response:
    """Any refusal as this API writes it."""
    if error.status in BARE:
        return JSONResponse({"title": BARE[error.status]}, error.status)
    title = error.title if isinstance(error, Fault) else TITLES.get(error.status, "Error")
    told = {"title": title, "description": error.problem.detail}
    return JSONResponse(told, error.status)
