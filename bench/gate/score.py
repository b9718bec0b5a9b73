"""How well found changes match the labelled ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.gate.series import Labelled

MARGIN: Final = 5  # points, as in "An Evaluation of Change Point Detection Algorithms" (2020)


class Score(NamedTuple):
    """Over many series together."""

    series: int
    unchanged: int  # series without a change ...
    alarmed: int  # ... of which so many were said to have one
    true: int  # changes found within the margin
    false: int
    missed: int

    @property
    def precision(self) -> float:
        return self.true / (self.true + self.false) if self.true + self.false else 1.0

    @property
    def recall(self) -> float:
        return self.true / (self.true + self.missed) if self.true + self.missed else 1.0

    @property
    def f1(self) -> float:
        """Of all changes of all series together: harder than the mean over series."""
        return 2 * self.true / max(1, 2 * self.true + self.false + self.missed)

    @property
    def alarmed_share(self) -> float:
        return self.alarmed / max(1, self.unchanged)


def matched(found: Sequence[int], labels: Sequence[int]) -> int:
    """How many labels have a find within the margin; a find serves one label only."""
    free = list(found)
    count = 0
    for label in labels:
        near = [f for f in free if abs(f - label) <= MARGIN]
        if near:
            free.remove(min(near, key=lambda f: abs(f - label)))
            count += 1
    return count


def score(pairs: Iterable[tuple[Labelled, Sequence[int]]]) -> Score:
    """Of series and what was found in each."""
    series = unchanged = alarmed = true = false = missed = 0
    for one, raw in pairs:
        near = [u for u in one.unsure if matched(raw, [u])]
        sure = [f for f in raw if not any(abs(f - u) <= MARGIN for u in near)]
        hits = matched(sure, one.steps)
        series += 1
        unchanged += not one.steps and not one.unsure
        alarmed += not one.steps and not one.unsure and bool(sure)
        true += hits
        false += len(sure) - hits
        missed += len(one.steps) - hits
    return Score(series, unchanged, alarmed, true, false, missed)


def mean_f1(pairs: Iterable[tuple[Labelled, Sequence[int]]]) -> float:
    """The mean of each series' F1; its beginning counts as a change found, as in TCPDBench."""
    each = []
    for one, raw in pairs:
        found, labels = [0, *raw], [0, *one.steps]
        hits = matched(found, labels)
        each.append(2 * hits / (len(found) + len(labels)))
    return sum(each) / max(1, len(each))
