"""Laws of the door: who is traced, who only joined, and what a hostile sender can cost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nilometer.clock import Clock
from nilometer.errors import ConfigError
from nilometer.measure import REGISTRY
from nilometer.model import Reading
from nilometer.model.identity import id_bytes
from nilometer.trace import CURRENT, Joined, Trace, drain_spans, headers, span, start_root
from nilometer.trace import trigger as trigger_module
from nilometer.trace.signing import (
    MEMBERS_MAX,
    TRACESTATE_CHARS_MAX,
    Key,
    parse_signature,
    parse_traceparent,
    sign_osprofiler,
    sign_traceparent,
    split_tracestate,
)
from nilometer.trace.trigger import (
    CLOCK_SKEW_S,
    EXPIRY_AHEAD_S_MAX,
    KEYS_MAX,
    Header,
    Triggers,
    new_trigger,
)

NOW_S = 1_800_000_000
GOLDEN_MAC = "820292ac3a4fd9097ecfa39ed1c9d999ab36597762867a0f342c7c181b59f2b0"
PARENT = "00-" + "1f" * 16 + "-" + "2e" * 8 + "-01"


class Time:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.ns = NOW_S * 1_000_000_000
        self.clock = Clock(elapsed_ns=lambda: self.ns, wall_ns=lambda: self.ns)

    def pass_s(self, seconds):
        self.ns += int(seconds * 1_000_000_000)


@pytest.fixture
def now():
    return Time()


def lower(sent):
    """The headers as a server gives them: a look-up by lower-case name."""
    return {name.lower(): value for name, value in sent.items()}.get


@pytest.fixture
def counted():
    """What `nilometer.trigger` counted since the test began, by result."""
    REGISTRY.collect()

    def read():
        readings, _ = REGISTRY.collect()
        return {
            dict(r.dimensions)["result"]: r.value
            for r in readings
            if r.name == "nilometer.trigger"
        }

    return read


def ours_only(header):
    return {k: v for k, v in header.headers.items() if not k.startswith("X-")}


def osprofiler_only(header):
    return {k: v for k, v in header.headers.items() if k.startswith("X-")}


def signed(key=b"K1", traceparent=PARENT, expiry_s=NOW_S + 60, nonce="0a" * 16):
    return {
        "traceparent": traceparent,
        "tracestate": sign_traceparent(traceparent, expiry_s, nonce, Key(key)),
    }


# --- What is signed, and how ----------------------------------------------------------------


def test_the_bytes_of_our_signature_never_change():
    """A golden vector: receivers of other versions and languages compute the same."""
    assert signed() == {
        "traceparent": "00-1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f-2e2e2e2e2e2e2e2e-01",
        "tracestate": "nilo=1;1800000060;0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a;" + GOLDEN_MAC,
    }


def test_a_trigger_has_both_forms_and_one_trace_id(now):
    header = new_trigger("K1", ttl_s=60, clock=now.clock)

    assert isinstance(header, Header)
    assert set(header.headers) == {"traceparent", "tracestate", "X-Trace-Info", "X-Trace-HMAC"}
    for form in (ours_only(header), osprofiler_only(header)):
        trace = Triggers(["K1"], clock=now.clock).accept(lower(form))
        assert (trace.trace_id.hex(), trace.parent_id) == (header.trace_id, b"")


@pytest.mark.parametrize("ttl_s", [0, -1, EXPIRY_AHEAD_S_MAX + 1])
def test_a_trigger_that_no_receiver_would_take_is_not_made(ttl_s):
    with pytest.raises(ConfigError, match=rf"1 to 900 s, not {ttl_s} \[trigger-ttl\]$"):
        new_trigger("K1", ttl_s=ttl_s)


# --- Who is let in --------------------------------------------------------------------------


def test_a_request_without_headers_is_nothing_and_counts_nothing(counted):
    assert Triggers(["K1"]).accept({}.get) is None
    assert counted() == {}


def test_a_signed_request_is_traced_with_its_budget(now, counted):
    trace = Triggers(["K1"], clock=now.clock, spans_per_trace=7).accept(lower(signed()))

    assert isinstance(trace, Trace)
    assert (trace.trace_id, trace.parent_id, trace.base_id, trace.spans_max) == (
        b"\x1f" * 16, b"\x2e" * 8, "", 7,
    )  # fmt: skip
    assert counted() == {"accepted": 1}


@pytest.mark.parametrize(
    "keys", [["K1"], [b"K1"], ["K0", "K1"], ("K2", "K3", "K1"), ["ключ", "K1"]]
)
def test_any_of_several_keys_may_have_signed(now, keys):
    assert isinstance(Triggers(keys, clock=now.clock).accept(lower(signed())), Trace)


def test_keys_are_exchanged_without_a_gap(now):
    """old; then old and new everywhere; then new: each sender is understood by its peers."""
    old, both, new = (Triggers(keys, clock=now.clock) for keys in (["O"], ["N", "O"], ["N"]))
    pairs = [(b"O", old), (b"O", both), (b"N", both), (b"N", new)]
    taken = [
        t.accept(lower(signed(key, nonce=f"{i:032x}"))) for i, (key, t) in enumerate(pairs)
    ]

    assert [type(t) for t in taken] == [Trace] * 4
    assert isinstance(new.accept(lower(signed(b"O", nonce="b" * 32))), Joined)


def test_without_a_key_nothing_is_traced_and_ids_are_joined(now, counted):
    """There is no default key: OSProfiler's is "SECRET_KEY" (known weakness 15)."""
    triggers = Triggers(clock=now.clock)

    for key in (b"SECRET_KEY", b"\0", b"K1"):
        assert isinstance(triggers.accept(lower(signed(key))), Joined)
        info, mac = sign_osprofiler("b", "p", Key(key))
        assert triggers.accept(lower({"X-Trace-Info": info, "X-Trace-HMAC": mac})) is None
    assert counted() == {"bad_signature": 3, "joined": 3}


