"""Faults as Ceilometer's API tells them: WSME's, within an ``error_message``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse

from nilometer.api.problems import Problem, Refusal, cut

if TYPE_CHECKING:
    from fastapi import Request
    from fastapi.responses import Response


class Fault(Refusal):
    """A refusal in Ceilometer's words."""

    def __init__(self, detail: str, status: int = 400) -> None:
        problem = Problem(detail=detail, parameter=None, value=None, nearest=None, choices=None)
        super().__init__(status, problem)


def invalid(field: str, value: object, because: str) -> Fault:
    """The value of a parameter or a field cannot be used."""
    return Fault(f"Invalid input for field/attribute {field}. Value: '{cut(value)}'. {because}")


def unknown(argument: str, because: str = "") -> Fault:
    """There is no such parameter, or no such field."""
    return Fault(f'Unknown argument: "{cut(argument)}"{because and f": {because}"}')


def not_found(what: str, ident: str) -> Fault:
    """There is no event, no sample of that id."""
    return Fault(f"{what} {cut(ident)} Not Found", 404)


def words(status: int, detail: str) -> dict[str, Any]:
    """What those are told who are refused."""
    fault = {
        "debuginfo": None,
        "faultcode": "Client" if status < 500 else "Server",
        "faultstring": detail,
    }
    return {"error_message": fault}


def refuse(_request: Request, error: Refusal) -> Response:
    """Any refusal as this API writes it. What was too much to ask is the client's fault."""
    status = 400 if error.status == 422 else error.status
    return JSONResponse(words(status, error.problem.detail), status)
