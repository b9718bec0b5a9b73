"""A document in a stream of test results, and out of it again, whatever the stream."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from subunit.v2 import StreamResultToBytes

from nilometer.wire.subunit import (
    CHUNK_BYTES,
    FILE_NAME,
    TEST_ID,
    Attachment,
    Stream,
    attached,
    attachments,
)

NOW_NS = 1_700_000_000 * 10**9


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5_000_000])
def test_what_is_attached_comes_out_whole(size: int) -> None:
    content = b"x" * size

    found = attachments(attached(content, wall_ns=NOW_NS))

    assert found == Stream((Attachment(TEST_ID, FILE_NAME, content),), "")


@given(st.binary(max_size=100), st.text(min_size=1, max_size=20).filter(str.isprintable))
def test_any_content_under_any_name_comes_out(content: bytes, name: str) -> None:
    found = attachments(attached(content, wall_ns=NOW_NS, file_name=name), file_name=name)

    assert found == Stream((Attachment(TEST_ID, name, content),), "")


def test_the_attachment_of_an_older_stream_needs_neither_test_nor_end() -> None:
    """os-collect-counters of os-performance-tools wrote one packet without either."""
    told = io.BytesIO()
    StreamResultToBytes(told).status(
        file_name=FILE_NAME, file_bytes=b"{}", mime_type="application/json"
    )

    assert attachments(told.getvalue()) == Stream((Attachment("", FILE_NAME, b"{}"),), "")


def test_it_is_found_among_the_results_and_files_of_other_tests() -> None:
    told = io.BytesIO()
    other = StreamResultToBytes(told)
    at = datetime.fromtimestamp(0, UTC)
    other.status(test_id="a", test_status="inprogress", timestamp=at)
    other.status(test_id="a", file_name="log", file_bytes=b"x", eof=True, timestamp=at)
    told.write(attached(b"{}", wall_ns=NOW_NS))
    other.status(test_id="a", test_status="fail", timestamp=at)

    assert attachments(told.getvalue()) == Stream((Attachment(TEST_ID, FILE_NAME, b"{}"),), "")


def test_a_stream_that_is_cut_short_gives_what_it_has_and_says_so() -> None:
    one = attached(b"{}", wall_ns=NOW_NS)

    found = attachments(one + one[:-5])

    assert found.attachments[0] == Attachment(TEST_ID, FILE_NAME, b"{}")
    assert found.because.startswith("Short read")


@settings(max_examples=200)
@given(st.binary(max_size=200), st.integers(0, 400), st.binary(max_size=20))
def test_any_bytes_are_a_stream_or_told(junk: bytes, at: int, inserted: bytes) -> None:
    whole = attached(b"{}" * 50, wall_ns=NOW_NS)

    for stream in (junk, whole[:at] + inserted + whole[at:]):
        assert isinstance(attachments(stream), Stream)
