"""What the pages work with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nilometer.api.queries import Queries
    from nilometer.clock import Clock
    from nilometer.store.query import Reader
    from nilometer.web.drawing import Drawing


class Parts(NamedTuple):
    """The tables, the threads that ask them, what draws the answer; `health` is the collector's
    own, and `token` whether one is wanted."""

    reader: Reader
    queries: Queries
    drawing: Drawing
    health: Callable[[], Mapping[str, Any]]
    clock: Clock
    token: bool
