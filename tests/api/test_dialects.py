"""Laws of all dialects: their own paths, parameters and errors, and nothing of ours."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import Query
from fastapi.responses import JSONResponse

from nilometer.api.dialects import Dialect, application
from nilometer.api.native import api
from nilometer.api.problems import missing, unusable
from nilometer.api.queries import Queries


def answer_of(path, *, method="GET", refused=None):
    """What a dialect at /old answers, beside our own."""

    def refuse(_request, error):
        return JSONResponse({"fault": str(error)}, error.status)

    def old(means):
        made = application(means, refuse)

        @made.get("/old")
        async def top():
            return "top"

        @made.get("/old/{rest:path}")
        async def below(rest: str, limit: int = Query(10, ge=1)):
            if rest == "bad":
                raise unusable("limit", limit, "not that")
            if rest == "missing":
                raise missing("there is no such thing")
            if rest == "fault":
                raise RuntimeError("broken")
            return [rest, limit]

        return made

    async def talk():
        queries = Queries()
        app = api(
            None,
            queries,
            dict,
            (lambda _: None) if refused is None else refused.append,
            dialects=[Dialect("/old", old)],
        )
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            answer = await client.request(method, path)
        queries.close()
        return answer

    return asyncio.run(talk())


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/old", "top"),
        ("/old/a/b%2Fc", ["a/b/c", 10]),
        ("/old/a?limit=3&whatever=1", ["a", 3]),
    ],
)
def test_a_dialect_has_its_own_paths_and_parameters(path, told):
    answer = answer_of(path)

    assert (answer.status_code, answer.json()) == (200, told)


@pytest.mark.parametrize(
    ("method", "path", "status", "fault", "reasons"),
    [
        ("GET", "/old/bad", 422, "limit='10': not that", ["parameter"]),
        ("GET", "/old/missing", 404, "there is no such thing", []),
        (
            "GET",
            "/old/a?limit=0",
            422,
            "limit='0': Input should be greater than or equal to 1",
            ["parameter"],
        ),
        ("POST", "/old/a", 405, "Method Not Allowed", ["method"]),
        (
            "GET",
            "/old/fault",
            500,
            "a fault of the collector's (RuntimeError); its log has more",
            [],
        ),
    ],
)
def test_a_dialect_writes_all_its_errors(method, path, status, fault, reasons):
    refused = []

    answer = answer_of(path, method=method, refused=refused)

    assert (answer.status_code, answer.json()) == (status, {"fault": fault})
    assert refused == reasons


@pytest.mark.parametrize("path", ["/older", "/old-school", "/new", "/docs", "/openapi.json"])
def test_what_is_no_dialects_is_answered_as_ever(path):
    answer = answer_of(path)

    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
