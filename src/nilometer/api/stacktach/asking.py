"""What a request to StackTach asks for: its parameters, and how its errors are told."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from fastapi.responses import JSONResponse

from nilometer.api.parameters import TEXT_CHARS_MAX
from nilometer.api.problems import Problem, Refusal, cut
from nilometer.model.moments import NS_MAX, iso_8601_ns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import Request
    from fastapi.responses import Response

LIMIT: Final = 50
LIMIT_MAX: Final = 1000
NS: Final = 10**9
DIGITS_MAX: Final = 10  # of seconds since 1970, whose first is the tenth power of ten or less

TITLES: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    422: "Bad Request",
    501: "Not Implemented",
    503: "Service Unavailable",
}

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")


class Fault(Refusal):
    """A refusal."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(
            status,
            Problem(detail=message, parameter=None, value=None, nearest=None, choices=None),
        )


def told_as_table(status: int, message: str) -> list[list[str]]:
    """A refusal below /stacky: a table, as every answer there."""
    return [["Error", "Message"], [TITLES.get(status, "Error"), message]]


def told_as_object(status: int, message: str) -> dict[str, str | int]:
    """A refusal below /db."""
    return {"message": message, "status": status}


def refuse(request: Request, error: Refusal) -> Response:
    """Any refusal."""
    status = 400 if error.status == 422 else error.status
    words = told_as_object if request.url.path.startswith("/db") else told_as_table
    return JSONResponse(words(status, error.problem.detail), status)


def is_uuid(text: str) -> bool:
    """Whether it is one, with hyphens or without."""
    return _UUID.fullmatch(text) is not None


class Fields:
    """The parameters of a request; unknown ones are passed over, as StackTach did."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given

    def text(self, name: str) -> str | None:
        """A text; None if it is not given, or empty."""
        found = self._given.get(name) or None
        if found is not None and (len(found) > TEXT_CHARS_MAX or "\0" in found):
            raise Fault(400, f"{name}: at most {TEXT_CHARS_MAX} characters, and no NUL")
        return found

    def needed(self, name: str) -> str:
        """A text that must be given."""
        found = self.text(name)
        if found is None:
            raise Fault(400, f"{name} is needed")
        return found

    def uuid(self, name: str) -> str:
        """A UUID that must be given."""
        found = self.needed(name)
        if not is_uuid(found):
            raise Fault(400, f"{cut(found)} is not uuid-like")
        return found

    def limit(self, default: int = LIMIT) -> int:
        """How many rows at most."""
        return min(LIMIT_MAX, self._whole("limit", default))

    def offset(self) -> int:
        """How many rows are passed over."""
        return self._whole("offset", 0)

    def _whole(self, name: str, default: int) -> int:
        found = self.text(name)
        if found is None:
            return default
        if not re.fullmatch(r"[0-9]{1,9}", found):
            raise Fault(400, f"{name}={cut(found)}: write a whole number")
        return int(found)

    def when(self, name: str) -> int | None:
        """A moment, told in seconds since 1970, in nanoseconds."""
        found = self.text(name)
        if found is None:
            return None
        try:
            seconds = Decimal(found)
            # As a whole number 1e999999 takes minutes to write out: it is none of ours.
            at_ns = int(seconds * NS) if seconds.adjusted() <= DIGITS_MAX else -1
        except (ArithmeticError, ValueError):
            at_ns = -1
        if not 0 <= at_ns <= NS_MAX:
            raise Fault(400, f"{name}={cut(found)}: write seconds since 1970")
        return at_ns

    def between(self, low: str = "when_min", high: str = "when_max") -> tuple[int | None, int]:
        """From when to when, both told in seconds; the last one is in."""
        until = self.when(high)
        return self.when(low), NS_MAX if until is None else until + 1

    def date(self, name: str) -> int | None:
        """A moment as `2014-01-17 15:35:44`, in nanoseconds since 1970."""
        found = self.text(name)
        if found is None:
            return None
        try:
            return iso_8601_ns(found.replace(" ", "T", 1))
        except ValueError:
            raise Fault(400, "Range filters must be dates.") from None
