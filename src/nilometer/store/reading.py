"""SQL over the files of the tables: which files a question needs, and one cursor per question.

DuckDB is given the files of Delta's list directly, less those whose bounds say that they cannot
hold an answer; of an object store it is given copies. The list is brought up to date before
each question, so what another process has committed is seen; a file that maintenance took away
in between makes the question start again with a new list. Values are always bound as
parameters, and memory is limited.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import gettempdir
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from uuid import uuid4

import duckdb
import pyarrow as pa
from deltalake.exceptions import DeltaError

from nilometer.errors import StoreError
from nilometer.store.copies import Copies
from nilometer.store.opening import open_existing
from nilometer.store.places import said
from nilometer.store.stored import DataFile, files_of
from nilometer.store.tables import (
    FLOAT,
    FLOATS,
    TABLES,
    TEXT,
    WHOLE,
    WHOLES,
    Table,
    file_schema,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from deltalake import DeltaTable

    from nilometer.store.places import Place

MEMORY_MAX: Final = "1GB"
"""What DuckDB may use for all questions together; what needs more is refused."""

SPILL_MAX: Final = "4GB"
"""What a question or a merge may put into temporary files: four times its memory."""

ROWS_AT_ONCE: Final = 2048
"""As many as DuckDB makes together; as Python's objects they are some megabytes."""

TRIES: Final = 3
"""Files stay an hour after they are replaced, so even a second try is rare."""

Answer = TypeVar("Answer")
Row = dict[str, Any]
Wanted = dict[str, tuple[Any, Any]]
"""By column the least and greatest value a question asks for; None leaves an end open."""


@cache
def sql(*names: str) -> str:
    """The texts of store/sql/<name>.sql, one going on with the other's WITH."""
    folder = files("nilometer.store") / "sql"
    return "".join((folder / f"{name}.sql").read_text(encoding="utf-8") for name in names)


def needed(listed: Sequence[DataFile], wanted: Wanted) -> list[DataFile]:
    """The files that may hold rows with values in the wanted ranges."""
    return [file for file in listed if all(_may_hold(file, c, w) for c, w in wanted.items())]


def _may_hold(file: DataFile, column: str, wanted: tuple[Any, Any]) -> bool:
    low, high = wanted
    least, greatest = file.least.get(column), file.greatest.get(column)
    above = low is not None and greatest is not None and greatest < low
    below = high is not None and least is not None and least > high
    return not above and not below


class Piece(NamedTuple):
    """Rows of some files of a table, as SQL: which columns of which rows. No text of anybody
    else's may stand in it."""

    table: str
    files: Sequence[DataFile]
    columns: str = "*"
    where: str = "TRUE"


class Shelf:
    """The current file list of one table, which a writer may be adding to."""

    def __init__(self, place: Place, table: Table) -> None:
        self.place = place
        self.table = table
        self._lock = Lock()
        self._delta: DeltaTable | None = None
        self._listed: list[DataFile] = []
        self._version = -1

    def files(self) -> list[DataFile]:
        """The files committed by now; none while nobody has made the table."""
        with self._lock:
            if self._delta is None:
                self._delta = open_existing(self.place, self.table)
            else:
                self._update(self._delta)
            if self._delta is None:
                return []
            if self._delta.version() != self._version:
                self._listed = files_of(self._delta, self.table)
                self._version = self._delta.version()
            return self._listed

    def _update(self, delta: DeltaTable) -> None:
        try:
            delta.update_incremental()
        except (DeltaError, OSError):  # the entries in between are gone: read anew
            self._delta = open_existing(self.place, self.table)


