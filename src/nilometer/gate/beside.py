"""A run beside the bounds of all its counters, the worst first: for people to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.gate.history import past_of, unusable
from nilometer.gate.judged import Judged, pending_of
from nilometer.gate.matrix import Matrix, until
from nilometer.gate.stability import RUNS_MIN

if TYPE_CHECKING:
    from collections.abc import Collection

    from nilometer.gate.chosen import Chosen
    from nilometer.gate.finding import Finding


def beside_bounds(chosen: Chosen, *, branches: Collection[str] = ()) -> tuple[Finding, ...]:
    """Each counter of a run as its verdict saw it, also those that alarm nobody.

    Empty where the run cannot be judged: the verdict says why.
    """
    run = chosen.run
    if unusable(run):
        return ()
    known = [*chosen.earlier, run]
    ids = {one.run_id for one in until(run, chosen.accepted, known)}
    past = past_of(run, chosen.earlier, branches=branches, accepted=ids)
    if len(past.runs) < RUNS_MIN:
        return ()
    matrix = Matrix(run, past, chosen.accepted, known)
    return Judged(matrix, pending_of(matrix)).every()
