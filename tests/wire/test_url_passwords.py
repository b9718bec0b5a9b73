"""Passwords in URLs within texts: hidden, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.wire.url_passwords import has_passwords, without_passwords

WORD = st.text("abcXYZ019._~!$&'()*+=%-é", min_size=1, max_size=20)


@given(WORD, WORD, st.sampled_from(["mysql+pymysql", "rabbit", "http", "redis"]), st.booleans())
def test_a_password_is_hidden_wherever_its_url_stands_and_however_it_is_made(
    user, word, scheme, inside
):
    url = f"{scheme}://{user}:{word}@db.example:3306/nova?charset=utf8"
    text = f"cannot reach ({url}), gave up" if inside else url

    assert without_passwords(text) == text.replace(f"{user}:{word}@", f"{user}:***@")
    assert has_passwords(text)
    assert has_passwords(json.dumps({"error": text}))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:x1y2@h", "redis://:***@h"),
        ("mysql://u:x1/y2@h/d", "mysql://u:***@h/d"),
        ("mysql://u:x1@y2@h/d", "mysql://u:***@h/d"),
        ("mysql://u:12345@h", "mysql://u:***@h"),
        ("mysql://u:0)@h", "mysql://u:***@h"),
        ("rabbit://a:x1@h1:1,b:y2@[::1]:2/", "rabbit://a:***@[::1]:2/"),
    ],
)
def test_of_odd_ones_all_of_the_password_goes(text, shown):
    assert without_passwords(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://glance:9292/v2/images/1?by=me@example.org",
        "http://[::1]:9292/v2?by=me@example.org",
        "ssh://git@example.org/repo",
        "http://example.org/a:b@c",
        "see http://x: or ask me@example.org",
        '{"url":"http://h","mail":"me@h"}',
        "me@example.org",
        "://",
    ],
)
def test_what_is_no_password_stays(text):
    assert without_passwords(text) == text
    assert not has_passwords(json.dumps(text))


@pytest.mark.parametrize("piece", ["://a:", "://", "@://", "://a:b", "://a:9"])
def test_a_text_that_opens_urls_and_ends_none_stays_and_is_read_in_one_go(piece):
    text = piece * ((1 << 20) // len(piece)) + " @"  # would take hours, if each to the end

    assert without_passwords(text) == text