class Questions:
    """Answers SQL over the tables at one place; any thread may ask."""

    def __init__(self, place: Place, *, memory_max: str = MEMORY_MAX) -> None:
        self.place = place
        self._shelves = {n: Shelf(place.inside(n), table) for n, table in TABLES.items()}
        self._database = database(memory_max)
        self._copies = Copies()

    def close(self) -> None:
        """Give the database's memory back, and the disk's room."""
        self._database.close()
        self._copies.close()

    def listed(self, table: str) -> list[DataFile]:
        """The table's files committed by now."""
        return self._shelves[table].files()

    def ask(
        self,
        name: str,
        table: str,
        wanted: Wanted,
        values: Mapping[str, object],
        *,
        heads: Sequence[str] = (),
        without: Collection[DataFile] = (),
    ) -> list[Row]:
        """The rows that store/sql/<name>.sql gives over the files that are needed.

        The WITH clauses of the `heads` come first; all share the values. Files in `without`
        are passed over.
        """
        text = sql(*heads, name)
        return self.folded(list, text, table, wanted, values, without=without)

    def folded(
        self,
        fold: Callable[[Iterator[Row]], Answer],
        text: str,
        table: str,
        wanted: Wanted,
        values: Mapping[str, object],
        *,
        without: Collection[DataFile] = (),
    ) -> Answer:
        """What `fold` makes of the rows of a question, which never are there all at once."""
        passed = {file.path for file in without}

        def answer() -> Answer:
            listed = needed(self.listed(table), wanted)
            chosen = [file for file in listed if file.path not in passed]
            return self._ask(fold, text, table, chosen, values)

        return self.retried(answer)

    def unreadable(
        self, name: str, table: str, wanted: Wanted, values: Mapping[str, object]
    ) -> list[tuple[DataFile, str]]:
        """The needed files that cannot be read alone, and why not."""
        found = []
        for file in needed(self.listed(table), wanted):
            try:
                self._ask(list, sql(name), table, [file], values)
            except (duckdb.Error, OSError) as error:
                found.append((file, said(error)))
        return found

    def retried(self, answer: Callable[[], Answer]) -> Answer:
        """What `answer` gives, asked again where files were taken away meanwhile."""
        for tries_left in reversed(range(TRIES)):
            try:
                return answer()
            except duckdb.OutOfMemoryException as error:
                raise _too_much(error) from error
            except (duckdb.Error, OSError, pa.ArrowException) as error:
                if tries_left and isinstance(error, (duckdb.IOException, FileNotFoundError)):
                    continue  # maintenance took a file away: ask again with the new list
                message = f"{self.place.url} cannot be read: {said(error)}"
                raise StoreError(message, slug="store-unreadable") from error
        raise AssertionError("the last try returns or raises")

    def _ask(
        self,
        fold: Callable[[Iterator[Row]], Answer],
        text: str,
        table: str,
        chosen: Sequence[DataFile],
        values: Mapping[str, object],
    ) -> Answer:
        if not chosen:
            return fold(iter(()))
        place = self._shelves[table].place
        with self._copies.of(place, chosen) as paths, self._database.cursor() as cursor:
            show(cursor, table, paths)
            if table == "readings":
                cursor.execute("CREATE TEMP VIEW repeated AS SELECT * FROM readings")
                show_pieces(cursor, "rolled", [], like="rollups")
            return fold(each_row(cursor, text, values))

    def ask_pieces(
        self, text: str, values: Mapping[str, object], views: Mapping[str, Sequence[Piece]]
    ) -> list[Row]:
        """The rows that a question gives over views that are put together of pieces.

        To be asked again with new pieces where a file was taken away meanwhile.
        """
        with ExitStack() as stack, self._database.cursor() as cursor:
            for name, pieces in views.items():
                shown = []
                for piece in pieces:
                    place = self._shelves[piece.table].place
                    copies = self._copies.of(place, piece.files)
                    shown.append((piece, stack.enter_context(copies)))
                like = pieces[0].table if pieces else "readings"
                show_pieces(cursor, name, shown, like=like)
            return rows_of(cursor, text, values)


def database(memory_max: str) -> duckdb.DuckDBPyConnection:
    """A DuckDB that holds nothing, loads nothing and stays within its memory."""
    connection = duckdb.connect(
        config={
            "memory_limit": memory_max,
            "temp_directory": str(Path(gettempdir()) / f"nilometer-{uuid4().hex}"),
            "max_temp_directory_size": SPILL_MAX,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
        }
    )
    connection.execute("SET GLOBAL parquet_metadata_cache = true")  # our files never change
    return connection


def show(cursor: duckdb.DuckDBPyConnection, table: str, paths: Sequence[Path]) -> None:
    """Let the cursor see these files as the table of that name."""
    quoted = ", ".join(_literal(str(path)) for path in paths)
    cursor.execute(
        f"CREATE TEMP VIEW {table} AS "  # noqa: S608  # the names are ours, paths quoted
        f"SELECT * FROM read_parquet([{quoted}], hive_partitioning = false)"
    )


def _too_much(error: BaseException) -> StoreError:
    return StoreError(
        f"the question needs more memory than it may use: {said(error)}; "
        "ask for less time or fewer groups",
        slug="store-too-much",
    )


def show_pieces(
    cursor: duckdb.DuckDBPyConnection,
    name: str,
    pieces: Sequence[tuple[Piece, Sequence[Path]]],
    *,
    like: str,
) -> None:
    """Let the cursor see these pieces as one table; without any as an empty one like that."""
    texts = []
    for piece, paths in pieces:
        if paths:
            quoted = ", ".join(_literal(str(path)) for path in paths)
            source = f"read_parquet([{quoted}], hive_partitioning = false)"
            texts.append(f"SELECT {piece.columns} FROM {source} WHERE {piece.where}")  # noqa: S608 - ours
    if not texts:
        kinds = {TEXT: "VARCHAR", WHOLE: "BIGINT", FLOAT: "DOUBLE", WHOLES: "BIGINT[]"}
        kinds |= {FLOATS: "DOUBLE[]", pa.bool_(): "BOOLEAN"}
        columns = [f"NULL::{kinds[each.type]} AS {each.name}" for each in file_schema(like)]
        texts = [f"SELECT {', '.join(columns)} WHERE FALSE"]
    cursor.execute(f"CREATE TEMP VIEW {name} AS {' UNION ALL '.join(texts)}")


def rows_of(
    cursor: duckdb.DuckDBPyConnection, text: str, values: Mapping[str, object]
) -> list[Row]:
    """What a question over the cursor's views gives."""
    return list(each_row(cursor, text, values))


def each_row(
    cursor: duckdb.DuckDBPyConnection, text: str, values: Mapping[str, object]
) -> Iterator[Row]:
    """The same, one row after the other."""
    answer = cursor.execute(text, dict(values))
    names = [each[0] for each in answer.description or ()]
    while rows := answer.fetchmany(ROWS_AT_ONCE):
        for row in rows:
            yield dict(zip(names, row, strict=True))


_GLOB: Final = str.maketrans({"*": "[*]", "?": "[?]", "[": "[[]"})


def _literal(path: str) -> str:
    """A path as a SQL text that stands for itself, not for a pattern of paths."""
    return "'" + path.translate(_GLOB).replace("'", "''") + "'"
