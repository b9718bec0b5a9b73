"""Hypothesis strategies for everything that a batch may hold."""

from hypothesis import strategies as st

from nilometer.model import (
    Batch,
    Distribution,
    Event,
    Kind,
    Link,
    Reading,
    Resource,
    SpanKind,
    SpanRecord,
    Status,
    dimensions_of,
)

times = st.integers(0, 2**63 - 1)
unicode_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
any_text = st.text(
    st.one_of(st.sampled_from("\ud800\x00\n\r\u2028\x85\"'\\= |{}[],:#;<>&"), st.characters()),
    max_size=12,
)
int64 = st.integers(-(2**63), 2**63 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
not_zero = st.binary(min_size=16, max_size=16).filter(any)
not_zero_8 = st.binary(min_size=8, max_size=8).filter(any)

TAKEN = {"service.name", "service.version", "host.name", "process.pid", "cloud.region",
         "cloud.availability_zone"}  # fmt: skip


def attributes(text):
    return st.dictionaries(text, st.one_of(text, int64, finite, st.booleans()), max_size=4)


def resources(text=unicode_text):
    extra = attributes(text).map(
        lambda pairs: tuple(sorted((k, v) for k, v in pairs.items() if k not in TAKEN))
    )
    pids = st.integers(0, 2**31)
    return st.builds(Resource, text, text, pids, text, text, text, extra)


def events(text=unicode_text, scopes=None):
    ids = st.one_of(st.just((b"", b"")), st.tuples(not_zero, not_zero_8))
    return st.tuples(
        st.builds(
            Event,
            text,
            times,
            attributes(text),
            severity=st.integers(1, 24),
            body=text,
            scope=scopes or text,
        ),
        ids,
    ).map(lambda both: both[0]._replace(trace_id=both[1][0], span_id=both[1][1]))


def spans(text=unicode_text, scopes=None):
    # Not built from its class: of a tuple Hypothesis makes up every field that is left out.
    within = st.tuples(text, times, attributes(text)).map(lambda told: Event(*told))
    links = st.builds(Link, not_zero, not_zero_8, attributes(text))
    return st.builds(
        SpanRecord,
        not_zero,
        not_zero_8,
        st.one_of(st.just(b""), not_zero_8),
        text,
        st.sampled_from(SpanKind),
        times,
        times,
        attributes(text),
        st.sampled_from(Status),
        text,
        st.lists(within, max_size=2).map(tuple),
        st.lists(links, max_size=2).map(tuple),
        scopes or text,
    )


whole = st.integers(0, 2**53)
values = st.one_of(whole, st.floats(-1e300, 1e300), st.sampled_from([0, 1, -1, 5e-324, 1e308]))
exponential = st.lists(st.one_of(whole, st.floats(1e-9, 1e9), st.just(0)), max_size=8).map(
    Distribution.of
)
with_negatives = st.lists(st.integers(-(2**40), 2**40), max_size=8).map(Distribution.of)


@st.composite
def explicit(draw):
    bounds = tuple(sorted(draw(st.sets(finite, min_size=1, max_size=5))))
    counts = draw(
        st.dictionaries(st.integers(0, len(bounds)), st.integers(1, 2**40), max_size=5)
    )
    low, high = draw(st.one_of(st.just((None, None)), st.tuples(finite, finite)))
    samples = sum(counts.values())
    return Distribution(
        samples, draw(finite), low, high, dict(sorted(counts.items())), bounds=bounds
    )


def readings(text=unicode_text, scopes=None):
    dims = st.dictionaries(text, text, max_size=3).map(dimensions_of)
    scopes = scopes or text

    def of(kind, value, cumulative):
        return st.builds(
            Reading,
            text,
            st.just(kind),
            dims,
            value,
            times,
            times,
            text,
            text,
            scopes,
            cumulative,
        )

    number = st.one_of(int64, finite)
    either = st.booleans()
    return st.one_of(
        of(Kind.COUNTER, number, st.just(False)),
        of(Kind.COUNTER, st.one_of(st.integers(0, 2**63 - 1), st.floats(0, 1e300)), either),
        of(Kind.GAUGE, number, st.just(False)),
        of(Kind.DISTRIBUTION, st.one_of(exponential, with_negatives, explicit()), either),
    )


def batches(text=unicode_text, scopes=None):
    return st.builds(
        Batch,
        resources(text),
        st.lists(readings(text, scopes), max_size=4).map(tuple),
        st.lists(spans(text, scopes), max_size=4).map(tuple),
        st.lists(events(text, scopes), max_size=4).map(tuple),
        delivery=st.just(""),
    )
