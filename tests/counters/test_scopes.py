"""What is random in a name is folded, what is not stays; rules of the user come first."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.counters.scopes import rules, rules_file
from nilometer.errors import ConfigError
from nilometer.model.scopes import KNOWN_MAX, Rule, Scopes

HEX = "0123456789abcdef0123456789abcdef"
UUIDS = st.uuids(version=4).map(str)
HEXES = st.uuids(version=4).map(lambda made: made.hex)
WORDS = st.from_regex(r"[g-z]{1,9}([._-][g-z]{2,9}){0,3}", fullmatch=True)


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        (f"reply_{HEX}", "reply"),
        (f"compute_fanout_{HEX}", "compute_fanout"),
        ("reply_foo", "reply"),
        ("reply_ctl1:nova-api:3", "reply"),
        ("reply_ctl1.example.org:nova-api:12", "reply"),
        ("reply", "reply"),
        ("replying_foo", "replying_foo"),
        ("compute_fanout_ctl1:nova-compute:1", "compute_fanout"),
        (
            "q-agent-notifier-port-update_fanout_ctl1:neutron:7",
            "q-agent-notifier-port-update_fanout",
        ),
        ("compute_fanout_audit", "compute_fanout_audit"),
        ("compute", "compute"),
        ("notifications.info", "notifications.info"),
        ("compute.node-7", "compute"),
        ("compute.node-7.example.org", "compute"),
        ("cinder-volume.stor01@lvm#pool", "cinder-volume"),
        ("celery@worker12", "celery"),
        ("agent.10.0.0.7", "agent"),
        ("l3_agent.ubuntu", "l3_agent"),
        ("l3_agent.ubuntu.example", "l3_agent"),
        ("amq.gen-JzTY20BRgKO-HjmUJj0wLg", "amq.gen"),
        ("celeryev.1b4e28ba-2fa1-11d2-883f-b9a761bde3fb", "celeryev"),
        ("1b4e28ba-2fa1-11d2-883f-b9a761bde3fb.reply.celery.pidbox", "reply.celery.pidbox"),
        ("1b4e28ba-2fa1-11d2-883f-b9a761bde3fb", "id"),
        ("orders-3f2a9c01b7de", "orders"),
        ("web-7d9f8b6c5d-x2x4z", "web"),
        ("orders.v2", "orders.v2"),
        ("shard-3", "shard-3"),
        ("deadbeef", "deadbeef"),
        ("cabbage_facade", "cabbage_facade"),
        ("2026-11-20", "2026-11-20"),
        ("", ""),
    ],
)
def test_a_name_is_of_the_scope_it_implies(name: str, scope: str) -> None:
    assert Scopes(hosts=["ubuntu"]).of(name) == scope


@given(WORDS, HEXES, HEXES)
def test_names_that_differ_only_in_what_is_random_are_of_one_scope(
    word: str, one: str, other: str
) -> None:
    scopes = Scopes()
    shapes = ("{w}_{r}", "{r}.{w}", "{w}_fanout_{r}", "{w}.{r}.{w}", "{r}", "{w}-{r}-{r}")

    for shape in shapes:
        assert scopes.of(shape.format(w=word, r=one)) == scopes.of(
            shape.format(w=word, r=other)
        )


@given(WORDS, UUIDS)
def test_a_uuid_with_dashes_is_random_too(word: str, uuid: str) -> None:
    assert Scopes().of(f"{word}_{uuid}") == word


@given(WORDS)
def test_a_name_of_words_is_its_own_scope(word: str) -> None:
    assert Scopes().of(word) == word


@given(st.text(max_size=600))
def test_any_text_has_a_scope_that_is_its_own_scope(name: str) -> None:
    scopes = Scopes(hosts=["db", "ubuntu"])

    scope = scopes.of(name)

    assert bool(scope) == bool(name)
    assert scopes.of(scope) == scope
    assert len(scope) <= max(2, len(name))


@given(st.text(alphabet="abcdef0123456789-._@#/g", max_size=200))
def test_what_looks_like_ids_and_hosts_has_a_scope_that_is_its_own_scope(name: str) -> None:
    scope = Scopes().of(name)

    assert bool(scope) == bool(name)
    assert Scopes().of(scope) == scope


def test_a_placeholder_shows_where_an_id_was_and_leaves_hosts_alone() -> None:
    scopes = Scopes(hidden="*")
    uuid = UUID(HEX)

    assert scopes.of(f"/orders/{uuid}/items/{HEX}") == "/orders/*/items/*"
    assert scopes.of("disk.node-7") == "disk.node-7"


def test_the_rules_of_the_user_come_first_and_in_their_order() -> None:
    found = rules("tenant-*-jobs=jobs, *.q=queue of {1}\n# no more\n*.q=never", origin="x")
    scopes = Scopes(found)

    assert found[:2] == (Rule("tenant-*-jobs", "jobs"), Rule("*.q", "queue of {1}"))
    assert scopes.of("tenant-17-jobs") == "jobs"
    assert scopes.of(f"a_{HEX}.q") == f"queue of a_{HEX}"
    assert scopes.of(f"a_{HEX}") == "a"


def test_rules_may_lie_in_a_file(tmp_path) -> None:
    (tmp_path / "scopes").write_text("# ours\nx-* = x\n")

    assert rules_file(str(tmp_path / "scopes"), origin="o") == (Rule("x-*", "x"),)


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("tenant", "a rule is PATTERN=SCOPE"),
        ("=x", "a rule is PATTERN=SCOPE"),
        ("a*=", "a rule is PATTERN=SCOPE"),
        ("*a*b*=x", "2 stars at most"),
        ("a*={2}", "names a star that the pattern has not"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_its_place(text: str, because: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(because)) as caught:
        rules(f"a=b\n{text}", origin="nilometer.toml:4: scopes")

    assert "nilometer.toml:4: scopes, line 2" in str(caught.value)


def test_a_file_of_rules_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="scopes_file='/nowhere' cannot be read"):
        rules_file("/nowhere", origin="o")


@given(st.text())
def test_rules_are_read_or_refused(text: str) -> None:
    try:
        found = rules(text, origin="x")
    except ConfigError:
        return
    Scopes(found).of("tenant-17-jobs")


def test_no_rule_and_no_name_hangs() -> None:
    """The worst take a millisecond; were there one without end, the suite would give up."""
    worst = Scopes(rules("*a*b=x", origin="x"))

    assert worst.of("ga" * 300) == "ga" * 256
    assert Scopes().of("-7." * 300) == ("-7." * 300)[:512]


def test_no_more_names_are_remembered_than_the_limit() -> None:
    scopes = Scopes()

    for number in range(KNOWN_MAX + 5):
        scopes.of(f"q{number}")

    assert len(scopes._known) <= KNOWN_MAX
