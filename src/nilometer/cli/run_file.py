"""What a command tells of itself: the file that `measure` names in NILOMETER_RUN_FILE.

    {"work": 40, "test_set": "9f86d081884c7d65",
     "counts": [{"backend": "tests", "counter": "sql.statements", "delta": 120, "unit": "1",
                 "dimensions": {"test": "tests/test_shop.py::test_order"}}]}

Every key may be left out. Whoever runs the command may write anything there, so nothing in it
is trusted, and nothing in it stops a run from being recorded.
"""

from __future__ import annotations

import json
import os
import stat
from hashlib import blake2b
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from xml.etree import ElementTree as ET

from nilometer.model.dimensions import dimensions_of
from nilometer.model.run import Count

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

VARIABLE: Final = "NILOMETER_RUN_FILE"
BYTES_MAX: Final = 64 << 20  # ten thousand tests of twenty statements each are 40 MB
COUNTS_MAX: Final = 200_000  # the same
TEXT_CHARS_MAX: Final = 4_096  # of a counter's name or a dimension; longest statements kept
WORK_MAX: Final = 2**53  # what JSON numbers hold exactly everywhere


class Told(NamedTuple):
    """What a command said; `because` is why no count is used, `notes` what was left out."""

    work: int = 0
    test_set: str = ""
    counts: tuple[Count, ...] = ()
    because: str = ""
    notes: tuple[str, ...] = ()


def read_run_file(file: Path, *, taken: Collection[str] = ()) -> Told:
    """What the command wrote, or nothing if it wrote nothing.

    `taken` are backends that we have read ourselves: their totals are ours to tell, a command
    may only add to what parts they go.
    """
    try:
        text = _bytes_of(file)
    except FileNotFoundError:
        return Told()
    except OSError as error:
        return Told(because=f"what the command told cannot be read: {error.strerror or error}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Told(because=f"what the command told is not JSON: {error}")
    if not isinstance(value, dict):
        return Told(because=f"what the command told is no JSON object but {str(value)[:40]!r}")
    return _told(value, taken)


def _bytes_of(file: Path) -> bytes:
    """The file's content, if it is a file and not a pipe that nobody writes to."""
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    with open(handle, "rb") as stream:  # noqa: PTH123 - Path.open takes no descriptor
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("it is no file")
        text = stream.read(BYTES_MAX + 1)
    if len(text) > BYTES_MAX:
        raise OSError(f"it is larger than {BYTES_MAX >> 20} MiB")
    return text


def _told(value: dict[str, Any], taken: Collection[str]) -> Told:
    notes: list[str] = []
    work, test_set = value.get("work", 0), value.get("test_set", "")
    if not isinstance(work, int) or isinstance(work, bool) or not 0 <= work <= WORK_MAX:
        notes.append(f"work is {str(work)[:40]!r}, not a number of units")
        work = 0
    if not isinstance(test_set, str) or len(test_set) > TEXT_CHARS_MAX:
        notes.append(f"test_set is {str(test_set)[:40]!r}, not a digest")
        test_set = ""
    counts, because = _counts(value.get("counts", []), taken, notes)
    return Told(work, test_set, counts, because, tuple(notes))


def _counts(
    given: Any, taken: Collection[str], notes: list[str]
) -> tuple[tuple[Count, ...], str]:
    """The counts in a list, or why none of them is used.

    A total that is not understood would look as if it had not moved: then none is used. Of
    parts the rest still says something, and `notes` say what is missing.
    """
    if not isinstance(given, list):
        return (), f"counts are {str(given)[:40]!r}, not a list"
    counts: list[Count] = []
    faults: list[str] = []
    because = ""
    for one in given[:COUNTS_MAX]:
        count = _count(one, taken)
        if isinstance(count, Count):
            counts.append(count)
            continue
        faults.append(f"a count is left out: {count}")
        if not (_is_part(one) or _is_ours(one, taken)):
            because = because or faults[-1]
    beyond = given[COUNTS_MAX:]
    if beyond:
        faults.insert(0, f"of {len(given)} counts the first {COUNTS_MAX} are kept")
    if not all(_is_part(one) for one in beyond):
        because = because or f"more than {COUNTS_MAX} counts"
    notes += faults[:1]
    if len(faults) > 1:
        notes.append(f"{len(faults) - 1} more counts are left out for such reasons")
    return (() if because else tuple(counts)), because


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and bool(value.get("dimensions"))


def _is_ours(value: Any, taken: Collection[str]) -> bool:
    backend = value.get("backend") if isinstance(value, dict) else None
    return isinstance(backend, str) and backend in taken


def _count(value: Any, taken: Collection[str]) -> Count | str:
    """The count in an item of the list, or why there is none."""
    if not isinstance(value, dict):
        return f"{str(value)[:40]!r} is no object"
    backend, counter, delta = (value.get(name) for name in ("backend", "counter", "delta"))
    unit, dimensions = value.get("unit", "1"), value.get("dimensions", {})
    for text in (backend, counter, unit):
        if not isinstance(text, str) or not 0 < len(text) <= TEXT_CHARS_MAX:
            return f"backend, counter or unit is {str(text)[:40]!r}"
    if isinstance(delta, bool) or not isinstance(delta, int | float) or not isfinite(delta):
        return f"its delta is {str(delta)[:40]!r}"
    if abs(delta) > WORK_MAX:
        return f"its delta of {delta!r:.40} is beyond what numbers hold exactly"
    if not isinstance(dimensions, dict):
        return f"its dimensions are {str(dimensions)[:40]!r}"
    if not dimensions and backend in taken:
        return f"{backend} was read by us; only parts of its counters can be told"
    cut = {key[:TEXT_CHARS_MAX]: str(text)[:TEXT_CHARS_MAX] for key, text in dimensions.items()}
    return Count(
        str(backend), str(counter), delta, dimensions_of(cut), unit=str(unit), raw=delta
    )


# ---- results of tests ------------------------------------------------------------------------


Written = tuple[int, int, int]


def written_when(file: Path) -> Written | None:
    """Which file it is, and when it was written: not the same twice. None if there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def read_junit(file: Path, *, earlier: Written | None = None) -> Told:
    """Work and test set from a JUnit XML file: the tests that ran, passed or not.

    One that is still the `earlier` tells of another run.
    """
    if earlier is not None and written_when(file) == earlier:
        return Told(because=f"{file}: not written by this run, but before it")
    try:
        text = _bytes_of(file)
        # The size is bounded, and expat refuses entities that blow up.
        cases = list(ET.fromstring(text).iter("testcase"))  # noqa: S314 - see above
    except OSError as error:
        return Told(because=f"{file}: {error.strerror or error}")
    except (ET.ParseError, ValueError, RecursionError) as error:
        return Told(because=f"{file} is not JUnit XML: {error}")
    ran = [case for case in cases if case.find("skipped") is None]
    names = [f"{case.get('classname', '')}::{case.get('name', '')}" for case in ran]
    return Told(len(ran), digest_of(names))


def digest_of(names: Iterable[str]) -> str:
    """The digest of a set of tests: the same for the same names in any order."""
    text = "\n".join(sorted(names)).encode("utf-8", "backslashreplace")
    return blake2b(text, digest_size=8).hexdigest() if text else ""
