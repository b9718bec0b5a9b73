"""What REST answers when it cannot: a sentence for people, and its parts for programs."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from nilometer.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

CHOICES_MAX: Final = 20  # more than that nobody reads; then the nearest ones are told
VALUE_CHARS_MAX: Final = 200  # enough to recognise what one sent


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="One sentence: what is wrong, and what to do.")
    parameter: str | None = Field(None, description="The parameter that cannot be used.")
    value: str | None = Field(None, description="What was sent for it, cut.")
    nearest: str | None = Field(None, description="The valid one that looks most like it.")
    choices: list[str] | None = Field(None, description="All valid ones, where they are few.")


class Refusal(Exception):  # noqa: N818 - it is an answer
    """Raised by a route, answered as a Problem with this status."""

    def __init__(
        self, status: int, problem: Problem, *, retry_after_s: int | None = None
    ) -> None:
        super().__init__(problem.detail)
        self.status = status
        self.problem = problem
        self.retry_after_s = retry_after_s

    def answer(self) -> JSONResponse:
        """The response."""
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        content = self.problem.model_dump(exclude_none=True)
        return JSONResponse(content, self.status, headers=headers)


def ordered(since_ns: int, until_ns: int | None) -> int:
    """`since_ns`; a time that ends before it begins is a slip, and nothing is in it."""
    if until_ns is not None and until_ns <= since_ns:
        raise unusable("until", until_ns, f"it must be later than since ({since_ns})")
    return since_ns


def unusable(parameter: str, value: object, remedy: str) -> Refusal:
    """A parameter's value cannot be used."""
    shown = cut(value)
    return Refusal(
        422,
        Problem(
            detail=f"{parameter}={shown!r}: {remedy}",
            parameter=parameter,
            value=shown,
            nearest=None,
            choices=None,
        ),
    )


def too_much(parameter: str, detail: str) -> Refusal:
    """The answer would be too large; `parameter` is the one to change, given or not."""
    problem = Problem(
        detail=detail, parameter=parameter, value=None, nearest=None, choices=None
    )
    return Refusal(422, problem)


def not_a_choice(
    what: str, value: str, choices: Sequence[str], *, parameter: str = ""
) -> Refusal:
    """`value` is none of the few that there are; `what` says of what, mostly the parameter."""
    shown = cut(value)
    near = get_close_matches(shown, choices, n=CHOICES_MAX)
    if len(choices) > CHOICES_MAX:
        choices = near
    return Refusal(
        422,
        Problem(
            detail=f"no {what} {shown!r}{nearest(shown, choices) if choices else ''}",
            parameter=cut(parameter or what),
            value=shown,
            nearest=near[0] if near else None,
            choices=list(choices),
        ),
    )


def missing(detail: str) -> Refusal:
    """What was asked for is not there."""
    problem = Problem(detail=detail, parameter=None, value=None, nearest=None, choices=None)
    return Refusal(404, problem)


def of_validation(errors: Sequence[Any]) -> Refusal:
    """The first of the errors that FastAPI found, in our form."""
    first = errors[0]
    parameter = str(first["loc"][1]) if len(first["loc"]) > 1 else str(first["loc"][0])
    remedy = str(first["msg"]).removeprefix("Value error, ")
    return unusable(parameter, first.get("input", ""), remedy)


def cut(value: object) -> str:
    """A sender's text, short enough to be shown; half a surrogate, which JSON can say and
    UTF-8 cannot, is a question mark."""
    text = str(value)
    if len(text) > VALUE_CHARS_MAX:
        text = text[: VALUE_CHARS_MAX - 1] + "…"
    return text.encode("utf-8", "replace").decode()