@pytest.mark.parametrize(
    ("keys", "slug"),
    [
        ([""], "trigger-key-empty"),
        (["K1", b"  \n"], "trigger-key-empty"),
        ("K1", "trigger-keys"),
        (b"K1", "trigger-keys"),
        ([7], "trigger-keys"),
        (["K1\udcff"], "trigger-keys"),
        ([f"K{i}" for i in range(KEYS_MAX + 1)], "trigger-keys"),
    ],
)
def test_keys_that_cannot_be_are_refused_at_start_and_not_shown(keys, slug):
    with pytest.raises(ConfigError) as refused:
        Triggers(keys, origin="nilometer.toml:3")

    assert refused.value.slug == slug
    assert str(refused.value).startswith("nilometer.toml:3: ")
    assert "K1" not in str(refused.value)
    assert refused.value.__context__ is None


@pytest.mark.parametrize("budget", [(0, 5), (-1, 5), (float("nan"), 5), (1e9, 5), (1, 0)])
def test_a_budget_that_cannot_be_is_refused_at_start(budget):
    with pytest.raises(ConfigError, match=r"\[trigger-budget\]$"):
        Triggers(["K1"], requests_per_second=budget[0], spans_per_trace=budget[1])


def test_a_key_is_shown_nowhere(now):
    secret = "s3cr3t-key"
    triggers = Triggers([secret], clock=now.clock)
    trace = triggers.accept(lower(signed(secret.encode())))
    things = [
        triggers,
        trace,
        trace.signer,
        Key(secret.encode()),
        triggers._keys,
        vars(triggers),
    ]
    with start_root("r", request=trace) as root:
        things += [root, headers()]
    things += drain_spans()

    assert secret not in repr(things)
    with pytest.raises(TypeError, match="not written anywhere"):
        __import__("pickle").dumps(Key(b"x"))


# --- Expiry and nonces ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead_s", "result"),
    [
        (-1, "expired"),
        (-(10**9), "expired"),
        (0, "accepted"),
        (EXPIRY_AHEAD_S_MAX + CLOCK_SKEW_S, "accepted"),
        (EXPIRY_AHEAD_S_MAX + CLOCK_SKEW_S + 1, "expiry_too_far"),
    ],
)
def test_a_header_is_good_until_its_expiry_which_may_not_be_far(now, counted, ahead_s, result):
    """OSProfiler's headers never expire (known weakness 15)."""
    given = Triggers(["K1"], clock=now.clock).accept(lower(signed(expiry_s=NOW_S + ahead_s)))

    assert type(given) is (Trace if result == "accepted" else Joined)
    assert counted() == {result: 1} | ({} if result == "accepted" else {"joined": 1})


