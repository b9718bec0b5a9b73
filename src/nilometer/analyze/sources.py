"""What a question is asked over: stores of tables, and logs that are read into such files.

A store is a directory or a URL that holds tables of ours. Everything else is read once, when it
is opened (`logs`), into Parquet files of the same columns in a temporary folder, so that every
engine reads logs as it reads tables.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from nilometer.analyze.engine import Lot
from nilometer.analyze.logs import read_file
from nilometer.analyze.writing import Writing
from nilometer.errors import ConfigError
from nilometer.store.opening import open_existing
from nilometer.store.places import Place
from nilometer.store.reading import Shelf
from nilometer.store.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PREFIX: Final = "nilometer-logs-"


class Source(Protocol):
    """Something that has rows of tables; `skipped` counts what of it could not be read."""

    skipped: Mapping[str, int]

    def lots(self, table: str) -> list[Lot]:
        """The files with rows of that table by now."""
        ...


class Tables:
    """The tables of a store, as far as there are any; whoever writes to them goes on."""

    def __init__(self, place: Place) -> None:
        self.skipped: Mapping[str, int] = {}
        self._shelves = {name: Shelf(place.inside(name), TABLES[name]) for name in TABLES}

    def lots(self, table: str) -> list[Lot]:
        """Raises StoreError for a table that is damaged, foreign or of a newer schema."""
        shelf = self._shelves[table]
        return [Lot(shelf.place, shelf.files())]


class Logs:
    """Files that are no tables, read into Parquet files in this folder."""

    def __init__(
        self, files: Sequence[Path], folder: Path, tell: Callable[[str], None]
    ) -> None:
        skipped: Counter[str] = Counter()
        self.skipped: Mapping[str, int] = skipped
        self._place = Place.of(folder)
        writing = Writing(self._place)
        for file in files:
            read_file(file, writing.add, skipped, tell)
        writing.finish()
        self._files = writing.files

    def lots(self, table: str) -> list[Lot]:
        """What the logs told, for that table; nothing for those of which no log tells."""
        return [Lot(self._place.inside(table), self._files.get(table, []))]


@contextmanager
def opened(
    over: Sequence[str],
    tell: Callable[[str], None],
    options: Mapping[str, str] | None = None,
) -> Iterator[list[Source]]:
    """The sources that these paths and URLs name, while the ``with`` lasts.

    `options` are of the object stores. Raises ConfigError for what is no source, StoreError
    for what cannot be read.
    """
    found: list[Source] = []
    files: list[Path] = []
    for text in over:
        place = Place.of(text, options)
        if _is_store(place):
            found.append(Tables(place))
        else:
            files += _files(text, place)
    with ExitStack() as stack:
        if files:
            folder = stack.enter_context(TemporaryDirectory(prefix=PREFIX))
            found.append(Logs(files, Path(folder), tell))
        yield found


def _is_store(place: Place) -> bool:
    """Whether a table of ours lies there; a URL that has none is nothing else, either."""
    if place.path is not None:
        return any((place.path / name / "_delta_log").is_dir() for name in TABLES)
    if not any(open_existing(place.inside(name), table) for name, table in TABLES.items()):
        _refuse(f"{place.url} has no tables of Nilometer")
    return True


def _files(text: str, place: Place) -> list[Path]:
    path = place.path
    assert path is not None, text  # a URL is a store
    if path.is_file():
        return [path]
    if (path / "_delta_log").is_dir():
        _refuse(f"{text!r} is a table alone: name the store that it is in")
    if path.is_dir():
        there = sorted(path.iterdir())
        inside = [each for each in there if each.is_file() and each.name[0] != "."]
        return inside or _refuse(f"{text!r} holds neither tables of Nilometer nor files")
    return _refuse(f"there is no {text!r}{_near(path)}")


def _refuse(because: str) -> NoReturn:
    raise ConfigError(f"--over: {because}", slug="bad-source")


def _near(path: Path) -> str:
    """What lies there by nearly that name; a folder may hold too much to tell all of it."""
    if not path.parent.is_dir():
        return f", not even {str(path.parent)!r}"
    near = get_close_matches(path.name, [each.name for each in path.parent.iterdir()], n=1)
    return f"; did you mean {str(path.with_name(near[0]))!r}?" if near else ""


def skipped(sources: Sequence[Source]) -> dict[str, int]:
    """What of all these could not be read, by its kind."""
    found: Counter[str] = Counter()
    for source in sources:
        found.update(source.skipped)
    return {kind: count for kind, count in sorted(found.items()) if count}
