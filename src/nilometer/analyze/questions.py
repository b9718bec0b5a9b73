"""All questions, by name, in the order in which they are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.analyze import (
    anomalies,
    baseline,
    compare,
    cost,
    critical_path,
    dependencies,
    n_plus_one,
    pools,
    scaling,
    slowest,
    usage,
)

if TYPE_CHECKING:
    from nilometer.analyze.question import Question

_ALL: Final[tuple[Question, ...]] = (
    baseline.QUESTION,
    slowest.QUESTION,
    n_plus_one.QUESTION,
    dependencies.QUESTION,
    critical_path.QUESTION,
    usage.QUESTION,
    compare.QUESTION,
    scaling.QUESTION,
    anomalies.QUESTION,
    pools.QUESTION,
    cost.QUESTION,
)

QUESTIONS: Final = {question.name: question for question in _ALL}