def test_a_captured_header_cannot_be_used_again(now, counted):
    """OSProfiler's can, for ever (known weakness 15)."""
    triggers = Triggers(["K1"], clock=now.clock)
    taken = [triggers.accept(lower(signed())) for _ in range(3)]

    assert [type(t) for t in taken] == [Trace, Joined, Joined]
    assert counted() == {"accepted": 1, "replayed": 2, "joined": 2}


def test_an_expired_or_replayed_header_is_not_let_in_by_its_other_form(now):
    """Both forms travel together; the one without expiry must not outlive the one with."""
    triggers = Triggers(["K1"], clock=now.clock)
    header = new_trigger("K1", ttl_s=10, clock=now.clock)
    late = new_trigger("K1", ttl_s=10, clock=now.clock)

    assert isinstance(triggers.accept(lower(header.headers)), Trace)
    assert isinstance(triggers.accept(lower(header.headers)), Joined)
    now.pass_s(11)
    assert isinstance(triggers.accept(lower(late.headers)), Joined)


def test_a_traceparent_changed_on_its_way_is_let_in_by_the_other_form(now, counted):
    """A proxy that traces by itself puts its own span's id there, and our signature is void."""
    header = new_trigger("K1", clock=now.clock)
    sent = {**header.headers, "traceparent": f"00-{header.trace_id}-{'7b' * 8}-01"}
    trace = Triggers(["K1"], clock=now.clock).accept(lower(sent))

    assert trace.trace_id.hex() == header.trace_id
    assert counted() == {"bad_signature": 1, "accepted": 1}


def test_nonces_are_forgotten_when_they_expire_and_no_more_than_fit(now, counted, monkeypatch):
    monkeypatch.setattr(trigger_module, "NONCES_MAX", 3)
    triggers = Triggers(["K1"], clock=now.clock, requests_per_second=100)

    def send(n, ttl_s):
        expiry_s = now.ns // 10**9 + ttl_s
        return type(triggers.accept(lower(signed(nonce=f"{n:032x}", expiry_s=expiry_s))))

    assert [send(n, 10) for n in range(3)] == [Trace] * 3
    assert send(3, 10) is Joined
    now.pass_s(11)
    assert [send(n, 10) for n in range(3, 6)] == [Trace] * 3
    assert len(triggers._nonces) == 3
    assert counted() == {"accepted": 6, "nonces_full": 1, "joined": 1}


def test_a_nonce_stays_good_if_the_budget_refused_it(now):
    triggers = Triggers(["K1"], clock=now.clock, requests_per_second=1)
    first, second = signed(nonce="1" * 32), signed(nonce="2" * 32)

    assert isinstance(triggers.accept(lower(first)), Trace)
    assert isinstance(triggers.accept(lower(second)), Joined)
    now.pass_s(1)
    assert isinstance(triggers.accept(lower(second)), Trace)


# --- Budget ---------------------------------------------------------------------------------


def test_a_key_holder_gets_so_many_traces_a_second(now, counted):
    triggers = Triggers(["K1"], clock=now.clock, requests_per_second=5)
    numbers = iter(range(1_000))

    def burst(number):
        return sum(
            isinstance(triggers.accept(lower(signed(nonce=f"{next(numbers):032x}"))), Trace)
            for _ in range(number)
        )

    assert burst(20) == 5  # one second's worth at once
    now.pass_s(0.4)
    assert burst(20) == 2
    now.pass_s(50)
    assert burst(20) == 5
    assert counted() == {"accepted": 12, "budget_requests": 48, "joined": 48}


