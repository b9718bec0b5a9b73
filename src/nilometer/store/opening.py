"""A table at its place: opened, made where there is none, refused where it is not ours.

What is foreign, newer, or damaged is told and left as it is.
"""

from __future__ import annotations

from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final

from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from nilometer.errors import StoreError
from nilometer.store.disk import (
    CHECKPOINT_EVERY,
    LOG,
    damaged,
    empty_within,
    sync_names,
    sync_versions,
    torn_end,
)
from nilometer.store.places import store_error
from nilometer.store.tables import PARTITION, VERSION, arrow_schema

if TYPE_CHECKING:
    from pathlib import Path

    from nilometer.store.places import Place
    from nilometer.store.tables import Table

CONFIGURATION: Final = {
    "delta.checkpointInterval": str(CHECKPOINT_EVERY),
    # Else deltalake shows the bounds of the first 32 columns only, and `append` is beyond them.
    "delta.dataSkippingNumIndexedCols": "-1",
    # An hour of commits, one a second, is 3,600 entries; open ones read from the checkpoint on.
    "delta.logRetentionDuration": "interval 1 hours",
    "delta.deletedFileRetentionDuration": "interval 1 hours",
    # Cleaned in maintenance only, after the checkpoint that replaces the entries is synced.
    "delta.enableExpiredLogCleanup": "false",
}


def open_or_make(place: Place, table: Table) -> DeltaTable:
    """The table at its place, made if there is none. Raises StoreError if it is read-only."""
    delta = open_existing(place, table, repair=True)
    if delta is None:
        return _make(place, table)
    if place.path is not None:
        for folder in (place.path, place.path / LOG):
            _refuse_read_only(place, folder)
    return delta


def _refuse_read_only(place: Place, folder: Path) -> None:
    """Who opens it to write is to know at once that he may not, and not at the first commit.

    Asked by trying, with a file that never has a name: root may do what no mode allows, and
    nobody may write to a disk that was turned read-only. One that is full can become free.
    """
    try:
        TemporaryFile(dir=folder).close()
    except OSError as error:
        refused = store_error(place, error, "write to")
        if refused.slug == "store-read-only":
            raise refused from error


def open_existing(place: Place, table: Table, *, repair: bool = False) -> DeltaTable | None:
    """The table at its place, or None; foreign, newer or damaged ones are refused.

    With `repair` an empty one of an earlier schema is given the columns of today. Where files
    of a table are left without its log, it is damaged and not new: a new log would list none of
    them, and maintenance would delete them as nobody's.
    """
    found = _opened(place, table, repair=repair)
    try:
        left = place.first_of(f"{PARTITION}=", ".parquet") if found is None else ""
    except (DeltaError, OSError) as error:
        raise store_error(place, error, "open") from error
    if left:
        found = _opened(place, table, repair=repair)  # somebody made it just now, log first
        if found is None:
            lost = FileNotFoundError(f"there is none, but files such as {left}")
            raise damaged(place.url, lost)
    return found


def _opened(place: Place, table: Table, *, repair: bool) -> DeltaTable | None:
    try:
        if place.path is not None and not (place.path / "_delta_log").is_dir():
            return None
        delta = DeltaTable(place.url, storage_options=place.options)
    except TableNotFoundError:
        return None
    except OSError as error:
        raise store_error(place, error, "open") from error
    except DeltaError as error:
        whole = None if repair else _before_torn_end(place)
        if whole is None:
            raise damaged(place.url, error) from error
        delta = whole
    if place.path is not None and (empty := empty_within(place.path)):
        raise damaged(place.url, ValueError(f"its entry {empty} is empty, or cut"))
    if _check(place, table, delta) < table.since and repair:
        return _migrated(place, table, delta)
    return delta


def _before_torn_end(place: Place) -> DeltaTable | None:
    """The table without the end of its log that a power cut tore; None if it is not that.

    For readers: the next writer sets the end aside.
    """
    torn = torn_end(place.path) if place.path is not None else []
    if not torn or not (version := int(torn[0].stem)):
        return None
    try:
        return DeltaTable(place.url, version=version - 1, storage_options=place.options)
    except (DeltaError, OSError):
        return None


def _check(place: Place, table: Table, delta: DeltaTable) -> int:
    """The version of the table's schema, which we know; others' tables are refused."""
    told = delta.metadata()
    if told.name != f"nilometer.{table.name}":
        raise StoreError(
            f"{place.url} holds a table {told.name!r} that Nilometer did not make; "
            "choose an empty directory",
            slug="store-foreign",
        )
    version = int((told.description or "schema 0").rpartition(" ")[2])
    if version > VERSION:
        raise StoreError(
            f"{place.url} has schema {version}, this Nilometer knows up to {VERSION}",
            slug="store-newer",
        )
    if version < table.since and delta.version() and delta.file_uris():
        raise StoreError(
            f"{place.url} has rows of schema {version}, and none was ever written by Nilometer "
            f"before schema {table.since}; move it away",
            slug="store-older",
        )
    return version


def _migrated(place: Place, table: Table, delta: DeltaTable) -> DeltaTable:
    """Give an empty table of an earlier schema the columns of today.

    No row is touched, and nobody's append is lost: what was committed since `delta` was read
    makes the commit fail, and then it is looked at anew.
    """
    try:
        delta.create_write_transaction(
            [],
            "overwrite",
            Schema.from_arrow(arrow_schema(table.name)),
            [PARTITION],
            commit_properties=CommitProperties(max_commit_retries=0),
        )
        delta.update_incremental()
        delta.alter.set_table_description(f"schema {VERSION}")
    except CommitFailedError:
        migrated = open_existing(place, table, repair=True)  # another process was there first
        if migrated is None:
            raise
        return migrated
    except (DeltaError, OSError) as error:
        raise store_error(place, error, "migrate") from error
    if place.path is not None:
        sync_versions(place.path, 0, delta.version())
    return DeltaTable(place.url, storage_options=place.options)


def _make(place: Place, table: Table) -> DeltaTable:
    try:
        if place.path is not None:
            place.path.mkdir(parents=True, exist_ok=True)
        DeltaTable.create(
            place.url,
            schema=Schema.from_arrow(arrow_schema(table.name)),
            mode="ignore",
            partition_by=[PARTITION],
            name=f"nilometer.{table.name}",
            description=f"schema {VERSION}",
            configuration=CONFIGURATION,
            storage_options=place.options,
            # Else the second of two that make it at once would describe it again, as version 1,
            # and fail the appends of those who had opened version 0.
            commit_properties=CommitProperties(max_commit_retries=0),
        )
    except (DeltaError, OSError) as error:
        made = open_existing(place, table)
        if made is None:
            raise store_error(place, error, "make") from error
        return made  # another process made it at the same moment
    if place.path is not None:
        sync_versions(place.path, 0, 0)
        sync_names(place.path.parent, up_to=place.path.parent.parent)
    made = open_existing(place, table)
    if made is None:
        raise StoreError(f"{place.url} cannot be opened after it was made", slug="store-failed")
    return made
