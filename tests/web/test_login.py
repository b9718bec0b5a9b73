"""Laws of logging in: a token once, then a session that opens what is looked at."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest

from nilometer.api.keys import LASTS_S, Keys
from nilometer.api.problems import Refusal
from nilometer.clock import Clock
from nilometer.collect.settings import Tokens
from nilometer.model import Batch, Resource
from nilometer.store.lake import Lake
from nilometer.store.query import Reader
from nilometer.web import login
from tests.collect.doors import Tables, visit

TOKEN = "first-token-of-two"
TOKENS = Tokens([TOKEN.encode(), b"second-token-of-two"])
HERE = {"origin": "http://127.0.0.1:4318"}
BROWSER = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(login, "WRONG_S", 0.0)


def talk_to(tmp_path, talk, *, tables=None, tokens=TOKENS):
    """``await talk(client)`` with a browser's cookie jar at a collector."""
    Lake(tmp_path, durability="os").append([Batch(Resource("s", "h", 1), (), ())])
    reader = Reader(tmp_path)

    async def talking(client, _collector):
        return await talk(client)

    try:
        return visit(tmp_path, talking, tables=tables, reader=reader, tokens=tokens)
    finally:
        reader.close()


async def log_in(client, token=TOKEN, to="/doctor", headers=HERE):
    return await client.post("/login", data={"token": token, "to": to}, headers=headers)


def test_a_browser_without_a_token_is_led_to_the_login_page_and_back(tmp_path):
    async def talk(client):
        away = await client.get("/services?since=2h", headers=BROWSER)
        form = await client.get(away.headers["location"], headers=BROWSER)
        back = await log_in(client, to="/services?since=2h")
        return away, form, back

    away, form, back = talk_to(tmp_path, talk)

    assert (away.status_code, away.headers["location"]) == (
        303,
        "/login?to=%2Fservices%3Fsince%3D2h",
    )
    assert 'value="/services?since=2h"' in form.text
    assert (back.status_code, back.headers["location"]) == (303, "/services?since=2h")


@pytest.mark.parametrize(
    ("referer", "to"),
    [
        ("http://127.0.0.1:4318/changes/run?suite=a%20b", "/changes/run?suite=a%20b"),
        ("http://evil.example/changes", "/"),
        ("", "/"),
    ],
)
def test_a_form_sent_after_the_session_ended_leads_to_the_login_page_and_back(
    tmp_path, referer, to
):
    async def talk(client):
        headers = {**HERE, **BROWSER, "host": "127.0.0.1:4318", "referer": referer}
        return await client.post("/changes/accept", data={"suite": "a"}, headers=headers)

    away = talk_to(tmp_path, talk)

    assert (away.status_code, away.headers["location"]) == (
        303,
        f"/login?to={quote(to, safe='')}",
    )


def test_programs_without_a_token_are_refused_as_before(tmp_path):
    async def talk(client):
        paths = ("/services", "/", "/api/v1/health", "/traces")
        return [(await client.get(path)).status_code for path in paths]

    assert talk_to(tmp_path, talk) == [401, 401, 401, 401]


def test_the_cookie_is_for_no_script_no_other_site_and_no_longer_than_a_day(tmp_path):
    async def talk(client):
        plain = await log_in(client)
        https = await log_in(client, headers={"origin": "https://127.0.0.1:4318"})
        return [answer.headers["set-cookie"].partition(";")[2] for answer in (plain, https)]

    plain, https = talk_to(tmp_path, talk)

    assert plain == f" HttpOnly; Max-Age={LASTS_S}; Path=/; SameSite=lax"
    assert https == plain + "; Secure"


def test_a_session_opens_pages_and_what_is_looked_at_but_takes_nothing_in(tmp_path):
    async def talk(client):
        await log_in(client)
        asked = [("GET", "/doctor"), ("HEAD", "/doctor"), ("GET", "/api/v1/health")]
        sent = [("POST", "/v1/traces"), ("POST", "/v2.0/metrics"), ("DELETE", "/api/v1/health")]
        return [
            (await client.request(method, path, headers=HERE)).status_code
            for method, path in asked + sent
        ]

    assert talk_to(tmp_path, talk) == [200, 200, 200, 401, 401, 401]


def test_whoever_logs_out_is_out(tmp_path):
    async def talk(client):
        await log_in(client)
        before = await client.get("/doctor")
        await client.post("/logout", headers=HERE)
        return before.status_code, (await client.get("/doctor")).status_code

    assert talk_to(tmp_path, talk) == (200, 401)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:4319"},
        {**HERE, "sec-fetch-site": "cross-site"},
        {"cookie": "a=b"},
    ],
)
def test_a_form_that_another_site_sent_does_nothing(tmp_path, headers):
    async def talk(client):
        return await log_in(client, headers=headers)

    answer = talk_to(tmp_path, talk)

    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example", "/\\evil.example", "/\tx", "javascript:x"]
)
def test_nobody_is_led_elsewhere_by_logging_in(tmp_path, to):
    async def talk(client):
        return await log_in(client, to=to)

    assert talk_to(tmp_path, talk).headers["location"] == "/services"


def test_a_wrong_token_is_told_so_counted_and_shown_nowhere(tmp_path):
    tables = Tables()

    async def talk(client):
        return await log_in(client, token="wrong-token-<b>")

    answer = talk_to(tmp_path, talk, tables=tables)

    assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
    assert "does not open this collector" in answer.text
    assert "wrong-token-" not in answer.text
    assert tables.rejected == {("http", "wrong-token"): 1}


def test_wrong_tokens_wait_and_only_a_few_at_once():
    async def whole():
        door = login.Door(Keys(TOKENS))
        door._waiting = login.WRONG_AT_ONCE_MAX
        with pytest.raises(Refusal) as refused:
            await door.enter("wrong")
        return refused.value.status

    assert asyncio.run(whole()) == 429


def test_a_form_too_large_is_refused_before_it_is_held(tmp_path):
    async def talk(client):
        return await log_in(client, token="x" * (login.FORM_BYTES_MAX + 1))

    assert talk_to(tmp_path, talk).status_code == 413


def test_a_session_ends_after_half_a_day_and_with_its_token():
    now = [1_000_000_000 * 10**9]
    keys = Keys(TOKENS, clock=Clock(wall_ns=lambda: now[0]))
    cookie = f"other={{odd; nilometer-session={keys.begin(TOKEN.encode())}".encode()

    seen = [keys.know([cookie])]
    now[0] += LASTS_S * 10**9
    seen.append(keys.know([cookie]))
    now[0] -= 10**9
    seen.append(keys.know([cookie]))
    keys.renew(TOKENS[1:])
    seen.append(keys.know([cookie]))

    assert seen == [True, False, True, False]


def test_a_session_cannot_be_made_longer():
    keys = Keys(TOKENS)
    ends, _, mac = (keys.begin(TOKEN.encode()) or "").partition(".")

    forged = f"nilometer-session={int(ends) + 1}.{mac}".encode()

    assert not keys.know([forged])
