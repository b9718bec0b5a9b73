"""What counts as a loss that wants a person."""

from __future__ import annotations

import pytest

from nilometer.cli.doctor import wants_a_person


@pytest.mark.parametrize(
    ("name", "dimensions", "expected"),
    [
        ("nilometer.lost", {"what": "spans", "reason": "ring_full"}, True),
        ("nilometer.collector.rejected", {"door": "otlp", "reason": "span-id"}, True),
        ("nilometer.collector.rejected", {"door": "rest", "reason": "bad-parameter"}, False),
        ("nilometer.collector.duplicates", {"kind": "readings"}, False),
    ],
)
def test_neither_a_refused_question_nor_a_delivery_that_came_again_is_a_loss(
    name: str, dimensions: dict[str, str], expected: bool
) -> None:
    assert wants_a_person({"name": name, "dimensions": dimensions}) is expected
