"""Values that outlive the process: those of this one kept in a file, those of others sent on.

A part of `assembly`, for those who set `arena`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.measure.catalogue import Kept, checked_folder
from nilometer.measure.remains import CLAIMS_MAX, Claim, Remains

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nilometer.config import Settings
    from nilometer.errors import ArenaError
    from nilometer.export import Outlet, Pump
    from nilometer.measure import Registry
    from nilometer.model import Resource

log = logging.getLogger("nilometer")

WITHOUT: Final = "values of this process end with it"


class _Offered(NamedTuple):
    claim: Claim
    marks: tuple[tuple[Outlet, int], ...]  # how much each had been offered by then

    @property
    def has_arrived(self) -> bool:
        return all(outlet.is_through(offered) for outlet, offered in self.marks)


class Handing:
    """What others left in a folder, claimed and offered. For one thread at a time."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self._registry = registry
        self._remains = Remains(folder, self._tell)
        self._offered: list[_Offered] = []
        self._is_said = False

    def hand_on(self, outlets: Sequence[Outlet]) -> int:
        """Take away what has arrived, offer what was left since; how many files that is."""
        self.settle()
        if not outlets:
            return 0
        before = len(self._offered)
        try:
            for claim in self._remains.claims(CLAIMS_MAX - before):
                for outlet in outlets:
                    outlet.offer(claim.batch)
                marks = tuple((outlet, outlet.offered) for outlet in outlets)
                self._offered.append(_Offered(claim, marks))
        except OSError as error:
            self._say(f"the folder of values cannot be read: {error}; said once")
        return len(self._offered) - before

    @property
    def pending(self) -> int:
        """How many files wait until what they held has arrived."""
        return len(self._offered)

    def settle(self) -> None:
        """Take away the files whose values have arrived everywhere, or are counted as lost."""
        for one in self._offered.copy():
            if one.has_arrived:
                self._offered.remove(one)
                one.claim.done()

    def let_go(self) -> None:
        """Leave to others what has not arrived; in a forked child, to the parent."""
        for one in self._offered:
            one.claim.let_go()
        self._offered = []

    def _tell(self, path: Path, error: ArenaError) -> None:
        self._registry.lost("arena", error.slug.removeprefix("arena-"))
        log.warning("%s: what a process left cannot be collected: %s", path, error)

    def _say(self, what: str) -> None:
        if not self._is_said:
            self._is_said = True
            log.warning("%s [arena-folder]", what)


class Keeper:
    """One process's file in the folder, and what others left there.

    `process` tells who measures, and what sends that.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        process: Callable[[], tuple[Resource, Pump]],
    ) -> None:
        self.folder = checked_folder(settings.arena, settings.origin("arena"))
        self._interval_s = settings.interval_s
        self._registry = registry
        self._process = process
        self._kept: Kept | None = None
        self._handing = Handing(self.folder, registry)

    def begin(self) -> None:
        """Keep the values in a file from now on; where that cannot be, in memory as before."""
        resource, pump = self._process()
        interval_s = self._interval_s if pump.outlets else 0  # nobody collects
        try:
            self._kept = Kept(self._registry, self.folder, resource, interval_s)
        except OSError as error:
            log.warning("%s: %s: %s [arena-not-kept]", self.folder, error, WITHOUT)

    def hand_on(self) -> None:
        """Offer what others left; in the pump's thread, at each interval."""
        try:
            self._handing.hand_on(self._process()[1].outlets)
        except Exception as error:  # noqa: BLE001 - what others left must not cost our own
            log.debug("what others left cannot be sent: %r", error)

    def end(self, *, was_taken: bool) -> None:
        """Take the file away: what was in it has been drained. What others left may stay."""
        if was_taken:
            self._handing.settle()
        self._handing.let_go()
        if self._kept is not None:
            self._kept.end()
            self._kept = None

    def reset_after_fork(self) -> None:
        """In a forked child: leave the parent what is its, and make a file of one's own."""
        self._kept = None
        self._handing.let_go()
        self.begin()
