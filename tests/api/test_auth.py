"""Laws of who may use the collector."""

from __future__ import annotations

import base64

import pytest
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nilometer.collect.settings import Tokens
from nilometer.wire.loopback import is_loopback_name
from tests.collect.doors import Tables, visit

TOKENS = Tokens([b"first-token-of-two", b"second-token-of-two"])
BEARER = {"authorization": "Bearer second-token-of-two"}
PATHS = [
    ("GET", "/api/v1/health"),
    ("GET", "/api/v1/openapi.json"),
    ("GET", "/api/v1/traces/" + "0" * 31 + "1"),
    ("GET", "/no/such/path"),
    ("POST", "/v1/traces"),
    ("POST", "/v1/metrics"),
    ("POST", "/v1/logs"),
    ("OPTIONS", "/v1/logs"),
]


def ask(tmp_path, method, path, headers, *, tokens=TOKENS, tables=None):
    async def talk(client, _collector):
        return await client.request(method, path, headers=headers)

    return visit(tmp_path, talk, tables=tables, tokens=tokens)


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_with_tokens_every_request_needs_one(tmp_path, method, path):
    tables = Tables()

    answer = ask(tmp_path, method, path, {}, tables=tables)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (
        401,
        'Bearer realm="nilometer"',
    )
    told = "this collector wants 'Authorization: Bearer <token>'"
    is_otlp = path.startswith("/v1/")
    assert answer.json() == ({"code": 16, "message": told} if is_otlp else {"detail": told})
    assert tables.rejected == {("http", "no-token"): 1}


@pytest.mark.parametrize("tokens", [TOKENS, None], ids=["no-token", "foreign-host"])
def test_an_exporter_is_refused_in_its_own_encoding(tmp_path, tokens):
    told = {"content-type": "application/x-protobuf", "host": "elsewhere.example.org"}

    answer = ask(tmp_path, "POST", "/v1/traces", told, tokens=tokens)

    status = Status.FromString(answer.content)
    assert answer.headers["content-type"] == told["content-type"]
    assert (answer.status_code, status.code) == ((401, 16) if tokens else (403, 7))
    assert ("Bearer" if tokens else "--token-file") in status.message


@pytest.mark.parametrize(
    ("headers", "title", "description"),
    [
        ({}, "Unauthorized", "this collector wants 'Authorization: Bearer <token>'"),
        ({"x-auth-token": "wrong"}, "Unauthorized", "this token does not open this collector"),
    ],
)
def test_a_dialect_refuses_who_has_no_token_in_its_own_words(
    tmp_path, headers, title, description
):
    for path in ("/v2.0", "/v2.0/metrics", "/v2.0/no/such"):
        answer = ask(tmp_path, "GET", path, headers)
        assert (answer.status_code, answer.json()) == (
            401,
            {"title": title, "description": description},
        )
    assert ask(tmp_path, "GET", "/v2.0x", headers).json() == {"detail": description}


def test_ceilometer_and_stacktach_refuse_in_theirs(tmp_path):
    because = "this collector wants 'Authorization: Bearer <token>'"
    fault = {"debuginfo": None, "faultcode": "Client", "faultstring": because}
    for path, expected in (
        ("/v2/events", {"error_message": fault}),
        ("/v2/no/such", {"error_message": fault}),
        ("/stacky/hosts/", [["Error", "Message"], ["Unauthorized", because]]),
        ("/db/usage/launches", {"message": because, "status": 401}),
    ):
        answer = ask(tmp_path, "GET", path, {})
        assert (answer.status_code, answer.json()) == (401, expected)


def test_a_stranger_at_a_dialects_door_is_told_so_in_its_words(tmp_path):
    told = ask(tmp_path, "GET", "/v2.0/metrics", {"host": "elsewhere.example.org"}, tokens=None)

    assert (told.status_code, told.json()["title"]) == (403, "Forbidden")
    assert "--token-file" in told.json()["description"]


@pytest.mark.parametrize("token", ["first-token-of-two", "second-token-of-two"])
def test_each_of_the_tokens_opens(tmp_path, token):
    answer = ask(tmp_path, "GET", "/api/v1/health", {"authorization": f"bearer {token}"})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "given",
    [
        "Bearer",
        "Bearer ",
        "Bearer first-token-of-tw",
        "Bearer first-token-of-two2",
        "Bearer FIRST-TOKEN-OF-TWO",
        "Bearer first-token-of-two second-token-of-two",
        "Basic first-token-of-two",
        "first-token-of-two",
        "Bearer " + "x" * 5000,
    ],
)
def test_any_other_word_does_not_open_and_is_not_repeated(tmp_path, given, caplog):
    tables = Tables()

    answer = ask(tmp_path, "GET", "/api/v1/health", {"authorization": given}, tables=tables)

    assert answer.status_code == 401
    assert answer.json() == {"detail": "this token does not open this collector"}
    assert tables.rejected == {("http", "wrong-token"): 1}
    assert "token-of-two" not in caplog.text


