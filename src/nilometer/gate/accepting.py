"""Taking a change for granted: what somebody may accept, and what is then recorded."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from nilometer.gate.verdict import judge
from nilometer.model.run import Accepted

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from nilometer.gate.chosen import Chosen

NEAR_MAX: Final = 3  # names that may be meant, as many as a sentence bears
SHOWN_MAX: Final = 10
REASON_CHARS_MAX: Final = 4096  # it is told with every later verdict


class UnacceptableError(ValueError):
    """It cannot be accepted so: which `parameter` is to be changed, and how.

    `is_missing`: there is nothing to accept.
    """

    def __init__(
        self, parameter: str, value: str, remedy: str, *, is_missing: bool = False
    ) -> None:
        super().__init__(remedy)
        self.parameter = parameter
        self.value = value
        self.is_missing = is_missing


def acceptance(
    chosen: Chosen,
    counters: Sequence[str],
    *,
    everything: bool,
    reason: str,
    by: str,
    at_ns: int,
    branches: Collection[str] = (),
) -> Accepted:
    """What is recorded: from this run on these counters have a new level, or `everything` has,
    or those that the verdict on the run names.

    Raises UnacceptableError.
    """
    if not reason.strip():
        raise UnacceptableError("reason", reason, "say why, so that others can follow")
    if len(reason) > REASON_CHARS_MAX:
        remedy = f"it has {len(reason):,} characters; {REASON_CHARS_MAX:,} are the most"
        raise UnacceptableError("reason", reason, remedy)
    if counters and everything:
        raise UnacceptableError("all", "", "and --counter: one of them")
    which = tuple(counters)
    if which:
        _check(which, chosen)
    elif not everything:
        which = _moved(chosen, branches)
    return Accepted(chosen.run.suite, chosen.run.id, at_ns, reason.strip(), by, which)


def _check(counters: tuple[str, ...], chosen: Chosen) -> None:
    """That the run, or one before it, has these; one that moves no more is in those only."""
    known = {
        f"{count.backend}:{count.counter}"
        for run in (*chosen.earlier, chosen.run)
        for count in run.counts
    }
    for name in counters:
        if name not in known:
            raise UnacceptableError("counter", name, f"there is none{_near(name, known)}")


def _near(name: str, known: Collection[str]) -> str:
    """Those that may be meant; else a few of them, and where all are."""
    if near := get_close_matches(name, sorted(known), n=NEAR_MAX):
        return f"; did you mean {' or '.join(near)}?"
    some = ", ".join(sorted(known)[:SHOWN_MAX])
    more = f" and {len(known) - SHOWN_MAX} more" if len(known) > SHOWN_MAX else ""
    return f"; `nilometer gate learn` shows them: {some}{more}"


def _moved(chosen: Chosen, branches: Collection[str]) -> tuple[str, ...]:
    """The counters that the verdict on the run names."""
    verdict = judge(chosen.run, chosen.earlier, chosen.accepted, branches=branches)
    found = tuple(str(one.key) for one in (*verdict.findings, *verdict.improved))
    if not found:
        remedy = f"nothing moved in run {chosen.run.id} ({verdict.because})"
        raise UnacceptableError("run", chosen.run.id, remedy, is_missing=True)
    return found