def test_a_slow_budget_still_lets_one_in(now):
    triggers = Triggers(["K1"], clock=now.clock, requests_per_second=0.5)
    info, mac = sign_osprofiler("b", "p", Key(b"K1"))
    sent = lower({"X-Trace-Info": info, "X-Trace-HMAC": mac})

    assert [type(triggers.accept(sent)) for _ in range(2)] == [Trace, type(None)]
    now.pass_s(2)
    assert isinstance(triggers.accept(sent), Trace)


# --- Joining --------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", ["00", "01"])
def test_an_unsigned_traceparent_joins_ids_and_records_nothing(now, counted, flags):
    sent = {"traceparent": PARENT[:-2] + flags, "tracestate": "other=1,nilo=nonsense, more=2"}
    joined = Triggers(["K1"], clock=now.clock).accept(lower(sent))

    with start_root("r", request=joined):
        assert headers() == {"traceparent": PARENT[:-2] + flags, "tracestate": "other=1,more=2"}
        assert span("s").recording is False
    assert (joined.trace_id, joined.span_id) == ("1f" * 16, "2e" * 8)
    assert counted() == {"malformed_tracestate": 1, "joined": 1}


def test_an_unsigned_sampled_traceparent_is_recorded_where_the_operator_asks(now, counted):
    triggers = Triggers(["K1"], clock=now.clock, join=True, requests_per_second=1)
    sent = {"traceparent": PARENT, "tracestate": "other=1"}
    trace = triggers.accept(lower(sent))

    assert isinstance(trace, Trace)
    assert isinstance(triggers.accept(lower(sent)), Joined)
    assert isinstance(triggers.accept(lower({"traceparent": PARENT[:-2] + "00"})), Joined)
    assert counted() == {"accepted_unsigned": 1, "budget_requests": 1, "joined": 1}
    with start_root("r", request=trace) as root:
        # Not signed by us either: that would make of anyone's header a key holder's.
        assert headers() == {
            "traceparent": f"00-{'1f' * 16}-{root.span_id}-01",
            "tracestate": "other=1",
        }
    drain_spans()


def test_a_signed_header_that_is_not_sampled_asks_for_nothing(now, counted):
    sent = signed(traceparent=PARENT[:-2] + "00")

    assert isinstance(Triggers(["K1"], clock=now.clock).accept(lower(sent)), Joined)
    assert counted() == {"not_sampled": 1, "joined": 1}


# --- Onward ---------------------------------------------------------------------------------


def test_onward_headers_are_signed_anew_with_the_accepted_key(now):
    triggers = Triggers(["K0", "K1"], clock=now.clock)
    sent = signed(expiry_s=NOW_S + 40)
    sent["tracestate"] = f"a=1,{sent['tracestate']},b=x y"
    with start_root("r", request=triggers.accept(lower(sent))), span("client") as client:
        onward = [headers(), headers()]

    expiries = []
    for each in onward:
        assert each["traceparent"] == f"00-{'1f' * 16}-{client.span_id}-01"
        ours, others = split_tracestate(each["tracestate"])
        assert others == "a=1,b=x y"
        assert each["tracestate"].startswith("nilo=")
        expiries.append(parse_signature(ours).expiry_s)
        trace = Triggers(["K1"], clock=now.clock).accept(lower(each))
        assert (trace.trace_id.hex(), trace.parent_id.hex()) == ("1f" * 16, client.span_id)
        assert isinstance(Triggers(["K0"], clock=now.clock).accept(lower(each)), Joined)
    assert expiries == [NOW_S + 40] * 2
    assert onward[0]["tracestate"] != onward[1]["tracestate"]  # a nonce is good for one request
    drain_spans()


def test_both_forms_sent_onward_name_the_same_parent(now):
    triggers = Triggers(["K1"], clock=now.clock)
    with start_root("r", request=triggers.accept(lower(signed()))) as root:
        sent = headers()
    by_osprofiler = triggers.accept(lower({k: v for k, v in sent.items() if k[0] == "X"}))

    assert (by_osprofiler.trace_id.hex(), by_osprofiler.parent_id.hex()) == (
        "1f" * 16, root.span_id,
    )  # fmt: skip
    drain_spans()


