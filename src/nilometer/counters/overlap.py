"""Which brackets were open at the same time on the same server: their counts are nobody's.

Each bracket of a user on this machine has a file that is locked as long as the bracket is
open, so that the kernel unlocks it when its process dies. The file stays for a while, so that
a bracket which began and ended inside another is found, too. Other users' and other machines'
brackets are not seen.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nilometer.clock import Clock
    from nilometer.counters.backend import Backend

BOOT: Final = Path("/proc/sys/kernel/random/boot_id")

KEPT_S: Final = 7 * 24 * 3600
"""A bracket that is closed is remembered so long: longer than any other one may stay open."""

FILE_BYTES_MAX: Final = 1 << 20  # a hundred backends are 5 kB, a thousand units 60 kB

Place = tuple[str, str]
"""A backend's name and instance, or what the server says it is."""


class Told(NamedTuple):
    """What a bracket's file says. Times are of the monotonic clock since this boot."""

    id: str
    suite: str
    places: frozenset[Place]
    opened_ns: int
    closed_ns: int | None


class OpenBracket:
    """A bracket that others can see, until `close`.

    What is measured should inherit `lock`: if our process dies, the bracket then stays open
    until the command that it leaves behind has ended, too.
    """

    def __init__(self, directory: Path, clock: Clock, told: Told) -> None:
        self._directory = directory
        self._clock = clock
        self._told = told
        self._file = directory / f"{told.id}.json"
        self.lock = _written(self._file, told)
        self._met: dict[Place, str] = {}
        for places, alive in self._others():
            self._met |= places if alive else {}

    def also(self, places: Iterable[Place]) -> None:
        """It is on these places, too, as was learned since. Raises OSError."""
        same = self._told.places.union(place_of(name, place) for name, place in places)
        if same == self._told.places:
            return
        self._told = self._told._replace(places=same)
        before, self.lock = self.lock, _written(self._file, self._told)
        os.close(before)
        for met, alive in self._others():
            self._met |= met if alive else {}

    def _others(self) -> Iterator[tuple[dict[Place, str], bool]]:
        """Of each bracket on a place of ours: the places, who it was, whether it is open."""
        for path in sorted(self._directory.glob("*.json")):
            if path == self._file:
                continue
            told, alive = _read(path)
            if told is None or not (alive or self._touches(told)):
                continue
            who = f"another run ({told.id}, {told.suite}) was measured on it meanwhile"
            yield dict.fromkeys(told.places & self._told.places, who), alive

    def _touches(self, told: Told) -> bool:
        """Whether a bracket that is not open any more was so after ours was opened."""
        ended_ns = told.opened_ns if told.closed_ns is None else told.closed_ns
        return ended_ns >= self._told.opened_ns

    def close(self) -> dict[Place, str]:
        """Why nothing is known of these places: others were measured on them meanwhile.

        The places are as `place_of` has them.
        """
        met = dict(self._met)
        for places, _ in self._others():
            met |= places
        closed = self._told._replace(closed_ns=self._clock.elapsed_ns())
        os.close(_written(self._file, closed))
        os.close(self.lock)
        self._forget_old()
        return met

    def _forget_old(self) -> None:
        oldest_s = self._clock.wall_ns() / 1e9 - KEPT_S
        for path in self._directory.glob("*.json"):
            with suppress(OSError):  # another one forgets them at the same time
                if path.stat().st_mtime < oldest_s and not _read(path)[1]:
                    path.unlink()


def open_bracket(
    directory: Path, clock: Clock, *, run_id: str, suite: str, places: Iterable[Place]
) -> OpenBracket:
    """Let others see that a bracket is open on these places. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    same = frozenset(place_of(name, instance) for name, instance in places)
    return OpenBracket(directory, clock, Told(run_id, suite, same, clock.elapsed_ns(), None))


def place_of(name: str, instance: str) -> Place:
    """A backend's place as all brackets call it.

    >>> place_of("mysql@localhost:3306", "localhost:3306")
    ('mysql', '127.0.0.1:3306')
    """
    return name.partition("@")[0], instance.replace("localhost", "127.0.0.1")


def places_of(backend: Backend) -> tuple[Place, ...]:
    """Where a backend is by its URL, and what its server said it is when it was read.

    One server has many URLs: a socket or an address, one database or another. What it says of
    itself is the same by all of them: pairs in a backend's `servers`, if it has any.
    """
    said = getattr(backend, "servers", ())
    pairs = filter(_is_pair, said if isinstance(said, list | tuple) else ())
    return tuple(place_of(*one) for one in ((backend.name, backend.instance), *pairs))


def _is_pair(one: object) -> bool:
    """Whether it can be a place: a backend of another package may call anything `servers`."""
    return isinstance(one, tuple) and len(one) == 2 and all(isinstance(x, str) for x in one)


def _written(file: Path, told: Told) -> int:
    """Put the file there, whole and locked at once; the lock lasts while this is open."""
    text = json.dumps(
        {
            "boot": _boot(),
            "suite": told.suite,
            "places": sorted(told.places),
            "opened_ns": told.opened_ns,
            "closed_ns": told.closed_ns,
        }
    )
    fresh = file.with_suffix(".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    os.write(handle, text.encode())
    fresh.rename(file)
    return handle


def _read(path: Path) -> tuple[Told | None, bool]:
    """What a bracket's file says, None if nothing of today, and whether it is still open."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None, False
    try:
        alive = not _lockable(handle)
        value = json.loads(os.read(handle, FILE_BYTES_MAX))
        places = frozenset((str(name), str(instance)) for name, instance in value["places"])
        closed = value["closed_ns"]
        told = Told(
            path.stem,
            str(value["suite"]),
            places,
            int(value["opened_ns"]),
            None if closed is None else int(closed),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None, False
    else:
        return (told if value.get("boot") == _boot() else None), alive
    finally:
        os.close(handle)


def _lockable(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(handle, fcntl.LOCK_UN)
    return True


def _boot() -> str:
    """Which start of this machine; its monotonic clock begins anew with each."""
    try:
        return BOOT.read_text().strip()
    except OSError:
        return ""
