"""A trace as a page: whole in itself, and whatever a span says is text on it."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from nilometer.model import Event, Resource, SpanKind, SpanRecord, Status
from nilometer.model.tree import tree_of
from nilometer.wire import html

HOSTILE = "</script><script src=//evil>'\"><img onerror=x src=y> {0} %s &lt; \ud800\u202e\0"
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "p", "div", "span"),
    *("details", "summary", "b", "i", "dl", "dt", "dd"),
}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "style"}


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.said, self._open = [], {}, {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._open.append(tag)
        for key, value in attrs:
            self.attributes.setdefault(key, []).append(value)

    def handle_endtag(self, tag):
        while self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if self._open:
            self.said.setdefault(self._open[-1], []).append(data)


def span(number, parent, name="f", begins=0, ends=10**6, **more):
    return SpanRecord(
        bytes(range(16)),
        number.to_bytes(8),
        parent.to_bytes(8) if parent else b"",
        name,
        SpanKind.SERVER,
        10**18 + begins,
        10**18 + ends,
        more.pop("attributes", {}),
        **more,
    )


def page_of(*spans, service="api"):
    text = html.encode(tree_of((Resource(service, "c1"), one) for one in spans))
    text.encode()
    return Page(text)


def test_a_page_shows_each_span_with_its_bar_its_times_and_what_it_says():
    page = page_of(
        span(1, 0, "GET /o", attributes={"url.path": "/o", "n": 2}),
        span(2, 1, "db", 250_000, 500_000, status=Status.ERROR, status_message="no"),
    )

    said = page.said
    assert said["title"] == ["GET /o"]
    assert said["p"] == [f"trace {bytes(range(16)).hex()}: 2 spans, 1 failed, 1.000 ms"]
    assert said["b"] == ["GET /o", "db"]
    told = [text for text in said["span"] if text.strip()]
    assert told[6:] == ["1.000", "0.750", "api", "c1", "0.250", "0.250", "api", "c1"]
    bars = [style for style in page.attributes["style"] if style.startswith("margin")]
    assert bars == [
        "margin-left:0.000%;width:100.000%",
        "margin-left:25.000%;width:25.000%",
    ]
    facts = dict(zip(said["dt"], said["dd"], strict=True))
    assert {"url.path": "/o", "n": "2", "error": "no"}.items() <= facts.items()


def test_a_page_asks_no_host_for_anything_and_runs_nothing():
    page = page_of(span(1, 0))

    assert set(page.tags) <= TAGS
    assert set(page.attributes) <= ATTRIBUTES
    [policy] = [text for text in page.attributes["content"] if "default-src" in text]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert not any("url(" in text or "@import" in text for text in page.said["style"])


@given(st.text(max_size=40).map(lambda text: text + HOSTILE))
def test_whatever_a_span_says_is_text(hostile):
    told = Event(hostile, 10**18, {hostile: hostile})
    bad = span(1, 0, hostile, attributes={hostile: hostile}, events=(told,),
               status=Status.ERROR, status_message=hostile)  # fmt: skip
    page = page_of(bad, service=hostile)
    shown = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in hostile)

    assert set(page.tags) <= TAGS
    assert set(page.attributes) <= ATTRIBUTES
    assert ["".join(page.said[tag]) for tag in ("title", "h1", "b")] == [shown] * 3
    assert "".join(page.said["dd"]).count(shown) == 4


def test_a_trace_that_is_empty_or_deep_is_a_page_too():
    deep = page_of(*(span(i, i - 1, "f", i, 99_999 - i) for i in range(1, 2000)))

    assert page_of().said["title"] == ["no spans"]
    assert deep.tags.count("details") == 1999
    assert {"padding-left:60em"} <= set(deep.attributes["style"])
