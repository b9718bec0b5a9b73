"""Laws of the collector's settings: refused at start, with origin, value and remedy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.collect.settings import Address, CollectorSettings, Tokens, read_tokens
from nilometer.errors import ConfigError

TOKEN = "c2l4dGVlbiBieXRlcyBoZXJl"


def token_file(tmp_path, text=f"# ours\n{TOKEN}\n", mode=0o600):
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_without_words_it_listens_at_loopback_and_keeps_two_weeks():
    assert CollectorSettings.parse() == CollectorSettings(
        store="nilometer-store",
        listen=Address("127.0.0.1", 4318),
        statsd=Address("127.0.0.1", 8125),
        keep_s=14 * 86_400,
        tokens=None,
        durability="disk",
        window_s=1.0,
        flush_s=10.0,
        statsd_open=False,
    )


def test_every_word_has_its_setting(tmp_path):
    parsed = CollectorSettings.parse(
        store="s3://bucket/x",
        listen="0.0.0.0:80",
        statsd="unix:/run/statsd",
        keep="forever",
        token_file=token_file(tmp_path),
        durability="os",
        window="250ms",
        flush="1m",
    )

    assert parsed == CollectorSettings(
        store="s3://bucket/x",
        listen=Address("0.0.0.0", 80),
        statsd=Address("", 0, "/run/statsd"),
        keep_s=None,
        tokens=Tokens([TOKEN.encode()]),
        token_file=str(tmp_path / "tokens"),
        durability="os",
        window_s=0.25,
        flush_s=60.0,
    )


@pytest.mark.parametrize(
    ("words", "slug", "said"),
    [
        ({"listen": "4318"}, "bad-address", "--listen: '4318' is not an address"),
        ({"listen": "::1:4318"}, "bad-address", "--listen: '::1:4318' is not an address"),
        ({"listen": "127.0.0.1:70000"}, "bad-address", "no port 70000"),
        ({"listen": "unix:/x"}, "bad-address", "HTTP listens at host:port"),
        (
            {"listen": "0.0.0.0:4318"},
            "open-without-token",
            "add --token-file FILE, or listen at",
        ),
        ({"listen": "[::]:4318"}, "open-without-token", "--listen: [::]:4318"),
        ({"listen": "example.org:4318"}, "open-without-token", "without tokens"),
        ({"statsd": "0.0.0.0:8125"}, "open-without-token", "datagrams carry no token"),
        ({"keep": "14"}, "bad-duration", "--keep: '14' is not a duration"),
        ({"keep": "5m"}, "bad-duration", "at least 1h, or 'forever'"),
        ({"flush": "0s"}, "bad-duration", "--flush: '0s' is too short; at least 100ms"),
        ({"store": ""}, "bad-store", "--store: '' names no place; write a directory"),
        ({"store": "memory://"}, "bad-store", "'memory://' ends with this process"),
        ({"store": "memory:///x"}, "bad-store", "'memory:///x' ends with this process"),
        ({"store": "s3:/oops"}, "bad-store", "'s3:/oops' is a URL without its two slashes"),
        ({"store": "s3:oops"}, "bad-store", "'s3:oops' is a URL without its two slashes"),
        ({"store": "s3://"}, "bad-store", "'s3://' names no bucket"),
        ({"store": "s3:///oops"}, "bad-store", "'s3:///oops' names no bucket"),
        ({"store": "s3://me:key@oops/x"}, "bad-store", "'s3://***@oops/x' tells a key"),
        ({"window": "2h"}, "bad-duration", "at most 60s"),
        ({"durability": "disc"}, "no-such-durability", "did you mean 'disk'? (disk, os)"),
        ({"token_file": "/no/such/file"}, "bad-token-file", "No such file or directory"),
    ],
)
def test_what_cannot_be_used_is_refused_with_origin_value_and_remedy(words, slug, said):
    with pytest.raises(ConfigError) as refused:
        CollectorSettings.parse(**words)

    assert refused.value.slug == slug
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "store", ["a", "/a/b", "./s3:/x", "a b", "~/x", "s3://bucket", "file:///a", "az://c/x"]
)
def test_directories_and_urls_are_places(store):
    assert CollectorSettings.parse(store=store).store == store


def test_all_faults_are_told_together_each_with_its_flag(tmp_path):
    with pytest.raises(ConfigError) as refused:
        CollectorSettings.parse(
            store="",
            listen="0.0.0.0:80",
            statsd="8125",
            keep="5m",
            token_file=str(tmp_path / "none"),
            durability="disc",
            window="2h",
            flush="0s",
        )

    told = str(refused.value).splitlines()
    assert told[0] == "7 settings cannot be used:"
    assert [line.split(":")[0].strip() for line in told[1:-1]] == [
        *("--store", "--statsd", "--keep", "--token-file"),
        *("--durability", "--window", "--flush"),
    ]


def test_an_address_is_not_called_open_where_the_tokens_could_not_be_read(tmp_path):
    words = {"listen": "0.0.0.0:80", "token_file": str(tmp_path / "none")}
    with pytest.raises(ConfigError) as refused:
        CollectorSettings.parse(**words)

    assert refused.value.slug == "bad-token-file"


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (TOKEN, 0o644, "open to every user of this machine (mode 644)"),
        (TOKEN, 0o602, "mode 602"),
        ("", 0o600, "holds no token"),
        ("# nothing\n\n", 0o600, "holds no token"),
        ("short\n", 0o600, ":1: not a token"),
        (f"{TOKEN}\nwith a space in it\n", 0o600, ":2: not a token"),
    ],
)
def test_a_token_file_that_is_open_or_holds_no_tokens_is_refused(tmp_path, text, mode, said):
    with pytest.raises(ConfigError) as refused:
        read_tokens(token_file(tmp_path, text, mode), origin="--token-file")

    assert said in str(refused.value)
    assert TOKEN not in str(refused.value)


def test_tokens_show_up_nowhere(tmp_path):
    settings = CollectorSettings.parse(token_file=token_file(tmp_path))

    assert TOKEN not in repr(settings)
    assert TOKEN not in f"{settings.tokens}{settings.tokens!r}"


@pytest.mark.parametrize(
    ("address", "is_loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.8.8.8:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("localhost.example.org:1", False),
    ],
)
def test_only_this_machines_own_addresses_are_loopback(address, is_loopback):
    parsed = Address.parse(address, origin="--listen")

    assert (str(parsed), parsed.is_loopback) == (address, is_loopback)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_clear_refusal(text):
    try:
        parsed = Address.parse(text, origin="--listen")
    except ConfigError as refused:
        slug = refused.slug
        assert slug == "bad-address"
    else:
        assert Address.parse(str(parsed), origin="--listen") == parsed
