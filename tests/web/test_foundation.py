"""Laws of all pages: what they answer, in which form, and with which headers."""

from __future__ import annotations

import pytest

from nilometer.web import app
from nilometer.web.app import POLICY
from nilometer.web.assets import address
from tests.collect.doors import visit
from tests.web.pages import asking


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    with asking(tmp_path_factory.mktemp("store")) as ask:
        yield ask


def test_the_root_leads_to_the_services(ask):
    answer = ask("/")

    assert (answer.status_code, answer.headers["location"]) == (307, "/services")


@pytest.mark.parametrize(
    "path", ["/", "/services", "/doctor", "/services/no/such", "/static/x/y"]
)
def test_every_answer_forbids_what_is_from_elsewhere(ask, path):
    answer = ask(path)

    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"


def test_head_answers_as_get_does_without_the_page(ask):
    get, head = ask("/doctor"), ask("/doctor", method="HEAD")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def test_a_field_left_empty_is_as_if_it_were_not_there(ask):
    assert ask("/services", since="", until="").status_code == 200


def test_an_unknown_parameter_is_refused_with_the_nearest(ask):
    answer = ask("/services", sinse="1h", format="json")

    assert (answer.status_code, answer.json()["nearest"]) == (422, "since")


def test_an_error_is_a_page_for_people(ask):
    answer = ask("/services", since="yesterday<script>")

    assert answer.status_code == 422
    assert "text/html" in answer.headers["content-type"]
    assert "yesterday&lt;script&gt;" in answer.text
    assert "<script>alert" not in answer.text


PERSON = {"accept": "text/html,application/xhtml+xml"}


def test_what_is_no_page_says_which_there_are(ask):
    answer = ask("/servcies<b>", headers=PERSON)

    assert (answer.status_code, answer.headers["content-security-policy"]) == (404, POLICY)
    assert "did you mean &#39;/services&#39;? (/services, /metrics, /traces" in answer.text
    assert "/servcies&lt;b&gt;" in answer.text


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/servcies", {}), ("/api/v1/trace", PERSON), ("/v1/nothing", PERSON)],
)
def test_programs_and_who_asks_where_only_they_do_get_no_page(ask, path, headers):
    assert "text/html" not in ask(path, headers=headers).headers["content-type"]


def test_a_path_of_programs_that_takes_no_get_says_so_and_is_no_page(tmp_path):
    async def talk(client, _collector):
        return await client.get("/v1/traces", headers=PERSON)

    assert visit(tmp_path, talk).status_code == 405


def test_without_the_extra_the_collector_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(app, "is_installed", lambda: False)

    with asking(tmp_path) as ask:
        first, page = ask("/"), ask("/services")

    assert (first.status_code, page.status_code) == (200, 501)
    assert "pip install 'nilometer[pages]'" in first.text
    assert page.text == first.text
    assert page.headers["content-security-policy"] == POLICY


def test_what_is_from_an_installed_package_is_kept_for_good_at_an_address_of_its_own(ask):
    path = address("style.css")
    kept, packed = ask(path, headers={"accept-encoding": ""}), ask(path)
    other = ask(path.replace(path.split("/")[2], "0" * 16))

    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (packed.headers["content-encoding"], packed.text) == ("gzip", kept.text)
    assert [ask(path).status_code for path in ("/static/x/..%2fapp.py", "/static/x/y")] == [
        404
    ] * 2
    assert other.status_code == 404


def test_an_unknown_format_is_refused_with_the_possible_ones(ask):
    answer = ask("/doctor", format="xml")

    assert (answer.status_code, "json" in answer.text) == (422, True)
