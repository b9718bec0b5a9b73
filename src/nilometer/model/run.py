"""One bracketed run of a command: how far each counter moved, and what is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nilometer.model.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.model.dimensions import AttributeValue, Dimensions


class Count(NamedTuple):
    """How far one counter moved between the two snapshots of a run.

    `dimensions` are empty for a counter's total, which is what bounds are learned of; with
    them it is a part of that total, told apart by statement digest, queue scope, process or
    test, which is what a changed total is put down to. `delta` is what the run itself cost:
    `raw`, the plain difference of the snapshots, without `footprint` (what reading the
    counters moved them by) and `idle` (what they would have drifted meanwhile). It is None
    where it is not known, and `because` then says why. A gauge's delta may be negative.
    """

    backend: str
    counter: str
    delta: int | float | None
    dimensions: Dimensions = ()
    kind: Kind = Kind.COUNTER
    unit: str = "1"
    raw: int | float | None = None
    footprint: int | float = 0
    idle: int | float = 0
    because: str = ""


class BackendRead(NamedTuple):
    """One backend as a run saw it.

    `instance` is where it was (host:port), `incarnation` tells one start of the server, or one
    reset of its figures, from the next. An empty `because` means that it was read at both
    ends; otherwise it says why nothing is known of its counters. `notes` say what could not be
    read of it. `counters` are those that were read at both ends: one that the run has no
    `Count` of did not move if it is among them, and is not known if it is not. None says that
    the backend tells all of its counters or none, or that nobody recorded it: whatever the run
    has no `Count` of did not move.
    """

    name: str
    instance: str = ""
    version: str = ""
    incarnation: str = ""
    because: str = ""
    notes: tuple[str, ...] = ()
    counters: tuple[str, ...] | None = None


class Run(NamedTuple):
    """A command between two snapshots: one row of a history.

    Runs are compared only within one `suite` (what was run, in the words of whoever ran it)
    and one `test_set` (digest of the names of the tests that ran; empty if not known), and
    after dividing by `work`, the number of units of work done (tests that ran; 0 if not
    known). `revision` is the version that was measured, as its repository names it. Times are
    wall-clock nanoseconds since 1970; `wall_ns` is how long the command itself took by the
    monotonic clock. `exit_status` is the command's, negative for the signal that ended it,
    None for a run that was never seen to end. An empty `because` means that the run as a whole
    can be used; otherwise it says why not.
    """

    id: str
    suite: str
    started_ns: int
    ended_ns: int
    wall_ns: int = 0
    counts: tuple[Count, ...] = ()
    backends: tuple[BackendRead, ...] = ()
    test_set: str = ""
    work: int = 0
    revision: str = ""
    branch: str = ""
    host: str = ""
    exit_status: int | None = 0
    because: str = ""
    attributes: Mapping[str, AttributeValue] = {}  # never written to


class Accepted(NamedTuple):
    """Somebody took the steps of a run for granted: bounds are learned anew from it on.

    `run_id` is the run from which on, `reason` and `by` are told with every later verdict.
    `counters` are those it holds for, each as ``mysql:Com_select``; none means all. Without a
    `run_id` it stands for what was accepted and cannot be read any more, and `reason` says why.
    """

    suite: str
    run_id: str
    at_ns: int
    reason: str
    by: str = ""
    counters: tuple[str, ...] = ()
