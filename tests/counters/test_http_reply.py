"""Answers in HTTP/1.1, beside the standard library's reading of the same bytes."""

from __future__ import annotations

import http.client
import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.counters.http_reply import HEADERS_MAX, ReplyError, read_body, read_head

BYTES_MAX = 1000


class _Socket:
    def __init__(self, content: bytes) -> None:
        self.stream = io.BytesIO(content)

    def makefile(self, _mode: str) -> io.BytesIO:
        return self.stream


def theirs(content: bytes) -> tuple[int, str, bytes]:
    response = http.client.HTTPResponse(_Socket(content), method="GET")
    response.begin()
    return response.status, response.reason, response.read()


def ours(content: bytes) -> tuple[int, str, bytes]:
    stream = io.BufferedReader(io.BytesIO(content))
    reply = read_head(stream)
    return reply.status, reply.reason, read_body(stream, reply, BYTES_MAX)


words = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,8}", fullmatch=True)
values = st.from_regex(r"[!-~]([ -~]{0,20}[!-~])?", fullmatch=True)
heads = st.dictionaries(words.map("X-{}".format), values, max_size=4)
bodies = st.binary(max_size=200)


@st.composite
def answers(draw) -> bytes:
    """Right ones in all forms, with what may come before them."""
    body = draw(bodies)
    lines = [f"{name}: {value}" for name, value in draw(heads).items()]
    form = draw(st.sampled_from(["length", "chunks", "end"]))
    if form == "length":
        lines.append(f"Content-Length: {len(body)}")
    elif form == "chunks":
        lines.append("transfer-encoding: Chunked")
        cut = draw(st.integers(0, len(body)))
        pieces = [piece for piece in (body[:cut], body[cut:]) if piece]
        more = draw(st.sampled_from(["", ";name=value"]))
        body = b"".join(b"%x%s\r\n%s\r\n" % (len(p), more.encode(), p) for p in pieces)
        body += b"0\r\n" + draw(st.sampled_from([b"", b"X-Sum: 1\r\n"])) + b"\r\n"
    status = draw(st.sampled_from(["200 OK", "200", "503 Too Busy", "404 "]))
    before = draw(st.sampled_from(["", "HTTP/1.1 100 Continue\r\n\r\n"]))
    head = f"{before}HTTP/1.1 {status}\r\n" + "".join(f"{line}\r\n" for line in lines)
    return head.encode() + b"\r\n" + body


@given(answers())
def test_a_right_answer_is_read_as_the_standard_library_reads_it(content: bytes) -> None:
    assert ours(content) == theirs(content)


@given(answers(), st.data())
def test_an_answer_that_is_cut_is_never_taken_for_whole(content: bytes, data) -> None:
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    says_its_end = b"Content-Length" in content or b"Chunked" in content

    try:
        _, _, body = ours(cut)
    except (ReplyError, ConnectionResetError):
        return

    assert not says_its_end or body == ours(content)[2]  # but for the last line end


@given(st.binary(max_size=200) | st.binary(max_size=80).map(b"HTTP/1.1 200 OK\r\n".__add__))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with suppress(ReplyError, ConnectionResetError):
        ours(content)


@pytest.mark.parametrize(
    ("content", "because"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "it ends 2 bytes too soon"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "no length: '-5'"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * (HEADERS_MAX + 1), "more than 100 headers"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "no header"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it begins with b'SSH-2.0"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
            "a piece of it does not say how long it is",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
            "a piece of it is longer than it said",
        ),
    ],
)
def test_a_wrong_answer_is_refused_with_its_reason(content, because) -> None:
    with pytest.raises(ReplyError, match=because):
        ours(content)


def test_no_more_is_read_than_is_wanted() -> None:
    """Whoever announces a gigabyte fills no memory: one byte too many is enough to know."""
    for head in (
        b"Content-Length: 999999999999\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
        b"\r\n",
    ):
        stream = io.BytesIO(b"HTTP/1.1 200 OK\r\n" + head + b"x" * 100_000)
        assert len(read_body(stream, read_head(stream), BYTES_MAX)) == BYTES_MAX + 1
