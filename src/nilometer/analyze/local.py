"""DuckDB in this process, within its memory: what does not fit goes to temporary files."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

import duckdb
import pyarrow as pa

from nilometer.analyze.damage import Shown, damage_among
from nilometer.errors import StoreError
from nilometer.store.copies import Copies
from nilometer.store.places import said
from nilometer.store.reading import Piece, database, show_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nilometer.analyze.engine import Lot

MEMORY_MAX: Final = "2GB"
"""Who analyses does nothing else meanwhile: twice what a question to the collector may use."""

PROGRESS_S: Final = 0.5


class Local:
    """An engine for one machine; one thread asks at a time."""

    def __init__(self, *, memory_max: str = MEMORY_MAX) -> None:
        self._database = database(memory_max)
        self._database.execute("SET preserve_insertion_order = false")  # every answer is sorted
        self._database.execute("SET enable_progress_bar = true")
        self._database.execute("SET enable_progress_bar_print = false")
        self._copies = Copies()

    def close(self) -> None:
        """Give the memory back, and the disk's room."""
        self._database.close()
        self._copies.close()

    def rows(
        self,
        text: str,
        views: Mapping[str, Sequence[Lot]],
        values: Mapping[str, object],
        tell: Callable[[str], None],
    ) -> pa.Table:
        """As every engine does."""
        shown: list[Shown] = []
        with ExitStack() as stack, self._database.cursor() as cursor:
            try:
                for table, lots in views.items():
                    pieces = []
                    for place, files in lots:
                        paths = stack.enter_context(self._copies.of(place, files))
                        pairs = zip(files, paths, strict=True)
                        shown += [Shown(table, f"{place.url}/{f.path}", p) for f, p in pairs]
                        pieces.append((Piece(table, files), paths))
                    show_pieces(cursor, table, pieces, like=table)
                with _watched(cursor, tell):
                    return _asked(cursor, text, values)
            except duckdb.OutOfMemoryException as error:
                raise StoreError(
                    f"the question needs more memory than it may use: {said(error)}; "
                    "ask for less time, or of one service",
                    slug="store-too-much",
                ) from error
            except (duckdb.Error, OSError, pa.ArrowException) as error:
                raise _unreadable(shown, error) from error


def _asked(
    cursor: duckdb.DuckDBPyConnection, text: str, values: Mapping[str, object]
) -> pa.Table:
    [statement] = cursor.extract_statements(text)
    bound = {name: values[name] for name in statement.named_parameters}
    return cursor.sql(statement, params=bound).to_arrow_table()


@contextmanager
def _watched(cursor: duckdb.DuckDBPyConnection, tell: Callable[[str], None]) -> Iterator[None]:
    """Tell how far the cursor's question is, while the ``with`` lasts."""
    done = Event()

    def watch() -> None:
        while not done.wait(PROGRESS_S):
            share = cursor.query_progress()
            if 0 < share <= 100:  # -1 where DuckDB cannot say
                tell(f"asking: {share:.0f} %")

    thread = Thread(target=watch, name="nilometer-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _unreadable(shown: Sequence[Shown], error: Exception) -> Exception:
    """The error to raise: it names the first file that is not one of ours, or is damaged."""
    if isinstance(error, FileNotFoundError):
        return error
    return damage_among(shown) or StoreError(
        f"the question failed: {said(error)}", slug="store-unreadable"
    )
