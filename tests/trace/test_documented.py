"""docs/tracing.md says what the code does."""

import re
from pathlib import Path

import pytest

from nilometer.trace import budget, limits, results, signing, trigger

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tracing.md").read_text()


def test_every_result_of_a_trigger_is_explained_and_no_other():
    table = PAGE[PAGE.index("| result |") : PAGE.index("An expired or replayed")]
    first_cells = "".join(line.split("|")[1] for line in table.strip().splitlines()[2:])

    assert set(re.findall(r"`(\w+)`", first_cells)) == results.RESULTS


@pytest.mark.parametrize(
    "number",
    [
        limits.SPANS_PER_TRACE_MAX,
        limits.SPANS_RING_MAX,
        limits.ATTRIBUTES_MAX,
        limits.EVENTS_MAX,
        limits.TEXT_CHARS_MAX,
        limits.MESSAGE_CHARS_MAX,
        limits.NAME_CHARS_MAX,
        budget.NONCES_MAX,
        int(budget.REQUESTS_PER_SECOND),
        trigger.EXPIRY_AHEAD_S_MAX // 60,
    ],
)
def test_every_limit_on_the_page_is_the_one_in_the_code(number):
    assert re.search(rf"\b{number:,}\b", PAGE)


def test_the_signed_bytes_on_the_page_are_those_that_are_signed():
    (shown,) = re.findall(r"^nilo=1\\n.*$", PAGE, re.MULTILINE)
    expected = shown.replace("\\n", "\n")
    for name, value in (("traceparent", "T"), ("expiry", "7"), ("nonce", "N")):
        expected = expected.replace(f"<{name}>", value)

    assert signing.message_of("T", "7", "N") == expected.encode()
