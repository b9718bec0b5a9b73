"""What counts as a loss that wants a person."""

from __future__ import annotations

import pytest

from nilometer.cli.doctor import wants_a_person


@pytest.mark.parametrize(
    ("dimensions", "expected"),
    [
        ({"what": "spans", "reason": "ring_full"}, True),
        ({"door": "otlp", "reason": "span-id"}, True),
        ({"door": "rest", "reason": "bad-parameter"}, False),
    ],
)
def test_a_question_that_was_refused_lost_nobodys_data(
    dimensions: dict[str, str], expected: bool
) -> None:
    assert wants_a_person({"dimensions": dimensions}) is expected