def basic(name, password):
    told = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"authorization": f"Basic {told}"}


@pytest.mark.parametrize(
    "headers",
    [
        {"x-auth-token": "first-token-of-two"},
        basic("anybody", "second-token-of-two"),
        basic("", "second-token-of-two"),
        {**BEARER, "x-auth-token": "first-token-of-two"},
    ],
    ids=["x-auth-token", "basic", "basic without a name", "two that open"],
)
def test_a_token_comes_as_the_clients_of_other_systems_send_it(tmp_path, headers):
    assert ask(tmp_path, "GET", "/api/v1/health", headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"x-auth-token": "third-token"},
        {"x-auth-token": ""},
        {"x-auth-token": "first-token-of-two" + "x" * 5000},
        basic("second-token-of-two", "x"),
        {"authorization": "Basic second-token-of-two"},
        {"authorization": "Basic c2Vjb25kLXRva2VuLW9mLXR3bw=="},
        {"authorization": "Digest second-token-of-two"},
        {**BEARER, "x-auth-token": "third-token"},
        {"authorization": "Bearer third-token", "x-auth-token": "first-token-of-two"},
    ],
)
def test_of_all_that_is_brought_each_must_open(tmp_path, headers):
    tables = Tables()

    answer = ask(tmp_path, "GET", "/api/v1/health", headers, tables=tables)

    assert answer.status_code == 401
    assert tables.rejected == {("http", "wrong-token"): 1}


def test_who_needs_no_token_may_bring_any(tmp_path):
    headers = {"x-auth-token": "notused"}

    assert ask(tmp_path, "GET", "/api/v1/health", headers, tokens=None).status_code == 200


@pytest.mark.parametrize("order", [1, -1])
def test_two_authorizations_are_none(tmp_path, order):
    headers = [("authorization", "Bearer wrong"), ("authorization", BEARER["authorization"])]

    assert ask(tmp_path, "GET", "/api/v1/health", headers[::order]).status_code == 401


def test_two_hosts_are_none_even_of_this_machine(tmp_path):
    headers = [("host", "127.0.0.1:4318"), ("host", "localhost")]
    tables = Tables()

    assert ask(tmp_path, "GET", "/x", headers, tokens=None, tables=tables).status_code == 403
    assert tables.rejected == {("http", "foreign-host"): 1}


def test_with_tokens_any_host_name_may_be_used(tmp_path):
    headers = {**BEARER, "host": "collector.example.org", "origin": "https://example.org"}

    assert ask(tmp_path, "GET", "/api/v1/health", headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"host": "rebound.example.org"}, "foreign-host"),
        ({"host": "rebound.example.org:4318"}, "foreign-host"),
        ({"host": "localhost.example.org"}, "foreign-host"),
        ({"host": "127.0.0.1.example.org"}, "foreign-host"),
        ({"host": "evil@127.0.0.1"}, "foreign-host"),
        ({"host": "10.0.0.1:4318"}, "foreign-host"),
        ({"host": ""}, "foreign-host"),
        ({"origin": "https://example.org"}, "foreign-origin"),
        ({"origin": "null"}, "foreign-origin"),
    ],
)
def test_without_tokens_a_browser_cannot_carry_a_strangers_request_in(
    tmp_path, headers, reason
):
    tables = Tables()

    answer = ask(tmp_path, "POST", "/v1/traces", headers, tokens=None, tables=tables)

    assert answer.status_code == 403
    assert "--token-file" in answer.json()["message"]
    assert tables.rejected == {("http", reason): 1}


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost:4318"},
        {"host": "LOCALHOST"},
        {"host": "[::1]:4318"},
        {"host": "127.0.0.1:4318", "origin": "http://localhost:3000"},
    ],
)
def test_without_tokens_this_machine_may(tmp_path, headers):
    assert ask(tmp_path, "GET", "/api/v1/health", headers, tokens=None).status_code == 200


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=60))
def test_no_bytes_open_but_the_token(tmp_path, given):
    async def talk(client, collector):
        status = []

        async def send(message):
            status.append(message.get("status"))

        headers = [(b"authorization", b"Bearer " + given)]
        scope = {"type": "http", "path": "/v1/traces", "headers": headers}
        await collector.app(scope, None, send)
        return status[0]

    assert visit(tmp_path, talk, tokens=TOKENS) == 401


@given(st.text(max_size=60))
def test_any_text_is_a_host_or_none(text):
    assert is_loopback_name(text) in (True, False)


def test_the_openapi_document_says_whether_a_token_is_wanted(tmp_path):
    path, headers = "/api/v1/openapi.json", {"authorization": "Bearer first-token-of-two"}
    closed = ask(tmp_path, "GET", path, headers).json()
    opened = ask(tmp_path, "GET", path, {}, tokens=None).json()

    assert closed["components"]["securitySchemes"] == {
        "token": {"type": "http", "scheme": "bearer"}
    }
    assert closed["security"] == [{"token": []}]
    assert "security" not in opened
    assert "securitySchemes" not in opened["components"]