# --- Hostile input --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "", "00", PARENT[:-1], PARENT + "0", PARENT + "-x", PARENT.upper(), "ff" + PARENT[2:],
        PARENT.replace("-", "_"), "00-" + "0" * 32 + PARENT[35:], PARENT[:36] + "0" * 16,
        PARENT[:36] + "0" * 16 + "-01",
        PARENT.replace("1f1f", "1f f"), PARENT.replace("1f1f", "1fzf"), "é" * 55, PARENT * 3,
        PARENT[:-2] + "0g",
    ],
)  # fmt: skip
def test_what_is_not_a_traceparent_is_refused(text, counted):
    assert parse_traceparent(text) is None
    assert Triggers(["K1"]).accept({"traceparent": text}.get) is None
    assert counted() == ({"malformed_traceparent": 1} if text else {})


def test_a_later_version_of_traceparent_may_say_more():
    assert parse_traceparent("cc" + PARENT[2:] + "-what-the-future-brings").sampled
    assert parse_traceparent("cc" + PARENT[2:]).sampled
    assert parse_traceparent("cc" + PARENT[2:] + "x") is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "1",
        "1;2;3",
        "1;2;3;4;5",
        f"2;1800000060;{'0a' * 16};{'0b' * 32}",
        f"1;-5;{'0a' * 16};{'0b' * 32}",
        f"1;1e9;{'0a' * 16};{'0b' * 32}",
        f"1;{'9' * 13};{'0a' * 16};{'0b' * 32}",
        f"1;\u0661;{'0a' * 16};{'0b' * 32}",
        f"1;1800000060;{'0A' * 16};{'0b' * 32}",
        f"1;1800000060;{'0a' * 16};{'0b' * 31}",
    ],
)
def test_what_is_not_our_signature_is_refused(value, counted):
    assert parse_signature(value) is None
    sent = {"traceparent": PARENT, "tracestate": "nilo=" + value}
    assert isinstance(Triggers(["K1"]).accept(sent.get), Joined)
    assert counted() == {"malformed_tracestate": 1, "joined": 1}


def test_a_signature_among_what_no_standard_allows_is_refused_and_counted_as_that(now, counted):
    """The expiry in Arabic digits, a neighbour in Greek."""
    good = lower(new_trigger("K1", clock=now.clock).headers)
    state = good("tracestate")
    arabic = state.translate({ord(str(n)): 0x660 + n for n in range(10)})
    triggers = Triggers(["K1"], clock=now.clock, osprofiler=False)

    for spoilt in (arabic, f"{state},λ=1"):
        sent = {"traceparent": good("traceparent"), "tracestate": spoilt}
        assert isinstance(triggers.accept(sent.get), Joined)
    assert counted() == {"malformed_tracestate": 2, "joined": 2}


def test_oversized_headers_are_refused_before_any_cryptography(counted, monkeypatch):
    def no_cryptography(*ignored):
        raise AssertionError("computed a MAC")

    class Forbidden:
        def __init__(self, secret):
            self.mac_sha1 = self.mac_sha256 = no_cryptography

    monkeypatch.setattr("nilometer.trace.keys.Key", Forbidden)
    triggers = Triggers(["K1"])
    big = "A" * 10_000_000

    assert triggers.accept({"x-trace-info": big, "x-trace-hmac": "0" * 40}.get) is None
    assert triggers.accept({"x-trace-info": "QQ==", "x-trace-hmac": big}.get) is None
    assert triggers.accept({"traceparent": big}.get) is None
    assert isinstance(triggers.accept({"traceparent": PARENT, "tracestate": big}.get), Joined)
    assert counted() == {"oversize": 3, "malformed_traceparent": 1, "joined": 1}


class Untouched(str):
    """A text of which nothing may be copied but its beginning."""

    def split(self, separator, most=-1):
        assert 0 <= most <= MEMBERS_MAX + 1
        return super().split(separator, most)

    def strip(self, *characters):
        assert len(self) <= 1_024
        return super().strip(*characters)

    def replace(self, *ignored):
        assert len(self) <= TRACESTATE_CHARS_MAX
        return self


