"""What a backend says when it is read, and what is known of each counter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.model.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.model.dimensions import Dimensions

    Series = tuple[str, Dimensions]
    """A counter's name and what tells one part of it from another; empty for the total."""

    Number = int | float


class Fact(NamedTuple):
    """What is known of a counter.

    `unit` is UCUM. `exact` says how it proved itself under a fixed workload: True, it moved by
    the same number each time; False, it did not; None, nobody has measured. `from_zero` says
    that the backend shows the counter, or a part of it, only from its first move on, so that
    one which is new in the second snapshot has moved by its value: if it was read then, which
    another part of the same counter shows, or figures that are `whole`. `lags` says that it is
    not counted at once: `Figures.complete_ns` says up to when it is.
    """

    meaning: str
    unit: str = "1"
    kind: Kind = Kind.COUNTER
    exact: bool | None = None
    from_zero: bool = False
    lags: bool = False


UNKNOWN: Final = Fact("not described by this backend")


class Figures(NamedTuple):
    """What a backend says when it is read once.

    A value's key is the counter's name and its dimensions: none for the counter's total, some
    for a part of it. `incarnation` changes when the server starts again or its figures are
    reset. `incarnations` say the same of single counters that can begin anew, or lose a part of
    what they counted, while the server goes on. `notes` say what could not be read, and what to
    do about it. `whole` is said by a backend that reads all of its counters or none: what it
    does not show has not moved yet. `complete_ns` is said by one whose figures lag and that
    knows by how much: whatever happened before this moment of the monotonic clock is in them.
    `unseen` changes when something came and went between two reads and took along what it had
    counted, nobody knows where: how far a counter that is `from_zero` moved is unknown then.
    `unread` says why what was asked for by name could not be read, where the rest was. `ids`
    say of dimensions which thing they name, as a table that is made anew has another than the
    one before: what is told of it is not compared.
    """

    values: Mapping[Series, Number]
    incarnation: str
    version: str = ""
    notes: tuple[str, ...] = ()
    incarnations: Mapping[Series, str] = {}  # never written to
    whole: bool = False
    complete_ns: int | None = None
    unseen: str = ""
    unread: str = ""
    ids: Mapping[tuple[str, str], str] = {}  # never written to