def test_a_header_is_no_more_copied_than_it_may_be_long(counted):
    triggers = Triggers(["K1"])
    blanks = Untouched(" " * 1_000_000)

    assert split_tracestate(Untouched("," * TRACESTATE_CHARS_MAX)) == (None, "")
    assert split_tracestate(blanks) == (None, "")
    assert triggers.accept({"traceparent": blanks}.get) is None
    assert triggers.accept({"x-trace-info": "QQ==", "x-trace-hmac": blanks}.get) is None
    assert counted() == {"malformed_traceparent": 1, "oversize": 1}


def test_others_members_are_passed_on_unless_someone_would_write_a_header_of_his_own():
    many = ",".join(f"k{i}=v" for i in range(40))

    assert split_tracestate("a=1\r\nX-Evil: 1,b=2") == ("", "")
    assert split_tracestate("a=é") == ("", "")
    long = "b=" + "2" * 300
    assert split_tracestate(long) == (None, long)
    for character in "\x00\n\r\x1f\x7f\x80é":
        assert split_tracestate(f"{long}{character},c=3") == ("", "")
    assert split_tracestate(" a=1 ,\tb=2,,=x,c, nilo=x,nilo=y ") == ("x", "a=1,b=2")
    assert split_tracestate(many)[1].count(",") == 30


def test_whatever_the_headers_are_accept_does_not_raise(counted):
    class Raising:
        def __call__(self, name):
            raise RuntimeError("a broken server")

    triggers = Triggers(["K1"])

    assert triggers.accept(Raising()) is None
    assert triggers.accept({"traceparent": b"bytes", "x-trace-info": 7}.get) is None
    assert counted() == {"fault": 2}


hostile = st.one_of(st.text(max_size=200), st.sampled_from([PARENT, "nilo=1;2;3;4", "a=1"]))


@given(st.dictionaries(
    st.sampled_from(["traceparent", "tracestate", "x-trace-info", "x-trace-hmac"]), hostile
))  # fmt: skip
@settings(max_examples=300)
def test_hostile_headers_are_never_traced_and_never_raise(sent):
    given = Triggers(["K1", "ключ"]).accept(sent.get)

    assert given is None or isinstance(given, Joined)
    assert CURRENT.get() is None


changes = st.tuples(st.integers(0, 400), st.characters(codec="ascii"))


@given(st.sampled_from(["traceparent", "tracestate"]), changes)
@settings(max_examples=300)
def test_one_changed_character_voids_a_signature(name, change):
    at, character = change
    sent = signed()
    text = sent[name]
    at %= len(text)
    changed = text[:at] + character + text[at + 1 :]
    now = Time()
    given = Triggers(["K1"], clock=now.clock).accept({**sent, name: changed}.get)

    assert isinstance(given, Trace) == (changed.strip(" \t") == text)


@given(st.text(min_size=1, max_size=60), st.sampled_from([8, 16]))
def test_any_text_is_an_id_of_its_own(text, size):
    value = id_bytes(text, size)

    assert len(value) == size
    assert any(value)
    assert value == id_bytes(text, size)
    assert value != id_bytes(text + "x", size)


def test_a_wrong_header_costs_one_mac_per_key_and_form(now, monkeypatch):
    computed = []

    class Counted:
        def __init__(self, secret):
            self.key = Key(secret)

        def __getattr__(self, name):
            computed.append(name)
            return getattr(self.key, name)

    monkeypatch.setattr("nilometer.trace.keys.Key", Counted)
    wrong = signed(b"?") | {"X-Trace-Info": "A" * 1_000, "X-Trace-HMAC": "0" * 40}
    Triggers([f"K{i}" for i in range(KEYS_MAX)], clock=now.clock).accept(lower(wrong))

    assert computed == ["mac_sha256"] * KEYS_MAX + ["mac_sha1"] * KEYS_MAX


def test_readings_of_the_door_are_ordinary_ones(now):
    REGISTRY.collect()
    Triggers(["K1"], clock=now.clock).accept(lower(signed()))
    readings, _ = REGISTRY.collect()

    (reading,) = [r for r in readings if r.name == "nilometer.trigger"]
    assert isinstance(reading, Reading)
    assert (reading.dimensions, reading.value) == ((("result", "accepted"),), 1)
